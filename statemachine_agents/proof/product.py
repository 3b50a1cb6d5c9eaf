"""Rules on all runs: is each kept by the rows alone, and if not, how is it broken?

Rules.  1. *Proven*: no run that the table allows breaks the rule, whatever model, tools and people
do.  2. *Refuted*: a shortest way is known on which it breaks; values are forgotten on it, so it is
believed only once a run has shown it (`testing.proving`).  3. *Undecided*: too much to search.
Silence never means proven.  4. Each rule is searched alone: states times the states of its
automaton and the calls that can be open.  5. All rules together are searched for one run that
succeeds.
Not here: what can happen next (`moves`), trying a way out (`testing.proving`).
Source: verification.md sections 2 and 3.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Final, Literal

import attrs

from statemachine_agents.proof.branches import Branches, Unsearchable
from statemachine_agents.proof.coarse import Coarse
from statemachine_agents.proof.moves import Moves
from statemachine_agents.proof.place import ENDS, Broken, Hop, Place, due
from statemachine_agents.proof.sheet import Sheet, sheet_of
from statemachine_agents.table.model import Table
from statemachine_agents.table.rules import Rule
from statemachine_agents.table.toolspec import ToolSpec

MAX_PLACES: Final = 200_000
"""Places searched for one rule; more is undecided."""

MAX_JOINT: Final = 5_000
"""Places searched for a successful run that keeps every rule."""

_TRIGGER: Final[Mapping[str, str]] = {
    "at_most": "a", "only_after": "b", "each_needs": "b", "leads_to": "a", "next": "a",
    "never_after": "a", "within": "a",
}  # fmt: skip
"""What must be possible for a rule to say anything."""


@attrs.frozen(kw_only=True)
class Proof:
    """The verdict on one rule.

    Args:
        index: of the rule, from 0.
        rule: the rule.
        verdict: `proven`, `refuted` or `undecided`.
        hops: for a refuted rule, the shortest way to break it.
        fact: what breaks it: a tool's name (the gate refuses that call), an event, `model.asked`,
            or `end`, when the run ends and something is still due.
        vacuous: nothing the rule is about can happen.
        reason: why it is undecided.
        script: a test in Python that breaks a refuted rule; empty until a run has shown it.
    """

    index: int
    rule: Rule
    verdict: Literal["proven", "refuted", "undecided"]
    hops: tuple[Hop, ...] = ()
    fact: str = ""
    vacuous: bool = False
    reason: str = ""
    script: str = attrs.field(default="", repr=False)

    @property
    def gated(self) -> bool:
        """Whether a live run still keeps the rule: the gate refuses what would break it."""
        if self.verdict != "refuted":
            return False
        if self.fact == "end":
            return self.rule.automaton.demands
        return self.fact == "model.asked" or "." not in self.fact

    @property
    def path(self) -> tuple[str, ...]:
        """The states of the way, in order."""
        states = [hop.state for hop in self.hops[:1]]
        states += [hop.target for hop in self.hops if hop.target]
        return tuple(states)

    def lines(self) -> tuple[str, ...]:
        """Return the way in words, a line each fact."""
        return tuple(str(hop) for hop in self.hops)


@attrs.frozen(kw_only=True)
class Proofs:
    """The verdicts on all rules of a table.

    Args:
        proofs: one a rule, in table order.
        contradiction: whether runs can succeed, but none that keeps every rule; None if unknown.
    """

    proofs: tuple[Proof, ...]
    contradiction: bool | None = False


def prove(
    table: Table,
    specs: Mapping[str, ToolSpec] | None = None,
    *,
    children: Iterable[str] = (),
) -> Proofs:
    """Return a verdict on every rule of a table that reads.

    Args:
        table: the table; a rule or row that does not parse is left out, `check` reports it.
        specs: tool specs by name, where known.
        children: names of the child workflows.

    Example:
        >>> prove(refund).proofs[0].verdict  # doctest: +SKIP
        'proven'
    """
    sheet = sheet_of(table, specs, children)
    if table.initial not in table.states:
        return Proofs(proofs=())
    plain = Branches(sheet, ())
    near, coarse = _Near(plain), Coarse(plain)
    proofs = tuple(_proof(sheet, index, rule, near, coarse) for index, rule in sheet.rules)
    return Proofs(proofs=proofs, contradiction=_contradiction(sheet, plain))


class _Near:
    """Where runs can go when nobody asks what they do on the way: for states no rule speaks of."""

    def __init__(self, plain: Branches) -> None:
        self.plain = plain
        self.moves = Moves(plain)
        self._known: dict[str, list[tuple[tuple[Hop, ...], Place]]] = {}

    def ways(self, place: Place) -> list[tuple[tuple[Hop, ...], Place]]:
        """Return the ways out of a state just entered: to other states and to ends."""
        found = self._known.get(place.state)
        if found is None:
            start = place._replace(at=())
            found = self._known[place.state] = self._search(start)
        return found

    def _search(self, start: Place) -> list[tuple[tuple[Hop, ...], Place]]:
        came: dict[Place, tuple[Hop, ...]] = {start: ()}
        pending = deque([start])
        out = []
        while pending:
            place = pending.popleft()
            for hop, after in self.moves.from_(place):
                if isinstance(after, Broken) or after in came:
                    continue
                came[after] = (*came[place], hop) if hop.fact else came[place]
                if after.phase == "new" or after.phase in ENDS or after.state != start.state:
                    out.append((came[after], after))
                else:
                    pending.append(after)
        return out


class _Search:
    """The search for the first way that breaks one of some rules."""

    def __init__(self, moves: Moves, near: _Near) -> None:
        self.moves = moves
        self.near = near
        self.came: dict[Place, tuple[Place, tuple[Hop, ...]] | None] = {}
        self.plain = {name: self._irrelevant(name) for name in moves.facts.table.states}

    def _irrelevant(self, name: str) -> bool:
        """Whether no rule can hear anything that happens in a state."""
        moves = self.moves
        state = moves.facts.table.states[name]
        tools = moves.facts.table.tools_in(state)
        if state.do == ("undo",):
            return False
        if (moves.facts.hears_other and tools) or (moves.facts.hears_turns and state.verb == "ask"):
            return False
        heard = (*moves.facts.grid.cells.get(name, ()), *tools)
        return not any(moves.facts.branches.speaks_of(fact) for fact in heard)

    def next(self, place: Place) -> Iterable[tuple[tuple[Hop, ...], Place | Broken]]:
        """Return what can come next, in one go where no rule listens."""
        if place.phase == "new" and not place.open and not place.raised and self.plain[place.state]:
            nobody = (False,) * len(self.moves.facts.rules)
            for hops, beyond in self.near.ways(place):
                opened = tuple((tool, nobody, status) for tool, _, status in beyond.open)
                yield hops, beyond._replace(at=place.at, open=opened)
            return
        for hop, after in self.moves.from_(place):
            yield (hop,), after

    def way(self, place: Place, last: tuple[Hop, ...]) -> tuple[Hop, ...]:
        """Return the hops to a place and the last ones, without those that are no facts."""
        parts = [last]
        link = self.came[place]
        while link is not None:
            parts.append(link[1])
            link = self.came[link[0]]
        return tuple(hop for hops in reversed(parts) for hop in hops if hop.fact)


def _proof(sheet: Sheet, index: int, rule: Rule, near: _Near, coarse: Coarse) -> Proof:
    """Follow a rule in every world; the shortest way that breaks it in one refutes it."""
    worst: Proof | None = None
    vacuous = True
    for world in Branches(sheet, (rule,), near.plain).worlds():
        moves = Moves(Branches(sheet, (rule,), near.plain, world))
        try:
            found = None if coarse.kept(moves) else _searched(index, rule, moves, near)
        except Unsearchable as error:
            found = Proof(index=index, rule=rule, verdict="undecided", reason=str(error))
        if found is not None and (worst is None or _worse(found, worst)):
            worst = found
        vacuous = vacuous and _vacuous(rule, moves)
    return worst or Proof(index=index, rule=rule, verdict="proven", vacuous=vacuous)


def _worse(one: Proof, other: Proof) -> bool:
    if one.verdict != other.verdict:
        return one.verdict == "refuted"
    return len(one.hops) < len(other.hops)


def _searched(index: int, rule: Rule, moves: Moves, near: _Near) -> Proof | None:
    """Return how one world breaks a rule, or that it is too large; None when it does not."""
    search = _Search(moves, near)
    start = moves.start()
    search.came[start] = None
    pending = deque([start])
    if start.phase in ENDS and _ends_badly(rule, start):
        return Proof(index=index, rule=rule, verdict="refuted", fact="end")
    while pending:
        place = pending.popleft()
        for hops, after in search.next(place):
            if isinstance(after, Broken):
                way = search.way(place, hops)
                return Proof(index=index, rule=rule, verdict="refuted", hops=way, fact=way[-1].fact)
            if after in search.came:
                continue
            search.came[after] = (place, hops)
            if after.phase not in ENDS:
                pending.append(after)
            elif _ends_badly(rule, after):
                way = search.way(place, hops)
                return Proof(index=index, rule=rule, verdict="refuted", hops=way, fact="end")
        if len(search.came) > MAX_PLACES:
            reason = f"over {MAX_PLACES:,} places to search"
            return Proof(index=index, rule=rule, verdict="undecided", reason=reason)
    return None


def _vacuous(rule: Rule, moves: Moves) -> bool:
    """Whether nothing that a kept rule is about was met on the way."""
    if rule.form == "not_both":
        return not {"a", "b"} <= moves.facts.seen[0]
    trigger = _TRIGGER.get(rule.form)
    return trigger is not None and trigger not in moves.facts.seen[0]


def _ends_badly(rule: Rule, place: Place) -> bool:
    return place.phase != "cancelled" and due(rule, place.at[0])


def _contradiction(sheet: Sheet, plain: Branches) -> bool | None:
    """Whether runs can succeed, but none that keeps every rule."""
    every = tuple(rule for _, rule in sheet.rules)
    if not every:
        return False
    try:
        kept = _succeeds(Moves(Branches(sheet, every, plain)))
        if kept is None:
            return None
        return False if kept else _succeeds(Moves(plain))
    except Unsearchable:
        return None


def _succeeds(moves: Moves) -> bool | None:
    """Whether a run can end well, nothing broken or due; None where it is too much to search."""
    start = moves.start()
    seen = {start}
    pending = [start]
    while pending:
        place = pending.pop()
        if place.phase == "success" and not any(
            due(rule, at) for rule, at in zip(moves.facts.rules, place.at, strict=True)
        ):
            return True
        fresh = []
        for _, after in moves.from_(place):
            if not isinstance(after, Broken) and after not in seen:
                seen.add(after)
                fresh.append(after)
        # Deepest first, and of what comes next the states just entered: an end is what is wanted.
        pending += sorted(fresh, key=lambda each: each.phase == "new" or each.phase in ENDS)
        if len(seen) > MAX_JOINT:
            return None
    return False
