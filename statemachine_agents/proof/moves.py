"""What can happen next in a run, as far as rules can tell: the abstract run that is searched.

Rules.  1. A *place* is where a run stands: state, how far its visit is, calls that are open, and
the automaton of each rule.  2. Everything the engine, the model and the world can do leads from
place to place; values are forgotten, so a run may be possible here that values prevent, never the
other way round.  3. The gate does not ask the rules here: what is proven holds by the rows alone.
4. A fact that breaks a rule ends the way: the first broken rule is what is looked for.
Not here: what one fact does in one state (`branches`), searching (`product`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple, TypeAlias

import attrs

from statemachine_agents.proof.branches import GUARD_ERROR, Branch, Branches, Roles
from statemachine_agents.table.automata import Role
from statemachine_agents.table.events import effect_of
from statemachine_agents.table.model import State
from statemachine_agents.table.rules import TURN, Rule
from statemachine_agents.values import JSON

FRESH, LATE, DOUBT, OLD_DOUBT = range(4)
"""A call made in this visit; made before it; in doubt since this visit; in doubt for longer."""

MANY: Final = 2
"""So many alike calls at once stand for any number; of reads that no rule counts, one does."""

LIMIT: Final = "limit"

_OUTSIDE: Final = ("user.message", "approval.granted", "approval.rejected", "timer.fired")
_OUTCOMES: Final = ("ok", "error", "unknown")
_MADE: Final = "made "
"""Before the name of a tool in `Place.used`: it was called, and how that ended is still to come."""
_MODEL: Final = ("model.done", "model.refused", "model.failed")
_BEFORE_ASKING: Final = (
    "refusals", "nudges", "iterations", "idle", "requests", "calls", "tokens", "cost_usd", "seconds",
)  # fmt: skip

Open: TypeAlias = tuple[str, tuple[bool, ...], int]
"""A call: its tool, which rules count it until it fails, and one of `FRESH LATE DOUBT OLD_DOUBT`."""


class Place(NamedTuple):
    """Where an abstract run stands.

    `phase`: `new` (just entered), `idle`, `asked` (the model replies), `calls` (it has called),
    `do` (the engine calls, `used` says how far it is), `settled`, `error`, or an end: `success`,
    `failure`, `failed`, `cancelled`.
    """

    state: str
    phase: str
    used: str
    facts: frozenset[str]
    raised: str
    open: tuple[Open, ...]
    at: tuple[int | None, ...]


ENDS: Final = frozenset({"success", "failure", "failed", "cancelled"})


@attrs.frozen
class Hop:
    """One fact of a run.

    Args:
        state: where it happens.
        fact: a tool (its intent), an event, or `model.asked`.
        row: label of the row that fires; `default` where none does and that ends the run.
        target: the state or end it leads to; empty where the run stays.
        scope: values with which it happens, as far as conditions read them.
        mine: whether it is about the value of `per=` that is followed.
        late: whether it is the result of a call made in an earlier visit.
    """

    state: str
    fact: str
    row: str = ""
    target: str = ""
    scope: Mapping[str, JSON] = attrs.field(factory=dict)
    mine: bool = True
    late: bool = False

    def __str__(self) -> str:
        row = f" ({self.row})" if self.row else ""
        return f"{self.state}: {self.fact}{row}" + (f" -> {self.target}" if self.target else "")


class Broken(NamedTuple):
    """A rule that a hop breaks: index of the rule."""

    rule: int


Next: TypeAlias = tuple[Hop, "Place | Broken"]


class Moves:
    """The moves of one table, for some rules."""

    def __init__(self, branches: Branches) -> None:
        self.branches = branches
        self.rules = branches.rules
        self.table = branches.table
        self.grid = branches.sheet.grid
        self.specs = branches.sheet.specs
        self.hears_other = any(rule.automaton.hears_other for rule in self.rules)
        self.hears_turns = any(rule.automaton.hears_turns for rule in self.rules)
        self._readers = {
            tool for tool in self._tools()
            if effect_of(self.table, self.specs, tool) in ("read", "signal")
        }  # fmt: skip
        self.trackable = {tool for tool in self._tools() if self._tracked(tool)}
        self._untracked = [
            tool for tool in sorted(self._tools() - self.trackable)
            if effect_of(self.table, self.specs, tool) in ("manual", "verifiable", "idempotent")
        ]  # fmt: skip
        self._limits = tuple(
            f"limit.{name}" for name in _BEFORE_ASKING
            if getattr(self.table.limits, name) is not None
        )  # fmt: skip
        self.seen: list[set[Role]] = [set() for _ in self.rules]
        """Roles that facts can play, as far as was searched."""
        self._inside: dict[str, set[str]] | None = None
        self._cycles: dict[str, bool] = {}
        self._needs: dict[str, frozenset[str]] = {}
        self._alike: dict[
            tuple[str, tuple[str, ...]], tuple[tuple[str, ...], tuple[tuple[str, Branch], ...]]
        ] = {}

    def start(self) -> Place:
        """Return where every run begins."""
        at = (None,) * len(self.rules)
        place = Place("", "idle", "", frozenset(), "", (), at)
        return self._enter(place, self.table.initial)

    def from_(self, place: Place) -> Iterator[Next]:
        """Return everything that can happen next."""
        if place.phase in ENDS:
            return
        if place.phase == "error":
            yield from self._event(place, GUARD_ERROR)
            return
        state = self.table.states[place.state]
        waits = [call for call in place.open if call[2] in (FRESH, LATE)]
        yield from self._returns(place, state)
        if place.phase != "asked":  # nothing is taken while the model thinks
            yield from self._resolutions(place)
        if place.phase in ("asked", "calls"):
            yield from self._replying(place, state)
        elif place.phase == "do" and int(place.used) < len(state.do or ()):
            yield from self._doing(place, state, int(place.used))
        if waits:
            return
        match place.phase:
            case "calls" if not place.used.startswith(_MADE):
                yield self._quiet(place, place._replace(phase="idle", used=""))
            case "do" if int(place.used) >= len(state.do or ()):
                yield from self._event(place, "settled", phase="settled")
            case "settled" if state.after is None:
                yield self._fails(place, "settled")
            case "settled":
                yield from self._event(place, "timer.fired")
            case "new":
                yield from self._entering(place)
            case "idle":
                yield from self._idle(place, state)

    # ------------------------------------------------------------------------- what comes when

    def _entering(self, place: Place) -> Iterator[Next]:
        if self._revisits(place.state):
            if place.raised:
                yield self._fails(place, "limit.visits")
            yield from self._event(place, "limit.visits", phase="idle")
        cell = self.grid.cell(place.state, "entered")
        if cell.moves or cell.notes or cell.default == "failed":
            yield from self._event(place, "entered", phase="idle")
        else:
            yield self._quiet(place, place._replace(phase="idle"))

    def _idle(self, place: Place, state: State) -> Iterator[Next]:
        cells = self.grid.cells.get(state.name, {})
        doubts = [call for call in place.open if call[2] in (DOUBT, OLD_DOUBT)]
        events = tuple(
            event for event in _OUTSIDE
            if event in cells and not (event == "user.message" and place.open)
        )  # fmt: skip
        yield from self._several(place, events if doubts else ("run.cancelled", *events))
        if any(call[2] == DOUBT for call in doubts):
            return  # parked until it is resolved
        if state.verb == "ask":
            yield from self._asking(place, state)
        elif state.verb == "do":
            yield from self._begin_do(place, state)
        elif state.verb == "run":
            for child in state.run or ():
                for outcome in ("success", "failure"):
                    yield from self._event(place, f"{child}.{outcome}", phase="idle")
            yield from self._event(place, "settled", phase="settled")
            yield from self._event(place, GUARD_ERROR, phase="idle")
        elif "resolution" in (state.wait or ()) and not doubts:
            for tool in self._untracked:  # one may be in doubt for longer than was followed
                yield from self._event(place._replace(raised=""), f"{tool}.ok")
                yield from self._event(place._replace(raised=""), f"{tool}.error")
            if state.wait == ("resolution",) and state.after is None:
                yield self._fails(place, "settled")

    def _asking(self, place: Place, state: State) -> Iterator[Next]:
        if place.raised:
            yield self._fails(place, "limit")
            return
        yield from self._several(place, self._limits)
        hop = Hop(state.name, TURN)
        if not self.hears_turns:
            yield hop, place._replace(phase="asked")
            return
        roles: Roles = tuple(
            ("turn",) if rule.automaton.hears_turns and (rule.per is None or at is not None) else ()
            for rule, at in zip(self.rules, place.at, strict=True)
        )
        played = self.play(place.at, roles)
        yield (
            hop,
            played if isinstance(played, Broken) else place._replace(phase="asked", at=played),
        )

    def _replying(self, place: Place, state: State) -> Iterator[Next]:
        if place.phase == "asked":
            yield from self._several(place, _MODEL)
        asks = any(
            tool in self.table.tools and self.table.tools[tool].approve
            for tool in self.table.tools_in(state)
        )
        if asks:
            yield from self._event(place, "approval.rejected", phase="calls")
        for tool in self.table.tools_in(state):
            reads, used = self._reads(tool), place.used
            free = reads or state.parallel or not used
            after = place._replace(phase="calls", used=used if reads else tool)
            if tool in self.trackable:
                if free:
                    yield from self._intend(after, tool)
            elif reads or state.parallel or used == f"{_MADE}{tool}":
                yield from self._outcomes(after, tool)
            elif free:
                made = after._replace(used=f"{_MADE}{tool}")
                yield from self._intend(made, tool, tracked=False)

    def _begin_do(self, place: Place, state: State) -> Iterator[Next]:
        if state.do == ("undo",):
            yield from self._undoing(place)
            return
        if state.do == ():
            yield self._fails(place, "entered")
            return
        if place.raised:
            yield self._fails(place, "limit.calls")
        yield from self._event(place, "limit.calls", phase="idle")
        yield self._quiet(place, place._replace(phase="do", used="0"))

    def _doing(self, place: Place, state: State, begun: int) -> Iterator[Next]:
        tool = (state.do or ())[begun]
        after = place._replace(used=str(begun + 1))
        use = self.table.tools.get(tool)
        if use is not None and (use.when or use.approve):
            yield from self._event(after, f"{tool}.error", phase="do")
            if use.approve:
                yield from self._event(after, "approval.rejected", phase="do")
        yield from self._intend(after, tool)

    def _undoing(self, place: Place) -> Iterator[Next]:
        for tool in self.undos():
            if self.branches.speaks_of(tool) or self.hears_other:
                for branch in self.branches.call(tool):
                    played = self.play(place.at, branch.roles)
                    hop = Hop(place.state, tool, scope=branch.scope)
                    yield hop, played if isinstance(played, Broken) else place._replace(at=played)
            for outcome in _OUTCOMES:
                if self.branches.speaks_of(f"{tool}.{outcome}"):
                    yield from self._event(place, f"{tool}.{outcome}", phase="idle", late=True)
        yield from self._event(place, "undo.ok", phase="settled")
        yield from self._event(place, "undo.error", phase="settled")

    # --------------------------------------------------------------------------------- calls

    def _intend(self, place: Place, tool: str, *, tracked: bool = True) -> Iterator[Next]:
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

    def _returns(self, place: Place, state: State) -> Iterator[Next]:
        """Return results of open calls: those of this visit may move, late ones do not."""
        for call in dict.fromkeys(place.open):
            tool, _, status = call
            if status == FRESH:
                phase = place.phase if place.phase in ("calls", "do") else "idle"
                yield from self._outcomes(place, tool, call, phase)
            elif status == LATE:
                yield from self._outcomes(place, tool, call, place.phase)
        del state

    def _resolutions(self, place: Place) -> Iterator[Next]:
        """Return what calls in doubt turn out to be: they arrive in this visit, and may move."""
        for call in dict.fromkeys(place.open):
            if call[2] in (DOUBT, OLD_DOUBT):
                after = place._replace(raised="")
                for outcome in ("ok", "error"):
                    yield from self._closed(after, call, f"{call[0]}.{outcome}", place.phase)

    def _outcomes(
        self,
        place: Place,
        tool: str,
        call: Open | None = None,
        phase: str = "calls",
    ) -> Iterator[Next]:
        signal = tool in self.table.signals
        reads = self._reads(tool)
        for outcome in ("ok",) if signal else _OUTCOMES[:2] if reads else _OUTCOMES:
            event = f"{tool}.{outcome}"
            if outcome == "unknown" and effect_of(self.table, self.specs, tool) == "transactional":
                continue
            if call is not None:
                yield from self._closed(place, call, event, phase)
            elif outcome == "unknown":
                made = (tool, (False,) * len(self.rules), DOUBT)
                after = place._replace(open=self._with(place.open, made))
                yield from self._event(after, event, phase=phase)
            else:
                yield from self._event(place, event, phase=phase)
                if signal:  # the rest of the reply is judged in the state it leads to
                    yield from self._event(place, event, phase=phase, goes_on=True)

    def _closed(self, place: Place, call: Open, event: str, phase: str) -> Iterator[Next]:
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
            yield from self._event(after, event, phase=phase, late=late)
            if tool in self.table.signals and not late:
                yield from self._event(after, event, phase=phase, goes_on=True)

    # -------------------------------------------------------------------------------- events

    def _event(
        self,
        place: Place,
        event: str,
        *,
        phase: str = "idle",
        late: bool = False,
        goes_on: bool = False,
    ) -> Iterator[Next]:
        """Return what an event does."""
        keeps = not late and event in self.needed(place.state)
        facts = place.facts | {event} if keeps else place.facts
        raised = "" if event in _OUTSIDE else place.raised
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

    def _several(
        self, place: Place, events: tuple[str, ...], phase: str = "idle"
    ) -> Iterator[Next]:
        """Return what events do, of those that no rule hears and that do the same only one."""
        key = (place.state, events)
        found = self._alike.get(key)
        if found is None:
            alone, alike = [], {}
            for event in events:
                if self.branches.speaks_of(event) or event in self.needed(place.state):
                    alone.append(event)
                    continue
                limited, outside = event.startswith("limit."), event in _OUTSIDE
                for branch in self.branches.at(place.state, event):
                    what = (branch.target, branch.end, branch.error, limited, outside)
                    alike.setdefault((*what, branch.row is None), (event, branch))
            found = self._alike[key] = (tuple(alone), tuple(alike.values()))
        for event in found[0]:
            yield from self._event(place, event, phase=phase)
        calm = place._replace(raised="") if place.raised else place
        for event, branch in found[1]:
            row = "" if branch.row is None else branch.row.label
            hop = Hop(place.state, event, row, scope=branch.scope)
            now = calm if event in _OUTSIDE else place
            yield self._landed(now, hop, branch, event, phase, late=False, goes_on=False)

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
        after = self._enter(place._replace(raised=raised), branch.target)
        if goes_on and after.phase == "new":
            after = after._replace(phase="calls", used=place.used)
        return attrs.evolve(hop, target=branch.target), after

    def _enter(self, place: Place, state: str) -> Place:
        final = self.table.states[state].final if state in self.table.states else "failure"
        if final is not None:
            return Place(state, str(final), "", frozenset(), "", (), place.at)
        aged = {FRESH: LATE, DOUBT: OLD_DOUBT}
        opened: tuple[Open, ...] = ()
        for tool, counted, status in place.open:
            if tool in self.trackable or status != OLD_DOUBT:
                opened = self._with(opened, (tool, counted, aged.get(status, status)))
        return Place(state, "new", "", frozenset(), place.raised, opened, place.at)

    def _quiet(self, place: Place, after: Place) -> Next:
        return Hop(place.state, ""), after

    def _fails(self, place: Place, event: str) -> Next:
        return Hop(place.state, event, "default", "failed"), place._replace(phase="failed")

    # --------------------------------------------------------------------------------- rules

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
        """Forget numbers that no rule can tell apart: a call that cannot be taken back is enough."""
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

    # --------------------------------------------------------------------------------- tools

    def _tools(self) -> set[str]:
        return {tool for state in self.table.states.values() for tool in self.table.tools_in(state)}

    def _tracked(self, tool: str) -> bool:
        """Whether rules can tell how a call of a tool ended, or the engine waits for it by name."""
        if self.hears_other or any(
            tool in (state.do or ()) for state in self.table.states.values()
        ):
            return True
        if any(self.branches.speaks_of(f"{tool}.{outcome}") for outcome in _OUTCOMES):
            return True
        back = any(rule.automaton.takes_back for rule in self.rules)
        together = self._reads(tool) or any(state.parallel for state in self.table.states.values())
        return self.branches.speaks_of(tool) and (back or together)

    def _reads(self, tool: str) -> bool:
        return tool in self._readers

    # --------------------------------------------------------------------------- open calls

    def _most(self, call: Open) -> int:
        tool, counted, _ = call
        return MANY if any(counted) or not self._reads(tool) else 1

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

    def _revisits(self, state: str) -> bool:
        """Whether rows lead here from here again, with nothing from outside on the way.

        Visits are counted anew at every message, decision, timer and resolution.
        """
        if self._inside is None:
            self._inside = {name: self._own_targets(name) for name in self.grid.cells}
        if state not in self._cycles:
            seen: set[str] = set()
            pending = [state]
            while pending:
                new = self._inside.get(pending.pop(), set()) - seen
                seen |= new
                pending += new
            self._cycles[state] = state in seen
        return self._cycles[state]

    def _own_targets(self, state: str) -> set[str]:
        """Return the states that a state can be left for without anything from outside."""
        out: set[str] = set()
        fails = self.table.states[state].verb == "run"
        for event in self.grid.cells[state]:
            if event == GUARD_ERROR:
                continue
            for branch in self.branches.at(state, event, self.needed(state)):
                fails = fails or branch.error
                if branch.target and not self._from_outside(state, event):
                    out.add(branch.target)
        if fails:
            out |= {branch.target for branch in self.branches.at(state, GUARD_ERROR)} - {""}
        return out

    def _from_outside(self, state: str, event: str) -> bool:
        waits = self.table.states[state].wait or ()
        return event in _OUTSIDE or ("resolution" in waits and event.endswith((".ok", ".error")))


def due(rule: Rule, at: int | None) -> bool:
    """Whether a rule still asks for something."""
    if at is None and rule.per is not None:
        return False
    return rule.automaton.is_due(at or 0, rule.n)
