"""`sma check`: every problem at once, every cell on demand."""

from tests.cli.terminal import ONE_TOOL, RAISES, folder

WRONG = """
name = "wrong"
initial = "working"
transitions = [
  { source = "working", event = "work.ok", target = "don" },
  { source = "working", event = "work.ok", target = "done", guard = "context.nothing ==" },
  { source = "wroking", event = "work.ok", target = "done" },
]
[states]
working = { do = ["work"] }
done = { final = "success" }
lonely = { final = "failure" }
"""


def test_a_sound_workflow_exits_0(sma):
    """The bundled refund has no errors, bound to its tools."""
    said = sma("check", "refund")
    assert said.code == 0
    assert "refund: 8 states" in said.out
    assert "0 errors" in said.out


def test_every_problem_is_listed_with_its_line(sma, home):
    """Errors and warnings of table and tools together, exit 1, and what to do."""
    place = folder(home, "wrong", WRONG)
    said = sma("check", place)
    assert said.code == 1
    for words in (
        "table.toml:5: transitions[0].target: no state is named 'don'; did you mean 'done'?",
        "error[syntax] table.toml:6: transitions[1].guard",
        "did you mean 'working'?",
        "the table uses the tool 'work', but no function of that name was given",
        "lonely",
    ):
        assert words in said.out, words


def test_json_gives_an_object_per_problem_and_counts_last(sma, home):
    """A program gets the same problems as objects."""
    said = sma("check", folder(home, "wrong", WRONG), "refund", "--json")
    assert said.code == 1
    problems = [each for each in said.objects if each["event"] == "problem"]
    errors = [each for each in problems if each.get("severity") == "error"]
    assert said.last["errors"] == len(errors) > 2
    assert said.last["paths"] == 2
    assert {"code", "where", "what"} <= set(problems[0])


def test_warnings_alone_exit_0(sma, home):
    """A state nobody reaches is said, and is no error."""
    table = ONE_TOOL.format(name="warned") + '\n[groups]\nnobody = ["working"]\n'
    table = table.replace("[context]", 'unused = { final = "failure" }\n[context]')
    said = sma("check", folder(home, "warned", table, RAISES))
    assert said.code == 0, said.out
    assert "warning[" in said.out


def test_what_cannot_be_read_exits_2(sma, home):
    """No such path, or no TOML: exit 2, while the other paths are checked all the same."""
    (home / "bad.toml").write_text("name = \n")
    for path, words in (("nope", "no workflow is named 'nope'"), ("bad.toml", "not TOML")):
        said = sma("check", path, "refund")
        assert said.code == 2
        assert words in said.err
        assert "refund: 8 states" in said.out
    assert sma("check").code == 2


def test_broken_functions_are_a_finding(sma, home):
    """A tools.py that does not import is a problem of the workflow, with file and line."""
    said = sma(
        "check", folder(home, "broken", ONE_TOOL.format(name="broken"), "import nothing_like_it")
    )
    assert said.code == 1
    assert "nothing_like_it" in said.out
    assert "Traceback" not in said.all


def test_a_table_file_is_checked_alone(sma, home):
    """A file brings no functions, so its tools are not asked for."""
    (home / "t.toml").write_text(ONE_TOOL.format(name="t"))
    assert sma("check", "t.toml").code == 0


def test_the_grid_shows_every_cell_and_its_default(sma):
    """`--grid`: rows that take an event, and what happens where none does."""
    said = sma("check", "refund", "--grid")
    assert said.code == 0
    header, *lines, _summary = said.out.splitlines()
    assert header.split() == ["state", "event", "what", "happens"]
    cells = {(state, event): does for state, event, does in (x.split(maxsplit=2) for x in lines)}
    assert cells["fetching", "model.failed"] == "default: parked"
    assert cells["fetching", "fetch_order.error"].endswith("-> failed; default: shown")
    assert "default" not in cells["fetching", "limit.idle"]
    found = [each for each in sma("check", "refund", "--grid", "--json").objects if "rows" in each]
    assert {(each["state"], each["event"]) for each in found} == set(cells)
    falls = {(each["state"], each["event"]) for each in found if each["default"] is not None}
    assert falls == {place for place, does in cells.items() if "default: " in does}
