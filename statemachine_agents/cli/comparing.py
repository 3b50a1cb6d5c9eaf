"""The command that compares two tables: diff. It runs nothing.

Rules.  1. What can happen comes first: runs that became possible or impossible, then everything
else state by state.  2. A table with errors is refused: what it does is not known.  3. A store is
only read; runs that ended are of no interest, and a run keeps the table it started with.
Not here: finding the differences (`proof.diff`).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Final

from cyclopts import Parameter

from statemachine_agents.cli import options as o
from statemachine_agents.cli.failures import FINDINGS, SUCCESS
from statemachine_agents.cli.finding import existing_store, home_of
from statemachine_agents.cli.paper import Paper
from statemachine_agents.cli.text import plural, short
from statemachine_agents.errors import TableError, UsageError
from statemachine_agents.load import load_table, load_workflow
from statemachine_agents.proof.changes import Change, Difference
from statemachine_agents.proof.diff import diff as compare
from statemachine_agents.proof.structure import check
from statemachine_agents.proof.walks import Walk
from statemachine_agents.table.definition import Definition
from statemachine_agents.turn.ports import RunRow

_RUN: Final = re.compile(r"r-[0-9a-f]{4,}\S*|last")
_GOING: Final = ("running", "waiting", "quarantined")
_MOST: Final = 1_000_000
_SHOWN: Final = 20
"""Runs of events, and ids of runs, that people are shown of each kind; JSON has all."""

_SIGNS: Final = {"possible": ("+", "green"), "impossible": ("-", "red"), "changed": ("~", "yellow")}

TableName = Annotated[
    str, Parameter(help="A folder, table file, module:attribute, or a bundled name.")
]


def diff(
    before: TableName,
    after: TableName,
    /,
    *,
    store: Annotated[
        Path | None,
        Parameter(help="Also list the runs in this store that stand in a state that changed."),
    ] = None,
    json: o.Json = False,
) -> int:
    """Say what became possible and impossible between two tables."""
    for name in (before, after):
        if _RUN.fullmatch(name) and not Path(name).exists():
            msg = (
                f"{name} is a run: `sma diff` compares two tables; comparing runs comes in a later "
                f"release. `sma show {name}` shows it, `sma graph TABLE --run {name}` its path"
            )
            raise UsageError(msg, before=before, after=after)
    paper = Paper(json=json)
    one, two = _definition(before), _definition(after)
    found = compare(one, two)
    rows = [] if store is None else asyncio.run(_going(store, one.table.name))
    standing = _standing(found, rows)
    _tell(paper, found, f"{before} -> {after}")
    if store is not None:
        _tell_runs(paper, found, standing, len(rows), one.table.name)
    paper.object(
        {
            "event": "compared",
            **{key: value for key, value in found.to_dict().items() if key != "changes"},
            "changes": len(found.changes),
            "runs": {state: [row.run for row in each] for state, each in standing.items()},
        }
    )
    return SUCCESS if found.same else FINDINGS


def _definition(name: str) -> Definition:
    """Return a table with the specs of its functions where they can be loaded, else alone.

    Raises:
        UsageError: it cannot be read, or has errors.
    """
    try:
        table = load_table(name)
    except TableError as error:
        raise UsageError(str(error), **error.facts) from error
    errors = sum(problem.severity == "error" for problem in check(table))
    if errors:
        msg = (
            f"{name}: {plural(errors, 'error')}, so what the table does cannot be compared; "
            f"`sma check {name}` lists every problem"
        )
        raise UsageError(msg, path=name)
    if Path(name).is_file():
        return Definition(table)
    try:
        return load_workflow(name, home_of(o.STORE)).definition
    except (TableError, UsageError):
        # Its functions are missing or broken; the table can be compared all the same.
        return Definition(table)


# --------------------------------------------------------------------------------------- in flight


async def _going(path: Path, workflow: str) -> list[RunRow]:
    """Return the runs of a workflow that have not ended."""
    store = existing_store(path)
    try:
        return [
            row
            for status in _GOING
            for row in await store.runs(workflow=workflow, status=status, limit=_MOST)
        ]
    finally:
        await store.aclose()


def _standing(found: Difference, rows: Iterable[RunRow]) -> Mapping[str, list[RunRow]]:
    """Return state -> runs in it, for states in which something changed."""
    out: dict[str, list[RunRow]] = {}
    for row in rows:
        if row.state in found.touched:
            out.setdefault(row.state, []).append(row)
    return out


# ------------------------------------------------------------------------------------------- words


def _tell(paper: Paper, found: Difference, title: str) -> None:
    for change in found.changes:
        paper.object({"event": "change", **change.to_dict()})
    if found.same:
        paper.line((title, "bold"), ": ", ("the same", "green"))
        return
    paper.line((title, "bold"))
    for heading, walks, sense in (
        ("runs that became possible", found.gained, "possible"),
        ("runs that became impossible", found.lost, "impossible"),
    ):
        if walks:
            paper.line()
            paper.line((heading, "bold"))
        for walk in walks[:_SHOWN]:
            _tell_walk(paper, walk, sense)
        if len(walks) > _SHOWN:
            paper.line(f"  and {len(walks) - _SHOWN} more; --json lists all")
    for heading, sense in (
        ("became possible", "possible"),
        ("became impossible", "impossible"),
        ("changed", "changed"),
    ):
        changes = [change for change in found.changes if change.sense == sense]
        if changes:
            paper.line()
            paper.line((heading, "bold"))
        for change in changes:
            _tell_change(paper, change)
    if not found.complete:
        paper.line()
        paper.line("there are too many pairs of states to walk: some runs may be missing above")


def _tell_walk(paper: Paper, walk: Walk, sense: str) -> None:
    """Write one run, a move a line; the move the other table lacks is marked."""
    sign = _SIGNS[sense]
    start = walk.hops[0].state if walk.hops else "at once"
    paper.line(f"  {start}")
    for number, hop in enumerate(walk.hops):
        mark = sign if number == walk.at else (" ", "")
        paper.line("  ", mark, f" {hop}")
    paper.line("    ", (f"ends in {walk.end}" if walk.end else "reaches no end", "dim"))


def _tell_change(paper: Paper, change: Change) -> None:
    paper.line("  ", _SIGNS[change.sense], " ", (short(change.place), "cyan"), f" {change.text}")
    if change.kind in ("outcome", "order", "acts", "verb", "wording", "tool"):
        for word, value in (("before", change.before), ("after", change.after)):
            if value is not None:
                paper.line(f"      {word}: ", short(value, 400))


def _tell_runs(
    paper: Paper,
    found: Difference,
    standing: Mapping[str, list[RunRow]],
    going: int,
    workflow: str,
) -> None:
    there = sum(map(len, standing.values()))
    paper.line()
    paper.line(
        (f"{plural(going, 'run')} of {workflow} not ended, {there} in a state that changed", "bold")
    )
    for state, rows in standing.items():
        names = ", ".join(row.run for row in rows[:_SHOWN])
        more = f" and {len(rows) - _SHOWN} more" if len(rows) > _SHOWN else ""
        paper.line("  ", (state, "cyan"), f" {plural(len(rows), 'run')}: {names}{more}")
        for text in found.touched[state]:
            paper.line(f"      {text}")
