"""What is read from the SQLite file: each question as a plain function on a connection.

Rules.  1. Records never change, so a question in several statements needs no transaction around it.
2. `due` asks the database's clock and reads partial indexes only.  3. A row comes back as the value
of the port, never as a tuple with a meaning of its own.
Not here: writes (`stores.sqlite_rows`), the thread that runs these (`stores.sqlite_lane`).
"""

from __future__ import annotations

import sqlite3
import zlib
from typing import Any

import attrs

from statemachine_agents.errors import StoreError
from statemachine_agents.journal.records import Record, record_of
from statemachine_agents.stores import writes
from statemachine_agents.stores.sqlite_schema import NOW
from statemachine_agents.turn.ports import Delivery, RunRow, Signal
from statemachine_agents.values import MAX_BLOB, loads, sha256

_COLUMNS = tuple(field.name for field in attrs.fields(RunRow))

_ROW = f"select {', '.join(_COLUMNS)} from run "  # noqa: S608 - the names of our own class

_RECORDS = """
select run, seq, rid, kind, v, at, fence, definition, body_hash, hash, salt, body
from record where run = ? and seq > ? and seq <= ? order by seq
"""

# Each arm walks one partial index in its order and stops at the limit. A live lease means somebody
# is at it. The longest untouched come first: a run that cannot get on does not hold up the rest.
_DUE = """
with due (run, touched_at) as (
    select * from (
        select run, touched_at from run indexed by run_ready
        where phase = 'ready' and lease_until <= :now
        order by touched_at limit :limit)
    union
    select * from (
        select run, touched_at from run indexed by run_lapsed
        where phase = 'running' and lease_until <= :now
        order by lease_until limit :limit)
    union
    select * from (
        select run, touched_at from run indexed by run_wake
        where phase = 'waiting' and wake_at is not null and wake_at <= :now and lease_until <= :now
        order by wake_at limit :limit)
    union
    select * from (
        select run, touched_at from run indexed by run_unread
        where phase = 'waiting' and unread > 0 and lease_until <= :now
        order by touched_at limit :limit)
    union
    select * from (
        select run, touched_at from run indexed by run_undelivered
        where undelivered > 0 and phase <> 'blocked' and lease_until <= :now
        order by touched_at limit :limit)
)
select run from due order by touched_at limit :limit
"""


def clock(db: sqlite3.Connection) -> int:
    """Return the database's time in UTC microseconds."""
    now: int = db.execute(NOW).fetchone()[0]
    return now


def due(db: sqlite3.Connection, limit: int) -> list[str]:
    """Return runs somebody should advance now."""
    return [run for (run,) in db.execute(_DUE, {"now": clock(db), "limit": limit})]


def read(db: sqlite3.Connection, run: str, after: int, upto: int | None) -> list[Record]:
    """Return the records of a run, walking back through the runs it was forked from."""
    parts: list[list[tuple[Any, ...]]] = []
    last = upto
    while True:
        row = db.execute("select seq, parent, forked_at from run where run = ?", (run,)).fetchone()
        if row is None:
            raise writes.unknown_run(run)
        seq, parent, forked_at = row
        base = forked_at or 0
        last = seq if last is None else min(last, seq)
        if last > max(after, base):
            parts.append(db.execute(_RECORDS, (run, after, last)).fetchall())
        if not base or after >= base:
            break
        run, last = parent, min(last, base)
    return [_record(row) for part in reversed(parts) for row in part]


def _record(row: tuple[Any, ...]) -> Record:
    run, seq, rid, kind, v, at, fence, definition, body_hash, hash_, salt, data = row
    return record_of(
        {
            "run": run,
            "seq": seq,
            "rid": rid.hex(),
            "kind": kind,
            "v": v,
            "at": at,
            "fence": fence,
            "definition": _unpacked(definition),
            "body_hash": body_hash.hex(),
            "hash": hash_.hex(),
            "salt": salt,
            "data": data,
        }
    )


def _unpacked(definition: bytes | str) -> str:
    return definition.hex() if isinstance(definition, bytes) else definition


def row(db: sqlite3.Connection, run: str) -> RunRow:
    """Return one run row."""
    found = db.execute(_ROW + "where run = ?", (run,)).fetchone()
    if found is None:
        raise writes.unknown_run(run)
    return _run_row(found)


def runs(
    db: sqlite3.Connection, workflow: str | None, status: str | None, limit: int
) -> list[RunRow]:
    """Return run rows, newest first; four constant statements, one per set of filters."""
    match workflow, status:
        case None, None:
            found = db.execute(_ROW + "order by n desc limit ?", (limit,))
        case _, None:
            found = db.execute(
                _ROW + "where workflow = ? order by n desc limit ?", (workflow, limit)
            )
        case None, _:
            found = db.execute(_ROW + "where status = ? order by n desc limit ?", (status, limit))
        case _:
            found = db.execute(
                _ROW + "where workflow = ? and status = ? order by n desc limit ?",
                (workflow, status, limit),
            )
    return [_run_row(each) for each in found]


def _run_row(found: tuple[Any, ...]) -> RunRow:
    values = dict(zip(_COLUMNS, found, strict=True))
    values["definition"] = _unpacked(values["definition"])
    values["owner"] = values["owner"] or ""
    values["lease_until"] = values["lease_until"] or None
    return RunRow(**values)


def inbox(db: sqlite3.Connection, run: str) -> list[Signal]:
    """Return the signals not taken yet, in the order they came."""
    found = db.execute(
        "select id, name, body, at from inbox where run = ? and taken_seq is null order by n",
        (run,),
    ).fetchall()
    if not found:
        _insist(db, run)
    return [Signal(run, id_, name, loads(body), at) for id_, name, body, at in found]


def outbox(db: sqlite3.Connection, run: str) -> list[Delivery]:
    """Return deliveries not done yet, in the order of their records."""
    found = db.execute(
        "select seq, n, kind, target, body from outbox where run = ? and done_at is null "
        "order by seq, n",
        (run,),
    ).fetchall()
    if not found:
        _insist(db, run)
    return [
        Delivery(run=run, seq=seq, n=n, kind=kind, target=target, body=loads(body))
        for seq, n, kind, target, body in found
    ]


def definition(db: sqlite3.Connection, digest: str) -> bytes:
    """Return the bytes of a definition."""
    found = db.execute("select data from definition where digest = ?", (digest,)).fetchone()
    if found is None:
        raise writes.unknown_definition(digest)
    data: bytes = found[0]
    return data


def blob(db: sqlite3.Connection, digest: str) -> bytes:
    """Return a blob, checked against its hash: it is outside the chain that would notice."""
    try:
        key = bytes.fromhex(digest)
    except ValueError:
        raise writes.unknown_blob(digest) from None
    found = db.execute("select data from blob where digest = ?", (key,)).fetchone()
    if found is None:
        raise writes.unknown_blob(digest)
    data: bytes = found[0]
    if sha256(data) == digest:
        return data  # too small to shrink, or written by a version that did not compress
    data = _inflated(data)
    if sha256(data) != digest:
        raise StoreError(
            f"blob {digest}: its bytes no longer have that hash; restore a backup", digest=digest
        )
    return data


def _inflated(data: bytes) -> bytes:
    """Return what was compressed, or nothing where the bytes are damaged or no blob of ours."""
    inflating = zlib.decompressobj()
    try:
        plain = inflating.decompress(data, MAX_BLOB)
    except zlib.error:
        return b""
    return plain if inflating.eof else b""


def _insist(db: sqlite3.Connection, run: str) -> None:
    """Tell "nothing waits" from "no such run"."""
    if db.execute("select 1 from run where run = ?", (run,)).fetchone() is None:
        raise writes.unknown_run(run)
