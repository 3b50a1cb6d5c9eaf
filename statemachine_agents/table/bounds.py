"""How large a table may be: beyond these bounds it is refused before anything is expanded.

Rules.  1. A bound is far beyond what a person can read, and low enough that reading and checking
take a second at most.  2. Counting is cheap: nothing is parsed for it.
Not here: the size of a file (`toml`), of an expression (`syntax`), of a value (`values`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from statemachine_agents.table.events import CHILD_OUTCOMES, TOOL_OUTCOMES
from statemachine_agents.table.model import State, Table
from statemachine_agents.table.problems import Problem

MAX_STATES: Final = 2_000
MAX_ROWS: Final = 10_000
MAX_CELLS: Final = 100_000
"""Events that states can meet, over all states."""

MAX_MATCHES: Final = 1_000_000
"""Events that rows are compared with, over all rows; a source `*` counts once per state."""

_OWN: Final = 20
"""Most events of a state that no tool or child gives."""

_ADVICE: Final = "split it: a part of its own is a child workflow, named by `run`"


def oversize(table: Table) -> tuple[Problem, ...]:
    """Return the bounds that a table exceeds, as findings `too-large`.

    Args:
        table: any table; it need not be sound.
    """
    return tuple(_exceeded(table))


def too_many(where: str, count: int, most: int, things: str) -> Problem:
    """Return the finding for more than `most` things at a place."""
    return Problem(
        "too-large",
        where,
        f"too many {things}",
        expected=f"at most {most:,}",
        got=f"{count:,}",
        next=_ADVICE,
    )


def _exceeded(table: Table) -> Iterator[Problem]:
    if len(table.states) > MAX_STATES:
        yield too_many("states", len(table.states), MAX_STATES, "states")
    if len(table.transitions) > MAX_ROWS:
        yield too_many("transitions", len(table.transitions), MAX_ROWS, "rows")
    waiting = sum(1 for state in table.states.values() if "resolution" in (state.wait or ()))
    tools = len({tool for state in table.states.values() for tool in table.tools_in(state)})
    meets = {name: _meets(table, state) for name, state in table.states.items()}
    cells = sum(meets.values()) + waiting * tools * 2
    if cells > MAX_CELLS:
        yield too_many("states", cells, MAX_CELLS, "events that states can meet")
    matches = 0
    for row in table.transitions:
        if row.source == "*":
            members, events = len(table.states), cells
        elif row.source in table.groups:
            group = table.groups[row.source]
            members, events = len(group), sum(meets.get(name, 0) for name in group)
        else:
            members, events = 1, meets.get(row.source, 0) + tools * len(TOOL_OUTCOMES)
        matches += sum(events if "*" in event else members for event in row.event)
    if matches > MAX_MATCHES:
        yield too_many("transitions", matches, MAX_MATCHES, "events that rows are compared with")


def _meets(table: Table, state: State) -> int:
    """Return at least as many events as a state can meet."""
    return (
        _OWN
        + len(table.tools_in(state)) * len(TOOL_OUTCOMES)
        + len(state.run or ()) * len(CHILD_OUTCOMES)
    )
