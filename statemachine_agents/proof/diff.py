"""What became possible and impossible between two tables; not which lines changed.

Rules.  1. Everything about events is read from the two grids: a `*` replaced by rows that mean the
same, a row moved past one it shares no cell with, another name or version change nothing.
2. Expressions are compared in normal form, names of `[define]` written out.  3. Only what a run can
reach counts.  4. A state that is called otherwise and does the same is one change, not a hundred.
5. Effect classes and schemas are compared where the specs of both sides are known.
Not here: runs (a later command), words (`walks`), tools, rules and limits (`terms`), printing
(`cli.comparing`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import attrs

from statemachine_agents.proof import terms
from statemachine_agents.proof.changes import Change, Difference, Sense, Side, changed
from statemachine_agents.proof.walks import condition, moves_of, parted
from statemachine_agents.table.definition import Definition
from statemachine_agents.table.grid import Cell, Entry
from statemachine_agents.table.model import State, Table

_WORDS: Final = ("ask", "say", "question")
"""What a state says: it changes no path."""

_ACTS: Final = (
    "wait", "run", "talk", "agent", "output", "parallel", "shows", "fresh", "after",
    "at_once", "join",
)  # fmt: skip


def diff(before: Table | Definition, after: Table | Definition) -> Difference:
    """Say what became possible and impossible.

    Args:
        before: the first table, or a definition where the specs of its tools are known.
        after: the second. Both should be free of errors: rows that do not parse are not seen.

    Example:
        >>> from statemachine_agents.table.model import State, Table
        >>> table = Table(name="t", initial="a", states=[State("a", final="success")])
        >>> diff(table, table).same
        True
    """
    one, two = _definition(before), _definition(after)
    known = bool(one.tools) and bool(two.tools)
    first, second = Side.of(one, known=known), Side.of(two, known=known)
    found = parted(first.grid, second.grid)
    names = _renamed(first, second)
    if names:
        first = Side.of(attrs.evolve(one, table=_called(one.table, names)), known=known)
    changes = [
        *_renamings(names),
        *_states(first, second),
        *(
            change
            for name in first.near
            if name in second.near
            for change in (*_acts(first, second, name), *_cells(first, second, name))
        ),
        *terms.compare(first, second, known=known),
    ]
    back = {new: old for old, new in names.items()}
    return Difference(
        before=f"{one.table.name} {one.table.version}",
        after=f"{two.table.name} {two.table.version}",
        changes=tuple(
            attrs.evolve(change, states=tuple(back.get(each, each) for each in change.states))
            for change in changes
        ),
        gained=found.gained,
        lost=found.lost,
        complete=found.complete,
    )


def _definition(value: Table | Definition) -> Definition:
    return value if isinstance(value, Definition) else Definition(value)


# ------------------------------------------------------------------------------------------ states


def _renamed(first: Side, second: Side) -> dict[str, str]:
    """Return old name -> new name of states that act alike and move on the same facts.

    Only where no other state could be meant. Where they lead may differ: that is a change of its
    own.
    """
    old = _alike(first, second.table)
    new = _alike(second, first.table)
    return {
        names[0]: new[key][0]
        for key, names in old.items()
        if len(names) == 1 and len(new.get(key, ())) == 1
    }


def _alike(side: Side, other: Table) -> dict[str, list[str]]:
    """Return how a state acts and on what it moves -> states that the other table does not have."""
    out: dict[str, list[str]] = {}
    moves = moves_of(side.grid)
    for name in side.near:
        if name not in other.states:
            key = repr((attrs.evolve(side.table.states[name], name=""), sorted(moves[name])))
            out.setdefault(key, []).append(name)
    return out


def _called(table: Table, names: Mapping[str, str]) -> Table:
    """Return a table with states called otherwise."""

    def name(text: str) -> str:
        return names.get(text, text)

    rows = [
        attrs.evolve(row, source=name(row.source), target=row.target and name(row.target))
        for row in table.transitions
    ]
    return attrs.evolve(
        table,
        initial=name(table.initial),
        states=[attrs.evolve(state, name=name(state.name)) for state in table.states.values()],
        transitions=tuple(rows),  # type: ignore[arg-type]  # mypy loses the converter's type
        groups={key: tuple(map(name, members)) for key, members in table.groups.items()},
    )


def _renamings(names: Mapping[str, str]) -> Iterator[Change]:
    for old, new in names.items():
        yield Change(
            sense="changed", kind="renamed", place=old, text=f"is now called {new}",
            before=old, after=new, states=(new,),
        )  # fmt: skip


def _states(first: Side, second: Side) -> Iterator[Change]:
    if first.table.initial != second.table.initial:
        yield Change(
            sense="changed", kind="start", place="initial",
            text=f"a run starts in {second.table.initial}, not in {first.table.initial}",
            before=first.table.initial, after=second.table.initial,
        )  # fmt: skip
    for mine, other, sense in ((first, second, "impossible"), (second, first, "possible")):
        for name in mine.near:
            if name in other.near:
                continue
            final = mine.table.states[name].final
            kind = "end" if final else "state"
            what = "a run can end here" if final else "a run can be here"
            gone = "no run ends here any more" if final else "no run is here any more"
            yield Change(
                sense=sense,  # type: ignore[arg-type]  # one of the two words above
                kind=kind, place=name, text=gone if mine is first else what,
                before=final or mine.table.states[name].verb if mine is first else None,
                after=None if mine is first else final or mine.table.states[name].verb,
                states=(name,) if mine is first else (),
            )  # fmt: skip


def _acts(first: Side, second: Side, name: str) -> Iterator[Change]:
    one, two = first.table.states[name], second.table.states[name]
    if (one.verb, one.final) != (two.verb, two.final):
        yield changed("verb", name, "acts otherwise", _who(one), _who(two), (name,))
    else:
        for field in _ACTS:
            before, after = getattr(one, field), getattr(two, field)
            if before != after:
                yield changed("acts", name, f"has another `{field}`", before, after, (name,))
        for field in ("each", "returns"):
            before, after = first.normal(getattr(one, field)), second.normal(getattr(two, field))
            if before != after:
                yield changed("acts", name, f"has another `{field}`", before, after, (name,))
        for field in _WORDS:
            before, after = getattr(one, field), getattr(two, field)
            if before != after:
                yield changed("wording", name, f"says another `{field}`", before, after, (name,))
    mine, theirs = first.table.tools_in(one), second.table.tools_in(two)
    kind = "call" if two.verb == "do" else "offer"
    verb = "the engine calls" if two.verb == "do" else "may be called"
    for tool in theirs:
        if tool not in mine:
            text = f"{verb} {tool} here" if kind == "call" else f"{tool} {verb} here"
            yield Change(
                sense="possible", kind=kind, place=name, text=text, after=tool, states=(name,)
            )
    for tool in mine:
        if tool not in theirs:
            text = f"{tool} is not called here any more"
            yield Change(
                sense="impossible", kind=kind, place=name, text=text, before=tool, states=(name,)
            )


def _who(state: State) -> str:
    return state.final or state.verb if state.verb == "final" else state.verb


# ------------------------------------------------------------------------------------------- cells


def _cells(first: Side, second: Side, name: str) -> Iterator[Change]:
    """Compare the cells of a state; events that differ in the same way are one change."""
    mine, theirs = first.grid.cells.get(name, {}), second.grid.cells.get(name, {})
    alike: dict[tuple[Sense, str, str | None, str | None], list[str]] = {}
    for event in dict.fromkeys((*mine, *theirs)):
        found = _cell(mine.get(event), theirs.get(event), first, second)
        if found is not None:
            alike.setdefault(found, []).append(event)
    for (sense, kind, before, after), events in alike.items():
        listed = " or ".join(events)
        what = {"possible": "can now come", "impossible": "cannot come any more"}
        text = f"on {listed} {what.get(sense, '')}".rstrip()
        if kind == "order":
            text += " the same rows are tried in another order"
        yield Change(
            sense=sense, kind=kind, place=name, text=text, before=before, after=after,
            events=tuple(events), states=(name,),
        )  # fmt: skip


def _cell(
    one: Cell | None, two: Cell | None, first: Side, second: Side
) -> tuple[Sense, str, str | None, str | None] | None:
    """Return sense, kind, before and after of a cell that differs, else None.

    A cell that only one side has differs because a tool, a wait or a verb does, which is reported
    as such; it is reported again only where rows stand in it.
    """
    before, after = _meaning(one, first), _meaning(two, second)
    if before == after:
        return None
    if one is None:
        return ("possible", "outcome", None, _said(after)) if two and two.live else None
    if two is None:
        return ("impossible", "outcome", _said(before), None) if one.live else None
    kind = "order" if sorted(before) == sorted(after) else "outcome"
    return "changed", kind, _said(before), _said(after)


def _meaning(cell: Cell | None, side: Side) -> tuple[str, ...]:
    """Return what a cell does, part by part: notes, moves in order, the default if it can come."""
    if cell is None:
        return ()
    parts = [f"note{_guarded(entry)}{_assigned(entry, side)}" for entry in cell.notes]
    parts += [
        f"{_guarded(entry)} -> {entry.row.transition.target}{_assigned(entry, side)}"
        for entry in cell.live
    ]
    if cell.falls:
        parts.append(f" default: {cell.default}")
    return tuple(part.strip() for part in parts)


def _said(parts: Iterable[str]) -> str:
    return "; ".join(parts)


def _guarded(entry: Entry) -> str:
    held = condition(entry)
    return f" [{held}]" if held else ""


def _assigned(entry: Entry, side: Side) -> str:
    assigns = sorted(
        f"{target} = {side.normal(text)}" for target, text in entry.row.transition.assign.items()
    )
    return f" / {'; '.join(assigns)}" if assigns else ""
