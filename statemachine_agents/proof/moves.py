"""What can happen next in a run, as far as rules can tell: the abstract run that is searched.

Rules.  1. A *place* is where a run stands: state, how far its visit is, calls that are open, and
the automaton of each rule.  2. Everything the engine, the model and the world can do leads from
place to place; values are forgotten, so a run may be possible here that values prevent, never the
other way round.  3. The gate does not ask the rules here: what is proven holds by the rows alone.
4. A fact that breaks a rule ends the way: the first broken rule is what is looked for.
Not here: what one fact does (`facts`), searching (`product`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from statemachine_agents.proof.branches import Branches, Roles
from statemachine_agents.proof.cycles import GUARD_ERROR
from statemachine_agents.proof.facts import Facts
from statemachine_agents.proof.place import (
    DOUBT,
    ENDS,
    FRESH,
    LATE,
    MADE,
    OLD_DOUBT,
    OUTCOMES,
    Broken,
    Hop,
    Next,
    Open,
    Place,
)
from statemachine_agents.table.events import OUTSIDE, effect_of
from statemachine_agents.table.model import State
from statemachine_agents.table.rules import TURN

_MODEL: Final = ("model.done", "model.refused", "model.failed")


class Moves:
    """The moves of one table, for some rules."""

    def __init__(self, branches: Branches) -> None:
        self.facts = Facts(branches)

    def start(self) -> Place:
        """Return where every run begins."""
        at = (None,) * len(self.facts.rules)
        place = Place("", "idle", "", frozenset(), "", (), at)
        return self.facts.enter(place, self.facts.table.initial)

    def from_(self, place: Place) -> Iterator[Next]:
        """Return everything that can happen next."""
        if place.phase in ENDS:
            return
        if place.phase == "error":
            yield from self.facts.event(place, GUARD_ERROR)
            return
        state = self.facts.table.states[place.state]
        waits = [call for call in place.open if call[2] in (FRESH, LATE)]
        yield from self._returns(place)
        if place.phase != "asked":  # nothing is taken while the model thinks
            yield from self._resolutions(place)
        if place.phase in ("asked", "calls"):
            yield from self._replying(place, state)
        elif place.phase == "do" and int(place.used) < len(state.do or ()):
            yield from self._doing(place, state, int(place.used))
        if waits:
            return
        match place.phase:
            case "calls" if not place.used.startswith(MADE):
                yield self.facts.quiet(place, place._replace(phase="idle", used=""))
            case "do" if int(place.used) >= len(state.do or ()):
                yield from self.facts.event(place, "settled", phase="settled")
            case "settled" if state.after is None:
                yield self.facts.fails(place, "settled")
            case "settled":
                yield from self.facts.event(place, "timer.fired")
            case "new":
                yield from self._entering(place)
            case "idle":
                yield from self._idle(place, state)

    def _entering(self, place: Place) -> Iterator[Next]:
        if self.facts.cycles.revisits(place.state):
            if place.raised:
                yield self.facts.fails(place, "limit.visits")
            yield from self.facts.event(place, "limit.visits", phase="idle")
        cell = self.facts.grid.cell(place.state, "entered")
        if cell.moves or cell.notes or cell.default == "failed":
            yield from self.facts.event(place, "entered", phase="idle")
        else:
            yield self.facts.quiet(place, place._replace(phase="idle"))

    def _idle(self, place: Place, state: State) -> Iterator[Next]:
        cells = self.facts.grid.cells.get(state.name, {})
        doubts = [call for call in place.open if call[2] in (DOUBT, OLD_DOUBT)]
        events = tuple(
            event for event in OUTSIDE
            if event in cells and not (event == "user.message" and place.open)
        )  # fmt: skip
        yield from self.facts.several(place, events if doubts else ("run.cancelled", *events))
        if any(call[2] == DOUBT for call in doubts):
            return  # parked until it is resolved
        if state.verb == "ask":
            yield from self._asking(place, state)
        elif state.verb == "do":
            yield from self._begin_do(place, state)
        elif state.verb == "run":
            for child in state.run or ():
                for outcome in ("success", "failure"):
                    yield from self.facts.event(place, f"{child}.{outcome}", phase="idle")
            yield from self.facts.event(place, "settled", phase="settled")
            yield from self.facts.event(place, GUARD_ERROR, phase="idle")
        elif "resolution" in (state.wait or ()) and not doubts:
            for tool in self.facts.untracked:  # one may be in doubt for longer than was followed
                yield from self.facts.event(place._replace(raised=""), f"{tool}.ok")
                yield from self.facts.event(place._replace(raised=""), f"{tool}.error")
            if state.wait == ("resolution",) and state.after is None:
                yield self.facts.fails(place, "settled")

    def _asking(self, place: Place, state: State) -> Iterator[Next]:
        if place.raised:
            yield self.facts.fails(place, "limit")
            return
        yield from self.facts.several(place, self.facts.limits)
        hop = Hop(state.name, TURN)
        if not self.facts.hears_turns:
            yield hop, place._replace(phase="asked")
            return
        roles: Roles = tuple(
            ("turn",) if rule.automaton.hears_turns and (rule.per is None or at is not None) else ()
            for rule, at in zip(self.facts.rules, place.at, strict=True)
        )
        played = self.facts.play(place.at, roles)
        yield (
            hop,
            played if isinstance(played, Broken) else place._replace(phase="asked", at=played),
        )

    def _replying(self, place: Place, state: State) -> Iterator[Next]:
        if place.phase == "asked":
            yield from self.facts.several(place, _MODEL)
        asks = any(
            tool in self.facts.table.tools and self.facts.table.tools[tool].approve
            for tool in self.facts.table.tools_in(state)
        )
        if asks:
            yield from self.facts.event(place, "approval.rejected", phase="calls")
        for tool in self.facts.table.tools_in(state):
            reads, used = self.facts.reads(tool), place.used
            free = reads or state.parallel or not used
            after = place._replace(phase="calls", used=used if reads else tool)
            if tool in self.facts.trackable:
                if free:
                    yield from self.facts.intend(after, tool)
            elif reads or state.parallel or used == f"{MADE}{tool}":
                yield from self._outcomes(after, tool)
            elif free:
                made = after._replace(used=f"{MADE}{tool}")
                yield from self.facts.intend(made, tool, tracked=False)

    def _begin_do(self, place: Place, state: State) -> Iterator[Next]:
        if state.do == ("undo",):
            yield from self._undoing(place)
            return
        if state.do:
            if place.raised:
                yield self.facts.fails(place, "limit.calls")
            yield from self.facts.event(place, "limit.calls", phase="idle")
        yield self.facts.quiet(place, place._replace(phase="do", used="0"))

    def _doing(self, place: Place, state: State, begun: int) -> Iterator[Next]:
        tool = (state.do or ())[begun]
        after = place._replace(used=str(begun + 1))
        if self.facts.refusable(tool):
            yield from self.facts.event(after, f"{tool}.error", phase="do")
            yield from self.facts.event(after, "approval.rejected", phase="do")
        yield from self.facts.intend(after, tool)

    def _undoing(self, place: Place) -> Iterator[Next]:
        for tool in self.facts.undos():
            if self.facts.branches.speaks_of(tool) or self.facts.hears_other:
                for branch in self.facts.branches.call(tool):
                    played = self.facts.play(place.at, branch.roles)
                    hop = Hop(place.state, tool, scope=branch.scope)
                    yield hop, played if isinstance(played, Broken) else place._replace(at=played)
            for outcome in OUTCOMES:
                if self.facts.branches.speaks_of(f"{tool}.{outcome}"):
                    yield from self.facts.event(place, f"{tool}.{outcome}", phase="idle", late=True)
        yield from self.facts.event(place, "undo.ok", phase="settled")
        yield from self.facts.event(place, "undo.error", phase="settled")

    def _returns(self, place: Place) -> Iterator[Next]:
        """Return results of open calls: those of this visit may move, late ones do not."""
        for call in dict.fromkeys(place.open):
            tool, _, status = call
            if status == FRESH:
                phase = place.phase if place.phase in ("calls", "do") else "idle"
                yield from self._outcomes(place, tool, call, phase)
            elif status == LATE:
                yield from self._outcomes(place, tool, call, place.phase)

    def _resolutions(self, place: Place) -> Iterator[Next]:
        """Return what calls in doubt turn out to be: they arrive in this visit, and may move."""
        for call in dict.fromkeys(place.open):
            if call[2] in (DOUBT, OLD_DOUBT):
                after = place._replace(raised="")
                for outcome in ("ok", "error"):
                    yield from self.facts.closed(after, call, f"{call[0]}.{outcome}", place.phase)

    def _outcomes(
        self,
        place: Place,
        tool: str,
        call: Open | None = None,
        phase: str = "calls",
    ) -> Iterator[Next]:
        signal = tool in self.facts.table.signals
        reads = self.facts.reads(tool)
        for outcome in ("ok",) if signal else OUTCOMES[:2] if reads else OUTCOMES:
            event = f"{tool}.{outcome}"
            if (
                outcome == "unknown"
                and effect_of(self.facts.table, self.facts.specs, tool) == "transactional"
            ):
                continue
            if call is not None:
                yield from self.facts.closed(place, call, event, phase)
            elif outcome == "unknown":
                made = (tool, (False,) * len(self.facts.rules), DOUBT)
                after = self.facts.opened(place, made)
                yield from self.facts.event(after, event, phase=phase)
            else:
                yield from self.facts.event(place, event, phase=phase)
                if signal:  # the rest of the reply is judged in the state it leads to
                    yield from self.facts.event(place, event, phase=phase, goes_on=True)
