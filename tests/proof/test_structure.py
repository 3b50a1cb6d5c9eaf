"""Structural checks: every finding with its exact place, sound tables without one."""

from __future__ import annotations

import ast
from pathlib import Path

import attrs
import pytest
from hypothesis import given

import statemachine_agents.proof
from statemachine_agents.proof.structure import Fallback, check, defaults
from statemachine_agents.table import grid
from statemachine_agents.table.events import alphabet
from statemachine_agents.table.model import (
    Limits,
    State,
    Table,
    Transition,
    Use,
)
from statemachine_agents.table.problems import Problem
from statemachine_agents.table.toolspec import ToolSpec
from tests.bad_tables import (
    ERRORS,
    SOUND,
    TOOLS,
    WARNINGS,
    look,
    row,
    sound,
    spare,
    spec,
    use,
)
from tests.strategies import SPECS, tables
from tests.tables import everything, refund, refund_specs

MORE_TOOLS = {"post": spec("post", "idempotent"), **TOOLS, "pay2": spec("pay2")}


def found(table: Table, specs: dict[str, ToolSpec] | None = None) -> list[Problem]:
    return list(check(table, MORE_TOOLS if specs is None else specs, children=["shop"]))


def test_the_sound_table_is_sound():
    """Nothing is found in it, so whatever a changed one shows comes from the change."""
    assert found(sound()) == []
    assert check(sound()) == ()


@pytest.mark.parametrize(
    ("code", "table", "where"), ERRORS, ids=lambda it: it if isinstance(it, str) else ""
)
def test_errors(code: str, table: Table, where: str):
    """What cannot work is an error, at the place where an author mends it."""
    assert (code, where, "error") in [(p.code, p.where, p.severity) for p in found(table)]


@pytest.mark.parametrize(
    ("code", "table", "where"), WARNINGS, ids=lambda it: it if isinstance(it, str) else ""
)
def test_warnings(code: str, table: Table, where: str):
    """What works, but probably not as meant, is a warning and no error comes with it."""
    problems = found(table)
    assert (code, where, "warning") in [(p.code, p.where, p.severity) for p in problems]
    assert [p for p in problems if p.severity == "error"] == []


def test_every_code_has_a_bad_table():
    """No check is without a table that it finds something in."""
    shown = {code for code, _, _ in (*ERRORS, *WARNINGS)} | {"no-verifier"}
    assert codes_in_source() == shown


def codes_in_source() -> set[str]:
    """Collect the codes of `say`, `warn`, `_known` and `Problem` calls in the checks."""
    folder = Path(statemachine_agents.proof.__file__).parent
    files = [
        folder / f"{name}.py" for name in ("naming", "verbs", "offers", "reads", "flow", "sheet")
    ]
    out = set()
    for path in (*files, Path(grid.__file__)):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            at = {"say": 0, "warn": 0, "Problem": 0, "_known": 1}.get(name)
            if at is not None and isinstance(node.args[at], ast.Constant):
                out.add(node.args[at].value)
    return out


def test_the_refund_table_is_free_of_findings():
    """The table of the design passes; with its tools, no error either."""
    assert check(refund()) == ()
    assert check(refund(), refund_specs()) == ()


def test_the_table_with_every_section_has_no_errors():
    """Every construct of the language is legal."""
    assert [str(p) for p in check(everything()) if p.severity == "error"] == []


def test_an_early_table_has_no_errors():
    """Short tables of the design's kind stay usable: defaults cover what they leave out."""
    early = Table(
        name="early",
        initial="fetching",
        states=[
            State("fetching", ask="Fetch.", tools=["fetch_order"]),
            State("crediting", ask="Credit.", tools=["process_credit"]),
            State("complete", final="success"),
            State("failed", final="failure"),
        ],
        transitions=[
            Transition("fetching", "fetch_order.ok", "crediting"),
            Transition("crediting", "process_credit.ok", "complete"),
            Transition("*", "*.error", "failed"),
        ],
    )
    assert check(early) == ()


@given(tables())
def test_random_sound_tables_have_no_errors(table: Table):
    """The strategy's promise, so that others may build on it."""
    for specs in (None, SPECS):
        assert [p for p in check(table, specs) if p.severity == "error"] == []


@pytest.mark.parametrize(
    ("table", "code", "advice"),
    [
        (row(target="setle"), "unknown-state", "did you mean 'settle'?"),
        (row(guard="context.idd == 1"), "unknown-context-key", "did you mean 'id'?"),
        (row(guard="rezult.ok"), "unknown-name", "did you mean 'result'?"),
        (row(guard="id == 1"), "unknown-name", "write `context.id`"),
        (sound(define={"b": "a", "a": "1"}), "unknown-name", "earlier ones only"),
        (look(tools=["find", "fidn"]), "unknown-tool", "did you mean 'find'?"),
        (use("fidn"), "unused-tool", "did you mean 'find'?"),
        (use("pay", bind={"id": "'1'", "sise": "1"}), "unknown-argument", "did you mean 'size'?"),
        (sound(context={"n": "int"}), "unknown-type", "did you mean"),
        (sound(states=[State("done", final="succes")]), "unknown-final", "did you mean 'success'?"),
        (use("pay", bind={}), "missing-binding", "add `id = ...`"),
    ],
)
def test_findings_say_what_to_do(table: Table, code: str, advice: str):
    """The nearest right name, or the next step, stands in the finding."""
    assert any(advice in p.next for p in found(table) if p.code == code)


def test_findings_are_sorted_by_place():
    """As in the file: scalars, rules, rows by number, states in the author's order."""
    table = sound(
        initial="lok",
        rules=["never(pya)"],
        rows=[Transition("look", "find.ok", f"gone{n}") for n in range(12)],
        states=[State("zoo", ask="x", agent="a"), State("bar", ask="x", agent="b")],
        groups={"g": ["lok"]},
    )
    places = [p.where for p in found(table) if p.severity == "error"]
    assert places == [
        "initial",
        "rules[0]",
        *(f"transitions[{n}].target" for n in range(12)),
        "states.zoo",
        "states.zoo.agent",
        "states.bar",
        "states.bar.agent",
        "groups.g[0]",
    ]
    assert check(table, TOOLS) == check(table, TOOLS)


def test_one_typo_is_one_finding():
    """A guard that does not parse makes no state unreachable, an unknown alias no unknown tool."""
    typo = attrs.evolve(
        sound(),
        transitions=[
            Transition("look", "find.ok", "settle", "result ="),
            *SOUND["transitions"][1:],
        ],
    )
    assert [p.code for p in found(typo) if p.severity == "error"] == ["syntax"]
    assert "unreachable-state" not in [p.code for p in found(typo)]
    defined = sound(
        define={"d": "context.x == 1"}, rows=[Transition("look", "find.ok", "done", "d")]
    )
    assert [p.where for p in found(defined)] == ["define.d"]
    final = row(source="done")
    assert [p.code for p in found(final)] == ["row-from-final"]


def test_without_specs_tools_are_not_judged():
    """Names in states and `[tools]` are all that is known, so no tool is called unknown."""
    table = look(tools=["find", "anything"])
    assert [p.code for p in check(table)] == ["results-unhandled"]
    assert "unknown-workflow" not in [p.code for p in check(spare(run="child", way="settled"))]


def test_an_alias_takes_the_spec_of_its_tool():
    """`use=` gives another name to a known tool; its bindings are checked against that tool."""
    table = sound(
        states=[State("settle", do=["pay_now"])],
        transitions=[
            Transition("look", "find.ok", "settle"),
            Transition("settle", "pay_now.ok", "done"),
            Transition("settle", "pay_now.unknown", "doubt"),
            Transition("doubt", "pay_now.*", "done"),
        ],
        tools={"pay_now": Use(use="pay", bind={"id": "context.id", "sise": "1"})},
    )
    bare = attrs.evolve(table, tools={"pay_now": table.tools["pay_now"]})
    errors = [(p.code, p.where) for p in check(bare, TOOLS) if p.severity == "error"]
    assert errors == [("unknown-argument", "tools.pay_now.bind.sise")]


def test_verifiable_needs_a_verifier():
    """After a crash somebody must be able to say whether it happened."""
    wrong = {**TOOLS, "find": spec("find", "verifiable")}
    right = {**TOOLS, "find": spec("find", "verifiable", verifies=True)}
    assert ("no-verifier", "tools.find") in [(p.code, p.where) for p in check(sound(), wrong)]
    assert check(sound(), right) == ()


def test_the_undo_of_a_spec_must_exist():
    """A tool's own `undo` is checked like the table's."""
    specs = {**TOOLS, "pay": spec("pay", "manual", undo="unpay")}
    assert ("unknown-tool", "tools.pay") in [(p.code, p.where) for p in check(sound(), specs)]


def test_only_a_manual_effect_must_be_routed():
    """The other classes settle a doubt by themselves."""
    for effect in ("read", "idempotent", "transactional"):
        specs = {**TOOLS, "find": spec("find", effect)}
        assert "effect-unknown-unhandled" not in [p.code for p in check(sound(), specs)]


@pytest.mark.parametrize(
    ("rows", "hidden"),
    [
        ([("look", "find.ok", None), ("look", "find.ok", None)], [1]),
        ([("look", "find.ok", "result.x"), ("look", "find.ok", "(result.x)")], [1]),
        ([("look", "find.ok", "result.x"), ("look", "find.ok", "result.y")], []),
        ([("look", "find.ok", "result.x"), ("look", "find.ok", None)], []),
        ([("*", "*.ok", None), ("look", "find.ok", "result.x")], [1]),
        ([("look", "find.ok", None), ("look", "find.*", None)], []),
        ([("look", "find.ok", None), ("look", "find.error", None), ("look", "find.*", None)], [2]),
        ([("look", "find.ok", None), ("*", "*.ok", None)], []),
        ([("look", "find.ok & model.done", None), ("look", "find.ok", None)], []),
        ([("look", "find.ok", None), ("look", "find.ok & model.done", None)], []),
        (
            [("look", ["find.ok", "model.done"], None), ("look", "find.ok & model.done", None)],
            [1],
        ),
        ([("look", ["find.ok", "find.ok & model.done"], None)], []),
    ],
)
def test_shadowed_rows(rows: list[tuple[str, str | list[str], str | None]], hidden: list[int]):
    """A row is hidden when earlier rows take its event in every cell where it stands."""
    table = sound(
        transitions=[
            *(Transition(source, event, "done", guard) for source, event, guard in rows),
            Transition("settle", "pay.*", "done"),
        ]
    )
    shadowed = [p.where for p in check(table, TOOLS) if p.code == "shadowed-row"]
    assert shadowed == [f"transitions[{index}]" for index in hidden]


def test_notes_hide_nothing():
    """All matching notes run, and then a row still moves."""
    note = Transition("look", "find.ok", None, None, {"id": "'1'"})
    assert check(sound(rows=[note, note]), TOOLS) == ()


def test_names_by_event():
    """Each event gives its names, and they are no finding."""
    for event, guard in (
        ("find.ok", "result.x and args.id == 'a'"),
        ("find.error", "error.kind == 'x' and error.attempts < 3 and exists(args.id)"),
        ("model.done", "exists(reply.text)"),
        ("model.refused", "exists(error.text)"),
        ("limit.*", "exists(error.text)"),
        ("guard.error", "exists(error.text)"),
        ("*", "exists(result) or exists(error)"),
        (["find.ok", "find.error"], "exists(result)"),
        ("find.ok", "visits.look < 3 and iterations < 9 and now > ago('24h')"),
        ("find.ok", "any(x, context.id, x == 1)"),
    ):
        assert found(row(event=event, guard=guard)) == [], event


def test_a_run_state_knows_its_children():
    """`<workflow>.success` and `.failure` may be routed and read like a tool's."""
    way = [
        Transition("spare", "shop.success", "done", "exists(result.id)"),
        Transition("spare", "shop.failure", "failed", "exists(error.text)"),
    ]
    assert found(spare(run="shop", way=way)) == []


def test_the_cells_that_fall_to_a_default():
    """Every cell without a row that surely takes the event, and what happens there."""
    table = row(guard="result.sure", target="done")
    table = attrs.evolve(table, transitions=[table.transitions[0], *table.transitions[2:]])
    listed = {(cell.state, cell.event): cell for cell in defaults(table, TOOLS)}
    assert listed["look", "find.ok"] == Fallback("look", "find.ok", "stays", True)
    assert listed["look", "find.error"] == Fallback("look", "find.error", "shown")
    assert listed["look", "model.done"].default == "nudged"
    assert listed["settle", "pay.error"].default == "failed"
    assert ("settle", "pay.unknown") not in listed
    assert not any(state == "done" for state, _ in listed)


@given(tables())
def test_defaults_and_sure_rows_cover_the_alphabet(table: Table):
    """Each event a state can meet is listed, or some row without guard takes it."""
    listed = {(cell.state, cell.event) for cell in defaults(table, SPECS)}
    cells = grid.expand(table, SPECS)[0].cells
    for name, state in table.states.items():
        for event in alphabet(table, state, SPECS):
            sure = any(e.row.guard is None and not e.needs for e in cells[name][event].moves)
            assert ((name, event) in listed) is not sure


def test_a_hundred_states_stay_linear():
    """Work grows with the table, not with its square: counted in parsed cells, not in time."""

    def chain(count: int) -> Table:
        states = [State(f"s{n}", ask="x", tools=[f"t{n}"]) for n in range(count)]
        rows = [
            Transition(f"s{n}", f"t{n}.ok", f"s{n + 1}" if n + 1 < count else "done")
            for n in range(count)
        ]
        return Table(
            name="chain",
            initial="s0",
            states=[*states, State("done", final="success"), State("failed", final="failure")],
            transitions=[*rows, Transition("*", "*.error", "failed")],
            limits=Limits(iterations=count),
        )

    small, large = chain(10), chain(100)
    assert check(small) == check(large) == ()
    sizes = [
        sum(len(cells) for cells in grid.expand(table)[0].cells.values())
        for table in (small, large)
    ]
    assert sizes[1] == 10 * sizes[0]
