"""The TOML form: round trips, places with lines, and keys that TOML would swallow silently."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from statemachine_agents.errors import TableError
from statemachine_agents.table.model import State, Table, Use
from statemachine_agents.table.places import Places
from statemachine_agents.table.toml import MAX_BYTES
from tests.tables import EVERYTHING_TOML, REFUND_TOML, everything, refund


def _line_of(text: str, where: str) -> int:
    position = Places(text, "t.toml").position(where)
    return 0 if position is None else position.line


HEAD = 'name = "t"\ninitial = "a"\n'
STATES = '[states]\na = { ask = "x" }\n'


def places(text: str) -> list[str]:
    with pytest.raises(TableError) as caught:
        Table.from_toml(text, source="t.toml")
    found = caught.value.facts["problems"]
    return [f"t.toml:{problem.position.line}: {problem.where}" for problem in found]


@pytest.mark.parametrize("table", [refund(), everything()], ids=["refund", "everything"])
def test_writing_and_reading_give_the_same_table(table: Table):
    """The TOML form loses nothing, and writing it twice gives the same bytes."""
    text = table.to_toml()
    assert Table.from_toml(text) == table
    assert Table.from_toml(text).to_toml() == text


def test_one_row_a_line():
    """Every row of a table is one line of its file, above the first header."""
    lines = refund().to_toml().splitlines()
    rows = [line for line in lines if line.startswith("  { source")]
    assert len(rows) == len(refund().transitions)
    assert max(map(lines.index, rows)) < lines.index("[states]")


def test_the_house_order_of_headers():
    """Headers stand in the order the design gives them."""
    headers = [line for line in everything().to_toml().splitlines() if line.startswith("[")]
    assert headers == [
        "[states]", "[tools]", "[context]", "[groups]", "[define]", "[agents.clerk]",
        "[signals.give_up]",
    ]  # fmt: skip


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_survives(text: str):
    """Quotes, control characters, line ends and DEL come back as they were."""
    table = Table(
        name="t",
        initial="a",
        instructions=text,
        states=[State("a", ask=text), State("b", final="success")],
        tools={"f": Use(bind={"n": text}, why=text)},
    )
    assert Table.from_toml(table.to_toml()) == table


def test_blocks_read_like_lines():
    """`[states.a]` and `[[transitions]]` blocks are the same table as one-line rows."""
    blocks = HEAD + '[[transitions]]\nsource = "a"\nevent = "model.done"\ntarget = "b"\n'
    blocks += '[states.a]\nask = "x"\n[states.b]\nfinal = "success"\n'
    lines = HEAD + 'transitions = [{ source = "a", event = "model.done", target = "b" }]\n'
    lines += STATES + 'b = { final = "success" }\n'
    assert Table.from_toml(blocks) == Table.from_toml(lines)


def test_the_schema_comment_is_ignored():
    """Editors want `#:schema` in the first line."""
    assert Table.from_toml("#:schema ../table.schema.json\n" + REFUND_TOML) == refund()


@pytest.mark.parametrize(
    ("tail", "line", "place"),
    [
        ('rules = ["at_most(f, 1)"]\n', 5, "states.rules"),
        ("limits = { iterations = 3 }\n", 5, "states.limits"),
        ('everywhere = ["f"]\n', 5, "states.everywhere"),
        ('instructions = "Be kind."\n', 5, "states.instructions"),
        ('transitions = [\n  { source = "a", event = "f.ok" },\n]\n', 5, "states.transitions"),
        ('\n[states.b]\nask = "y"\nrules = ["at_most(f, 1)"]\n', 8, "states.b.rules"),
        ("\n[tools.f]\nlimits = { calls = 3 }\n", 7, "tools.f.limits"),
        ('\n[tools]\ntransitions = [{ source = "a", event = "f.ok" }]\n', 7, "tools.transitions"),
        ("\n[context]\nlimits = { calls = 3 }\n", 7, "context.limits"),
        ('\n[context]\nrules = ["at_most(f, 1)"]\n', 7, "context.rules"),
        ('\n[groups]\nrules = ["at_most(f, 1)"]\n', 7, "groups.rules"),
        ('\n[agents.clerk]\nrules = ["at_most(f, 1)"]\n', 7, "agents.clerk.rules"),
        ('\n[signals.stop]\nrules = ["at_most(f, 1)"]\n', 7, "signals.stop.rules"),
        ("\n[define]\nlimits = { calls = 3 }\n", 7, "define.limits"),
        (
            '\n[[transitions]]\nsource = "a"\nevent = "f.ok"\nrules = ["at_most(f, 1)"]\n',
            9,
            "transitions[0].rules",
        ),
    ],
)
def test_keys_under_a_header_are_refused_at_their_line(tail: str, line: int, place: str):
    """TOML would make them part of the header without a word; the finding says where they go."""
    with pytest.raises(TableError) as caught:
        Table.from_toml(HEAD + STATES + tail, source="t.toml")
    (problem,) = caught.value.facts["problems"]
    assert problem.code == "under-header"
    assert (str(problem.position), problem.where) == (f"t.toml:{line}:1", place)
    assert problem.next == "move it above the first [header]"


def test_the_right_line_when_the_key_stands_above_too():
    """A second `rules` below a header is reported at its own line, not at the first one's."""
    text = 'rules = ["at_most(f, 1)"]\n' + HEAD + STATES + 'rules = ["never(f)"]\n'
    assert places(text) == ["t.toml:6: states.rules"]


@pytest.mark.parametrize(
    "tail",
    [
        'limits = { ask = "Explain the limits." }\n',
        '[context]\nrules = "list"\nlimits = { type = "object?", private = true }\n',
        '[groups]\nrules = ["a"]\n',
        '[tools]\nlimits.bind = { n = "context.n" }\n[context]\nn = "any"\n',
        '[agents.rules]\ninstructions = "You know the rules."\n',
        '[signals.limits]\nrules = "string"\n',
        '[define]\nrules = "visits.a < 3"\n',
    ],
)
def test_authors_may_use_these_words_as_names(tail: str):
    """A state, key, group, tool, agent, signal or definition may be called `limits` or `rules`."""
    assert Table.from_toml(HEAD + STATES + tail).states["a"].ask == "x"


def test_problems_carry_line_numbers():
    """Each finding of the strict reader names file and line of the key, or of what is around it."""
    text = (
        'name = "t"\n'
        'initial = "a"\n'
        "transitions = [\n"
        '  { source = "a", event = "f.ok", gaurd = "true" },\n'
        '  { source = "a" },\n'
        "]\n"
        "[states]\n"
        'a = { ask = "x", tool = ["f"] }\n'
        "[tools]\n"
        'f.bind = { id = "1" }\n'
        "f.wehn = true\n"
    )
    assert places(text) == [
        "t.toml:8: states.a.tool",
        "t.toml:4: transitions[0].gaurd",
        "t.toml:5: transitions[1].event",
        "t.toml:11: tools.f.wehn",
    ]


@pytest.mark.parametrize(
    ("where", "needle"),
    [
        ("initial", "initial ="),
        ("rules[0]", "rules ="),
        ("transitions[1].guard", "look_up.ok & pay.ok"),
        ("transitions[10]", "undo.ok"),
        ("transitions[0].assign.seen.count", '"*.ok"'),
        ("states.writing.output", "output ="),
        ("states.writing.say", "[states.writing]"),
        ("states.sorting.tools[0]", "sorting = {"),
        ("tools.pay.bind.amount", "pay = {"),
        ("context.temp.default", "temp = {"),
        ("agents.clerk.model", "model ="),
        ("signals.give_up.code", "code ="),
        ("define.busy", "busy ="),
    ],
)
def test_the_line_of_a_place(where: str, needle: str):
    """A place as problems write it leads to its line, or to the closest line around it."""
    lines = EVERYTHING_TOML.splitlines()
    assert needle in lines[_line_of(EVERYTHING_TOML, where) - 1]


def test_lists_in_lists_have_lines():
    """Comments between rows are not counted as rows."""
    text = 'a = [\n  # first\n  [1, 2],\n  # second\n  [3],\n]\n"b.c" = 1\n'
    assert [_line_of(text, where) for where in ("a[0][1]", "a[1][0]")] == [3, 5]


def test_dotted_keys_have_lines():
    """`fetch_order.bind = ...` answers for `tools.fetch_order` too; what is nowhere is line 0."""
    lines = REFUND_TOML.splitlines()
    for where, needle in (
        ("tools.process_credit.when", "process_credit.when"),
        ("tools.process_credit", "process_credit.bind"),
        ("tools.process_credit.why", "process_credit.bind"),
    ):
        assert lines[_line_of(REFUND_TOML, where) - 1].startswith(needle)
    assert _line_of(REFUND_TOML, "nowhere.at.all") == 0


def test_what_is_not_toml_says_so():
    """The file's name and the parser's own place stand in the message."""
    with pytest.raises(TableError, match=r"t\.toml:2:\d+: not TOML"):
        Table.from_toml('name = "t"\nname = "u"\n', source="t.toml")
    with pytest.raises(TableError, match="not TOML"):
        Table.from_toml("a = " + "[" * 100_000)


def test_huge_files_are_refused_before_parsing():
    """A table is text a person wrote; megabytes are an accident or an attack."""
    with pytest.raises(TableError, match=f"over {MAX_BYTES} bytes"):
        Table.from_toml("#" * (MAX_BYTES + 1))


def test_null_cannot_be_written():
    """TOML has no null: a schema that holds one says so instead of losing it."""
    table = Table(name="t", initial="a", states=[State("a", ask="x", output={"enum": [None]})])
    with pytest.raises(TableError, match="TOML has no null"):
        table.to_toml()
