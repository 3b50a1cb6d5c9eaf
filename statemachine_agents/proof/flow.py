"""Checks on where runs can go: unreachable states, states without an end, rows that never fire.

Rules.  1. Edges are the rows of the grid with a target; a row that does not parse still counts as
an edge, so that one typo is one finding.  2. A path that ends in failure is an end.  3. Limits
always bound cycles, so a cycle is no finding.
Not here: whether guards can hold (`guards`), rules along paths (`product`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from statemachine_agents.proof.sheet import Sheet
from statemachine_agents.table.expressions import unparse
from statemachine_agents.table.grid import Cell, Row
from statemachine_agents.table.model import State

_ALWAYS = frozenset({"run.cancelled", "guard.error", "limit.visits"})
"""Events whose default ends any run: they make no state a way out."""


def check(sheet: Sheet) -> None:
    """Check reachability, ends, and rows that another row hides."""
    edges = _edges(sheet)
    _from_final(sheet)
    _unreachable(sheet, edges)
    _ends(sheet, edges)
    _shadowed(sheet)


def _edges(sheet: Sheet) -> dict[str, set[str]]:
    """Return state -> states a row can lead to."""
    table = sheet.table
    edges: dict[str, set[str]] = {name: set() for name in table.states}
    for name, cells in sheet.grid.cells.items():
        for cell in cells.values():
            for entry in cell.moves:
                target = entry.row.transition.target
                if target in edges:
                    edges[name].add(str(target))
    parsed = {row.index for row in sheet.grid.rows}
    for index, transition in enumerate(table.transitions):
        if index in parsed or transition.target not in edges:
            continue
        source = transition.source
        members: Iterable[str] = table.groups.get(source, (source,))
        for name in table.states if source == "*" else members:
            if name in edges and table.states[name].verb != "final":
                edges[name].add(transition.target)
    return edges


def _from_final(sheet: Sheet) -> None:
    table = sheet.table
    finals = {name for name, state in table.states.items() if state.verbs == ("final",)}
    leaving = {
        f"transitions[{index}]": row.source
        for index, row in enumerate(table.transitions)
        if row.source in finals
    }
    if not leaving:
        return
    # The grid says of the same rows that a final state meets no event: once is enough.
    sheet.problems[:] = [
        problem
        for problem in sheet.problems
        if not (problem.code == "event-not-met" and problem.where.partition(".")[0] in leaving)
    ]
    for where, name in leaving.items():
        what = f"leaves the state {name!r}, which is final: nothing happens there any more"
        sheet.say("row-from-final", f"{where}.source", what, advice="drop the row, or `final`")


def _unreachable(sheet: Sheet, edges: Mapping[str, set[str]]) -> None:
    initial = sheet.table.initial
    if initial not in edges:
        return
    reached = closure([initial], edges)
    for name in edges:
        if name not in reached:
            what = f"no path leads here from the initial state {initial!r}"
            sheet.warn("unreachable-state", f"states.{name}", what, advice="add a row, or drop it")


def _ends(sheet: Sheet, edges: Mapping[str, set[str]]) -> None:
    states = sheet.table.states
    back: dict[str, set[str]] = {name: set() for name in states}
    for name, targets in edges.items():
        for target in targets:
            back[target].add(name)
    finals = [name for name, state in states.items() if state.verb == "final"]
    ending = closure(finals, back)
    lasting = closure([name for name, state in states.items() if _hears(state)], back)
    if states and not finals:
        what = "no state is final, so no run can end well"
        advice = 'add one, such as `done = { final = "success" }`'
        sheet.say("no-final", "states", what, advice=advice,
                  severity="warning" if lasting else "error")  # fmt: skip
    for name in states:
        where = f"states.{name}"
        if name in ending:
            continue
        cells = sheet.grid.cells.get(name, {})
        if not edges[name] and not _goes_on(cells):
            what = "no event leaves this state, by a row or by a default"
            sheet.say("dead-end", where, what, advice="add a row, or make it `final`")
        elif finals:
            what = "no path leads from here to a final state"
            if name in lasting:
                what += ": a run stays among states that wait for outside input"
            sheet.say("no-end", where, what, advice="add a row towards an end",
                      severity="warning" if name in lasting else "error")  # fmt: skip


def _hears(state: State) -> bool:
    """Whether something from outside can arrive here again and again."""
    return state.talk or any(kind in ("message", "approval", "timer") for kind in state.wait or ())


def _goes_on(cells: Mapping[str, Cell]) -> bool:
    return any(
        cell.moves or (cell.default == "failed" and event not in _ALWAYS)
        for event, cell in cells.items()
    )


def closure(start: Iterable[str], edges: Mapping[str, Collection[str]]) -> set[str]:
    """Return the states of a start and all that edges lead to from there."""
    seen = set(start)
    pending = list(seen)
    while pending:
        for name in edges.get(pending.pop(), ()):
            if name not in seen:
                seen.add(name)
                pending.append(name)
    return seen


def _shadowed(sheet: Sheet) -> None:
    """Report rows that an earlier row hides in every cell where they stand."""
    guards = {
        row.index: "" if row.guard is None else unparse(row.guard.root) for row in sheet.grid.rows
    }
    free: set[int] = set()
    hidden: dict[int, dict[int, Row]] = {}
    for cells in sheet.grid.cells.values():
        for cell in cells.values():
            if len(cell.moves) == 1:
                free.add(cell.moves[0].row.index)
                continue
            first: dict[str, Row] = {}
            for entry in cell.moves:
                row = entry.row
                guard = guards[row.index]
                before = first.get("") or first.get(guard)
                if before is None:
                    free.add(row.index)
                elif before is not row:
                    hidden.setdefault(row.index, {})[before.index] = before
                if not entry.needs:
                    first.setdefault(guard, row)
    for row in sheet.grid.rows:
        if row.index in hidden and row.index not in free:
            names = " and ".join(before.label for before in hidden[row.index].values())
            what = f"never fires: wherever it stands, {names} comes first and takes every event"
            where = f"transitions[{row.index}]"
            sheet.warn("shadowed-row", where, what, advice="move it up, or give the other a guard")
