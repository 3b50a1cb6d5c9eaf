"""The kernel by its rules: rows, visits, conjunctions. The oracle asks the same at random."""

from __future__ import annotations

import copy
from typing import Any

import attrs

from statemachine_agents.kernel.snapshot import Snapshot
from statemachine_agents.kernel.step import Event, Step, begin, step
from statemachine_agents.kernel.workflow import Workflow
from statemachine_agents.table.model import Key, State, Transition
from tests.driving import small

CONTEXT = {
    "n": Key(type="integer", default=0),
    "log": Key(type="list", default=[]),
    "data": Key(type="object?"),
    "any": Key(type="any"),
}
ASK = State("here", ask="x", tools=["look", "peek", "pay"])
OTHER = State("there", ask="y", tools=["look", "send"])


def flow(*rows: Transition, states: list[State] | None = None, **parts: Any) -> Workflow:
    """Return a workflow whose states `here` and `there` can both come to an end."""
    given = states or [ASK, OTHER]
    out = [Transition(state.name, "run.cancelled", "done") for state in given]
    reach = [Transition(given[0].name, "guard.error", state.name) for state in given[1:]]
    return small(*rows, *reach, *out, states=given, **{"context": CONTEXT, **parts})


def start(workflow: Workflow, **context: Any) -> Snapshot:
    return begin(workflow, {**workflow.bind_context({}), **context}).after


def fire(workflow: Workflow, snapshot: Snapshot, name: str, **scope: Any) -> Step:
    kept = copy.deepcopy(attrs.asdict(snapshot))
    fact = scope.get("result", scope.get("error"))
    extra = {key: scope.pop(key) for key in ("visit", "resolved", "call", "now") if key in scope}
    event = Event(name, scope=scope, fact=fact, **extra)
    done = step(workflow, snapshot, event)
    assert attrs.asdict(snapshot) == kept
    assert step(workflow, snapshot, event) == done
    return done


def walked(workflow: Workflow, *names: str, **scope: Any) -> Step:
    """Return the last step of a walk from the start."""
    snapshot = start(workflow)
    for name in names:
        done = fire(workflow, snapshot, name, **scope)
        snapshot = done.after
    return done


def append(text: str) -> dict[str, str]:
    return {"log": f"context.log + ['{text}']"}


# ------------------------------------------------------------------------------- notes and moves


def test_a_run_begins_in_its_initial_state_on_its_first_visit():
    """The first step enters the initial state; a final one ends the run at once."""
    workflow = flow()
    first = begin(workflow, workflow.bind_context({}))
    assert (first.outcome, first.after.state, first.after.visit) == ("moved", "here", 1)
    assert first.after.visits == {"here": 1, "there": 0, "done": 0, "failed": 0}
    assert first.before is None
    over = small(states=[State("end", final="success")])
    assert begin(over, {}).outcome == "ended"
    assert begin(over, {}).after.status == "succeeded"


def test_all_notes_run_first_in_order_then_the_first_row_that_holds():
    """Notes see what notes before them left; the moving guard sees the noted context."""
    workflow = flow(
        Transition("here", "look.ok", "there", guard="context.n == 2", assign=append("move")),
        Transition("here", "look.ok", None, assign={"n": "context.n + 1"}),
        Transition("here", "look.ok", None, guard="context.n == 1", assign={"n": "2"}),
        Transition("here", "look.ok", None, guard="context.n == 1", assign=append("never")),
        Transition("here", "look.ok", "done", assign=append("wrong")),
    )
    done = walked(workflow, "look.ok", result={})
    assert (done.outcome, done.after.state, done.row.index) == ("moved", "there", 0)
    assert done.notes == (1, 2)
    assert done.after.context["n"] == 2
    assert done.after.context["log"] == ["move"]
    assert [(v.row, v.value) for v in done.verdicts] == [(2, True), (3, False), (0, True)]
    assert done.changes == ((("n",), 1), (("n",), 2), (("log",), ["move"]))


def test_table_order_decides_always():
    """A `*` above a name wins, and a pattern above an exact event."""
    workflow = flow(
        Transition("*", "look.*", "there", assign=append("star")),
        Transition("here", "look.ok", "done"),
    )
    assert walked(workflow, "look.ok", result={}).row.index == 0
    assert walked(workflow, "look.error", error={}).row.index == 0


def test_a_note_never_suppresses_a_default():
    """A note on an event is not a row that takes it."""
    workflow = flow(Transition("*", "limit.*", None, assign=append("noted")))
    done = walked(workflow, "limit.idle", error={"text": "idle"})
    assert (done.outcome, done.default) == ("ended", "failed")
    assert done.after.context["log"] == ["noted"]
    assert done.reason == "state 'here' has no row that takes 'limit.idle': idle"


def test_assigns_of_a_row_read_the_old_context_all_at_once():
    """Two keys can be swapped in one row."""
    workflow = flow(
        Transition("here", "look.ok", "stay", assign={"any": "context.n", "n": "context.any"})
    )
    done = fire(workflow, start(workflow, n=1, any=2), "look.ok", result={})
    assert (done.after.context["n"], done.after.context["any"]) == (2, 1)


def test_groups_lists_and_patterns_are_sources_and_events():
    """One row may stand for several states and several events."""
    workflow = flow(
        Transition("both", ["peek.ok", "*.error"], "done"),
        groups={"both": ["here", "there"]},
    )
    assert walked(workflow, "peek.ok", result={}).outcome == "ended"
    assert walked(workflow, "guard.error", "send.error", error={}).after.state == "done"
    assert walked(workflow, "guard.error", error={}).after.state == "there"  # not a tool's event


def test_a_leading_star_ranges_over_tools_only():
    """`*.error` is no `guard.error`, and `*` is no engine event."""
    workflow = small(
        Transition("here", "*", "done"),
        states=[ASK],
    )
    assert walked(workflow, "look.error", error={}).after.state == "done"
    for event in ("guard.error", "model.refused", "limit.idle"):
        assert walked(workflow, event, error={}).default == "failed"


# ------------------------------------------------------------------------ visits and conjunctions


def test_entering_is_a_new_visit_and_staying_is_none():
    """A self-move counts and clears facts; `stay` does neither."""
    workflow = flow(
        Transition("here", "look.ok", "here"),
        Transition("here", "peek.ok", "stay"),
    )
    stayed = walked(workflow, "peek.ok", result={})
    assert stayed.outcome == "stayed"
    assert (stayed.after.visit, stayed.after.visits["here"]) == (1, 1)
    assert set(stayed.after.facts) == {"peek.ok"}
    again = fire(workflow, stayed.after, "look.ok", result={})
    assert again.outcome == "moved"
    assert (again.after.visit, again.after.visits["here"], again.after.facts) == (2, 2, {})


def test_a_conjunction_waits_for_all_its_facts_in_any_order():
    """It is tried when any member arrives, sees every result, and needs facts of this visit."""
    rows = (
        Transition(
            "here",
            "look.ok & peek.ok",
            "there",
            guard="results.look.n + results.peek.n == 3",
            assign={"any": "results"},
        ),
        Transition("here", "pay.ok", "here"),
    )
    workflow = flow(*rows)
    snapshot = start(workflow)
    first = fire(workflow, snapshot, "peek.ok", result={"n": 2})
    assert first.outcome == "unhandled"
    assert [(v.row, v.missing) for v in first.verdicts] == [(0, True)]
    both = fire(workflow, first.after, "look.ok", result={"n": 1})
    assert both.after.state == "there"
    assert both.after.context["any"] == {"look": {"n": 1}, "peek": {"n": 2}}
    left = fire(workflow, first.after, "pay.ok", result={})
    assert fire(workflow, left.after, "look.ok", result={"n": 1}).outcome == "unhandled"
    false = fire(workflow, first.after, "look.ok", result={"n": 5})
    assert false.outcome == "unhandled"
    assert fire(workflow, false.after, "look.ok", result={"n": 1}).after.state == "there"


def test_a_conjunction_note_sees_results_too():
    """Notes may join facts; they run once all are there."""
    workflow = flow(
        Transition("here", "look.ok & peek.ok", None, assign={"any": "results.peek"}),
    )
    done = walked(workflow, "look.ok", "peek.ok", result=7)
    assert done.notes == (0,)
    assert done.after.context["any"] == 7


def test_a_row_that_stands_in_a_cell_twice_sees_the_results_of_what_fired():
    """A row on `a & b` and on `a` alone gives no results when `a` alone fired it."""
    workflow = flow(
        Transition(
            "here", ["look.ok & peek.ok", "look.ok"], "there", assign={"any": "exists(result)"}
        ),
    )
    done = walked(workflow, "look.ok", result={"n": 1})
    assert done.after.state == "there"
    assert [v.missing for v in done.verdicts] == [True]


def test_a_late_result_runs_notes_only():
    """It does not move, is no fact, and has no default."""
    workflow = flow(
        Transition("here", "look.ok", None, assign=append("late")),
        Transition("here", "look.ok", "there"),
        Transition("here", "look.ok & peek.ok", None, assign=append("joined")),
    )
    snapshot = start(workflow)
    done = fire(workflow, snapshot, "look.ok", result={}, visit=snapshot.visit - 1)
    assert done.late
    assert (done.outcome, done.default, done.notes) == ("unhandled", "stays", (0,))
    assert done.after.facts == {}
    assert done.after.context["log"] == ["late"]
    late = fire(workflow, snapshot, "pay.unknown", error={}, visit=0)
    assert late.default == "stays"


def test_a_resolved_call_counts_in_the_current_visit():
    """A doubt that was resolved arrives here and now, though its call began earlier."""
    workflow = flow(Transition("here", "pay.ok", "there"))
    snapshot = start(workflow)
    assert fire(workflow, snapshot, "pay.ok", result={}, visit=0).outcome == "unhandled"
    done = fire(workflow, snapshot, "pay.ok", result={}, visit=0, resolved=True)
    assert done.after.state == "there"
    assert not done.late
