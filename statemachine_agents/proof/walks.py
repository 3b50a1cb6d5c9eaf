"""The shortest runs that one table allows and another does not, as words of events.

Rules.  1. A word is a list of facts, each an event with the guard that held; states are only where
it leads, so renaming one changes no word.  2. Both tables are walked together, breadth first: each
place where one can go on and the other cannot is reported once, with the shortest way there and on
to an end, by rows where rows lead to one, else by a default.  3. A guard is a text: two that say
the same in other words count as different.  4. Rows that stay and notes move nothing and make no
word.
Not here: what else differs between two tables (`diff`), whether a guard can hold (`guards`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Final, TypeAlias

import attrs

from statemachine_agents.table.expressions import unparse
from statemachine_agents.table.grid import Entry, Grid

MOST_PAIRS: Final = 100_000
"""Pairs of states walked at most; two tables of 2,000 like states have 2,000."""

_ENDS: Final = {"failed": "failure", "cancelled": "cancelled"}

Label: TypeAlias = tuple[str, str]
"""An event, and the guard that held; an empty one for rows without, and for defaults."""


@attrs.frozen
class Hop:
    """One move of a run.

    Args:
        state: where the run stands.
        events: the fact that moves it; several where they differ in nothing else.
        guard: what must hold, as written in normal form; empty where nothing must.
        row: label of the row that fires, or `default`.
        target: the next state; for a default that ends the run, `failed` or `cancelled`.
    """

    state: str
    events: tuple[str, ...]
    guard: str
    row: str
    target: str

    def __str__(self) -> str:
        guard = f" [{self.guard}]" if self.guard else ""
        return f"{' or '.join(self.events)}{guard} ({self.row}) -> {self.target}"

    def to_dict(self) -> dict[str, object]:
        """Return the hop as plain JSON."""
        return {**attrs.asdict(self), "events": list(self.events)}


@attrs.frozen
class Walk:
    """One shortest run from the initial state.

    Args:
        hops: its moves.
        at: which of them, from 0, the other table does not have; None when it has them all and
            ends otherwise.
        end: `success`, `failure` or `cancelled`; empty when no end can be reached from there.
    """

    hops: tuple[Hop, ...]
    at: int | None
    end: str

    def to_dict(self) -> dict[str, object]:
        """Return the walk as plain JSON."""
        return {"hops": [hop.to_dict() for hop in self.hops], "at": self.at, "end": self.end}


@attrs.frozen
class Parted:
    """Where two tables part.

    Args:
        lost: runs only the first allows, shortest first.
        gained: runs only the second allows.
        complete: whether all pairs of states were walked.
    """

    lost: tuple[Walk, ...]
    gained: tuple[Walk, ...]
    complete: bool


def condition(entry: Entry) -> str:
    """Return what must hold for an entry to fire, in normal form; empty for nothing."""
    parts = [f"with {' and '.join(sorted(entry.needs))}"] if entry.needs else []
    if entry.row.guard is not None:
        parts.append(unparse(entry.row.guard.root))
    return ", ".join(parts)


def moves_of(grid: Grid) -> dict[str, dict[Label, Hop]]:
    """Return state -> label -> the hop it takes; the first row wins, a default comes last."""
    out: dict[str, dict[Label, Hop]] = {}
    for state, cells in grid.cells.items():
        hops: dict[Label, Hop | None] = {}
        for cell in cells.values():
            for entry in cell.live:
                row, held = entry.row, condition(entry)
                hop = Hop(state, (cell.event,), held, row.label, str(row.transition.target))
                hops.setdefault((cell.event, held), None if row.stays else hop)
            if cell.falls and cell.default in _ENDS:
                hops[cell.event, ""] = Hop(state, (cell.event,), "", "default", cell.default)
        out[state] = {label: hop for label, hop in hops.items() if hop is not None}
    return out


def reached(grid: Grid) -> tuple[str, ...]:
    """Return the states that some run can be in, nearest first."""
    return tuple(_Side(grid).near)


def parted(before: Grid, after: Grid) -> Parted:
    """Walk two tables together and return where they part."""
    one, two = _Side(before), _Side(after)
    start = (before.table.initial, after.table.initial)
    came: dict[tuple[str, str], tuple[tuple[str, str], Label] | None] = {start: None}
    pending = deque([start])
    lost: list[Walk] = []
    gained: list[Walk] = []
    while pending and len(came) < MOST_PAIRS:
        pair = pending.popleft()
        word = _word(came, pair)
        ends = one.end(pair[0]), two.end(pair[1])
        if ends[0] != ends[1]:
            # Where one goes on, what it can do from here is reported hop by hop below.
            lost += [Walk(one.hops(word), None, ends[0])] if ends[0] else []
            gained += [Walk(two.hops(word), None, ends[1])] if ends[1] else []
        mine, theirs = one.moves.get(pair[0], {}), two.moves.get(pair[1], {})
        lost += one.only(word, [hop for label, hop in mine.items() if label not in theirs])
        gained += two.only(word, [hop for label, hop in theirs.items() if label not in mine])
        other: list[tuple[Hop, Hop]] = []
        for label, hop in mine.items():
            if label not in theirs:
                continue
            mate = theirs[label]
            if hop.row == "default" or mate.row == "default":
                if one.end_of(hop) != two.end_of(mate):
                    other.append((hop, mate))
                continue
            following = (hop.target, mate.target)
            if following not in came:
                came[following] = (pair, label)
                pending.append(following)
        lost += one.only(word, [hop for hop, _ in other])
        gained += two.only(word, [mate for _, mate in other])
    return Parted(_sorted(lost), _sorted(gained), not pending)


def _word(
    came: Mapping[tuple[str, str], tuple[tuple[str, str], Label] | None], pair: tuple[str, str]
) -> list[Label]:
    word: list[Label] = []
    link = came[pair]
    while link is not None:
        pair, label = link
        word.append(label)
        link = came[pair]
    return word[::-1]


def _sorted(walks: Iterable[Walk]) -> tuple[Walk, ...]:
    return tuple(sorted(walks, key=lambda walk: len(walk.hops)))


class _Side:
    """One of the two tables, with the shortest way from each state to an end."""

    def __init__(self, grid: Grid) -> None:
        self.table = grid.table
        self.moves = moves_of(grid)
        self.near = self._near()
        self.next = self._next()

    def end(self, state: str) -> str:
        """Return how a run in this state has ended; empty where it goes on."""
        found = self.table.states.get(state)
        return str(found.final or "") if found is not None and found.verb == "final" else ""

    def end_of(self, hop: Hop) -> str:
        return _ENDS[hop.target] if hop.row == "default" else self.end(hop.target)

    def hops(self, word: Iterable[Label]) -> tuple[Hop, ...]:
        """Return the hops of a word that this table allows."""
        state, hops = self.table.initial, []
        for label in word:
            hops.append(self.moves[state][label])
            state = hops[-1].target
        return tuple(hops)

    def on(self, state: str) -> tuple[tuple[Hop, ...], str]:
        """Return the shortest way from a state to an end, and which."""
        hops: list[Hop] = []
        while not self.end(state):
            hop = self.next.get(state)
            if hop is None:
                return tuple(hops), ""
            hops.append(hop)
            if hop.row == "default":
                return tuple(hops), self.end_of(hop)
            state = hop.target
        return tuple(hops), self.end(state)

    def only(self, word: list[Label], hops: Iterable[Hop]) -> list[Walk]:
        """Return a whole walk for each hop the other table lacks; alike events share one."""
        alike: dict[tuple[str, str, str], list[str]] = {}
        first: dict[tuple[str, str, str], Hop] = {}
        for hop in hops:
            key = (hop.guard, hop.row, hop.target)
            alike.setdefault(key, []).extend(hop.events)
            first.setdefault(key, hop)
        out = []
        for key, events in alike.items():
            hop = attrs.evolve(first[key], events=tuple(events))
            rest, end = ((), self.end_of(hop)) if hop.row == "default" else self.on(hop.target)
            out.append(Walk((*self.hops(word), hop, *rest), len(word), end))
        return out

    def _near(self) -> dict[str, None]:
        if self.table.initial not in self.table.states:
            return {}
        seen = {self.table.initial: None}
        pending = deque(seen)
        while pending:
            for hop in self.moves.get(pending.popleft(), {}).values():
                if hop.row != "default" and hop.target in self.table.states:
                    if hop.target not in seen:
                        pending.append(hop.target)
                    seen.setdefault(hop.target)
        return seen

    def _next(self) -> dict[str, Hop]:
        """Return state -> first hop of its shortest way to an end, rows before defaults."""
        back: dict[str, list[Hop]] = {}
        falls: list[Hop] = []
        for hops in self.moves.values():
            for hop in hops.values():
                if hop.row == "default":
                    falls.append(hop)
                else:
                    back.setdefault(hop.target, []).append(hop)
        out: dict[str, Hop] = {}
        pending = deque(name for name in self.table.states if self.end(name))
        done = set(pending)
        while True:
            while pending:
                for hop in back.get(pending.popleft(), ()):
                    if hop.state not in done:
                        done.add(hop.state)
                        out[hop.state] = hop
                        pending.append(hop.state)
            # States from which only a default ends the run come after all others.
            for hop in falls:
                if hop.state not in done:
                    done.add(hop.state)
                    out[hop.state] = hop
                    pending.append(hop.state)
            if not pending:
                return out
