"""What a table's states are to each other whatever the rules: facts waited for, ways back.

Rules.  1. Worked out once for all rules of a table, from branches that no rule listens to.
Not here: cycles as findings (`worst`), what one fact does (`branches`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from statemachine_agents.proof.flow import closure
from statemachine_agents.table.events import from_outside

if TYPE_CHECKING:
    from statemachine_agents.proof.branches import Branches

GUARD_ERROR: Final = "guard.error"


class Cycles:
    """The ways back of one table."""

    def __init__(self, plain: Branches) -> None:
        self.plain = plain
        self.table = plain.table
        self.grid = plain.sheet.grid
        self._needs: dict[str, frozenset[str]] = {}
        self._targets: dict[str, set[str]] | None = None
        self._back: dict[str, bool] = {}

    def needed(self, state: str) -> frozenset[str]:
        """Return the facts that a conjunction of a state waits for."""
        found = self._needs.get(state)
        if found is None:
            found = self._needs[state] = frozenset(
                fact
                for cell in self.grid.cells.get(state, {}).values()
                for entry in (*cell.notes, *cell.moves)
                for fact in entry.needs
            )
        return found

    def revisits(self, state: str) -> bool:
        """Whether rows lead here from here again, with nothing from outside on the way.

        Visits are counted anew at every message, decision, timer and resolution.
        """
        if self._targets is None:
            self._targets = {name: self._own_targets(name) for name in self.grid.cells}
        if state not in self._back:
            self._back[state] = state in closure(self._targets.get(state, ()), self._targets)
        return self._back[state]

    def _own_targets(self, state: str) -> set[str]:
        """Return the states that a state can be left for without anything from outside."""
        out: set[str] = set()
        acting = self.table.states[state]
        fails = acting.verb == "run"
        for event in self.grid.cells[state]:
            if event == GUARD_ERROR:
                continue
            for branch in self.plain.at(state, event, self.needed(state)):
                fails = fails or branch.error
                if branch.target and not from_outside(acting, event):
                    out.add(branch.target)
        if fails:
            out |= {branch.target for branch in self.plain.at(state, GUARD_ERROR)} - {""}
        return out
