"""What one fact makes of a place: the row that fires, the calls that are open, the automata.

Rules.  1. A fact that breaks a rule ends the way.  2. A call is followed by name where a rule can
tell how it ended, or the engine waits for it; of other calls only doubts are.  3. Numbers that no
rule can tell apart are forgotten, so there are few places.
Not here: which facts can come (`moves`), guards and roles (`branches`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import attrs

from statemachine_agents.proof.branches import Branch, Branches, Roles
from statemachine_agents.proof.cycles import GUARD_ERROR
from statemachine_agents.proof.place import (
    DOUBT,
    FRESH,
    LATE,
    LIMIT,
    MANY,
    OLD_DOUBT,
    OUTCOMES,
    Broken,
    Hop,
    Next,
    Open,
    Place,
)
from statemachine_agents.table.automata import Role
from statemachine_agents.table.events import OUTSIDE, effect_of

_BEFORE_ASKING: Final = (
    "refusals", "nudges", "iterations", "idle", "requests", "calls", "tokens", "cost_usd",
    "seconds",
)  # fmt: skip


class Facts:
    """What facts do in one table, for some rules."""

    def __init__(self, branches: Branches) -> None:
        self.branches = branches
        self.rules = branches.rules
        self.table = branches.table
        self.grid = branches.sheet.grid
        self.specs = branches.sheet.specs
        self.cycles = branches.cycles
        self.hears_other = any(rule.automaton.hears_other for rule in self.rules)
        self.hears_turns = any(rule.automaton.hears_turns for rule in self.rules)
        self._readers = {
            tool for tool in self.tools()
            if effect_of(self.table, self.specs, tool) in ("read", "signal")
        }  # fmt: skip
        self.trackable = {tool for tool in self.tools() if self._tracked(tool)}
        self.untracked = [
            tool for tool in sorted(self.tools() - self.trackable)
            if effect_of(self.table, self.specs, tool) in ("manual", "verifiable", "idempotent")
        ]  # fmt: skip
        self.limits = tuple(
            f"limit.{name}" for name in _BEFORE_ASKING
            if getattr(self.table.limits, name) is not None
        )  # fmt: skip
        self.seen: list[set[Role]] = [set() for _ in self.rules]
        """Roles that facts can play, as far as was searched."""
        self._refusable: dict[str, bool] = {}
        self._alike: dict[
            tuple[str, tuple[str, ...]], tuple[tuple[str, ...], tuple[tuple[str, Branch], ...]]
        ] = {}

    def intend(self, place: Place, tool: str, *, tracked: bool = True) -> Iterator[Next]:
        """Return what the intent of a call does; one that is not tracked is not kept open."""
        for branch in self.branches.call(tool):
            hop = Hop(place.state, tool, scope=branch.scope, mine=self._mine(branch.roles))
            played = self.play(place.at, branch.roles)
            if isinstance(played, Broken):
                yield hop, played
                continue
            if not tracked:
                yield hop, place._replace(at=played)
                continue
            counted = tuple(
                rule.counts(roles) and new != old
                for rule, roles, new, old in zip(
                    self.rules, branch.roles, played, place.at, strict=True
                )
            )
            call = (tool, counted, FRESH)
            yield hop, self._normal(place._replace(open=self._with(place.open, call), at=played))

    def closed(self, place: Place, call: Open, event: str, phase: str) -> Iterator[Next]:
        """Return what the outcome of a tracked call does."""
        tool, counted, status = call
        late = status == LATE
        outcome = event.rpartition(".")[2]
        at = place.at
        if outcome == "error":
            at = tuple(
                rule.automaton.take_back(now or 0) if mine else now
                for rule, mine, now in zip(self.rules, counted, place.at, strict=True)
            )
        for rest in self._without(place.open, call):
            opened = rest
            if outcome == "unknown":
                opened = self._with(rest, (tool, counted, OLD_DOUBT if late else DOUBT))
            after = place._replace(open=opened, at=at)
            yield from self.event(after, event, phase=phase, late=late)
            if tool in self.table.signals and not late:
                yield from self.event(after, event, phase=phase, goes_on=True)

    def event(
        self,
        place: Place,
        event: str,
        *,
        phase: str = "idle",
        late: bool = False,
        goes_on: bool = False,
    ) -> Iterator[Next]:
        """Return what an event does."""
        keeps = not late and event in self.cycles.needed(place.state)
        facts = place.facts | {event} if keeps else place.facts
        raised = "" if event in OUTSIDE else place.raised
        for branch in self.branches.at(place.state, event, place.facts):
            if goes_on and not branch.target:
                continue
            hop = Hop(
                place.state, event, "" if branch.row is None else branch.row.label,
                scope=branch.scope, mine=self._mine(branch.roles), late=late,
            )  # fmt: skip
            played = self.play(place.at, branch.roles)
            if isinstance(played, Broken):
                yield hop, played
                continue
            now = self._normal(place._replace(facts=facts, at=played, raised=raised))
            yield self._landed(now, hop, branch, event, phase, late=late, goes_on=goes_on)

    def several(self, place: Place, events: tuple[str, ...], phase: str = "idle") -> Iterator[Next]:
        """Return what events do, of those that no rule hears and that do the same only one."""
        key = (place.state, events)
        found = self._alike.get(key)
        if found is None:
            alone: list[str] = []
            alike: dict[tuple[object, ...], tuple[str, Branch]] = {}
            for event in events:
                if self.branches.speaks_of(event) or event in self.cycles.needed(place.state):
                    alone.append(event)
                    continue
                limited, outside = event.startswith("limit."), event in OUTSIDE
                for branch in self.branches.at(place.state, event):
                    what = (branch.target, branch.end, branch.error, limited, outside)
                    alike.setdefault((*what, branch.row is None), (event, branch))
            found = self._alike[key] = (tuple(alone), tuple(alike.values()))
        for event in found[0]:
            yield from self.event(place, event, phase=phase)
        calm = place._replace(raised="") if place.raised else place
        for event, branch in found[1]:
            row = "" if branch.row is None else branch.row.label
            hop = Hop(place.state, event, row, scope=branch.scope)
            now = calm if event in OUTSIDE else place
            yield self._landed(now, hop, branch, event, phase, late=False, goes_on=False)

    def _landed(
        self,
        place: Place,
        hop: Hop,
        branch: Branch,
        event: str,
        phase: str,
        *,
        late: bool,
        goes_on: bool,
    ) -> Next:
        if late:
            return attrs.evolve(hop, row=""), place._replace(phase=phase)
        if branch.error and event != GUARD_ERROR:
            return attrs.evolve(hop, row="cannot be decided"), place._replace(phase="error")
        if branch.error or branch.end:
            end = "failed" if branch.error else branch.end
            return attrs.evolve(hop, row="default", target=end), place._replace(phase=end)
        limited = event.startswith("limit.") and branch.row is not None
        raised = LIMIT if limited else place.raised
        if not branch.target:
            return hop, place._replace(phase=phase, raised=raised)
        after = self.enter(place._replace(raised=raised), branch.target)
        if goes_on and after.phase == "new":
            after = after._replace(phase="calls", used=place.used)
        return attrs.evolve(hop, target=branch.target), after

    def enter(self, place: Place, state: str) -> Place:
        """Return the place after entering a state: a new visit, or an end."""
        final = self.table.states[state].final if state in self.table.states else "failure"
        if final is not None:
            return Place(state, str(final), "", frozenset(), "", (), place.at)
        aged = {FRESH: LATE, DOUBT: OLD_DOUBT}
        opened: tuple[Open, ...] = ()
        for tool, counted, status in place.open:
            if tool in self.trackable or status != OLD_DOUBT:
                opened = self._with(opened, (tool, counted, aged.get(status, status)))
        return Place(state, "new", "", frozenset(), place.raised, opened, place.at)

    def quiet(self, place: Place, after: Place) -> Next:
        """Return a move that is no fact."""
        return Hop(place.state, ""), after

    def fails(self, place: Place, event: str) -> Next:
        """Return a move by which the engine ends the run as failed."""
        return Hop(place.state, event, "default", "failed"), place._replace(phase="failed")

    def play(self, at: tuple[int | None, ...], roles: Roles) -> tuple[int | None, ...] | Broken:
        """Return the automata after a fact, or which rule it breaks."""
        if not any(roles):
            return at
        out = list(at)
        for number, (rule, mine) in enumerate(zip(self.rules, roles, strict=True)):
            if not mine:
                continue
            self.seen[number].update(mine)
            before = out[number]
            now, broken = rule.automaton.play_all(before or 0, mine, rule.n)
            if broken:
                return Broken(number)
            if now != (before or 0):
                out[number] = now or None
        return tuple(out)

    def _normal(self, place: Place) -> Place:
        """Forget numbers that no rule can tell apart: one call that stays is enough."""
        at = list(place.at)
        for number, rule in enumerate(self.rules):
            now = at[number]
            if now is not None and rule.form in ("must", "not_both"):
                back = sum(call[1][number] for call in place.open)
                size = min(abs(now), 1 + back)
                at[number] = size if now > 0 else -size
        return place._replace(at=tuple(at))

    def _mine(self, roles: Roles) -> bool:
        return any(roles) or all(rule.per is None for rule in self.rules)

    def tools(self) -> set[str]:
        """Return every tool and signal that a state offers or calls."""
        return {tool for state in self.table.states.values() for tool in self.table.tools_in(state)}

    def _tracked(self, tool: str) -> bool:
        """Whether rules can tell how a call of a tool ended, or the engine waits for it by name."""
        if self.hears_other or any(
            tool in (state.do or ()) for state in self.table.states.values()
        ):
            return True
        if any(self.branches.speaks_of(f"{tool}.{outcome}") for outcome in OUTCOMES):
            return True
        back = any(rule.automaton.takes_back for rule in self.rules)
        together = self.reads(tool) or any(state.parallel for state in self.table.states.values())
        return self.branches.speaks_of(tool) and (back or together)

    def refusable(self, tool: str) -> bool:
        """Whether the gate may refuse a call that the engine makes, which is an error without one.

        By a condition, a person, any rule of the table, or a bound value that may not fit.
        """
        found = self._refusable.get(tool)
        if found is None:
            use = self.table.tools.get(tool)
            asked = use is not None and bool(use.when or use.approve)
            found = asked or self._ruled(tool) or not self.branches.fits(tool)
            self._refusable[tool] = found
        return found

    def _ruled(self, tool: str) -> bool:
        return any(
            rule.automaton.hears_other or any(atom.name == tool for atom in rule.atoms())
            for _, rule in self.branches.sheet.rules
        )

    def reads(self, tool: str) -> bool:
        """Whether several calls of a tool may run at once."""
        return tool in self._readers

    def _most(self, call: Open) -> int:
        tool, counted, _ = call
        return MANY if any(counted) or not self.reads(tool) else 1

    def opened(self, place: Place, call: Open) -> Place:
        """Return a place with one more open call."""
        return place._replace(open=self._with(place.open, call))

    def _with(self, opened: tuple[Open, ...], call: Open) -> tuple[Open, ...]:
        return opened if opened.count(call) >= self._most(call) else tuple(sorted((*opened, call)))

    def _without(self, opened: tuple[Open, ...], call: Open) -> Iterator[tuple[Open, ...]]:
        """Return the calls without one; of many, there may still be many."""
        rest = list(opened)
        rest.remove(call)
        yield tuple(rest)
        if opened.count(call) >= self._most(call):
            yield opened

    def undos(self) -> list[str]:
        """Return the tools that undo others."""
        named = [use.undo for use in self.table.tools.values() if use.undo]
        named += [spec.undo for spec in (self.specs or {}).values() if spec.undo]
        return list(dict.fromkeys(named))
