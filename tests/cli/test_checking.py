"""`sma check`: every problem at once, every cell on demand."""

import json

import pytest

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
    folder(home, "wrong", WRONG)
    said = sma("check", "wrong")
    assert said.code == 1
    for words in (
        "error[unknown-state]: no state is named 'don'",
        "--> wrong/table.toml:5:53 (transitions[0].target)",
        "^^^^^ did you mean 'done'?",
        "--> wrong/table.toml:6:88 (transitions[1].guard)",
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
    wrong = next(each for each in problems if each["code"] == "unknown-state")
    assert (wrong["line"], wrong["column"], wrong["length"]) == (5, 53, 5)
    assert wrong["file"].endswith("table.toml")


def test_warnings_alone_exit_0(sma, home):
    """A state nobody reaches is said, and is no error."""
    table = ONE_TOOL.format(name="warned") + '\n[groups]\nnobody = ["working"]\n'
    table = table.replace("[context]", 'unused = { final = "failure" }\n[context]')
    said = sma("check", folder(home, "warned", table, RAISES))
    assert said.code == 0, said.out
    assert "warning[" in said.out


def test_warnings_fail_when_asked_to(sma, home):
    """`--strict` is for a pipeline that wants none; remarks never fail."""
    table = ONE_TOOL.format(name="warned").replace(
        "[context]", 'unused = { final = "failure" }\n[context]'
    )
    place = folder(home, "warned", table, RAISES)
    assert sma("check", place).code == 0
    assert sma("check", place, "--strict").code == 1
    assert sma("check", "refund", "--strict", "--all").code == 0


def test_what_cannot_be_read_exits_2(sma, home):
    """No such path, or no TOML: exit 2, while the other paths are checked all the same."""
    (home / "bad.toml").write_text("name = \n")
    for path, words in (("nope", "no workflow is named 'nope'"), ("bad.toml", "not TOML")):
        said = sma("check", path, "refund")
        assert said.code == 2
        assert words in said.all
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


def test_a_text_that_is_no_toml_is_shown_where_it_breaks(sma, home):
    """Line, column and caret; exit 2, because nothing could be read."""
    (home / "bad.toml").write_text('name = "t"\nstates = { a = }\n')
    said = sma("check", "bad.toml")
    assert said.code == 2
    assert "--> bad.toml:2:16" in said.out
    assert "2 | states = { a = }" in said.out


@pytest.mark.parametrize(
    "guard",
    [
        '"result.ok and eligble"',
        "'result.k == \"é\" and eligble'",
        '"result.k == \\"\\u00e9\\" and eligble"',
        '"""result.ok and eligble"""',
        '"eligble"',
    ],
)
def test_carets_stand_under_the_name_inside_an_expression(sma, home, guard):
    """Escapes, quotes of every kind and letters beyond ASCII before it are counted right."""
    row = '  { source = "working", event = "work.ok", target = "done", guard = '
    text = WRONG.replace("[states]", "[states]\n").replace(
        "]\n[states]", f"{row}{guard} }},\n]\n[states]", 1
    )
    (home / "t.toml").write_text(text, encoding="utf-8")
    objects = sma("check", "t.toml", "--json").objects
    (found,) = [each for each in objects if each.get("what") == "nothing is named 'eligble' here"]
    line = text.splitlines()[found["line"] - 1]
    assert line[found["column"] - 1 :].startswith("eligble")
    assert found["length"] == 7
    drawn = sma("check", "t.toml").out.splitlines()
    shown = next(index for index, each in enumerate(drawn) if f":{found['column']} (" in each)
    text_at, carets_at = drawn[shown + 2], drawn[shown + 3]
    assert text_at[carets_at.index("^") :].startswith("eligble")


def test_tabs_and_wide_letters_do_not_move_the_carets(sma, home):
    """A tab is shown as four blanks, a wide letter takes two columns."""
    from rich.cells import cell_len

    row = (
        '\t{ source = "working", event = "work.ok", target = "done", '
        "guard = \"result.k == '漢字' and nix\" },"
    )
    (home / "t.toml").write_text(
        WRONG.replace("]\n[states]", f"{row}\n]\n[states]"), encoding="utf-8"
    )
    drawn = sma("check", "t.toml").out.splitlines()
    index = next(i for i, each in enumerate(drawn) if " ^^^ known here" in each)
    before, line = drawn[index].split("^")[0], drawn[index - 1]
    assert cell_len(line[: line.index("nix")]) == len(before)


def test_what_a_file_says_cannot_command_the_terminal(sma, home):
    """Control characters in a line are shown, not obeyed."""
    (home / "t.toml").write_text(WRONG.replace("# ", "").replace('"don" }', '"don\\u001b[31m" }'))
    said = sma("check", "t.toml")
    assert "\x1b" not in said.all


def test_a_table_written_in_python_names_its_own_lines(sma, home, monkeypatch):
    """`module:attribute` shows the file and line of the row, the state or the table."""
    monkeypatch.syspath_prepend(str(home))
    (home / "mytable.py").write_text(
        "from statemachine_agents import State, Table, Transition\n"
        "table = Table(\n"
        "    name='t',\n"
        "    initial='a',\n"
        "    states=[\n"
        "        State('a', ask='x', tools=['f']),\n"
        "        State('z', final='success'),\n"
        "    ],\n"
        "    transitions=[\n"
        "        Transition('a', 'f.ok', 'zz'),\n"
        "        Transition('a', 'model.done', 'z', guard='nix'),\n"
        "    ],\n"
        ")\n"
    )
    said = sma("check", "mytable:table")
    assert said.code == 1
    assert "mytable.py:10 (transitions[0].target)" in said.out
    assert "mytable.py:11 (transitions[1].guard)" in said.out
    assert "10 |         Transition('a', 'f.ok', 'zz')," in said.out


def test_github_annotations_are_escaped(sma, home):
    """One command a finding, on one line, with file, line and columns."""
    (home / "t.toml").write_text(WRONG)
    said = sma("check", "t.toml", "--format", "github")
    assert said.code == 1
    first = said.out.splitlines()[0]
    assert first.startswith("::error file=t.toml,line=5,col=53,endColumn=58,title=unknown-state::")
    assert all(line.startswith(("::error ", "::warning ")) for line in said.out.splitlines())


def test_sarif_says_the_same(sma, home):
    """A valid log: version, rules, results with their regions."""
    (home / "t.toml").write_text(WRONG)
    said = sma("check", "t.toml", "--format", "sarif")
    assert said.code == 1
    log = json.loads(said.out)
    assert log["version"] == "2.1.0"
    (run,) = log["runs"]
    rules = run["tool"]["driver"]["rules"]
    assert len({rule["id"] for rule in rules}) == len(rules)
    for result in run["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["message"]["text"]
        assert result["level"] in ("error", "warning", "note")
    region = run["results"][0]["locations"][0]["physicalLocation"]["region"]
    assert region == {"startLine": 5, "startColumn": 53, "endColumn": 58}


def test_json_is_a_format_too(sma, home):
    """`--format json` is `--json`."""
    (home / "t.toml").write_text(WRONG)
    assert sma("check", "t.toml", "--format", "json").out == sma("check", "t.toml", "--json").out


def test_remarks_are_shown_with_all(sma):
    """What is worth knowing needs no mending: it is counted and shown on demand only."""
    assert "remark" not in sma("check", "refund").out
    said = sma("check", "refund", "--all")
    assert said.code == 0
    assert "info[guard-gap]" in said.out
    assert "0 errors, 0 warnings, 5 remarks" in said.out
