"""Events: how they are written, which states can meet which, and what happens without a row."""

from __future__ import annotations

import pytest

from statemachine_agents.errors import ExpressionError
from statemachine_agents.table.events import (
    ENGINE_EVENTS,
    LIMITS,
    RESERVED,
    alphabet,
    default_of,
    effect_of,
    is_engine,
    parse_event,
)
from statemachine_agents.table.model import Signal, State, Table, Use
from tests.strategies import SPECS

ENDINGS = {"run.cancelled", "guard.error"}
ASKING = {"entered", "model.done", "model.refused", "model.failed", *ENDINGS} | {
    f"limit.{name}" for name in LIMITS
}


def met(state: State, *, specs=SPECS, **parts) -> set[str]:
    table = Table(name="t", initial=state.name, states=[state, *parts.pop("more", [])], **parts)
    events = alphabet(table, state, specs)
    assert len(events) == len(set(events))
    return set(events)


@pytest.mark.parametrize(
    ("text", "members", "wild", "conjunction"),
    [
        ("fetch_order.ok", ("fetch_order.ok",), False, False),
        ("settled", ("settled",), False, False),
        ("fetch-order.ok", ("fetch-order.ok",), False, False),
        ("*.error", ("*.error",), True, False),
        ("fetch_*.ok", ("fetch_*.ok",), True, False),
        ("limit.*", ("limit.*",), True, False),
        ("*", ("*",), True, False),
        ("a.ok & b.ok", ("a.ok", "b.ok"), False, True),
        ("a.ok&b.ok&user.message", ("a.ok", "b.ok", "user.message"), False, True),
    ],
)
def test_event_texts_parse(text: str, members: tuple[str, ...], wild: bool, conjunction: bool):
    """Exact events, one `*`, and conjunctions of exact events are all there is."""
    pattern = parse_event(text)
    assert (pattern.members, pattern.wild, pattern.conjunction) == (members, wild, conjunction)


@pytest.mark.parametrize(
    "text",
    ["", " ", "a.b.c", "*.*", "a.ok & *.error", "a.ok &", "& a.ok", "a b", "a.", ".ok", "ä.ok"],
)
def test_other_texts_are_refused(text: str):
    """The refusal quotes the text and says how events are written."""
    with pytest.raises(ExpressionError, match="is not an event") as caught:
        parse_event(text)
    assert caught.value.facts["span"] == (0, len(text))


@pytest.mark.parametrize(
    ("pattern", "event", "fits"),
    [
        ("*.error", "pay.error", True),
        ("*.error", "undo.error", False),
        ("*.error", "guard.error", False),
        ("*", "pay.ok", True),
        ("*", "model.done", False),
        ("limit.*", "limit.calls", True),
        ("limit.*", "limitless.ok", False),
        ("m*", "model.done", True),
        ("fetch_*.ok", "fetch_order.ok", True),
        ("fetch_*.ok", "fetch_order.error", False),
        ("aa*aa", "aaa", False),
        ("pay.ok", "pay.ok", True),
        ("pay.ok", "pay.okay", False),
        ("a.ok & b.ok", "b.ok", True),
        ("a.ok & b.ok", "c.ok", False),
    ],
)
def test_what_a_pattern_matches(pattern: str, event: str, fits: bool):
    """A leading `*` ranges over tools and workflows only; engine events go by their head."""
    assert parse_event(pattern).matches(event, engine=is_engine(event)) is fits


def test_the_engines_words_are_reserved():
    """Every engine event begins with a reserved word, so no tool's event can look like one."""
    assert {event.split(".")[0] for event in ENGINE_EVENTS} == RESERVED
    assert all(is_engine(event) for event in ENGINE_EVENTS)
    assert not is_engine("models.done")
    assert {"entered", "settled", "model", "limit", "run"} <= RESERVED


def test_effects():
    """Signals have their own class; what nobody declared counts as `manual`."""
    table = Table(name="t", initial="a", states=[], signals={"stop": Signal()})
    assert effect_of(table, SPECS, "read_a") == "read"
    assert effect_of(table, SPECS, "stop") == "signal"
    assert effect_of(table, SPECS, "nobody") == "manual"
    assert effect_of(table, None, "read_a") == "manual"


def test_an_asking_state_meets_outcomes_by_effect():
    """A read tool is never in doubt; an effect may be; a signal only arrives."""
    state = State("a", ask="x", tools=["read_a", "pay", "stop"])
    expected = {"read_a.ok", "read_a.error", "pay.ok", "pay.error", "pay.unknown", "stop.ok"}
    assert met(state, signals={"stop": Signal()}) == ASKING | expected
    assert "read_a.unknown" in met(state, specs=None)


def test_a_talking_state_hears_the_customer():
    """`talk` lets messages in."""
    assert met(State("a", ask="x", talk=True)) == ASKING | {"user.message"}


def test_a_doing_state_settles():
    """The engine's own calls settle; `do=[]` too, and it may use up the calls of a stretch."""
    common = {"entered", "settled", "limit.calls", "limit.visits", *ENDINGS}
    assert met(State("a", do=["read_a"])) == common | {"read_a.ok", "read_a.error"}
    assert met(State("a", do=[])) == common
    assert met(State("a", do="undo")) == common | {"undo.ok", "undo.error"}


def test_waiting_states_meet_what_they_wait_for():
    """Each kind of wait has its events."""
    common = {"entered", "limit.visits", *ENDINGS}
    assert met(State("a", wait="message")) == common | {"user.message"}
    assert met(State("a", wait="timer", after="1h")) == common | {"timer.fired"}
    assert met(State("a", wait="approval")) == common | {"approval.granted", "approval.rejected"}
    other = State("b", ask="x", tools=["read_a", "pay"])
    assert met(State("a", wait="resolution"), more=[other]) == common | {"pay.ok", "pay.error"}


def test_a_state_that_runs_children():
    """Children succeed or fail, and settle together."""
    expected = {"refund.success", "refund.failure", "settled", "entered", "limit.visits", *ENDINGS}
    assert met(State("a", run=["refund"])) == expected


def test_a_timer_and_an_approval_add_their_events():
    """`after` adds the timer; a tool with `approve` may be declined by a person."""
    state = State("a", ask="x", tools=["pay"], after="1h")
    plain = met(state)
    asked = met(state, tools={"pay": Use(approve="true")})
    assert "timer.fired" in plain
    assert asked - plain == {"approval.rejected"}


def test_a_final_state_meets_nothing():
    """A run that has ended hears no events."""
    assert met(State("a", final="success")) == set()


ASK, TALK = State("a", ask="x"), State("a", ask="x", talk=True)
DO, BRANCH, WAIT = State("a", do=["f"]), State("a", do=[]), State("a", wait="message")
RUN, FINAL = State("a", run=["c"]), State("a", final="success")


@pytest.mark.parametrize(
    ("state", "event", "default"),
    [
        (ASK, "f.ok", "stays"),
        (ASK, "f.error", "shown"),
        (DO, "f.error", "failed"),
        (ASK, "f.unknown", "parked"),
        (DO, "f.unknown", "parked"),
        (WAIT, "f.error", "stays"),
        (DO, "settled", "failed"),
        (RUN, "settled", "failed"),
        (RUN, "c.success", "stays"),
        (RUN, "c.failure", "failed"),
        (ASK, "entered", "stays"),
        (DO, "entered", "stays"),
        (BRANCH, "entered", "failed"),
        (ASK, "model.done", "nudged"),
        (TALK, "model.done", "waits"),
        (ASK, "model.refused", "failed"),
        (ASK, "model.failed", "parked"),
        (TALK, "user.message", "stays"),
        (WAIT, "user.message", "kept"),
        (WAIT, "approval.granted", "stays"),
        (ASK, "approval.rejected", "shown"),
        (DO, "approval.rejected", "failed"),
        (WAIT, "approval.rejected", "failed"),
        (ASK, "timer.fired", "stays"),
        (DO, "undo.ok", "stays"),
        (DO, "undo.error", "failed"),
        (ASK, "limit.iterations", "failed"),
        (ASK, "guard.error", "failed"),
        (ASK, "run.cancelled", "cancelled"),
        (FINAL, "run.cancelled", "stays"),
    ],
)
def test_defaults(state: State, event: str, default: str):
    """What an event does when no row takes it. Source: design.md section 3.2."""
    assert default_of(state, event) == default


def test_every_event_a_state_can_meet_has_a_default():
    """No cell of the grid is silent."""
    known = {"stays", "shown", "failed", "parked", "waits", "nudged", "kept", "cancelled"}
    for state in (ASK, TALK, DO, BRANCH, WAIT, RUN):
        assert {default_of(state, event) for event in met(state)} <= known
