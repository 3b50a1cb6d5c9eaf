"""Limits: which bound is reached before the next model request, call or visit.

Rules.  1. A limit is an event, never an exception; a row may route it.  2. Counters are folded from
the journal, so a crash cannot reset them.
Not here: counting (`journal.fold`), raising each only once per stretch (`journal.decide`).
"""

from __future__ import annotations

from typing import Final

from statemachine_agents.kernel.snapshot import Snapshot
from statemachine_agents.table.model import Limits

_WORDS: Final = {
    "iterations": "model requests in this stretch",
    "calls": "tool calls in this stretch",
    "visits": "visits of this state in this stretch",
    "refusals": "refused proposals in this stretch",
    "nudges": "replies that led nowhere in this stretch",
    "idle": "turns in a row without anything new",
    "requests": "model requests in this run",
    "tokens": "tokens in this run",
    "cost_usd": "US dollars in this run",
    "seconds": "seconds of working time in this run",
}


def before_request(limits: Limits, snapshot: Snapshot, *, idle: int | None = None) -> str | None:
    """Return the limit that forbids another model request, or None.

    Args:
        limits: the table's.
        snapshot: where the run stands.
        idle: turns without anything new, the last one included; the counted ones when None.
    """
    counters = snapshot.counters
    if counters.iterations >= limits.iterations:
        return "iterations"
    if counters.refusals >= limits.refusals:
        return "refusals"
    if counters.nudges >= limits.nudges:
        return "nudges"
    if (counters.idle if idle is None else idle) >= limits.idle:
        return "idle"
    if counters.requests >= limits.requests:
        return "requests"
    if counters.calls >= limits.calls:
        return "calls"
    if limits.tokens is not None and counters.tokens >= limits.tokens:
        return "tokens"
    if limits.cost_usd is not None and counters.cost >= limits.cost_usd * 1_000_000:
        return "cost_usd"
    if limits.seconds is not None and counters.worked >= limits.seconds * 1_000_000:
        return "seconds"
    return None


def before_calls(limits: Limits, snapshot: Snapshot) -> str | None:
    """Return the limit that forbids another call, or None."""
    return "calls" if snapshot.counters.calls >= limits.calls else None


def on_entry(limits: Limits, snapshot: Snapshot) -> str | None:
    """Return `visits` when the current state was entered too often in this stretch."""
    return "visits" if snapshot.recent.get(snapshot.state, 0) > limits.visits else None


def describe(limits: Limits, name: str, state: str) -> str:
    """Return the sentence that names limit, bound and state."""
    return f"limit {name} reached in state {state!r}: {getattr(limits, name)} {_WORDS[name]}"
