"""A first look at one rule: is it kept even if every state's facts could come in any order?

Rules.  1. States times the states of the automaton, nothing more: fast enough for every rule of a
large table.  2. More can happen here than in any run, so "kept" is a proof; "not kept" says only
that `product` must look closer.
Not here: the close look (`moves`, `product`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

from statemachine_agents.proof.branches import Branches, Roles
from statemachine_agents.proof.moves import Moves
from statemachine_agents.proof.place import ENDS, OUTCOMES, Broken, due

Edge: TypeAlias = tuple[Roles, str]
"""What a fact is to the rule, and the state or end it leads to; empty where the run stays."""


class Coarse:
    """What no rule listens to, worked out once for all rules of a table."""

    def __init__(self, plain: Branches) -> None:
        self.plain = plain
        self.table = plain.table
        self.grid = plain.sheet.grid
        self._quiet: dict[tuple[str, str], frozenset[str]] = {}
        self._routed = any(
            event.startswith("limit.") and cell.moves
            for cells in self.grid.cells.values()
            for event, cell in cells.items()
        )
        self._fails = {
            name
            for name, state in self.table.states.items()
            if state.verb in ("do", "run")
            or (state.verb == "ask" and self._routed)
            or (state.verb == "wait" and "resolution" in (state.wait or ()))
        }

    def kept(self, moves: Moves) -> bool:
        """Whether the one rule of some moves is kept in any order of facts."""
        (rule,) = moves.facts.rules
        seen: set[tuple[str, int | None]] = set()
        pending: list[tuple[str, int | None]] = []
        late = self._late(moves)

        def reach(state: str, at: int | None) -> bool:
            """Note a place; return whether a run may end there with something due."""
            final = self.table.states[state].final if state not in ENDS else state
            if final is not None:
                return final != "cancelled" and due(rule, at)
            if (state, at) not in seen:
                seen.add((state, at))
                pending.append((state, at))
            return False

        if reach(self.table.initial, None):
            return False
        while pending:
            state, at = pending.pop()
            for roles, target in (*self._edges(moves, state), *late):
                after: int | Broken | None = at
                if roles[0]:
                    played = moves.facts.play((at,), roles)
                    after = played if isinstance(played, Broken) else played[0]
                    if isinstance(after, int) and rule.form in ("must", "not_both"):
                        after = max(-1, min(1, after))
                if isinstance(after, Broken) or reach(target or state, after):
                    return False
        return True

    def _edges(self, moves: Moves, state: str) -> Iterator[Edge]:
        branches = moves.facts.branches
        nothing: Roles = ((),)
        needed = moves.facts.cycles.needed(state)
        for event in self.grid.cells.get(state, {}):
            if not branches.speaks_of(event):
                for target in self._targets(state, event, needed):
                    yield nothing, target
                continue
            for facts in dict.fromkeys((frozenset[str](), needed)):
                for branch in branches.at(state, event, facts):
                    yield branch.roles, branch.target or branch.end
        if state in self._fails:
            yield nothing, "failed"
        spoken = self.table.states[state]
        tools = moves.facts.undos() if spoken.do == ("undo",) else self.table.tools_in(spoken)
        for tool in tools:
            if moves.facts.hears_other or branches.speaks_of(tool):
                for branch in branches.call(tool):
                    yield branch.roles, ""
        if moves.facts.hears_turns and spoken.verb == "ask":
            yield (("turn",),), ""

    def _targets(self, state: str, event: str, needed: frozenset[str]) -> frozenset[str]:
        found = self._quiet.get((state, event))
        if found is None:
            found = self._quiet[state, event] = frozenset(
                branch.target or branch.end
                for facts in {frozenset[str](), needed}
                for branch in self.plain.at(state, event, facts)
            )
        return found

    def _late(self, moves: Moves) -> list[Edge]:
        """Return what results are to the rule when they come late, or settle a doubt."""
        branches = moves.facts.branches
        found: dict[Edge, None] = {}
        for tool in {tool for state in self.table.states.values() for tool in (
            *self.table.tools_in(state), *moves.facts.undos())}:  # fmt: skip
            for outcome in OUTCOMES:
                event = f"{tool}.{outcome}"
                if branches.speaks_of(event):
                    for branch in branches.at("", event):
                        found[branch.roles, ""] = None
        return list(found)
