"""What is written to the SQLite file: each write as a plain function on a connection.

Rules.  1. A function runs inside a transaction somebody else began and ends; raising undoes it.
2. Every statement is a constant; values are only ever bound.  3. `now` is the database's clock,
read once per transaction after the lock was got, so waiting for the lock cannot make it stale.
4. An append is one conditional update of the head and its inserts; only when that update finds
nothing is it looked into why.
Not here: transactions and threads (`stores.sqlite_lane`), what is read (`stores.sqlite_reads`),
what a write brings besides its records (`stores.sqlite_settle`).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any

from statemachine_agents.journal.records import Record
from statemachine_agents.stores import writes
from statemachine_agents.stores.sqlite_guard import guarded
from statemachine_agents.stores.sqlite_settle import settle
from statemachine_agents.turn.ports import Lease, Write

# Every statement lets go of the interpreter lock and has to get it back from a busy event loop, so
# the records of a write go in together: by 1 to 8, which are the statements SQLite keeps compiled.
_RECORD = "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_INSERT_RECORDS = tuple(
    "insert into record values " + ", ".join([_RECORD] * count)  # noqa: S608 - constants
    for count in range(1, 9)
)

_INSERT_RUN = """
insert into run (run, workflow, definition, state, status, phase, reason, seq, fence, attempts,
                 owner, lease_until, wake_at, request_id, parent, forked_at, unread, undelivered,
                 created_at, touched_at, updated_at)
values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, 0, ?, ?, ?)
on conflict (run) do nothing
"""

# `status`, `phase` and `wake_at` are in indexes; an update that names them rewrites those entries
# even when nothing changes. Most appends change none of them, so the short form is tried first.
# It also tells that no signal waits.
_ADVANCE = """
update run set seq = ?, definition = ?, state = ?, reason = ?, attempts = 0, updated_at = ?
where run = ? and fence = ? and seq = ? and status = ? and phase = ? and wake_at is ?
      and unread = 0
"""

_ADVANCE_AND_TURN = """
update run set seq = ?, definition = ?, state = ?, reason = ?, attempts = 0, updated_at = ?,
               status = ?, phase = ?, wake_at = ?
where run = ? and fence = ? and seq = ?
"""

_TURN = """
update run set state = ?, reason = ?, updated_at = ?, status = ?, phase = ?, wake_at = ?
where run = ? and fence = ?
"""

_CLAIM = """
update run set fence = fence + 1, owner = ?, lease_until = ?, attempts = attempts + 1,
               touched_at = ?,
               phase = case when phase in ('ready', 'waiting') then 'running' else phase end
where run = ? and (lease_until <= ? or fence = ?)
"""

_LEAVE = """
update run set owner = null, lease_until = 0, attempts = 0,
               phase = case when phase = 'running' then 'ready' else phase end
where run = ?
"""

_PARK = """
update run set owner = null, lease_until = 0, attempts = 0,
               wake_at = case when phase in ('blocked', 'ended') then wake_at else ? end,
               phase = case when phase in ('blocked', 'ended') then phase else 'waiting' end
where run = ?
"""

_RELEASE = """
update run set owner = null, lease_until = 0, attempts = max(attempts - (? and lease_until > 0), 0),
               phase = case when phase = 'running' then 'ready' else phase end
where run = ? and fence = ?
"""


def create(
    db: sqlite3.Connection,
    now: int,
    write: Write,
    workflow: str,
    request_id: str | None,
    parent: str | None,
    lent: tuple[str, float] | None = None,
    forked_at: int | None = None,
) -> tuple[str, bool]:
    """Create a run, or find the one an earlier call created.

    A new one is `lent` at once, to an owner for so many seconds, as `claim` would.
    """
    if request_id is not None:
        there = db.execute("select run from run where request_id = ?", (request_id,)).fetchone()
        if there is not None:
            return there[0], False
    run = writes.check_first(write, forked_at or 0)
    head, last = write.head, write.records[-1]
    owner, ttl = lent or (None, 0.0)
    claimed = int(lent is not None)
    put = db.execute(
        _INSERT_RUN,
        (
            run,
            workflow,
            packed(last.definition),
            head.state,
            head.status,
            "running" if claimed and head.phase in ("ready", "waiting") else head.phase,
            head.reason,
            last.seq,
            claimed,
            claimed,
            owner,
            now + int(ttl * 1e6) if claimed else 0,
            head.wake_at,
            request_id,
            parent,
            forked_at,
            now,
            now,
            now,
        ),
    ).rowcount
    if not put:
        if _stands(db, run, write.records):
            return run, False
        raise writes.run_taken(run)
    _insert(db, run, write.records)
    settle(db, now, run, write, last.seq)
    return run, True


def fork(
    db: sqlite3.Connection, now: int, parent: str, seq: int, write: Write, request_id: str | None
) -> str:
    """Create a run that points at the parent's records up to `seq`."""
    origin = db.execute("select workflow, seq from run where run = ?", (parent,)).fetchone()
    if origin is None:
        raise writes.unknown_run(parent)
    if not 1 <= seq <= origin[1]:
        raise writes.bad_fork(parent, seq, origin[1])
    return create(db, now, write, origin[0], request_id, parent, None, seq)[0]


def claim(
    db: sqlite3.Connection, now: int, run: str, owner: str, ttl: float, over: int | None
) -> Lease | None:
    """Take the lease if it is free, has lapsed, or has the fence `over`."""
    taken = db.execute(_CLAIM, (owner, now + int(ttl * 1e6), now, run, now, over)).rowcount
    row = db.execute("select fence, attempts from run where run = ?", (run,)).fetchone()
    if row is None:
        raise writes.unknown_run(run)
    return Lease(run, row[0], owner, row[1]) if taken else None


def renew(
    db: sqlite3.Connection, now: int, leases: Iterable[Lease], ttl: float
) -> tuple[Lease, ...]:
    """Extend the leases nobody has taken or given back."""
    until = now + int(ttl * 1e6)
    return tuple(
        lease
        for lease in leases
        if db.execute(
            "update run set lease_until = ? where run = ? and fence = ? and lease_until > 0",
            (until, lease.run, lease.fence),
        ).rowcount
    )


def release(db: sqlite3.Connection, _now: int, lease: Lease, *, counted: bool) -> None:
    """Give the lease back, if it is still the current one."""
    db.execute(_RELEASE, (not counted, lease.run, lease.fence))


def park(db: sqlite3.Connection, _now: int, lease: Lease, wake_at: int | None) -> bool:
    """Give the run up unless a signal waits."""
    row = _current(db, lease)
    if row[2]:
        return False
    db.execute(_PARK, (wake_at, lease.run))
    return True


def signal(
    db: sqlite3.Connection, _now: int, run: str, signal_id: str, name: str, data: bytes, at: int
) -> bool:
    """Put a signal into the inbox once."""
    if db.execute("select 1 from run where run = ?", (run,)).fetchone() is None:
        raise writes.unknown_run(run)
    put = db.execute(
        "insert into inbox (run, id, name, body, at) values (?, ?, ?, ?, ?) "
        "on conflict (run, id) do nothing",
        (run, signal_id, name, data, at),
    ).rowcount
    if put:
        db.execute("update run set unread = unread + 1 where run = ?", (run,))
    return bool(put)


def transact(db: sqlite3.Connection, now: int, lease: Lease, work: Callable[[Any], Write]) -> Write:
    """Run `work` and append what it returns, all in the caller's savepoint.

    When the records it returns are already there, an earlier call committed its work with them, so
    what this one did is undone.
    """
    _current(db, lease)  # nobody else can write until we commit, so this holds for the append too
    db.execute("savepoint work")
    write = guarded(db, work)
    if not isinstance(write, Write):
        raise writes.not_a_write(lease.run, write)
    if write.records and _stands(db, lease.run, write.records):
        db.execute("rollback to work")
    else:
        append(db, now, lease, write)
    db.execute("release work")
    return write


def append(db: sqlite3.Connection, now: int, lease: Lease, write: Write) -> bool:
    """Append and say whether signals wait; see `Store.append`."""
    run, head, records = lease.run, write.head, write.records
    if records:
        first, last = records[0], records[-1]
        writes.check_records(run, records, first.seq - 1)
        definition = packed(last.definition)
        before = first.seq - 1
        advance = (last.seq, definition, head.state, head.reason, now)
        turn = (head.status, head.phase, head.wake_at)
        place = (run, lease.fence, before)
        plain = bool(db.execute(_ADVANCE, (*advance, *place, *turn)).rowcount)
        if not plain and not db.execute(_ADVANCE_AND_TURN, (*advance, *turn, *place)).rowcount:
            return _look_into(db, lease, records)
        _insert(db, run, records)
        seq = last.seq
    else:
        plain = False
        seq = _current(db, lease)[1]
        db.execute(
            _TURN,
            (head.state, head.reason, now, head.status, head.phase, head.wake_at, run, lease.fence),
        )
    settle(db, now, run, write, seq)
    unread = 0
    if not plain:
        (unread,) = db.execute("select unread from run where run = ?", (run,)).fetchone()
    if write.leave and not unread:
        db.execute(_LEAVE, (run,))
    return bool(unread)


def _look_into(db: sqlite3.Connection, lease: Lease, records: Sequence[Record]) -> bool:
    """Say why the head did not move: already written (return), a gap, or a lost race (raise)."""
    row = db.execute("select fence, seq, unread from run where run = ?", (lease.run,)).fetchone()
    if row is None:
        raise writes.unknown_run(lease.run)
    fence, seq, unread = row
    if _stands(db, lease.run, records):
        return bool(unread)
    if fence == lease.fence and records[0].seq > seq:
        raise writes.gap(lease.run, records[0].seq, seq)
    raise writes.fenced(lease, fence, seq)


def _current(db: sqlite3.Connection, lease: Lease) -> tuple[int, int, int]:
    """Return fence, seq and unread of the run, or raise where the lease is no longer current."""
    row = db.execute("select fence, seq, unread from run where run = ?", (lease.run,)).fetchone()
    if row is None:
        raise writes.unknown_run(lease.run)
    if row[0] != lease.fence:
        raise writes.fenced(lease, row[0], row[1])
    return row[0], row[1], row[2]


def _stands(db: sqlite3.Connection, run: str, records: Sequence[Record]) -> bool:
    """Tell whether these very records are already in the journal."""
    there = db.execute(
        "select rid from record where run = ? and seq between ? and ? order by seq",
        (run, records[0].seq, records[0].seq + len(records) - 1),
    ).fetchall()
    return [rid for (rid,) in there] == [bytes.fromhex(record.rid) for record in records]


def _insert(db: sqlite3.Connection, run: str, records: Sequence[Record]) -> None:
    unhex = bytes.fromhex
    most = len(_INSERT_RECORDS)
    try:
        for start in range(0, len(records), most):
            part = records[start : start + most]
            values: list[Any] = []
            for record in part:
                values += (
                    run,
                    record.seq,
                    unhex(record.rid),
                    record.kind,
                    record.v,
                    record.at,
                    record.fence,
                    packed(record.definition),
                    unhex(record.body_hash),
                    unhex(record.hash),
                    record.salt,
                    record.data,
                )
            db.execute(_INSERT_RECORDS[len(part) - 1], values)
    except sqlite3.IntegrityError as error:
        if "record.rid" in str(error):
            raise writes.used_rid(run) from error
        raise


@lru_cache(maxsize=64)
def packed(definition: str) -> bytes | str:
    """Return the 32 bytes of a hash; a definition that is named otherwise stays text."""
    if len(definition) == 64:
        try:
            data = bytes.fromhex(definition)
        except ValueError:
            return definition
        if data.hex() == definition:
            return data
    return definition
