"""The command that draws tables: graph. It runs nothing.

Rules.  1. Only the table is read, and a run's journal where one is named.  2. Bytes go to a file or
a pipe, never to a terminal.
Not here: what is drawn (`table.picture`), and how (`table.diagram`, `table.rendering`).
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from statemachine_agents.cli import options as o
from statemachine_agents.cli.failures import SUCCESS
from statemachine_agents.cli.finding import existing_store, find_run
from statemachine_agents.cli.paper import Paper
from statemachine_agents.errors import UsageError
from statemachine_agents.journal.fold import fold
from statemachine_agents.load import load_table
from statemachine_agents.table.diagram import dot, markdown, mermaid
from statemachine_agents.table.model import Table
from statemachine_agents.table.rendering import png, svg

Form = Literal["mermaid", "dot", "markdown", "svg", "png"]


def graph(
    workflow: Annotated[
        str, Parameter(help="A folder, table file, module:attribute, or a bundled name.")
    ],
    /,
    *,
    as_: Annotated[Form, Parameter(name="--as", help="How to draw.")] = "mermaid",
    run: Annotated[str | None, Parameter(help="Mark the path of this run, or of `last`.")] = None,
    defaults: Annotated[
        bool,
        Parameter(
            negative="",
            show_default=False,
            help="Show which events end or park a run where no row takes them; tools count as "
            "`manual`, as only the table is read.",
        ),
    ] = False,
    out: Annotated[Path | None, Parameter(help="Write to this file instead of stdout.")] = None,
    store: o.Store = o.STORE,
    json: o.Json = False,
) -> int:
    """Draw a table: Mermaid, Graphviz, Markdown, SVG or PNG; a run's path."""
    paper = Paper(json=json)
    if as_ == "png" and out is None and (json or sys.stdout.isatty()):
        raise UsageError("a PNG is no text: name a file with --out, or pipe stdout into one")
    table = load_table(workflow)
    path = () if run is None else asyncio.run(_path(store, run, table))
    drawn = _draw(table, as_, path, defaults=defaults)
    if out is not None:
        _write(out, drawn)
    if json:
        said = {"workflow": table.name, "as": as_, "path": list(path)}
        where = {"text": drawn} if out is None else {"out": str(out)}
        paper.object({**said, **where})
    elif out is not None:
        paper.note(f"wrote {out}")
    elif isinstance(drawn, bytes):
        sys.stdout.buffer.write(drawn)
        sys.stdout.buffer.flush()
    else:
        paper.raw(drawn)
    return SUCCESS


def _draw(table: Table, form: Form, path: Sequence[str], *, defaults: bool) -> str | bytes:
    match form:
        case "mermaid":
            return mermaid(table, path, defaults=defaults)
        case "dot":
            return dot(table, path, defaults=defaults)
        case "markdown":
            return markdown(table, path, defaults=defaults)
        case "svg":
            return svg(table, path, defaults=defaults)
        case "png":
            return png(table, path, defaults=defaults)


def _write(out: Path, drawn: str | bytes) -> None:
    try:
        out.write_bytes(drawn.encode() if isinstance(drawn, str) else drawn)
    except OSError as error:
        msg = f"--out {out}: cannot be written: {error.strerror}"
        raise UsageError(msg, path=str(out)) from error


async def _path(store_path: Path, run: str, table: Table) -> tuple[str, ...]:
    from statemachine_agents.cli.reading import journal_of

    store = existing_store(store_path)
    try:
        row = await find_run(store, run)
        if row.workflow != table.name:
            msg = f"run {row.run} is of workflow {row.workflow!r}, not of {table.name!r}"
            raise UsageError(msg, run=row.run)
        journal = await journal_of(store, row)
    finally:
        await store.aclose()
    return tuple(fold(journal.workflow, row.run, journal.records).path)
