"""Whether a table is whole: every structural finding, all together, in the order of the file.

Rules.  1. `check` never stops at the first problem and never raises for a bad table.  2. An error
is something that cannot work; a warning works, but probably not as meant.  3. Linear in rows and
cells: a table of a hundred states is checked in milliseconds.
The checks: `naming` names, types and references; `verbs` what a state may say; `offers` tools;
`reads` what expressions see; `flow` where runs can go; `guards` which rows can fire; `kinds` what
is compared and assigned; `consent` secrets, approvals, waits.
Not here: rules on all paths (`product`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import attrs

from statemachine_agents.proof import (
    allow,
    consent,
    flow,
    guards,
    kinds,
    naming,
    offers,
    reads,
    taint,
    verbs,
    worst,
)
from statemachine_agents.proof.sheet import sheet_of
from statemachine_agents.table.bounds import oversize
from statemachine_agents.table.events import Default
from statemachine_agents.table.grid import expand
from statemachine_agents.table.model import Table
from statemachine_agents.table.problems import Position, Problem
from statemachine_agents.table.toolspec import ToolSpec

_SECTIONS = (
    "name", "version", "initial", "instructions", "everywhere", "limits", "rules", "transitions",
    "states", "tools", "context", "groups", "agents", "signals", "define", "check",
)  # fmt: skip
_STEP = re.compile(r"[^.\[\]]+")


def check(
    table: Table,
    specs: Mapping[str, ToolSpec] | None = None,
    *,
    children: Iterable[str] = (),
    info: bool = False,
) -> tuple[Problem, ...]:
    """Return every finding of a table, sorted by place.

    Args:
        table: the table.
        specs: tool name as the table writes it -> spec; None when no functions are known, and then
            tools are not judged. The spec of an alias may stand under the name it is used for.
        children: names of the child workflows; with specs, `run=` may name no others.
        info: whether to return what is worth knowing, too.

    Returns:
        Findings of severity `error` (the table is not usable), `warning`, and `info` if asked.

    Example:
        >>> from statemachine_agents.table.model import State, Table
        >>> table = Table(name="t", initial="strat", states=[State("start", final="success")])
        >>> print(check(table)[0])
        error[unknown-state] initial: no state is named 'strat'; did you mean 'start'?
    """
    large = oversize(table)
    if large:
        return large
    sheet = sheet_of(table, specs, children)
    for part in (naming, verbs, offers, reads, flow, guards, kinds, consent, taint, worst):
        part.check(sheet)
    sheet.problems[:] = allow.applied(table, sheet.problems, sure=specs is not None)
    if not info:
        sheet.problems[:] = [each for each in sheet.problems if each.severity != "info"]
    order = _Order(table)
    found = sorted(dict.fromkeys(sheet.problems), key=order.of)
    return tuple(_written(table, problem) for problem in found)


def _written(table: Table, problem: Problem) -> Problem:
    """Return a finding with file and line, where the table was written in Python."""
    origin = table.written(problem.where)
    if origin is None:
        return problem
    return attrs.evolve(problem, position=Position(*origin))


@attrs.frozen
class Fallback:
    """A cell of the grid that can fall to its default.

    Args:
        state: the state.
        event: an event it can meet.
        default: what then happens.
        partly: rows stand in the cell, but all have guards or wait for other facts.
    """

    state: str
    event: str
    default: Default
    partly: bool = False


def defaults(table: Table, specs: Mapping[str, ToolSpec] | None = None) -> tuple[Fallback, ...]:
    """Return every cell that can fall to its default, in the order of the grid.

    Args:
        table: the table.
        specs: tool specs where known; without them every tool counts as `manual`.
    """
    grid, _ = expand(table, specs)
    return tuple(
        Fallback(state, event, cell.default, bool(cell.moves))
        for state, cells in grid.cells.items()
        for event, cell in cells.items()
        if all(entry.row.guard is not None or entry.needs for entry in cell.moves)
    )


class _Order:
    """Sorts places as they stand in a file: by section, then by the author's order in it."""

    def __init__(self, table: Table) -> None:
        self.sections = {name: rank for rank, name in enumerate(_SECTIONS)}
        self.names = {
            section: {name: rank for rank, name in enumerate(getattr(table, section))}
            for section in _SECTIONS[_SECTIONS.index("states") : -1]
        }

    def of(self, problem: Problem) -> tuple[object, ...]:
        section, *steps = _STEP.findall(problem.where)
        ranks = self.names.get(section, {})
        first = ranks.get(steps[0], len(ranks)) if steps and ranks else 0
        rest = tuple((0, int(step), "") if step.isdecimal() else (1, 0, step) for step in steps)
        rank = self.sections.get(section, len(self.sections))
        return (rank, first, rest, problem.severity, problem.code, problem.what)
