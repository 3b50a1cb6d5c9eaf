"""Pictures: what they show, and that no text of an author can break or forge them."""

from __future__ import annotations

import html
import re
import shutil
import subprocess

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from statemachine_agents.errors import UsageError
from statemachine_agents.kernel.workflow import Workflow
from statemachine_agents.load import bundled
from statemachine_agents.table.diagram import dot, markdown, mermaid
from statemachine_agents.table.model import State, Table, Transition
from statemachine_agents.table.picture import GUARD, picture
from statemachine_agents.table.rendering import can_draw, svg
from tests.strategies import tables
from tests.tables import everything, refund

drawn = pytest.mark.skipif(not can_draw(), reason="mermaidx (extra `diagrams`) is not installed")

_ID = r"[A-Za-z_][A-Za-z0-9_]*"
_TEXT = r"(?:[A-Za-z0-9 _.,()=+*/'!?|\[\]-]|#[0-9]+;)*"
_LABEL = rf"\"{_TEXT}(?:<br>{_TEXT})*\""
MERMAID = re.compile(
    rf"flowchart TD|    (?:%% {_TEXT}|(?:    )*(?:{_ID}\(\[?{_LABEL}\]?\)|start\(\( \)\)"
    rf"|subgraph {_ID}\[\"{_TEXT}\"\]|end)"
    rf"|start --> {_ID}|{_ID} (?:-->|-\.->)\|{_LABEL}\| {_ID}"
    rf"|classDef {_ID} [a-z#0-9:, -]+|class {_ID}(?:,{_ID})* {_ID}"
    rf"|linkStyle \d+(?:,\d+)* [a-z#0-9:,-]+)"
)
_QUOTED = r'"(?:[ !#-\[\]-~\u00a0-\U0010fffd]|\\["\\n])*"'
_PAIR = rf"[a-z]+=(?:{_QUOTED}|[a-zA-Z0-9.]+)"
_LIST = rf"\[{_PAIR}(?:, {_PAIR})*\]"
DOT = re.compile(
    rf"digraph {_QUOTED} {{|}}|  (?:rankdir=TB; labeljust=l; fontname={_QUOTED};"
    rf"|(?:node|edge) {_LIST};"
    rf"|(?:  )*(?:{_QUOTED} {_LIST};|{_QUOTED} -> {_QUOTED}(?: {_LIST})?;"
    rf"|subgraph {_QUOTED} {{|label={_QUOTED}; color={_QUOTED}; style={_QUOTED};|}}))"
)
HOSTILE = [
    "end note", "END NOTE", "a\nend note\nb", "direction LR", "a --> b", "%%{init: {}}%%", "#quot;",
    "<script>alert(1)</script>", '"];x[label="', "\\", '\\"', "\\n", "`|`", "a | b", "**bold**",
    "[x](y)", "<br>", "class a b", "classDef a fill:#000;", "style x:#fff;", "&amp;", "ünï🎉",
    "\x00\x1b\u2028", "{}", ";", ":", "\t", "", "1. one", "- x", "_a_", "$$x$$", "fa:fa-car",
    "</text></svg>", "' onload='x", "javascript:alert(1)", "subgraph", "a]b", "a)b", "|b|",
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
    return re.sub(r"#(\d+);", lambda found: chr(int(found[1])), text).replace("<br>", " ")


def arrows_of(table: Table, **options: object) -> dict[tuple[str, str], tuple[str, ...]]:
    return {(arrow.source, arrow.target): arrow.lines for arrow in picture(table, **options).arrows}


def boxes_of(table: Table, **options: object) -> dict[str, tuple[str, ...]]:
    return {box.name: box.lines for box in picture(table, **options).boxes}


def test_the_refund_table_in_mermaid():
    """Every pair of states is one arrow with guards; ends say how they end."""
    lines = [line.strip() for line in mermaid(refund()).splitlines()]
    assert lines[0] == "flowchart TD"
    assert "start --> fetching" in lines
    assert 'complete(["complete<br>success"])' in lines
    assert 'failed(["failed<br>failure"])' in lines
    assert 'emailing -->|"send_email.ok"| complete' in lines
    guarded = next(line for line in lines if line.startswith("validating -->"))
    assert "[result.eligible and result.amount_cents <= 50000]" in mermaid_text(guarded)
    assert "class complete success" in lines
    assert "class failed failure" in lines
    assert "class reconciling,needs_person wait" in lines


def test_rows_between_two_states_share_an_arrow():
    """One line for each guarded or named row, one for all others; what comes second says so."""
    found = arrows_of(Table.from_toml((bundled()["refund"] / "table.toml").read_text()))
    assert found["validating", "failed"] == (
        "check_refund_policy.error [error.kind == 'not_found']",
        "check_refund_policy.ok [else], guard.error, limit.*, model.refused",
    )
    assert len(found) == len(set(found))


def test_patterns_and_groups_are_expanded():
    """`*` and a group become one arrow per state where the row stands, none elsewhere."""
    found = arrows_of(everything())
    failing = {source for (source, target), lines in found.items() if "*.error" in lines}
    assert failing == {"sorting", "checking"}
    noted = {name for name, lines in boxes_of(everything()).items() if "note *.ok" in str(lines)}
    assert noted == {"sorting", "checking", "writing"}


def test_a_row_that_never_fires_is_not_drawn():
    """Behind a row that always fires, nothing is drawn; only the events a row gets are named."""
    rows = [
        Transition("a", "f.ok", "b"),
        Transition("a", ["f.ok", "f.error"], "c"),
        Transition("*", "f.*", "d"),
    ]
    states = [State("a", ask="x", tools=["f"]), *(State(n, final="success") for n in "bcd")]
    table = Table(name="t", initial="a", states=states, transitions=rows)
    found = arrows_of(table)
    assert found == {("a", "b"): ("f.ok",), ("a", "c"): ("f.error",), ("a", "d"): ("f.*",)}


def test_notes_stays_and_self_moves_are_lines_of_their_state():
    """None of them is an arrow; what each does is written in the box."""
    lines = boxes_of(everything())["sorting"]
    assert "note *.ok / seen.count = visits.sorting; seen.last = result" in lines
    assert "stay on give_up.ok, model.done" in lines
    assert "again on user.message [message.text == 'again']" in lines
    assert not any(source == target for source, target in arrows_of(everything()))
    for draw in (mermaid, dot):
        assert "stay on give_up.ok" in draw(everything())


def test_long_guards_are_cut_in_pictures_only():
    """A picture shows the beginning of a long guard; Markdown has all of it."""
    guard = " or ".join(f"result.kind == 'k{number}'" for number in range(20))
    table = Table(
        name="t",
        initial="a",
        states=[State("a", ask="x", tools=["f"]), State("b", final="success")],
        transitions=[Transition("a", "f.ok", "b", guard)],
    )
    (line,) = arrows_of(table)["a", "b"]
    assert line == f"f.ok [{guard[: GUARD - 1]}…]"
    assert f"| `{guard}` |" in markdown(table)
    assert max(map(len, mermaid_text(mermaid(table)).splitlines())) < 200


def test_groups_nest_and_overlaps_are_said():
    """A group inside another is drawn inside it; a state that cannot be in both boxes says so."""
    table = attrs.evolve(
        refund(),
        groups={
            "looking": ["fetching", "validating"],
            "unpaid": ["fetching", "validating", "crediting"],
            "paying": ["crediting", "reconciling"],
            "ghost": ["nobody"],
        },
    )
    outer, other = picture(table).clusters
    assert (outer.name, outer.boxes) == ("unpaid", ("crediting",))
    assert [(inner.name, inner.boxes) for inner in outer.inner] == [
        ("looking", ("fetching", "validating"))
    ]
    assert (other.name, other.boxes) == ("paying", ("reconciling",))
    assert "also in paying" in boxes_of(table)["crediting"]
    assert [line.strip() for line in mermaid(table).splitlines() if "subgraph" in line] == [
        'subgraph group_1["unpaid"]',
        'subgraph group_2["looking"]',
        'subgraph group_3["paying"]',
    ]
    assert re.findall(r"subgraph (\S+) \{", dot(table)) == [
        '"cluster_unpaid"',
        '"cluster_looking"',
        '"cluster_paying"',
    ]


def test_a_runs_path_is_highlighted():
    """States and moves of the path are marked, the last state most, each move with its step."""
    path = ["fetching", "validating", "failed"]
    text = mermaid(refund(), path)
    assert "class fetching,validating,failed visited" in text
    assert "class failed current" in text
    lines = [line.strip() for line in text.splitlines()]
    links = [line for line in lines if "-->" in line]
    (style,) = [line for line in lines if line.startswith("linkStyle")]
    taken = [links[int(number)] for number in style.split()[1].split(",")]
    assert [mermaid_text(line).partition(" check")[0] for line in taken] == [
        'fetching -->|"step 1 fetch_order.ok"| validating',
        'validating -->|"step 2',
    ]
    thick = [line.split(" [")[0].strip() for line in dot(refund(), path).splitlines()
             if " -> " in line and "penwidth=3" in line]  # fmt: skip
    assert thick == ['"fetching" -> "validating"', '"validating" -> "failed"']
    assert "visited" not in mermaid(refund())
    assert "current" not in mermaid(refund(), [*path, "gone"])
    assert markdown(refund(), path).endswith(
        "\nPath of the run: `fetching` → `validating` → `failed`\n"
    )


def test_a_step_that_no_row_explains_is_drawn():
    """A run of an older table shows where it went, and that no row of this one leads there."""
    found = picture(refund(), ["fetching", "complete", "complete"])
    (arrow,) = [each for each in found.arrows if each.target == "complete" and each.steps]
    assert (arrow.source, arrow.lines, arrow.steps) == ("fetching", ("no row of this table",), (1,))
    assert (
        "step 2: again, by no row of this table"
        in boxes_of(refund(), path=["fetching", "complete", "complete"])["complete"]
    )


def test_defaults_are_shown_on_demand():
    """What ends a run without a row leads to an end of its own; what parks is said in the box."""
    plain, shown = picture(refund()), picture(refund(), defaults=True)
    assert shown.arrows[: len(plain.arrows)] == plain.arrows
    found = {(arrow.source, arrow.target): arrow.lines for arrow in shown.arrows if arrow.default}
    assert found["crediting", "\nfailed"] == ("model.refused, guard.error, limit.*",)
    assert found["crediting", "\ncancelled"] == ("run.cancelled",)
    assert ("emailing", "\ncancelled") not in found
    assert "parks on model.failed" in boxes_of(refund(), defaults=True)["crediting"]
    text = mermaid(refund(), defaults=True)
    assert 'failed_by_default(["failed by default"])' in text
    assert "crediting -.->" in text
    assert "| `crediting` | failed on `model.refused, guard.error, limit.*` |" in (
        markdown(refund(), defaults=True)
    )


def test_an_end_by_default_is_no_state_of_that_name():
    """A table's own `failed` and the end that defaults lead to are two boxes."""
    text = dot(refund(), defaults=True)
    assert '"failed" [label="failed\\nfailure"' in text
    assert '" failed" [label="failed by default"' in text


def test_final_states_are_marked_in_dot():
    """Ends have a double border, others do not."""
    double = [line for line in dot(refund()).splitlines() if "peripheries=2" in line]
    assert [line.split(" [")[0].strip() for line in double] == ['"complete"', '"failed"']
    assert '  "" -> "fetching";' in dot(refund()).splitlines()


NAMES = [
    "end",
    "Style_x",
    "x-y",
    "state_0",
    "start",
    "fine",
    "classy",
    "group_1",
    "failed_by_default",
]


def named(names: list[str]) -> Table:
    states = [*(State(name, ask="x") for name in names), State("done", final="success")]
    rows = [Transition(name, "model.done", "done") for name in names]
    return Table(
        name="t", initial=names[0], states=states, transitions=rows, groups={"end": [names[1]]}
    )


def test_names_that_are_words_of_mermaid_get_another_id():
    """A state may be called `end`, `style` or `x-y`; its own name is still what is shown."""
    text = mermaid(named(NAMES), defaults=True)
    ids = {mermaid_text(name): id_ for id_, name in re.findall(r'(\w+)\(\[?"(.*?)(?:<br>|")', text)}
    assert [ids[name] for name in NAMES] == [
        "state_0_", "state_1", "state_2", "state_0", "state_4", "fine", "state_6", "group_1",
        "failed_by_default",
    ]  # fmt: skip
    assert len(set(ids.values())) == len(ids)
    assert "start --> state_0_" in text
    assert 'subgraph group_1_["end"]' in text
    assert 'fine -->|"model.done"| done' in text


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
    assert "gone" not in text
    assert "start" not in text
    assert '"gone"' not in dot(table, ["gone"])
    assert '"" ->' not in dot(table)
    assert '"a" -> "end"' in dot(table)


def test_a_table_formats_itself():
    """`format` gives every text form, TOML without one, and names them for a wrong one."""
    table = refund()
    assert f"{table:mermaid}" == mermaid(table)
    assert f"{table:dot}" == dot(table)
    assert f"{table:md}" == markdown(table)
    assert f"{table}" == str(table) == table.to_toml()
    with pytest.raises(ValueError, match="expected mermaid, dot, md"):
        format(table, "svg")


def test_a_notebook_gets_every_form(monkeypatch: pytest.MonkeyPatch):
    """Table and workflow show Mermaid and Markdown everywhere, SVG where the extra is."""
    states = [State("a", ask="x"), State("b", final="success")]
    rows = [Transition("a", "model.done", "b")]
    table = Table(name="t", initial="a", states=states, transitions=rows)
    workflow = Workflow(table)
    shown = workflow._repr_mimebundle_(include=None, exclude=None)
    assert shown["text/vnd.mermaid"] == mermaid(table)
    assert shown["text/markdown"] == markdown(table)
    assert ("image/svg+xml" in shown) is can_draw()
    assert table._repr_mimebundle_() == shown
    assert format(workflow, "mermaid") == mermaid(table)
    monkeypatch.setattr("statemachine_agents.table.rendering.can_draw", lambda: False)
    assert set(table._repr_mimebundle_()) == {"text/vnd.mermaid", "text/markdown", "text/plain"}


@pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz (`dot`) is not installed")
def test_graphviz_takes_hostile_texts():
    """The real `dot` reads every hostile text without a word, and shows the letters of all."""
    text = dot(painted(*HOSTILE[:3], "ünï🎉 <b> &amp;"), ["a"], defaults=True)
    text += "".join(dot(painted(hostile), defaults=True) for hostile in HOSTILE)
    done = subprocess.run(["dot", "-Tsvg"], input=text.encode(), capture_output=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")
    assert "ünï🎉 <b> &amp;" in html.unescape(done.stdout.decode()).replace("\xa0", " ")
    assert b"<script" not in done.stdout


@drawn
def test_nasty_names_are_really_rendered():
    """Mermaid itself draws keywords and hostile texts as text: all shown, nothing run."""
    image = svg(named(NAMES), defaults=True)
    seen = text_of(image)
    assert all(name in seen for name in NAMES)
    group = "direction LR `a` **b** #quot; &amp; \\"
    shown = ["<script>alert(1)</script>", '"];x[label=" ünï🎉 end', group]
    image = svg(painted(*shown), defaults=True)
    seen = text_of(image)
    for text in shown:
        assert "".join(text.split()) in seen, text
    assert "<script" not in image
    assert svg(painted(*shown), defaults=True) == image


def test_too_many_arrows_are_refused_at_once():
    """A picture nobody could read is not begun; a notebook shows the text forms instead."""
    names = [f"s{number}" for number in range(19)]
    rows = [
        Transition(source, "f.ok", target, f"result == {number}")
        for source in names
        for number, target in enumerate(names)
        if source != target
    ]
    states = [State(name, ask="x", tools=["f"]) for name in names]
    table = Table(name="t", initial="s0", states=states, transitions=rows)
    if can_draw():
        with pytest.raises(UsageError, match="342 arrows are more than"):
            svg(table)
    assert "image/svg+xml" not in table._repr_mimebundle_()


def text_of(image: str) -> str:
    """The text a reader of an SVG sees, without blanks."""
    body = image[image.index("</style>") :]
    return "".join(html.unescape(re.sub(r"<[^>]*>", "", body)).split())


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
    path = list(table.states)
    for defaults in (False, True):
        shown = picture(table, path, defaults=defaults)
        lines = mermaid(table, path, defaults=defaults).splitlines()
        assert [line for line in lines if not MERMAID.fullmatch(line)] == []
        assert not re.search(r"direction\s+(TB|TD|BT|RL|LR)", "\n".join(lines), re.IGNORECASE)
        arrows = [line for line in lines if re.match(r"    \w+ (?:-->|-\.->)", line)]
        assert len(arrows) == len(shown.arrows) + 1
        assert lines.count("    end") <= len(shown.clusters)
        written = dot(table, path, defaults=defaults).splitlines()
        assert [line for line in written if not DOT.fullmatch(line)] == []
        assert sum(bool(re.match(r'  "[^"]*" -> ', line)) for line in written) == (
            len(shown.arrows) + 1
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
