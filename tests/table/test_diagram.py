"""Pictures: what they show, and that no text of an author can break or forge them."""

from __future__ import annotations

import html
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from statemachine_agents.table.diagram import dot, edges, markdown, mermaid
from statemachine_agents.table.model import State, Table, Transition
from tests.strategies import tables
from tests.tables import everything, refund

_ID = r"[A-Za-z_][A-Za-z0-9_]*"
_TEXT = r"(?:[A-Za-z0-9 _.,()=+*/'&!?|\[\]-]|#[0-9]+;)*"
_NODE = rf"(?:{_ID}|\[\*\])"
MERMAID = re.compile(
    rf"stateDiagram-v2|    (?:%% (?:group {_TEXT}: )?{_TEXT}|state \"{_TEXT}\" as {_ID}"
    rf"|{_NODE} --> {_NODE}(?: : {_TEXT})?|note right of {_ID}|    {_TEXT}|end note"
    rf"|classDef {_ID} [a-z#0-9:,-]+|class {_ID}(?:,{_ID})* {_ID})"
)
_QUOTED = r'"(?:[ !#-\[\]-~]|\\["\\n])*"'
_PAIR = rf"[a-z]+=(?:{_QUOTED}|[a-zA-Z0-9]+)"
_LIST = rf"\[{_PAIR}(?:, {_PAIR})*\]"
DOT = re.compile(
    rf"digraph {_QUOTED} {{|}}|  (?:rankdir=LR;|(?:node|edge) {_LIST};|{_QUOTED} {_LIST};"
    rf"|{_QUOTED} -> {_QUOTED}(?: {_LIST})?;|subgraph {_QUOTED} {{|  label={_QUOTED};"
    rf"|  {_QUOTED};|}})"
)
HOSTILE = [
    "end note", "END NOTE", "a\nend note\nb", "direction LR", "a --> b", "%%{init: {}}%%", "#quot;",
    "<script>alert(1)</script>", '"];x[label="', "\\", '\\"', "\\n", "`|`", "a | b", "**bold**",
    "[x](y)", "<br>", "class a b", "classDef a fill:#000;", "style x:#fff;", "&amp;", "ünï🎉",
    "\x00\x1b\u2028", "{}", ";", ":", "\t", "",
]  # fmt: skip
PAGE = MarkdownIt("commonmark").enable("table")


def painted(*texts: str) -> Table:
    """A table with a text in every place of a picture."""
    guard, name, group, title = (texts * 4)[:4]
    quoted = guard.replace("\\", "").replace("'", "").replace("\n", " ")
    return Table(
        name=title,
        initial="a",
        states=[State("a", ask="x", tools=["f"]), State("b-c", final="success")],
        transitions=[
            Transition("a", "f.ok", "b-c", f"result == '{quoted}'", name=name),
            Transition("a", "f.error", "stay", name=name),
            Transition("a", "f.ok", None, f"result == '{quoted}'", {"n": f"'{quoted}'"}, name),
        ],
        context={"n": "any"},
        groups={group: ["a"], "other": ["a", "b-c"]},
    )


def mermaid_text(text: str) -> str:
    return re.sub(r"#(\d+);", lambda found: chr(int(found[1])), text)


def test_the_refund_table_in_mermaid():
    """Every row is an edge from every state where it stands; ends lead to the black dot."""
    lines = [line.strip() for line in mermaid(refund()).splitlines()]
    assert lines[0] == "stateDiagram-v2"
    assert "[*] --> fetching" in lines
    assert "complete --> [*]" in lines
    assert "emailing --> complete : send_email.ok" in lines
    limits = "send_email.error or model.refused or limit.* or run.cancelled"
    assert f"emailing --> needs_person : {limits}" in lines
    guarded = next(line for line in lines if line.startswith("validating --> crediting"))
    assert mermaid_text(guarded).endswith("[result.eligible and result.amount_cents <= 50000]")
    assert "class complete success" in lines
    assert "class failed failure" in lines
    assert "class reconciling,needs_person wait" in lines


def test_patterns_and_groups_are_expanded():
    """`*` and a group become one edge per state where the row stands, none elsewhere."""
    moves, notes = edges(everything())
    failing = {edge.source for edge in moves if edge.target == "failed" and edge.row.index == 9}
    assert failing == {"sorting", "checking"}
    assert {edge.source for edge in notes} == {"sorting", "checking", "writing"}


def test_notes_and_stays_are_kept_apart():
    """A note is listed beside its state in Mermaid, dashed in DOT; a stay is a marked loop."""
    text = mermaid(everything())
    note = text[text.index("note right of sorting") : text.index("end note")]
    assert "*.ok / seen.count = visits.sorting" in mermaid_text(note)
    assert "sorting --> sorting : give_up.ok or model.done (stay)" in text
    dashed = [line for line in dot(everything()).splitlines() if "style=dashed" in line]
    assert all(line.strip().split(" [")[0].split(" -> ")[0] in line for line in dashed)
    assert len(dashed) == 3


def test_groups_are_shown():
    """As a comment in Mermaid and a cluster in DOT; a state lives in its first cluster only."""
    table = painted("x")
    assert "    %% group other: a, b-c" in mermaid(table).splitlines()
    clusters = re.findall(r"subgraph (\S+) \{\n(.*?)  \}", dot(table), re.DOTALL)
    assert [
        (name, re.findall(r'^    ("[^"]+");', body, re.MULTILINE)) for name, body in clusters
    ] == [
        ('"cluster_x"', ['"a"']),
        ('"cluster_other"', ['"b-c"']),
    ]


def test_a_runs_path_is_highlighted():
    """Visited states are marked in both, the last one most; in DOT the steps between them too."""
    path = ["fetching", "validating", "failed", "gone"]
    assert "class fetching,validating,failed visited" in mermaid(refund(), path)
    assert "current" not in mermaid(refund(), path)
    assert "class failed current" in mermaid(refund(), path[:3])
    text = dot(refund(), path[:3]).splitlines()
    thick = [line.split(" [")[0].strip() for line in text if "penwidth=2" in line]
    assert thick == ['"fetching" -> "validating"', '"validating" -> "failed"']
    marked = [line.split(" [")[0].strip() for line in text if "penwidth=3" in line]
    assert marked == ['"fetching"', '"validating"', '"failed"']
    assert "visited" not in mermaid(refund())


def test_final_states_are_marked_in_dot():
    """Ends have a double border, others do not."""
    double = [line for line in dot(refund()).splitlines() if "peripheries=2" in line]
    assert [line.split(" [")[0].strip() for line in double] == ['"complete"', '"failed"']
    assert '  "" -> "fetching";' in dot(refund()).splitlines()


def test_names_that_are_words_of_mermaid_get_another_id():
    """A state may be called `end`, `note` or `x-y`; its own name is still what is shown."""
    names = ["end", "Note", "x-y", "state_0", "scale", "fine"]
    states = [*(State(name, ask="x") for name in names), State("done", final="success")]
    rows = [Transition(name, "model.done", "done") for name in names]
    text = mermaid(Table(name="t", initial="end", states=states, transitions=rows))
    ids = dict(re.findall(r'state "(.*)" as (\w+)', text))
    assert {mermaid_text(name): id_ for name, id_ in ids.items()} == {
        "end": "state_0_",
        "Note": "state_1",
        "x-y": "state_2",
        "scale": "state_4",
    }
    assert "[*] --> state_0_" in text
    assert "fine --> done : model.done" in text


def test_the_transitions_as_markdown():
    """One row a line, in table order, as written."""
    lines = markdown(refund()).splitlines()
    assert lines[0] == "| from | event | guard | to | assign |"
    assert lines[4] == (
        "| `validating` | `check_refund_policy.ok` | "
        "`result.eligible and result.amount_cents <= 50000` | `crediting` | `policy = result` |"
    )
    assert len(lines) == 2 + len(refund().transitions)
    assert "| *(note)* | `seen.count = visits.sorting`<br>`seen.last = result` |" in (
        markdown(everything())
    )


def test_a_table_with_problems_can_be_drawn():
    """What leads nowhere is left out, so a picture can help to find it."""
    rows = [Transition("a", "model.done", "gone"), Transition("a", "model.refused", "end")]
    states = [State("a", ask="x"), State("end", final="sucess")]
    table = Table(
        name="t", initial="lost", states=states, transitions=rows, groups={"g": ["gone", "a"]}
    )
    text = mermaid(table, ["gone"])
    assert "gone" not in text.replace("%% group g: gone, a", "")
    assert "[*] --> " not in text
    assert '"gone"' not in dot(table, ["gone"])
    assert '"" ->' not in dot(table)
    assert '"a" -> "end"' in dot(table)


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_texts_stay_text(text: str):
    """No text of an author ends its line, quotes, note or cell, in any of the three forms."""
    check_pictures(painted(text))


@given(st.lists(st.text(max_size=20), min_size=4, max_size=4))
def test_any_text_stays_text(texts: list[str]):
    """The same for arbitrary texts in name, guard, row name and group."""
    check_pictures(painted(*texts))


@given(tables())
def test_random_tables_can_be_drawn(table: Table):
    """Every line is one the language knows, and each edge of the grid is drawn once."""
    check_pictures(table)


def check_pictures(table: Table) -> None:
    moves, notes = edges(table)
    text = mermaid(table, list(table.states))
    finals = [state for state in table.states.values() if state.final]
    lines = text.splitlines()
    assert [line for line in lines if not MERMAID.fullmatch(line)] == []
    assert sum(" --> " in line for line in lines) == len(moves) + len(finals) + 1
    assert text.lower().count("end note") == lines.count("    end note")
    assert lines.count("    end note") == len({edge.source for edge in notes})
    assert not re.search(r"direction\s+(TB|BT|RL|LR)", text, re.IGNORECASE)
    drawn = dot(table, list(table.states)).splitlines()
    assert [line for line in drawn if not DOT.fullmatch(line)] == []
    assert sum(bool(re.match(r'  "[^"]*" -> ', line)) for line in drawn) == (
        len(moves) + len(notes) + 1
    )
    cells = table_cells(markdown(table))
    assert [len(row) for row in cells] == [5] * (1 + len(table.transitions))
    for row, shown in zip(table.transitions, cells[1:], strict=True):
        if row.guard:
            assert visible(shown[2]) == visible(html.escape(row.guard))


def table_cells(text: str) -> list[list[str]]:
    """Render Markdown as a browser would, and return the HTML of each cell."""
    page = PAGE.render(text)
    assert page.count("<table>") == 1
    assert "<script" not in page
    return [
        re.findall(r"<t[hd]>(.*?)</t[hd]>", row, re.DOTALL)
        for row in re.findall(r"<tr>(.*?)</tr>", page, re.DOTALL)
    ]


def visible(cell: str) -> str:
    """The text a reader sees, spaces and control characters folded."""
    plain = html.unescape(re.sub(r"</?code>|<br>", "", cell))
    return re.sub("[\\s\x00-\x1f\x7f-\x9f\u2028\u2029\ufffd]+", "", plain)
