"""The only door to the `transitions` library: it decides which row moves a run.

Rules.  1. One flat machine per workflow, shared by all runs; a run is a small cursor.
2. `transitions` only *decides*: no callbacks, no strings handed to it, no auto transitions, no
async machine (which silently cancels running transitions), no hierarchy (five times slower).
3. Guards are our `Condition` subclass: evaluate, insist on a boolean, note the verdict.
Not here: notes, defaults, what a move changes (`kernel.step`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
from transitions.core import Condition, EventData, Machine, Transition

from statemachine_agents.errors import EvaluationError
from statemachine_agents.table.grid import Entry, Grid
from statemachine_agents.values import JSON


@attrs.frozen
class Verdict:
    """What one guard said: True, False, or None with the reason when it could not be evaluated.

    `missing` says that a conjunction still waits for facts, so its guard was not asked.
    """

    row: int
    value: bool | None
    error: str = ""
    missing: bool = False


@attrs.define(slots=True)
class Cursor:
    """What the library moves: the state, and what guards need to see.

    `scope` is the names a guard reads; `facts` the events of this visit; `entry` the row that
    fired, with the facts it needed: a row may stand in a cell twice, alone and in a conjunction.
    """

    state: str
    scope: Mapping[str, JSON]
    facts: Mapping[str, JSON]
    verdicts: list[Verdict]
    entry: Entry | None = None


class _Guard(Condition):
    """One row's condition inside the library."""

    def __init__(self, func: Any, target: bool = True) -> None:  # the library says "callable"
        super().__init__(func, target)
        self.entry: Entry = func

    def check(self, event_data: EventData) -> bool:
        cursor: Any = event_data.model
        row = self.entry.row
        for fact in self.entry.needs:
            if fact not in cursor.facts:
                cursor.verdicts.append(Verdict(row.index, False, "", True))
                return False
        if row.guard is None:
            cursor.entry = self.entry
            return True
        scope = cursor.scope
        if self.entry.needs:
            scope = {**scope, "results": results_of(self.entry.needs, cursor.facts)}
        try:
            held = row.guard.holds(scope)
        except EvaluationError as error:
            cursor.verdicts.append(Verdict(row.index, None, str(error)))
            raise
        cursor.verdicts.append(Verdict(row.index, held))
        if held:
            cursor.entry = self.entry
        return held


class _Row(Transition):
    condition_cls = _Guard


class _Machine(Machine):
    transition_cls = _Row


def results_of(needs: tuple[str, ...], facts: Mapping[str, JSON]) -> dict[str, JSON]:
    """Return `results.<name>` for a conjunction: the value of each member's tool or workflow."""
    return {need.split(".")[0]: facts.get(need) for need in needs}


class Decider:
    """A compiled grid."""

    def __init__(self, grid: Grid) -> None:
        states = list(grid.table.states)
        self._machine = _Machine(
            model=None,
            states=states,
            initial=grid.table.initial,
            auto_transitions=False,
            send_event=True,
        )
        for state, cells in grid.cells.items():
            for event, cell in cells.items():
                for entry in cell.moves:
                    # A target of None is the library's internal transition: taken, not moved.
                    target = None if entry.row.stays else entry.row.transition.target
                    condition: Any = entry
                    self._machine.add_transition(event, state, target, conditions=condition)

    def decide(self, cursor: Cursor, event: str) -> Entry | None:
        """Fire an event; return the entry that took it and move the cursor, or None.

        Call this only for cells that hold moves.

        Raises:
            EvaluationError: a guard met a value it has no meaning for; the cursor has not moved.
        """
        self._machine.events[event].trigger(cursor)
        return cursor.entry
