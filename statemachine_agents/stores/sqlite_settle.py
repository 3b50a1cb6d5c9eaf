"""What a write on the SQLite file brings besides its records: blobs, signals taken, deliveries.

Rules.  1. As in `stores.sqlite_rows`: inside somebody else's transaction, constant statements.
2. A blob or a definition is kept once, under its hash.  3. Bodies of what is settled go.
Not here: the records and the head they lead to (`stores.sqlite_rows`).
"""

from __future__ import annotations

import hashlib
import sqlite3
import zlib

from statemachine_agents.stores import writes
from statemachine_agents.turn.ports import Write
from statemachine_agents.values import MAX_BLOB

_COUNT_UNREAD = """
update run set unread = (select count(*) from inbox where run = ?1 and taken_seq is null)
where run = ?1
"""

_COUNT_UNDELIVERED = """
update run set undelivered = (select count(*) from outbox where run = ?1 and done_at is null)
where run = ?1
"""


def define(db: sqlite3.Connection, _now: int, digest: str, data: bytes) -> None:
    """Keep a definition once."""
    db.execute(
        "insert into definition values (?, ?) on conflict (digest) do nothing", (digest, data)
    )


def keep_blob(db: sqlite3.Connection, _now: int, data: bytes) -> None:
    """Keep a blob once, compressed where that makes it smaller; its hash is over `data` itself."""
    digest = hashlib.sha256(data).digest()
    if db.execute("select 1 from blob where digest = ?", (digest,)).fetchone() is None:
        # Level 1: others wait for this transaction, and JSON hardly shrinks further.
        small = zlib.compress(data, 1) if len(data) <= MAX_BLOB else data
        db.execute("insert into blob values (?, ?)", (digest, min(small, data, key=len)))


def settle(db: sqlite3.Connection, now: int, run: str, write: Write, seq: int) -> None:
    """Keep blobs, take signals, queue deliveries, note those done.

    Bodies of what is settled go: the journal has them now.
    """
    for blob in write.blobs:
        keep_blob(db, now, bytes(blob))
    for signal_id in write.taken:
        taken = db.execute(
            "update inbox set taken_seq = ?, body = null "
            "where run = ? and id = ? and taken_seq is null",
            (seq, run, signal_id),
        ).rowcount
        if not taken:
            raise writes.not_waiting(run, signal_id)
    for delivery in write.outbox:
        put = db.execute(
            "insert into outbox values (?, ?, ?, ?, ?, ?, null) "
            "on conflict (run, seq, n) do nothing",
            (
                run,
                delivery.seq,
                delivery.n,
                delivery.kind,
                delivery.target,
                writes.body_of(run, delivery),
            ),
        ).rowcount
        if not put:
            raise writes.queued_twice(run, (delivery.seq, delivery.n))
    for key in write.delivered:
        done = db.execute(
            "update outbox set done_at = coalesce(done_at, ?), body = null "
            "where run = ? and seq = ? and n = ?",
            (now, run, *key),
        ).rowcount
        if not done:
            raise writes.not_queued(run, key)
    if write.taken:
        db.execute(_COUNT_UNREAD, (run,))
    if write.outbox or write.delivered:
        db.execute(_COUNT_UNDELIVERED, (run,))
