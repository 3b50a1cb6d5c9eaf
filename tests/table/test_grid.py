"""The grid: which rows stand in which cell, in which order, and what could not be placed."""

from __future__ import annotations

import pytest
from hypothesis import given

from statemachine_agents.table.events import alphabet
from statemachine_agents.table.grid import Grid, expand
from statemachine_agents.table.model import Signal, State, Table, Transition
from statemachine_agents.table.problems import Problem
from tests.strategies import SPECS, tables
from tests.tables import refund, refund_specs

STATES = [
    State("a", ask="x", tools=["read_a", "pay"]),
    State("b", ask="y", tools=["pay", "stop"]),
    State("w", wait="message"),
    State("end", final="success"),
]


def expanded(*rows: Transition, **parts) -> tuple[Grid, list[Problem]]:
    values = {
        "name": "t",
        "initial": "a",
        "states": STATES,
        "signals": {"stop": Signal()},
        "groups": {"both": ["a", "b", "end"], "waiting": ["w"]},
        "context": {"n": "any"},
        **parts,
    }
    return expand(Table(transitions=rows, **values), SPECS)


def standing(grid: Grid, state: str, event: str) -> tuple[list[int], list[int]]:
    cell = grid.cell(state, event)
    return [e.row.index for e in cell.notes], [e.row.index for e in cell.moves]


def test_rows_stand_in_table_order_whatever_their_form():
    """A name does not beat `*`, nor an exact event a pattern: the earlier row is first."""
    grid, problems = expanded(
        Transition("*", "*.ok", "end", "context.n == 1"),
        Transition("a", "pay.ok", "b"),
        Transition("both", "pay.*", "w"),
    )
    assert not problems
    assert standing(grid, "a", "pay.ok") == ([], [0, 1, 2])
    assert standing(grid, "b", "pay.ok") == ([], [0, 2])
    assert standing(grid, "a", "read_a.ok") == ([], [0])
    assert standing(grid, "b", "pay.unknown") == ([], [2])


def test_a_star_means_every_state_that_is_not_final():
    """Final states meet nothing."""
    grid, problems = expanded(Transition("*", "run.cancelled", "end"))
    assert not problems
    taking = [name for name in grid.cells if standing(grid, name, "run.cancelled")[1]]
    assert taking == ["a", "b", "w"]


def test_notes_and_moves_are_kept_apart():
    """A row without a target is a note; `stay` is a move that remains."""
    grid, _ = expanded(
        Transition("a", "pay.ok", assign={"n": "1"}), Transition("a", "pay.ok", "stay")
    )
    cell = grid.cell("a", "pay.ok")
    assert [entry.row.note for entry in cell.notes] == [True]
    assert [entry.row.stays for entry in cell.moves] == [True]


def test_a_list_of_events_is_one_row_in_several_cells():
    """A row named twice for one event stands there once."""
    grid, problems = expanded(Transition("a", ["pay.*", "pay.ok", "model.done"], "b"))
    assert not problems
    for event in ("pay.ok", "pay.error", "pay.unknown", "model.done"):
        assert standing(grid, "a", event) == ([], [0])


def test_a_conjunction_stands_at_each_member():
    """It is tried when any member arrives, and needs them all."""
    grid, problems = expanded(Transition("a", "pay.ok & read_a.ok", "end"))
    assert not problems
    for event in ("pay.ok", "read_a.ok"):
        (entry,) = grid.cell("a", event).moves
        assert entry.needs == ("pay.ok", "read_a.ok")


def test_a_conjunction_needs_members_that_can_all_arrive():
    """One member that the state cannot meet makes the row impossible, and that is said."""
    grid, problems = expanded(Transition("b", "pay.ok & read_a.ok", "end"))
    assert [(p.code, p.where) for p in problems] == [("event-not-met", "transitions[0].event")]
    assert standing(grid, "b", "pay.ok") == ([], [])


def test_a_note_may_name_a_result_that_arrives_late():
    """A call's result can come after its state was left: notes hear it, moves do not."""
    grid, problems = expanded(Transition("w", "pay.ok", assign={"n": "result"}))
    assert not problems
    assert standing(grid, "w", "pay.ok") == ([0], [])
    grid, problems = expanded(Transition("w", "pay.ok", "end"))
    assert [problem.code for problem in problems] == ["event-not-met"]
    grid, _ = expanded(Transition("w", "*.ok", assign={"n": "result"}))
    assert {event for event, cell in grid.cells["w"].items() if cell.notes} == {
        "pay.ok",
        "read_a.ok",
        "stop.ok",
    }


def test_an_event_a_state_cannot_meet():
    """An error under the state's own name, skipped under `*`; told where nobody can meet it."""
    _, problems = expanded(
        Transition("w", "read_a.ok", "end"),
        Transition("*", "read_a.ok", "end"),
        Transition("waiting", "read_a.ok", "end"),
    )
    assert [(p.code, p.severity, p.where) for p in problems] == [
        ("event-not-met", "error", "transitions[0].event"),
        ("event-not-met", "warning", "transitions[2].event"),
    ]
    assert "user.message" in problems[0].expected


def test_a_tool_offered_elsewhere_by_effect():
    """A read tool is never in doubt: its `.unknown` cannot be met, with the spec known."""
    row = Transition("a", "read_a.unknown", "end")
    table = Table(name="t", initial="a", states=STATES, transitions=[row])
    assert [problem.code for problem in expand(table, SPECS)[1]] == ["unknown-event"]
    assert expand(table)[1] == []


@pytest.mark.parametrize(
    ("row", "code", "where", "advice"),
    [
        (Transition("a", "pya.ok", "b"), "unknown-event", "transitions[0].event", "'pay.ok'"),
        (
            Transition("a", ["pay.ok", "model.don"], "b"),
            "unknown-event",
            "transitions[0].event[1]",
            "'model.done'",
        ),
        (Transition("c", "pay.ok", "b"), "unknown-state", "transitions[0].source", "known here"),
        (Transition("boht", "pay.ok", "b"), "unknown-state", "transitions[0].source", "'both'"),
        (Transition("a", "pay.ok.now", "b"), "syntax", "transitions[0].event", ""),
        (Transition("a", "pay.ok", "b", "context.n =="), "syntax", "transitions[0].guard", ""),
        (
            Transition("a", "pay.ok", "b", None, {"n": "1 +"}),
            "syntax",
            "transitions[0].assign.n",
            "",
        ),
        (
            Transition("a", "pay.ok", "b", None, {"context.n": "1"}),
            "syntax",
            "transitions[0].assign.context.n",
            "",
        ),
    ],
)
def test_what_cannot_be_read_is_reported(row: Transition, code: str, where: str, advice: str):
    """Each finding says where, and offers the nearest name."""
    _, problems = expanded(row)
    assert [(problem.code, problem.where) for problem in problems] == [(code, where)]
    assert advice in problems[0].next


def test_definitions_may_use_earlier_ones():
    """Also in guards and in the index of an assign; later ones are unknown there."""
    grid, problems = expanded(
        Transition("a", "pay.ok", "b", "big and not small", {"n[key]": "limit"}),
        define={
            "limit": "3",
            "big": "context.n > limit",
            "small": "context.n < limit",
            "key": "'k'",
        },
    )
    assert not problems
    row = grid.rows[0]
    assert row.guard is not None
    assert row.guard.holds({"context": {"n": 4}})
    ((target, value),) = row.assigns
    assert (target.resolve({}), value.evaluate({})) == (("n", "k"), 3)
    _, problems = expanded(define={"bad": "1 +"})
    assert [(problem.code, problem.where) for problem in problems] == [("syntax", "define.bad")]


def test_assigns_are_ordered_by_key():
    """A definition read back from its canonical bytes must assign in the same order."""
    grid, _ = expanded(Transition("a", "pay.ok", "b", None, {"n.b": "2", "n": "{}", "n.a": "1"}))
    assert [target.text for target, _ in grid.rows[0].assigns] == ["n", "n.a", "n.b"]


def test_errors_do_not_fail_a_state_that_collects():
    """With a `settled` row a `do` state waits for all its calls, failed ones too."""
    row = Transition("d", "settled", "end")
    states = [State("d", do=["pay", "read_a"]), State("end", final="success")]
    collecting, _ = expand(Table(name="t", initial="d", states=states, transitions=[row]), SPECS)
    failing, _ = expand(Table(name="t", initial="d", states=states), SPECS)
    assert collecting.cell("d", "pay.error").default == "stays"
    assert failing.cell("d", "pay.error").default == "failed"


def test_rows_that_can_leave_a_state():
    """Each move once, in table order, notes left out."""
    grid, _ = expanded(
        Transition("a", "pay.*", "b"),
        Transition("a", "pay.ok", assign={"n": "1"}),
        Transition("*", "*.ok", "end"),
    )
    assert [row.index for row in grid.moves_from("a")] == [0, 2]
    assert grid.moves_from("end") == ()
    assert [row.label for row in grid.rows] == ["row 1", "row 2", "row 3"]


def test_a_cell_nobody_meets_stays():
    """Asking for such a cell is no error: nothing happens."""
    grid, _ = expanded()
    cell = grid.cell("end", "pay.ok")
    assert (cell.moves, cell.notes, cell.default) == ((), (), "stays")


def test_the_refund_grid():
    """The table of the design expands without a finding, with and without its tools."""
    for specs in (None, refund_specs()):
        grid, problems = expand(refund(), specs)
        assert not problems
        assert standing(grid, "emailing", "limit.idle") == ([], [10])
        assert standing(grid, "crediting", "process_credit.unknown") == ([], [6])


@given(tables())
def test_no_cell_is_silent(table: Table):
    """Every event a state can meet has a cell, and every cell a default; rows keep their order."""
    grid, _ = expand(table, SPECS)
    for name, state in table.states.items():
        cells = grid.cells[name]
        assert set(alphabet(table, state, SPECS)) <= set(cells)
        for event, cell in cells.items():
            assert (cell.state, cell.event) == (name, event)
            assert cell.default
            for entries in (cell.notes, cell.moves):
                order = [entry.row.index for entry in entries]
                assert order == sorted(order)
                assert all(entry.row.note is (entries is cell.notes) for entry in entries)


@given(tables())
def test_a_row_stands_where_its_source_and_events_say(table: Table):
    """Brute force agrees: a row is in a cell exactly when source and some pattern fit."""
    grid, _ = expand(table, SPECS)
    for name, state in table.states.items():
        meets = alphabet(table, state, SPECS)
        for event in meets:
            expected = set()
            for row in grid.rows:
                source = row.transition.source
                inside = (
                    source == name
                    or (source == "*" and state.verb != "final")
                    or name in table.groups.get(source, ())
                )
                fits = any(
                    pattern.matches(event, engine=event.split(".")[0] in ENGINE_HEADS)
                    and set(pattern.members if pattern.conjunction else ()) <= set(meets)
                    for pattern in row.patterns
                )
                if inside and fits:
                    expected.add(row.index)
            cell = grid.cells[name][event]
            assert {entry.row.index for entry in (*cell.notes, *cell.moves)} == expected


ENGINE_HEADS = {
    "entered", "settled", "model", "user", "approval", "timer", "undo", "limit", "run", "guard",
}  # fmt: skip
