"""The kernel by its rules: defaults, guard errors, assigns, and what guards see."""

from __future__ import annotations

import copy
from typing import Any

import attrs
import pytest

from statemachine_agents.kernel.exits import exits
from statemachine_agents.kernel.snapshot import Counters, Snapshot
from statemachine_agents.kernel.step import Event, Step, begin, step
from statemachine_agents.kernel.workflow import Workflow
from statemachine_agents.table.model import Key, State, Transition, Use
from statemachine_agents.values import MAX_BODY
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


# ------------------------------------------------------------------------------------- defaults

DEFAULTS = [
    ("ask", "look.ok", "unhandled", "stays"),
    ("ask", "look.error", "unhandled", "shown"),
    ("ask", "pay.unknown", "unhandled", "parked"),
    ("ask", "model.done", "unhandled", "nudged"),
    ("ask", "model.refused", "ended", "failed"),
    ("ask", "model.failed", "unhandled", "parked"),
    ("ask", "approval.rejected", "unhandled", "shown"),
    ("ask", "limit.tokens", "ended", "failed"),
    ("ask", "run.cancelled", "ended", "cancelled"),
    ("ask", "guard.error", "ended", "failed"),
    ("ask", "entered", "unhandled", "stays"),
    ("talk", "model.done", "unhandled", "waits"),
    ("talk", "user.message", "unhandled", "stays"),
    ("do", "look.ok", "unhandled", "stays"),
    ("do", "look.error", "ended", "failed"),
    ("do", "pay.unknown", "unhandled", "parked"),
    ("do", "settled", "ended", "failed"),
    ("do", "approval.rejected", "ended", "failed"),
    ("branch", "entered", "ended", "failed"),
    ("wait", "user.message", "unhandled", "kept"),
    ("wait", "approval.granted", "unhandled", "stays"),
    ("wait", "approval.rejected", "ended", "failed"),
    ("wait", "timer.fired", "unhandled", "stays"),
    ("wait", "pay.ok", "unhandled", "stays"),
    ("wait", "pay.error", "unhandled", "stays"),
    ("undo", "undo.error", "ended", "failed"),
    ("undo", "undo.ok", "unhandled", "stays"),
    ("end", "look.ok", "unhandled", "stays"),
]
KINDS = {
    "ask": State("it", ask="x", tools=["look", "pay"]),
    "talk": State("it", ask="x", tools=["pay"], talk=True),
    "do": State("it", do=["look", "pay"]),
    "branch": State("it", do=[]),
    "wait": State("it", wait=["message", "approval", "resolution", "timer"], after="1h"),
    "undo": State("it", do="undo"),
}


@pytest.mark.parametrize(("kind", "event", "outcome", "default"), DEFAULTS)
def test_every_event_has_its_default(kind, event, outcome, default):
    """Without a row each event does what section 3.2 says, and an end gives its reason."""
    if kind == "end":
        workflow = small(states=[State("it", final="success")])
    else:
        way_out = ["limit.visits"]  # rows that are there and do not hold leave the default
        if kind == "wait":
            way_out += ["user.message", "approval.granted", "timer.fired", "pay.ok"]
        workflow = small(
            Transition("it", way_out, "last", guard="false"),
            Transition("last", "pay.ok", "done"),
            states=[KINDS[kind], State("last", do="pay")],
            tools={"pay": Use(approve="true")},
        )
    done = walked(workflow, event, error={"text": "why"}, result={}, message={"text": ""})
    assert (done.outcome, done.default) == (outcome, default)
    assert done.after.ended == (outcome == "ended" or kind == "end")
    assert bool(done.reason) == (outcome == "ended")
    if default in ("failed", "cancelled"):
        assert done.after.status == default
        assert "'it'" in done.reason


def test_a_table_that_collects_does_not_fail_at_the_first_error():
    """A `do` state with a row for `settled` waits for all results; a broken guard fails it."""
    workflow = small(
        Transition("it", "settled", "done"),
        states=[State("it", do=["look", "peek"])],
    )
    assert walked(workflow, "look.error", error={}).default == "stays"
    assert walked(workflow, "guard.error", error={}).default == "failed"


def test_an_ended_run_takes_nothing():
    """After the end an event changes nothing, not even facts."""
    workflow = flow(Transition("*", "*.ok", "here"))
    ended = walked(workflow, "run.cancelled").after
    assert ended.status == "succeeded"
    done = fire(workflow, ended, "look.ok", result={})
    assert (done.outcome, done.default, done.after) == ("unhandled", "stays", ended)
    assert exits(workflow, ended) == ()


def test_an_event_that_a_state_cannot_meet_is_an_outcome_not_an_exception():
    """`step` is total: even a name nobody knows is answered."""
    workflow = flow()
    done = walked(workflow, "no.such")
    assert (done.outcome, done.default) == ("unhandled", "stays")


# ----------------------------------------------------------------------------------- guard.error


@pytest.mark.parametrize(
    ("guard", "assign", "what"),
    [
        ("result.n < 'x'", {}, "look.ok"),
        ("len(result)", {}, "wants true or false"),
        ("result", {}, "wants true or false"),
        ("true", {"n": "'text'"}, "expected integer, got string"),
        ("true", {"n": "null"}, "expected integer, got null"),
        ("true", {"n": "true"}, "expected integer, got boolean"),
        ("true", {"data": "[1]"}, "expected object?, got list"),
        ("true", {"data[context.n]": "1"}, "data"),
        ("true", {"log[3]": "1"}, "the list has 1 items"),
        ("true", {"log.key": "1"}, "log"),
        ("true", {"n": "1 + 'x'"}, ""),
        ("true", {"any": "9007199254740991 + 2"}, "2**53"),
    ],
)
def test_what_cannot_be_evaluated_changes_nothing(guard, assign, what):
    """A guard or an assign with no meaning: unhandled, `guard.error` next, and all as before."""
    workflow = flow(
        Transition("here", "look.ok", None, assign=append("noted")),
        Transition("here", "look.ok", "there", guard=guard, assign=assign),
    )
    done = walked(workflow, "look.ok", result={"n": 1})
    assert (done.outcome, done.default) == ("unhandled", "guard.error")
    assert (done.notes, done.changes, done.row) == ((), (), None)
    assert done.after == done.before
    assert what in done.reason
    if guard != "true":
        assert done.verdicts[-1].value is None
        assert done.verdicts[-1].error


def test_a_note_that_fails_stops_the_step():
    """No move is tried behind a note that could not be evaluated."""
    workflow = flow(
        Transition("here", "look.ok", None, assign={"n": "result.n"}),
        Transition("here", "look.ok", "there"),
    )
    assert walked(workflow, "look.ok", result={}).default == "guard.error"
    assert walked(workflow, "look.ok", result={"n": 2}).after.state == "there"


def test_a_guard_error_can_be_taken_by_a_row():
    """It is an event like others, with the error in its scope."""
    workflow = flow(Transition("here", "guard.error", "done", guard="error.kind == 'guard'"))
    assert walked(workflow, "guard.error", error={"kind": "guard", "text": ""}).row.index == 0


def test_a_guard_error_whose_own_row_fails_ends_the_run():
    """There is no second `guard.error`: the run fails with the reason."""
    workflow = flow(Transition("here", "guard.error", "there", guard="error.text < 1"))
    done = walked(workflow, "guard.error", error={"kind": "guard", "text": "x"})
    assert (done.outcome, done.default, done.after.status) == ("ended", "failed", "failed")
    assert "guard.error" in done.reason


# --------------------------------------------------------------------------------------- assigns


def test_assign_paths_make_missing_levels():
    """A path writes inside the context; nulls and missing levels on the way become objects."""
    workflow = flow(
        Transition(
            "here",
            "look.ok",
            "stay",
            assign={"data.orders[result.id].status": "'paid'", "data.last": "result.id"},
        )
    )
    snapshot = start(workflow)
    done = fire(workflow, snapshot, "look.ok", result={"id": "A.1"})
    assert done.after.context["data"] == {"orders": {"A.1": {"status": "paid"}}, "last": "A.1"}
    again = fire(workflow, done.after, "look.ok", result={"id": "B"})
    assert set(again.after.context["data"]["orders"]) == {"A.1", "B"}
    assert done.after.context["data"]["last"] == "A.1"


def test_a_nullable_key_takes_null_and_any_takes_all():
    """Types are checked at the root of the path that was written."""
    workflow = flow(Transition("here", "look.ok", "stay", assign={"data": "null", "any": "result"}))
    for value in (None, 1, "x", [1], {"a": 1}, True):
        done = fire(workflow, start(workflow, data={}), "look.ok", result=value)
        assert done.outcome == "stayed"
        assert done.after.context["any"] == value


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def test_a_computed_value_may_not_grow_beyond_a_journal_body():
    """Depth and size of what an expression builds are bounded; what arrived whole may pass."""
    workflow = flow(
        Transition("here", "look.ok", "stay", assign={"any": "[context.any]"}),
        Transition("here", "peek.ok", "stay", assign={"any": "[context.any, context.any]"}),
        Transition("here", "pay.ok", "stay", assign={"any": "result"}),
    )
    deep = fire(workflow, start(workflow, any=nested(60)), "look.ok", result={})
    assert deep.default == "guard.error"
    assert "nested" in deep.reason
    large = "x" * (MAX_BODY // 2 + 10)
    wide = fire(workflow, start(workflow, any=large), "peek.ok", result={})
    assert wide.default == "guard.error"
    assert f"over {MAX_BODY} bytes" in wide.reason
    assert (
        fire(workflow, start(workflow), "pay.ok", result="x" * (MAX_BODY + 1)).outcome == "stayed"
    )


def test_a_context_that_holds_itself_cannot_grow_for_ever():
    """Assigning the whole context into a key of it nests one level a step, and is stopped."""
    workflow = flow(Transition("here", "look.ok", "stay", assign={"any": "context"}))
    snapshot = start(workflow)
    for _ in range(70):
        done = fire(workflow, snapshot, "look.ok", result={})
        snapshot = done.after
    assert done.default == "guard.error"


# ------------------------------------------------------------------------------------ what is seen


@pytest.mark.parametrize(
    ("event", "scope", "guard"),
    [
        ("look.ok", {"result": {"n": 1}, "args": {"n": 2}}, "result.n == 1 and args.n == 2"),
        ("look.error", {"error": {"kind": "x", "text": "t", "attempts": 2}}, "error.attempts == 2"),
        ("user.message", {"message": {"text": "hi"}}, "message.text == 'hi'"),
        ("model.done", {"reply": {"text": "ok"}}, "reply.text == 'ok'"),
        ("look.ok", {"result": None}, "visits.here == 1 and visits.there < 1 and iterations == 4"),
        ("look.ok", {"result": None}, "not exists(result.deep.er)"),
    ],
)
def test_guards_see_the_names_of_their_event(event, scope, guard):
    """Names by event, and context, visits and iterations always."""
    workflow = flow(
        Transition("here", event, "there", guard=guard),
        states=[attrs.evolve(ASK, talk=True), OTHER],
    )
    snapshot = attrs.evolve(start(workflow), counters=Counters(iterations=4))
    assert fire(workflow, snapshot, event, **scope).after.state == "there"


def test_now_is_the_recorded_time_of_the_event():
    """A guard never reads a clock: the same event gives the same answer for ever."""
    workflow = flow(Transition("here", "look.ok", "there", guard="now > '2026-06-01T00:00:00Z'"))
    assert workflow.reads_time
    snapshot = start(workflow)
    for now, state in (("2026-07-01T00:00:00Z", "there"), ("2026-05-01T00:00:00Z", "here")):
        assert fire(workflow, snapshot, "look.ok", result={}, now=now).after.state == state
    assert not flow().reads_time


def test_rules_move_with_every_event_late_or_not():
    """An obligation opens and a count is given back whenever the fact arrives."""
    workflow = flow(
        Transition("here", "pay.ok", "there"),
        rules=["leads_to(pay.ok, send.ok)", "at_most(look, 1)"],
    )
    snapshot = start(workflow)
    done = fire(workflow, snapshot, "pay.ok", result={}, visit=0, call=1)
    assert done.late
    assert done.rules == ((0, {"*": True}),)
    assert done.after.rules[0] == {"*": True}
    assert done.after.rules[1] is snapshot.rules[1]


def test_exits_are_the_rows_that_can_move():
    """In table order, each once, notes left out."""
    workflow = flow(
        Transition("here", "look.ok", None, assign={"n": "1"}),
        Transition("here", ["look.ok", "peek.ok"], "there"),
    )
    rows = exits(workflow, start(workflow))
    assert [row.event for row in rows] == [
        ("look.ok", "peek.ok"),
        ("guard.error",),
        ("run.cancelled",),
    ]
