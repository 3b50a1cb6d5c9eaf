"""The commands that look at runs: runs, show, replay, export. They call nothing and change nothing.

Rules.  1. A run is read with the definition it was made with, from its store or its file: no
function, no shop, no network.  2. A journal that does not verify is a finding, not an accident.
Not here: words for records (`records`), deciding again (`journal.replay`).
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Final, Literal, TypeVar

import attrs
from cyclopts import Parameter

from statemachine_agents.cli import options as o
from statemachine_agents.cli.ending import rows_of, waits_for
from statemachine_agents.cli.failures import FINDINGS, SUCCESS
from statemachine_agents.cli.finding import existing_store, find_run
from statemachine_agents.cli.holding import holder_of
from statemachine_agents.cli.live import style_of
from statemachine_agents.cli.paper import Paper
from statemachine_agents.cli.records import Words, plain, row_of
from statemachine_agents.cli.text import clock_of, plural, time_of
from statemachine_agents.driver import Driver
from statemachine_agents.errors import JournalDamaged, UsageError
from statemachine_agents.journal.fold import fold
from statemachine_agents.journal.journal import Journal
from statemachine_agents.journal.outcome import outcome_of
from statemachine_agents.journal.records import GENESIS, blob_of, header_of, with_blob
from statemachine_agents.journal.replay import Replayed
from statemachine_agents.models.rehearsal import RehearsalModel
from statemachine_agents.stores.sqlite import SQLiteStore
from statemachine_agents.turn.ports import RunRow
from statemachine_agents.values import JSON, sha256

T = TypeVar("T")

_MOST: Final = 100_000

Status = Literal["running", "waiting", "succeeded", "failed", "cancelled", "quarantined"]


def with_store(path: Path, work: Callable[[SQLiteStore], Awaitable[T]]) -> T:
    """Open an existing store, do the work, close it."""

    async def whole() -> T:
        store = existing_store(path)
        try:
            return await work(store)
        finally:
            await store.aclose()

    return asyncio.run(whole())


async def journal_of(store: SQLiteStore, row: RunRow) -> Journal:
    """Return a run's journal, large bodies read back."""
    records = await store.read(row.run)
    for index, record in enumerate(records):
        digest = blob_of(record)
        if digest is not None:
            records[index] = with_blob(record, await store.blob(digest))
    return Journal(await store.definition(row.definition), tuple(records))


# --------------------------------------------------------------------------------------------- runs


def runs(
    *,
    status: Annotated[Status | None, Parameter(help="Only runs with this status.")] = None,
    workflow: Annotated[str | None, Parameter(help="Only runs of this workflow.")] = None,
    limit: Annotated[int, Parameter(help="Most runs to list.")] = 20,
    store: o.Store = o.STORE,
    json: o.Json = False,
) -> int:
    """List runs, newest first."""
    if not 1 <= limit <= _MOST:
        raise UsageError(f"--limit {limit}: expected 1 to {_MOST}")
    paper = Paper(json=json)
    rows = with_store(store, lambda it: it.runs(workflow=workflow, status=status, limit=limit))
    for row in rows:
        paper.object(attrs.asdict(row))
    if not rows:
        paper.line(f"no runs in {store}")
        return SUCCESS
    paper.table(
        ("run", "workflow", "status", "state", "records", "updated", "reason"),
        (
            (
                (row.run, "bold"),
                row.workflow,
                (row.status, style_of(row.status)),
                row.state,
                str(row.seq),
                (time_of(row.updated_at), "dim"),
                row.reason,
            )
            for row in rows
        ),
    )
    return SUCCESS


# --------------------------------------------------------------------------------------------- show


def show(run: o.RunId, /, *, store: o.Store = o.STORE, json: o.Json = False) -> int:
    """Show what happened in a run, record by record."""
    paper = Paper(json=json)

    async def read(it: SQLiteStore) -> tuple[RunRow, Journal]:
        row = await find_run(it, run)
        return row, await journal_of(it, row)

    async def waits(it: SQLiteStore) -> tuple[list[dict[str, JSON]], list[str]]:
        # Only to list what waits; the definition has no functions and nothing is advanced.
        driver = Driver(journal.workflow, model=RehearsalModel(), store=it)
        return await waits_for(driver, stands, options)

    row, journal = with_store(store, read)
    _show(paper, row, journal)
    stands = outcome_of(fold(journal.workflow, row.run, journal.records))
    holder = holder_of(row)
    options = () if store == o.STORE else ("--store", str(store))
    pending, lines = with_store(store, waits)
    rows = rows_of(stands, journal.records, pending)
    if holder is not None:
        rows.append(("held by", str(holder)))
        lines = []
    paper.panel((f"{stands.status} in {stands.state}", style_of(stands.status)), rows, lines)
    paper.object(stands.to_dict())
    return SUCCESS


def _show(paper: Paper, row: RunRow, journal: Journal) -> None:
    table = journal.workflow.table
    words = Words(journal.workflow)
    paper.line(
        (row.run, "bold"),
        f"  {table.name}@{table.version}",
        f"  {time_of(row.created_at)}",
        (f"  request {row.request_id}" if row.request_id else ""),
        (f"  child of {row.parent}" if row.parent else ""),
    )
    for record in journal.records:
        paper.object(plain(record))
    paper.table(
        ("seq", "time", "kind", "what happened"),
        (row_of(record, words, clock_of(record.at)) for record in journal.records),
    )


# ------------------------------------------------------------------------------------------- replay


def replay(
    run: Annotated[str | None, Parameter(help="A run id, a beginning of one, or `last`.")] = None,
    /,
    *,
    file: Annotated[
        Path | None, Parameter(help="Replay an exported journal instead of a run of the store.")
    ] = None,
    store: o.Store = o.STORE,
    json: o.Json = False,
) -> int:
    """Decide a run again from its journal alone and compare every record."""
    if (run is None) == (file is None):
        raise UsageError(
            "name a run (`sma replay last`), or a journal (`sma replay --file J.jsonl`)"
        )
    paper = Paper(json=json)
    journal: Journal | None = None
    try:
        journal = _from_file(file) if file is not None else _from_store(store, str(run))
        began = time.perf_counter()
        replayed = journal.replay()
    except JournalDamaged as damage:
        return _damaged(paper, damage, journal)
    spent = (time.perf_counter() - began) * 1000
    _tell(paper, replayed, f"{spent:.0f} ms")
    paper.object({**replayed.to_dict(), "ms": round(spent, 3)})
    return SUCCESS if replayed.same else FINDINGS


def _from_store(path: Path, run: str) -> Journal:
    async def read(it: SQLiteStore) -> Journal:
        return await journal_of(it, await find_run(it, run))

    return with_store(path, read)


def _from_file(path: Path) -> Journal:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}", path=str(path)) from error
    journal = Journal.loads(data) if data else None
    if journal is None or not journal.records:
        raise UsageError(f"{path} holds no records; `sma export RUN` writes a journal")
    return journal


def _tell(paper: Paper, replayed: Replayed, spent: str) -> None:
    difference = replayed.difference
    total = f"{replayed.model_calls} model calls, {replayed.tool_calls} tool calls, {spent}"
    steps = f"{plural(replayed.steps, 'step')} decided again"
    if difference is None:
        same = f"{replayed.records}/{replayed.records} records identical"
        paper.line((same, "bold green"), f", {steps}, {total}")
        return
    paper.line((str(difference), "bold red"))
    paper.line(f"{plural(replayed.records, 'record')} identical before it, {steps}, {total}")


def _damaged(paper: Paper, damage: JournalDamaged, journal: Journal | None) -> int:
    """Say what does not verify, and what would differ if the records were as they now stand."""
    paper.line((str(damage), "bold red"))
    found: dict[str, JSON] = {"same": False, "damaged": str(damage), **damage.facts}
    if journal is not None and journal.records:
        try:
            replayed = _sealed_again(journal).replay()
        except JournalDamaged as error:
            paper.line(f"decided again as it now stands: {error}")
        else:
            said = str(replayed.difference) if replayed.difference else "every decision is the same"
            paper.line(f"decided again as it now stands: {said}")
            found |= replayed.to_dict() | {"same": False}
    paper.object(found)
    return FINDINGS


def _sealed_again(journal: Journal) -> Journal:
    """Return the journal with hashes that fit its bodies as they now stand; only to look at it."""
    chain, records = GENESIS, []
    definition = sha256(journal.definition)
    for record in journal.records:
        body_hash = record.body_hash
        if record.data is not None:
            body_hash = sha256(record.salt + record.data)
        header = header_of(
            record.run, record.seq, record.rid, record.kind, record.v, record.at, record.fence,
            definition, body_hash,
        )  # fmt: skip
        chain = sha256(chain.encode() + header)
        records.append(attrs.evolve(record, definition=definition, body_hash=body_hash, hash=chain))
    return Journal(journal.definition, tuple(records))


# ------------------------------------------------------------------------------------------- export


def export(
    run: o.RunId,
    /,
    *,
    out: Annotated[
        Path | None, Parameter(help="Write to this file, readable by you only. Default: stdout.")
    ] = None,
    store: o.Store = o.STORE,
) -> int:
    """Write a run's journal as JSON lines: its definition, then every record."""
    journal = _from_store(store, run)
    data = journal.dumps()
    paper = Paper()
    if out is None:
        paper.raw(data.decode())
        return SUCCESS
    try:
        handle = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
    except OSError as error:
        raise UsageError(f"{out} cannot be written: {error.strerror}", path=str(out)) from error
    paper.note(f"{plural(len(journal.records), 'record')} of run {journal.run_id} in {out}")
    return SUCCESS
