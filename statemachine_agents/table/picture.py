"""What a picture of a table shows, before any drawing language: boxes, arrows and clusters.

Rules.  1. Arrows are read from the grid, so a picture shows where rows really stand and fire; a row
that an earlier one always hides in a state is not drawn there.  2. An arrow is a move to another
state; all rows between two states share it, one line a row.  Notes, rows that stay and rows that
enter their own state again are lines in its box: loops make pictures unreadable.  3. A state stands
in one cluster: groups that contain each other nest, what overlaps otherwise is said in the box.
Not here: Mermaid, DOT and Markdown (`diagram`), pixels (`rendering`).
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Final

import attrs

from statemachine_agents.table.events import LIMITS, is_engine
from statemachine_agents.table.grid import Cell, Grid, Row, expand
from statemachine_agents.table.model import State, Table

GUARD: Final = 60
"""Characters of a guard that a picture shows; the Markdown table has all of it."""

WIDTH: Final = 30
"""Characters in a line of a label: what Mermaid does not break a second time."""

_ENDS: Final = {"failed": "\nfailed", "cancelled": "\ncancelled"}
"""Default -> the box it leads to; no identifier begins like that, so it is no state's."""

_ALL_LIMITS: Final = frozenset(f"limit.{name}" for name in LIMITS)


@attrs.frozen
class Box:
    """A state, or an end that only defaults lead to.

    Args:
        name: the state; for an end that is no state, a name no state has.
        kind: `ask do wait run success failure`, `default` for an end that is no state.
        title: first line.
        lines: who acts, notes, rows that stay or enter again, and what parks.
        visited: a run was here.
        current: a run stands or ended here.
    """

    name: str
    kind: str
    title: str
    lines: tuple[str, ...] = ()
    visited: bool = False
    current: bool = False


@attrs.frozen
class Arrow:
    """Everything that leads from one state to another.

    Args:
        source: a state.
        target: another state, or an end that is no state.
        lines: one text a row.
        steps: which moves of the run's path took it, from 1.
        default: no row is behind it, but what the engine does without one.
    """

    source: str
    target: str
    lines: tuple[str, ...]
    steps: tuple[int, ...] = ()
    default: bool = False


@attrs.frozen
class Cluster:
    """A group with the states and groups drawn inside it."""

    name: str
    boxes: tuple[str, ...]
    inner: tuple[Cluster, ...] = ()


@attrs.frozen
class Picture:
    """All that is drawn.

    Args:
        table: of what.
        initial: the first state, or an empty text when the table names none that exists.
        boxes: states in table order; ends that are no states follow.
        arrows: moves in table order; those of defaults follow.
        clusters: groups; a state in none of them stands outside.
    """

    table: Table
    initial: str
    boxes: tuple[Box, ...]
    arrows: tuple[Arrow, ...]
    clusters: tuple[Cluster, ...]


def picture(table: Table, path: Sequence[str] = (), *, defaults: bool = False) -> Picture:
    """Return what a picture of a table shows.

    Args:
        table: the table; it need not be free of problems.
        path: states of one run in order; steps that no row explains are drawn too, and say so.
        defaults: also show which events end or park a run where no row takes them.
    """
    grid, _ = expand(table)
    steps: dict[tuple[str, str], list[int]] = {}
    for number, step in enumerate(pairwise(path), 1):
        steps.setdefault(step, []).append(number)
    clusters, elsewhere = _clusters(table)
    boxes = [
        Box(
            name,
            kind_of(state),
            name,
            (
                *_acts(state),
                *elsewhere.get(name, ()),
                *_inside(grid, name, steps),
                *(_parks(grid, name) if defaults else ()),
            ),
            name in path,
            bool(path) and path[-1] == name,
        )
        for name, state in table.states.items()
    ]
    arrows = list(_arrows(grid, steps))
    if defaults:
        falling = _fallen(grid)
        ends = dict.fromkeys(arrow.target for arrow in falling)
        boxes += [
            Box(name, "default", f"{end} by default") for end, name in _ENDS.items() if name in ends
        ]
        arrows += falling
    initial = table.initial if table.initial in table.states else ""
    return Picture(table, initial, tuple(boxes), tuple(arrows), clusters)


def kind_of(state: State) -> str:
    """Return who acts, or how it ends; a final state that says neither word counts as failure."""
    if state.verb != "final":
        return state.verb
    return "success" if state.final == "success" else "failure"


def wrapped(lines: Iterable[str], width: int = WIDTH) -> tuple[str, ...]:
    """Return lines broken to a width where there are blanks."""
    return tuple(
        part
        for line in lines
        for part in textwrap.wrap(line, width, break_long_words=False, break_on_hyphens=False)
        or [line]
    )


# ------------------------------------------------------------------------------------------ arrows


def _arrows(grid: Grid, steps: Mapping[tuple[str, str], Sequence[int]]) -> Iterable[Arrow]:
    """Return one arrow per pair of different states, in the order of their first rows."""
    rows: dict[tuple[str, str], list[tuple[Row, tuple[str, ...]]]] = {}
    for name in grid.table.states:
        for row, shown in _firing(grid, name):
            target = str(row.transition.target)
            if not row.stays and target != name and target in grid.table.states:
                rows.setdefault((name, target), []).append((row, shown))
    for ends, found in rows.items():
        yield Arrow(*ends, _texts(found), tuple(steps.get(ends, ())))
    for ends, numbers in steps.items():
        source, target = ends
        known = source in grid.table.states and target in grid.table.states
        if known and source != target and ends not in rows:
            yield Arrow(source, target, ("no row of this table",), tuple(numbers))


def _firing(grid: Grid, state: str) -> list[tuple[Row, tuple[str, ...]]]:
    """Return the rows that can fire in a state, with their events as a label shows them."""
    cells = grid.cells.get(state, {})
    met: dict[int, tuple[Row, set[str]]] = {}
    for cell in cells.values():
        for entry in cell.live:
            met.setdefault(entry.row.index, (entry.row, set()))[1].add(cell.event)
    return [(row, tuple(_events(row, events, cells))) for _, (row, events) in sorted(met.items())]


def _events(row: Row, met: set[str], cells: Mapping[str, Cell]) -> Iterable[str]:
    """Return the event texts of a row that count in a state; `[else]` where others come first."""
    for pattern in row.patterns:
        if not pattern.wild and not met.intersection(pattern.members):
            continue
        if pattern.wild and not any(
            pattern.matches(event, engine=is_engine(event)) for event in met
        ):
            continue
        first = "" if pattern.wild or pattern.conjunction else pattern.text
        later = first in cells and cells[first].live and cells[first].live[0].row is not row
        yield f"{pattern.text} [else]" if later and row.guard is None else pattern.text


def _texts(rows: Iterable[tuple[Row, tuple[str, ...]]]) -> tuple[str, ...]:
    """Return one text per row; rows without name and guard share one."""
    texts: list[str] = []
    plain: list[str] = []
    for row, events in rows:
        if row.guard is None and row.transition.name is None:
            plain += [event for event in events if event not in plain]
        else:
            texts.append(_text(row, events))
    return (*texts, *([", ".join(plain)] if plain else []))


def _text(row: Row, events: Sequence[str]) -> str:
    """Return events, guard and name of a row."""
    text = ", ".join(events)
    if row.guard is not None:
        guard = " ".join(str(row.transition.guard).split())
        text += f" [{guard if len(guard) <= GUARD else guard[: GUARD - 1] + '…'}]"
    return f"{row.transition.name}: {text}" if row.transition.name else text


# ------------------------------------------------------------------------------------------- boxes


def _acts(state: State) -> tuple[str, ...]:
    match state.verb:
        case "ask":
            return ("ask, talk",) if state.talk else ("ask",)
        case "do":
            names = ", ".join(state.do or ())
            return (f"do {names}" if names else "do nothing",)
        case "wait":
            return (f"wait for {' or '.join(state.wait or ())}",)
        case "run":
            return (f"run {', '.join(state.run or ())}",)
        case _:
            return (kind_of(state),)


def _inside(
    grid: Grid, name: str, steps: Mapping[tuple[str, str], Sequence[int]]
) -> tuple[str, ...]:
    """Return notes, rows that stay, and rows that enter this state again."""
    lines = []
    for row in _notes(grid, name):
        assigns = "; ".join(f"{key} = {text}" for key, text in row.transition.assign.items())
        lines.append(f"note {_text(row, row.transition.event)} / {assigns}")
    firing = _firing(grid, name)
    lines += [f"stay on {text}" for text in _texts(each for each in firing if each[0].stays)]
    again = [each for each in firing if each[0].transition.target == name and not each[0].stays]
    taken = steps.get((name, name), ())
    for number, text in enumerate(_texts(again)):
        lines.append(f"{_steps(taken)}again on {text}" if number == 0 else f"again on {text}")
    if taken and not again:
        lines.append(f"{_steps(taken)}again, by no row of this table")
    return tuple(lines)


def _notes(grid: Grid, name: str) -> list[Row]:
    found = {
        entry.row.index: entry.row
        for cell in grid.cells.get(name, {}).values()
        for entry in (() if cell.late else cell.notes)
    }
    return [found[index] for index in sorted(found)]


def _steps(numbers: Sequence[int]) -> str:
    return f"step {', '.join(map(str, numbers))}: " if numbers else ""


def step_lines(arrow: Arrow) -> tuple[str, ...]:
    """Return the lines of an arrow's label, which steps took it first."""
    return wrapped((*([_steps(arrow.steps).rstrip(": ")] if arrow.steps else []), *arrow.lines))


# ---------------------------------------------------------------------------------------- defaults


def _falling(grid: Grid, name: str, default: str) -> str:
    """Return the events of a state whose default is this, `limit.*` for all limits."""
    events = [
        cell.event
        for cell in grid.cells.get(name, {}).values()
        if cell.falls and cell.default == default
    ]
    limits = [event for event in events if event in _ALL_LIMITS]
    if len(limits) > 1 and not any(
        cell.moves for cell in grid.cells[name].values() if cell.event in _ALL_LIMITS
    ):
        events = [event for event in events if event not in _ALL_LIMITS] + ["limit.*"]
    return ", ".join(events)


def _fallen(grid: Grid) -> list[Arrow]:
    return [
        Arrow(name, box, (text,), default=True)
        for name in grid.table.states
        for end, box in _ENDS.items()
        if (text := _falling(grid, name, end))
    ]


def _parks(grid: Grid, name: str) -> tuple[str, ...]:
    text = _falling(grid, name, "parked")
    return (f"parks on {text}",) if text else ()


# ---------------------------------------------------------------------------------------- clusters


def _clusters(table: Table) -> tuple[tuple[Cluster, ...], dict[str, tuple[str, ...]]]:
    """Return the groups as nested clusters, and for states that stand in another, a line each."""
    members = {
        name: tuple(dict.fromkeys(state for state in states if state in table.states))
        for name, states in table.groups.items()
    }
    home: dict[str, str] = {}
    inside: dict[str, tuple[str, ...]] = {}
    parents: dict[str, str | None] = {}
    for name in sorted(members, key=lambda each: -len(members[each])):
        around = [each for each, own in inside.items() if set(members[name]) <= set(own)]
        parent = min(around, key=lambda each: len(inside[each]), default=None)
        own = tuple(state for state in members[name] if home.get(state) == parent)
        if own:
            inside[name] = own
            parents[name] = parent
            home.update(dict.fromkeys(own, name))
    also = {
        state: tuple(
            f"also in {name}"
            for name, states in members.items()
            if state in states and state not in inside.get(name, ())
        )
        for state in table.states
    }

    def cluster(name: str) -> Cluster:
        inner = tuple(cluster(each) for each, parent in parents.items() if parent == name)
        return Cluster(name, tuple(s for s in inside[name] if home[s] == name), inner)

    return tuple(cluster(name) for name, parent in parents.items() if parent is None), also
