"""Checks on how often things can happen: cycles, limits too low to succeed, effects tried again.

Rules.  1. Only the rows count, not whether their guards can hold.  2. The engine's own limits bound
every cycle, so a cycle is worth a remark only where it repeats an effect.  3. Linear in rows.
Not here: rules on all paths (`product`), what an unknown outcome needs (`offers`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Final, TypeAlias

from statemachine_agents.proof.flow import closure
from statemachine_agents.proof.sheet import Sheet
from statemachine_agents.table.events import OUTSIDE, effect_of, from_outside
from statemachine_agents.table.model import Limits

_BOUNDING: Final = frozenset({"at_most", "exactly", "never"})

Edges: TypeAlias = Mapping[str, Mapping[str, frozenset[str]]]
"""State -> target -> events whose rows lead there."""


def check(sheet: Sheet) -> None:
    """Check cycles with effects, the limit of turns, and effects tried again in doubt."""
    edges = _edges(sheet)
    _cycles(sheet, edges)
    _turns(sheet, edges)
    _again(sheet, edges)


def _edges(sheet: Sheet) -> Edges:
    out: dict[str, dict[str, frozenset[str]]] = {}
    for state, cells in sheet.grid.cells.items():
        mine: dict[str, set[str]] = {}
        for event, cell in cells.items():
            for entry in cell.moves:
                target = entry.row.transition.target
                if not entry.row.stays and target in sheet.table.states:
                    mine.setdefault(str(target), set()).add(event)
        out[state] = {target: frozenset(events) for target, events in mine.items()}
    return out


def _effects(sheet: Sheet, state: str) -> list[str]:
    """Return the tools of a state that change something, where that is known."""
    if sheet.specs is None:
        return []
    return [
        tool
        for tool in sheet.table.tools_in(sheet.table.states[state])
        if effect_of(sheet.table, sheet.specs, tool) not in ("read", "signal")
    ]


# ----------------------------------------------------------------------------------------- cycles


def _cycles(sheet: Sheet, edges: Edges) -> None:
    if sheet.specs is None or sheet.table.limits.visits < Limits().visits:
        return
    inside = {
        state: [
            target
            for target, events in targets.items()
            if any(not from_outside(sheet.table.states[state], event) for event in events)
        ]
        for state, targets in edges.items()
    }
    bounded = _bounded(sheet)
    for group in _components(inside):
        (first, *rest) = group
        if not rest and first not in inside.get(first, ()):
            continue
        for state in group:
            free = [tool for tool in _effects(sheet, state) if tool not in bounded]
            if free:
                # A few names only: a long cycle is told at each of its effects.
                names = ", ".join(group[:5]) + (", ..." if len(group) > 5 else "")
                what = f"{', '.join(free)} can be called again and again, in a cycle of {names}"
                advice = f"bound it: `at_most({free[0]}, n)`, or `limits = {{ visits = n }}`"
                sheet.remark("unbounded-cycle", f"states.{state}", what, advice=advice)


def _bounded(sheet: Sheet) -> set[str]:
    """Return the tools whose calls a rule counts."""
    return {
        atom.name
        for _, rule in sheet.rules
        if rule.form in _BOUNDING
        for atom in rule.atoms()
        if atom.intent and atom.where is None
    }


def _components(edges: Mapping[str, Iterable[str]]) -> list[list[str]]:
    """Return the strongly connected components, each in the order of the table."""
    order: list[str] = []
    seen: set[str] = set()
    for root in edges:
        if root in seen:
            continue
        seen.add(root)
        stack = [(root, iter(edges[root]))]
        while stack:
            state, left = stack[-1]
            for target in left:
                if target not in seen and target in edges:
                    seen.add(target)
                    stack.append((target, iter(edges[target])))
                    break
            else:
                stack.pop()
                order.append(state)
    place = {state: rank for rank, state in enumerate(edges)}
    back: dict[str, list[str]] = {state: [] for state in edges}
    for state, targets in edges.items():
        for target in targets:
            if target in back:
                back[target].append(state)
    out, taken = [], set()
    for root in reversed(order):
        if root in taken:
            continue
        taken.add(root)
        group, pending = [], [root]
        while pending:
            state = pending.pop()
            group.append(state)
            new = [before for before in back[state] if before not in taken]
            taken.update(new)
            pending += new
        out.append(sorted(group, key=place.__getitem__))
    return out


# ------------------------------------------------------------------------------------------ turns


def _turns(sheet: Sheet, edges: Edges) -> None:
    """Report a limit of turns under which no run can succeed; say the fewest turns otherwise."""
    table = sheet.table
    if table.initial not in table.states:
        return
    most = table.limits.iterations
    least = {table.initial: 0}
    pending = deque([table.initial])
    while pending:
        state = pending.popleft()
        asks = table.states[state].verb == "ask"
        for target, events in edges.get(state, {}).items():
            cost = _cost(sheet, state, events, least[state], asks=asks)
            if cost <= most and cost < least.get(target, most + 1):
                least[target] = cost
                pending.append(target)
    finals = [name for name, state in table.states.items() if state.final == "success"]
    ways = [name for name in finals if name in least]
    if finals and not ways and closure([table.initial], edges) & set(finals):
        what = f"no run can succeed within {most} turns of the model without outside input"
        sheet.warn("limit-too-low", "limits.iterations", what, advice="raise it")
    elif ways:
        total = _fewest(sheet, edges)
        least_total = min(total[name] for name in ways)
        fewest = "1 turn" if least_total == 1 else f"{least_total} turns"
        what = f"a run can succeed after {fewest} of the model; {most} are allowed"
        sheet.remark("fewest-turns", "limits", what)


def _cost(sheet: Sheet, state: str, events: Iterable[str], count: int, *, asks: bool) -> int:
    """Return the fewest turns since the last outside input, once a row has been taken."""
    if any(from_outside(sheet.table.states[state], event) for event in events):
        return 0
    if sheet.table.states[state].talk:
        count = 0  # the customer can speak here without a row
    count += _turn(sheet, events, asks=asks)
    # The call itself must still be proposed within the limit; the yes comes after that.
    asked = count <= sheet.table.limits.iterations
    return 0 if asked and any(_approved(sheet, event) for event in events) else count


def _turn(sheet: Sheet, events: Iterable[str], *, asks: bool) -> int:
    """Return the turns that the cheapest of some events takes."""
    # A signal moves in the middle of a reply, and the rest of it is judged where that leads.
    signal = any(event.partition(".")[0] in sheet.table.signals for event in events)
    return int(asks and not signal)


def _approved(sheet: Sheet, event: str) -> bool:
    """Whether the event may be the result of a call that a person said yes to."""
    use = sheet.table.tools.get(event.partition(".")[0])
    return use is not None and use.approve is not None


def _fewest(sheet: Sheet, edges: Edges) -> Mapping[str, int]:
    """Return state -> fewest turns of the whole run on the way there; those without come first."""
    out: dict[str, int] = {}
    pending = deque([(sheet.table.initial, 0)])
    while pending:
        state, count = pending.popleft()
        if state in out:
            continue
        out[state] = count
        asks = sheet.table.states[state].verb == "ask"
        for target, events in edges.get(state, {}).items():
            if _turn(sheet, events, asks=asks):
                pending.append((target, count + 1))
            else:
                pending.appendleft((target, count))
    return out


# ------------------------------------------------------------------------------------------ again


def _again(sheet: Sheet, edges: Edges) -> None:
    """Warn where a call in doubt is left behind for a state that may make it again."""
    if sheet.specs is None:
        return
    for state, targets in edges.items():
        for tool in _effects(sheet, state):
            if effect_of(sheet.table, sheet.specs, tool) != "manual":
                continue
            if sheet.grid.cell(state, f"{tool}.unknown").moves:
                continue
            for target, events in targets.items():
                left = sorted(set(events) & set(OUTSIDE))
                if left and tool in sheet.table.tools_in(sheet.table.states[target]):
                    what = (
                        f"{tool!r} may be in doubt when {left[0]!r} leads to {target!r}, "
                        "where it can be called again"
                    )
                    advice = f"add a row on `{tool}.unknown` that waits for a resolution"
                    sheet.warn("effect-tried-again", f"states.{state}", what, advice=advice)
                    break
