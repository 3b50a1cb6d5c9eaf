"""A snapshot: where a run stands, as one frozen value.

Rules.  1. Never changed in place: dicts inside are copied before they differ.  2. Plain data, so a
snapshot can be compared, printed and rebuilt from the journal.
Not here: how it changes (`kernel.step`, `journal.fold`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import attrs

from statemachine_agents.values import JSON

Status: TypeAlias = Literal["running", "waiting", "succeeded", "failed", "cancelled", "quarantined"]

ENDED: frozenset[str] = frozenset({"succeeded", "failed", "cancelled"})


@attrs.frozen
class Counters:
    """What limits count. The first five restart with each stretch; the others never.

    Args:
        iterations: model requests of this stretch.
        calls: tool calls of this stretch.
        refusals: refused proposals of this stretch.
        nudges: reminders of this stretch.
        idle: turns in a row without anything new.
        requests: model requests of the run.
        tokens: input and output tokens of the run.
        cost: millionths of a US dollar of the run.
        worked: microseconds of working time of the run.
    """

    iterations: int = 0
    calls: int = 0
    refusals: int = 0
    nudges: int = 0
    idle: int = 0
    requests: int = 0
    tokens: int = 0
    cost: int = 0
    worked: int = 0

    def plus(
        self,
        *,
        iterations: int = 0,
        calls: int = 0,
        refusals: int = 0,
        nudges: int = 0,
        requests: int = 0,
        tokens: int = 0,
        cost: int = 0,
        worked: int = 0,
    ) -> Counters:
        """Return counters with more on some of them; several times as fast as `attrs.evolve`."""
        return Counters(
            self.iterations + iterations,
            self.calls + calls,
            self.refusals + refusals,
            self.nudges + nudges,
            self.idle,
            self.requests + requests,
            self.tokens + tokens,
            self.cost + cost,
            self.worked + worked,
        )

    def asked(self, *, idle: int) -> Counters:
        """Return counters after one more model request, with `idle` turns before it."""
        return Counters(
            self.iterations + 1,
            self.calls,
            self.refusals,
            self.nudges,
            idle,
            self.requests + 1,
            self.tokens,
            self.cost,
            self.worked,
        )


@attrs.frozen
class Snapshot:
    """State, context, status, counters, facts of this visit, rule automata.

    Args:
        state: name of the current state.
        context: the run's data.
        status: `running`, `waiting`, or how it ended.
        visit: number of the current visit; every entry into a state gets the next one.
        visits: state -> visits in this run.
        recent: state -> visits in this stretch.
        counters: what limits count.
        facts: event -> payload, of this visit; conjunctions look here.
        rules: one automaton state per rule, in table order.
    """

    state: str
    context: Mapping[str, JSON]
    status: Status = "running"
    visit: int = 0
    visits: Mapping[str, int] = attrs.field(factory=dict)
    recent: Mapping[str, int] = attrs.field(factory=dict)
    counters: Counters = attrs.field(factory=Counters)
    facts: Mapping[str, JSON] = attrs.field(factory=dict)
    rules: tuple[Mapping[str, Any], ...] = ()

    def counted(
        self, counters: Counters, rules: tuple[Mapping[str, Any], ...] | None = None
    ) -> Snapshot:
        """Return the snapshot with other counters, and other rule automata if given."""
        return Snapshot(
            self.state,
            self.context,
            self.status,
            self.visit,
            self.visits,
            self.recent,
            counters,
            self.facts,
            self.rules if rules is None else rules,
        )

    def noted(
        self,
        context: Mapping[str, JSON],
        facts: Mapping[str, JSON],
        rules: tuple[Mapping[str, Any], ...],
    ) -> Snapshot:
        """Return the snapshot with other data, still in the same visit."""
        return Snapshot(
            self.state,
            context,
            self.status,
            self.visit,
            self.visits,
            self.recent,
            self.counters,
            facts,
            rules,
        )

    @property
    def ended(self) -> bool:
        """Whether nothing can happen any more."""
        return self.status in ENDED
