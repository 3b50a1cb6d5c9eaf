"""Loading workflows by name: which file is meant, what runs, and what is said when it breaks."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from statemachine_agents import TableError, Workflow
from statemachine_agents import load as loading
from statemachine_agents.errors import UsageError, WorkflowError
from statemachine_agents.load import bundled, load_table, load_workflow

ROOT = Path(__file__).parents[1]

TABLE = """\
name = "greeting"
initial = "asking"
transitions = [{ source = "asking", event = "greet.ok", target = "done" }]
[states]
asking = { do = ["greet"] }
done = { final = "success" }
"""

PLAIN = """\
name = "plain"
initial = "here"
[states]
here = { final = "success" }
"""

TOOLS = '''\
from statemachine_agents import tool

from .words import hello


@tool(effect="read")
def greet() -> str:
    """Say hello."""
    return hello()


also = greet
'''

WORKFLOW = """\
from pathlib import Path

from statemachine_agents import Table, Workflow

from .tools import greet


def build(home):
    table = Table.from_toml(Path(__file__).with_name("table.toml").read_text())
    workflow = Workflow(table, tools=[greet])
    workflow.home = home
    return workflow
"""

BOOBY_TRAP = "raise SystemExit('this must not run')\n"


@pytest.fixture(autouse=True)
def clean_modules(monkeypatch, tmp_path):
    """Each test stands in an empty folder and leaves `sys.path` and `sys.modules` as they were."""
    before = set(sys.modules)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    yield
    for name in set(sys.modules) - before:
        if name.startswith("_sma_") or name.split(".")[0] in ("flows", "broken"):
            del sys.modules[name]


def write(folder, **files):
    """Write `name.py` files and, as `table`, a table; return the folder."""
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / (f"{name}.toml" if name == "table" else f"{name}.py")).write_text(text)
    return folder


def complete(folder, **more):
    words = "def hello():\n    return 'hello'\n"
    return write(folder, table=TABLE, tools=TOOLS, words=words, **more)


# ------------------------------------------------------------------------------------------ folders


def test_a_folder_with_a_build_function(tmp_path):
    """`build(home)` gets the home as a path; a relative folder works, and imports in it too."""
    complete(tmp_path / "greeting", workflow=WORKFLOW)
    workflow = load_workflow("greeting", "some/home")
    assert workflow.home == Path("some/home")
    assert workflow.functions["greet"]() == "hello"
    assert not Path("some").exists()


def test_a_folder_with_an_attribute(tmp_path):
    """Instead of `build`, `workflow.py` may hold the workflow itself."""
    text = WORKFLOW + "\n\nworkflow = build(None)\ndel build\n"
    folder = complete(tmp_path / "greeting", workflow=text)
    assert load_workflow(folder, tmp_path).home is None


def test_a_folder_without_code_of_its_own(tmp_path):
    """With `table.toml` and `tools.py` alone, every tool of the module is bound, each once."""
    folder = complete(tmp_path / "greeting")
    workflow = load_workflow(folder, tmp_path)
    assert list(workflow.functions) == ["greet"]
    assert workflow.functions["greet"]() == "hello"
    (folder / "tools.py").unlink()
    with pytest.raises(TableError, match="no function of that name was given"):
        load_workflow(folder, tmp_path)


def test_a_folder_with_a_table_alone(tmp_path):
    """A table that needs no function needs no Python file."""
    assert load_workflow(write(tmp_path / "p", table=PLAIN), tmp_path).table.name == "plain"


@pytest.mark.parametrize("init", [None, "from . import words\nNAME = __name__\n"])
def test_imports_inside_a_folder_are_relative(tmp_path, init):
    """With and without `__init__.py`, and also when a function imports late."""
    late = WORKFLOW.replace("from .tools import greet", "").replace(
        "    table =", "    from .tools import greet\n    table ="
    )
    more = {} if init is None else {"__init__": init}
    folder = complete(tmp_path / "my workflow-1", workflow=late, **more)
    workflow = load_workflow(folder, tmp_path)
    module = workflow.functions["greet"].__module__
    assert re.fullmatch(r"_sma_my_workflow_1_\d+\.tools", module)
    assert module in sys.modules


def test_the_modules_of_two_loads_never_meet(tmp_path):
    """Loaded twice, or beside another folder with the same file names, each has its own modules."""
    one = complete(tmp_path / "one", workflow=WORKFLOW)
    two = complete(tmp_path / "two", workflow=WORKFLOW)
    (two / "words.py").write_text("def hello():\n    return 'good day'\n")
    first, again, other = (load_workflow(folder, tmp_path) for folder in (one, one, two))
    assert [each.functions["greet"]() for each in (first, other)] == ["hello", "good day"]
    assert first.functions["greet"] is not again.functions["greet"]
    assert first.definition.hash == again.definition.hash
    for name in ("tools", "words", "workflow", "workflows", "workflows.refund"):
        assert name not in sys.modules


# -------------------------------------------------------------------------------- files and modules


def test_a_toml_file_is_only_read(tmp_path):
    """Nothing beside it is executed, whether a workflow or only the table is wanted."""
    folder = write(tmp_path / "p", table=PLAIN, tools=BOOBY_TRAP, workflow=BOOBY_TRAP)
    assert load_workflow(folder / "table.toml", tmp_path).table.name == "plain"
    assert load_table(str(folder / "table.toml")).name == "plain"
    assert load_table(folder).name == "plain"


def test_a_toml_file_brings_no_functions(tmp_path):
    """A table that uses tools is refused with what to do, before any problem of binding."""
    folder = complete(tmp_path / "greeting")
    with pytest.raises(UsageError, match=r"uses greet, and a file brings no functions; name a fol"):
        load_workflow(folder / "table.toml", tmp_path)


def test_a_table_with_problems_says_where(tmp_path):
    """Problems of a table stay a `TableError`, placed by file and line."""
    folder = write(tmp_path / "p", table=PLAIN + "colour = 3\n")
    with pytest.raises(TableError, match=r"table\.toml:5"):
        load_table(folder)


def test_a_file_that_is_no_text(tmp_path):
    """Bytes that are not UTF-8 are refused with the file's name."""
    (tmp_path / "t.toml").write_bytes(b"name = '\xff'")
    with pytest.raises(UsageError, match=r"t\.toml cannot be read: .*utf-8"):
        load_table("t.toml")


def test_module_and_attribute(tmp_path):
    """A workflow, a table or a `build` function of a module in the current folder."""
    text = """
from statemachine_agents import State, Table, Workflow

class box:
    table = Table(name="t", initial="a", states=[State("a", final="success")])
workflow = Workflow(box.table)

def build_it(home):
    assert home.is_dir()
    return workflow
"""
    write(tmp_path, flows=text)
    workflow = load_workflow("flows:workflow", tmp_path)
    assert isinstance(workflow, Workflow)
    assert load_workflow("flows:build_it", tmp_path) is workflow
    assert load_workflow("flows:box.table", tmp_path).table == workflow.table
    for name in ("workflow", "build_it", "box.table"):
        assert load_table(f"flows:{name}") == workflow.table


def test_only_what_builds_is_called(tmp_path):
    """A slip of the pen that names some function of a module calls nothing."""
    (tmp_path / "keep").mkdir()
    with pytest.raises(UsageError, match=r"shutil:rmtree: expected a Workflow.*got a function"):
        load_workflow("shutil:rmtree", tmp_path / "keep")
    assert (tmp_path / "keep").is_dir()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("flows:workflwo", r"flows was imported, but has no 'workflwo'; did you mean 'workflow'\?"),
        ("flows:workflow.x", "has no 'x'"),
        ("nowhere.at_all:x", "no module is named 'nowhere', neither installed nor in "),
        ("flows.inner:x", r"no module is named 'flows\.inner'"),
        ("flows:", "`module:attribute` is written like"),
        ("a b:c", "`module:attribute` is written like"),
        ("flows:number", "expected a Workflow, .*; got a int"),
    ],
)
def test_a_module_that_has_it_not(tmp_path, name, words):
    """The message says which part is missing, and what is near."""
    write(tmp_path, flows="workflow = number = 3\n")
    with pytest.raises(UsageError, match=words):
        load_workflow(name, tmp_path)


# ---------------------------------------------------------------------------------- names and paths


def test_bundled_workflows_are_known():
    """The repository's own are found when installed in place; each lies where it says."""
    known = bundled()
    assert known["refund"] == ROOT / "workflows" / "refund"
    assert load_table("refund") == load_table(known["refund"])
    assert all((path / "table.toml").is_file() for path in known.values())


def test_the_wheel_carries_its_own(tmp_path, monkeypatch):
    """Installed, they lie in `_workflows`; a foreign `workflows` in site-packages is not ours."""
    package = tmp_path / "site" / "statemachine_agents"
    package.mkdir(parents=True)
    (tmp_path / "site" / "workflows").mkdir()
    write(tmp_path / "site" / "workflows" / "foreign", table=PLAIN)
    monkeypatch.setattr(loading, "__file__", str(package / "load.py"))
    assert bundled() == {}
    (package / "_workflows").mkdir()
    folder = write(package / "_workflows" / "ours", table=PLAIN)
    write(package / "_workflows" / "not-a-name", table=PLAIN)
    write(package / "_workflows" / "__pycache__")
    assert bundled() == {"ours": folder}
    assert load_workflow("ours", tmp_path).table.name == "plain"


def test_a_path_wins_over_a_bundled_name(tmp_path):
    """A workflow folder here hides the bundled one; any other folder of that name does not."""
    (tmp_path / "refund").mkdir()
    assert load_table("refund").name == "refund"
    write(tmp_path / "refund", table=PLAIN)
    assert load_table("refund").name == "plain"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("refnd", r"not among the bundled ones; did you mean 'refund'\?"),
        ("zzz", "known here: .*refund"),
        ("../refund", "no such folder or file; bundled: .*refund"),
        ("refund/../refund", "no such folder or file"),
        ("refund.toml", "no such folder or file"),
        ("", "no workflow is named ''"),
        ("refund\0", "no such folder or file"),
        (Path("refund"), "not a path here"),
        ("empty", "is a folder, but no workflow: it has neither workflow.py nor table.toml"),
        ("lone.py", "is no table: expected a .toml file or a folder; name the folder "),
        ("lone.txt", r"is no table: expected a .toml file or a folder$"),
    ],
)
def test_an_unknown_name_says_what_was_looked_for(tmp_path, name, words):
    """Bundled names are looked up, never joined to a path; what is near is suggested."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "lone.py").touch()
    (tmp_path / "lone.txt").touch()
    for load in (lambda: load_workflow(name, tmp_path), lambda: load_table(name)):
        with pytest.raises(UsageError, match=words):
            load()


# ------------------------------------------------------------------------------ what breaks in them


@pytest.mark.parametrize(
    ("text", "line", "words", "cause"),
    [
        ("x = 1\ny = x / 0\n", 2, "ZeroDivisionError: division by zero", ZeroDivisionError),
        ("import json\njson.loads('{')\n", 2, "JSONDecodeError: ", ValueError),
        ("def build(home:\n", 1, "SyntaxError: ", SyntaxError),
        ("\nraise SystemExit(3)\n", 2, "SystemExit: 3", SystemExit),
        ("raise ValueError\n", 1, "ValueError$", ValueError),
        ("def build(home):\n    return 1 / 0\n", 2, "ZeroDivisionError", ZeroDivisionError),
        ("import nowhere_at_all\n", 1, "No module named 'nowhere_at_all'$", ImportError),
        ("import words\n", 1, r"write `from \.words import \.\.\.`$", ImportError),
    ],
)
def test_what_breaks_is_named_with_file_and_line(tmp_path, text, line, words, cause):
    """The last line of the author's own code is named, the exception chained, nothing left over."""
    folder = complete(tmp_path / "greeting", workflow=text)
    with pytest.raises(UsageError, match=words) as caught:
        load_workflow(folder, tmp_path)
    assert f"{folder / 'workflow.py'}:{line}: " in str(caught.value)
    assert isinstance(caught.value.__cause__, cause)
    if "build" not in text or cause is SyntaxError:
        assert [name for name in sys.modules if name.startswith("_sma_greeting")] == []


def test_what_breaks_in_an_inner_module_is_named_there(tmp_path):
    """Of several files on the way, the one that broke is named."""
    folder = complete(tmp_path / "greeting", workflow=WORKFLOW)
    (folder / "words.py").write_text("\n\nhello = nothing\n")
    place = re.escape(f"{folder / 'words.py'}:3: NameError")
    with pytest.raises(UsageError, match=place):
        load_workflow(folder, tmp_path)


def test_what_breaks_in_a_module_is_named_too(tmp_path):
    """The same holds for `module:attribute`; a module it needs is not mistaken for it."""
    write(tmp_path, broken="import flows_missing\n")
    place = re.escape(f"{tmp_path / 'broken.py'}:1: ModuleNotFoundError")
    with pytest.raises(UsageError, match=place):
        load_workflow("broken:workflow", tmp_path)


def test_our_own_errors_pass_with_their_place(tmp_path):
    """A `TableError` of a decorator or table says what to do; a note adds where it was raised."""
    folder = complete(tmp_path / "greeting", workflow=WORKFLOW)
    (folder / "tools.py").write_text(TOOLS.replace("greet() -> str", "greet(who) -> str"))
    with pytest.raises(TableError, match="parameter 'who' has no annotation") as caught:
        load_workflow(folder, tmp_path)
    assert f"{folder / 'tools.py'}:" in "".join(caught.value.__notes__)
    assert isinstance(caught.value, WorkflowError)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x = 1\n", r"expected a function build\(home\) .* it has neither"),
        ("def build():\n    pass\n", "build is called with one argument, the directory `home`: to"),
        ("async def build(home):\n    pass\n", r"build is async; write def build\(home: Path\)"),
        ("def build(home):\n    pass\n", "expected a Workflow, .*; got None"),
        ("workflow = 'w'\n", "expected a Workflow, .*; got a str"),
    ],
)
def test_a_workflow_file_that_gives_no_workflow(tmp_path, text, words):
    """Each way to get it wrong has its sentence, with the file in front."""
    folder = write(tmp_path / "greeting", workflow=text)
    with pytest.raises(UsageError, match=words) as caught:
        load_workflow(folder, tmp_path)
    assert str(caught.value).startswith(str(folder / "workflow.py"))


def test_a_table_from_code_alone(tmp_path):
    """Where no table lies in a file, `build` gets a home that is gone afterwards."""
    text = """
from statemachine_agents import State, Table, Workflow

def build(home):
    (home / "made").touch()
    states = [State("a", final="success")]
    return Workflow(Table(name="t", version=str(home), initial="a", states=states))
"""
    table = load_table(write(tmp_path / "coded", workflow=text))
    assert table.name == "t"
    assert not Path(table.version).exists()
