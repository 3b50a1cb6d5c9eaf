"""Limits: which bound is reached, in which order, and what it says."""

from __future__ import annotations

import attrs
import pytest

from statemachine_agents.kernel.limits import before_calls, before_request, describe, on_entry
from statemachine_agents.kernel.snapshot import Counters, Snapshot
from statemachine_agents.table.events import LIMITS
from statemachine_agents.table.model import Limits

ALL = Limits(
    iterations=5,
    calls=5,
    visits=5,
    refusals=5,
    nudges=5,
    idle=5,
    requests=5,
    tokens=5,
    cost_usd=5,
    seconds=5,
)
UNITS = {"cost_usd": ("cost", 1_000_000), "seconds": ("worked", 1_000_000)}


def counted(name: str, amount: float) -> Snapshot:
    field, unit = UNITS.get(name, (name, 1))
    return Snapshot("here", {}, counters=attrs.evolve(Counters(), **{field: int(amount * unit)}))


@pytest.mark.parametrize("name", [name for name in LIMITS if name != "visits"])
def test_each_limit_is_reached_at_its_bound_and_not_before(name):
    """Before the next request a count equal to the bound forbids it; one less does not."""
    assert before_request(ALL, counted(name, 5)) == name
    assert before_request(ALL, counted(name, 4.999 if name in UNITS else 4)) is None
    assert name in describe(ALL, name, "here")
    assert "'here'" in describe(ALL, name, "here")
    assert ": 5 " in describe(ALL, name, "here")


def test_limits_without_a_bound_are_never_reached():
    """Tokens, cost and time have none unless the table says so."""
    huge = Snapshot("here", {}, counters=Counters(tokens=10**12, cost=10**12, worked=10**12))
    assert before_request(Limits(), huge) is None


def test_calls_are_bounded_before_each_call():
    """The gate asks for calls alone."""
    assert before_calls(ALL, counted("calls", 5)) == "calls"
    assert before_calls(ALL, counted("calls", 4)) is None
    assert before_calls(ALL, counted("iterations", 9)) is None


def test_visits_are_bounded_when_a_state_was_entered_once_too_often():
    """The bound itself may be reached; the visit after it is too many, of that state only."""
    assert on_entry(ALL, Snapshot("here", {}, recent={"here": 5})) is None
    assert on_entry(ALL, Snapshot("here", {}, recent={"here": 6})) == "visits"
    assert on_entry(ALL, Snapshot("here", {}, recent={"there": 6})) is None


def test_the_first_of_several_limits_is_named():
    """Turns count before tokens: the order is fixed, so replay names the same one."""
    counters = Counters(5, 5, 5, 5, 5, 5, 5, 5_000_000, 5_000_000)
    assert before_request(ALL, Snapshot("here", {}, counters=counters)) == "iterations"
    assert before_request(ALL, counted("idle", 4), idle=5) == "idle"
