"""Keep runs in one SQLite file: the store for one machine, one process or several.

Rules.  1. Whatever a method returned from is on the disk.  2. The file is opened at first use and
again after `aclose`; event loops and threads may come and go.  3. Never across a fork: a child
makes a store of its own.  4. Leases and wake-ups go by the database's clock.
The file must lie on a local file system (WAL needs shared memory): not on NFS or SMB.
This module imports `sqlite3`, so it is imported where a path is first named, never at start.
Not here: the tables (`sqlite_schema`), the statements (`sqlite_rows`, `sqlite_settle`,
`sqlite_reads`), the threads and the group commit (`sqlite_lane`).
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
import weakref
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from statemachine_agents.errors import StoreError, UsageError
from statemachine_agents.journal.records import Record
from statemachine_agents.stores import sqlite_reads as reads
from statemachine_agents.stores import sqlite_rows as rows
from statemachine_agents.stores import sqlite_settle as settling
from statemachine_agents.stores.sqlite_lane import Job, Lane, Work, Writer
from statemachine_agents.stores.sqlite_schema import Synchronous, connect
from statemachine_agents.turn.ports import Delivery, Lease, RunRow, Signal, Write
from statemachine_agents.values import JSON, dumps, sha256

__all__ = ["SQLiteStore"]


class SQLiteStore:
    """Keep runs in a SQLite file.

    Args:
        path: the file; created (mode 0600) where there is none, in a directory that exists.
        synchronous: `FULL`, or `EXTRA`; weaker ones lose commits a caller was told of.
        group: most writes in one commit; 256 is past the point where more brings anything.

    Raises:
        UsageError: the path, `synchronous` or `group` make no sense.

    Example:
        >>> import asyncio, tempfile
        >>> async def main(path):
        ...     store = SQLiteStore(path)
        ...     print(await store.runs())
        ...     await store.aclose()
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     asyncio.run(main(folder + "/runs.db"))
        []
    """

    _connection: ClassVar[type[sqlite3.Connection]] = sqlite3.Connection
    """Class of the connections; a test's subclass breaks them on purpose."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        synchronous: Synchronous = "FULL",
        group: int = 256,
    ) -> None:
        if str(path) in ("", ":memory:"):
            raise UsageError(
                f"SQLiteStore({str(path)!r}): expected the path of a file; use MemoryStore for a "
                "store that forgets",
                path=str(path),
            )
        if synchronous not in ("FULL", "EXTRA"):
            raise UsageError(
                f"SQLiteStore: synchronous={synchronous!r}; expected FULL or EXTRA, weaker ones "
                "lose records the caller was told are written",
                got=synchronous,
            )
        if group < 1:
            raise UsageError(f"SQLiteStore: group={group}; expected 1 or more", got=group)
        self.path = Path(path)
        self._synchronous = synchronous
        self._group = group
        self._gate = threading.Lock()
        self._pid = 0
        self._lanes: tuple[Writer, Lane] | None = None
        self._forget: weakref.finalize[Any, SQLiteStore] | None = None

    def __repr__(self) -> str:
        return f"SQLiteStore({str(self.path)!r})"

    async def define(self, digest: str, data: bytes) -> None:
        """Keep a definition under its hash; keeping it twice is fine."""
        await self._write(partial(settling.define, digest=digest, data=bytes(data)))

    async def definition(self, digest: str) -> bytes:
        """Return a definition's bytes. Raises StoreError when unknown."""
        data: bytes = await self._read(lambda db, _: reads.definition(db, digest))
        return data

    async def create(
        self,
        write: Write,
        *,
        workflow: str,
        request_id: str | None = None,
        parent: str | None = None,
        definition: bytes | None = None,
        owner: str | None = None,
        ttl: float = 0.0,
    ) -> tuple[str, bool]:
        """Create a run from its first records (fence 0), claimed for `owner` if one is named.

        Returns:
            The run id, and whether it is new: a known `request_id` gives the earlier run, and so do
            first records that are already there.
        """
        lent = None if owner is None else (owner, ttl)

        def work(db: sqlite3.Connection, now: int) -> tuple[str, bool]:
            made = rows.create(db, now, write, workflow, request_id, parent, lent)
            if definition is not None:
                settling.define(db, now, write.records[-1].definition, bytes(definition))
            return made

        made: tuple[str, bool] = await self._write(work)
        return made

    async def fork(
        self, parent: str, seq: int, write: Write, *, request_id: str | None = None
    ) -> str:
        """Create a run whose journal is the parent's records up to `seq`, then `write.records`."""
        run: str = await self._write(
            lambda db, now: rows.fork(db, now, parent, seq, write, request_id)
        )
        return run

    async def claim(
        self, run: str, owner: str, ttl: float, *, over: int | None = None
    ) -> Lease | None:
        """Take the lease for `ttl` seconds, fence + 1; None when it is held; see `Store.claim`."""
        lease: Lease | None = await self._write(
            lambda db, now: rows.claim(db, now, run, owner, ttl, over)
        )
        return lease

    async def renew(self, leases: Iterable[Lease], ttl: float) -> tuple[Lease, ...]:
        """Extend the leases that are still ours; return those."""
        asked = tuple(leases)
        kept: tuple[Lease, ...] = await self._write(lambda db, now: rows.renew(db, now, asked, ttl))
        return kept

    async def release(self, lease: Lease, *, counted: bool = True) -> None:
        """Give the lease back: `running` becomes `ready`; other phases stay."""
        await self._write(lambda db, now: rows.release(db, now, lease, counted=counted))

    async def append(self, lease: Lease, write: Write) -> bool:
        """Write atomically if the fence is current; see `Store.append`."""
        waiting: bool = await self._write(lambda db, now: rows.append(db, now, lease, write))
        return waiting

    async def transact(self, lease: Lease, work: Callable[[Any], Write]) -> Write:
        """Run `work(connection)` and append the write it returns; see `Store.transact`.

        `work` runs in the writer's thread, in a transaction of its own, and every other write waits
        for it: it should take milliseconds. Its connection has `execute` and `executemany`, for the
        tool's own tables (`stores.sqlite_guard`).
        """
        write: Write = await self._write(
            lambda db, now: rows.transact(db, now, lease, work), alone=True
        )
        return write

    async def park(self, lease: Lease, wake_at: int | None) -> bool:
        """Give the run up until a signal or `wake_at`; False when the inbox is not empty."""
        parked: bool = await self._write(lambda db, now: rows.park(db, now, lease, wake_at))
        return parked

    async def signal(self, run: str, signal_id: str, name: str, body: JSON, at: int) -> bool:
        """Put a signal into the inbox, durably; False when that id is already known."""
        data = dumps(body)
        new: bool = await self._write(
            lambda db, now: rows.signal(db, now, run, signal_id, name, data, at)
        )
        return new

    async def inbox(self, run: str) -> list[Signal]:
        """Return the signals not taken yet, oldest first."""
        found: list[Signal] = await self._read(lambda db, _: reads.inbox(db, run))
        return found

    async def due(self, limit: int = 100) -> list[str]:
        """Return runs that somebody should advance now; see `Store.due`.

        A run somebody holds is not due. The longest untouched come first, so that a run which
        cannot get on does not keep the others waiting.
        """
        found: list[str] = await self._read(lambda db, _: reads.due(db, limit))
        return found

    async def read(self, run: str, after: int = 0, upto: int | None = None) -> list[Record]:
        """Return records with `after < seq <= upto`, a fork's prefix from its parent included."""
        found: list[Record] = await self._read(lambda db, _: reads.read(db, run, after, upto))
        return found

    async def row(self, run: str) -> RunRow:
        """Return one run row. Raises UnknownRun."""
        found: RunRow = await self._read(lambda db, _: reads.row(db, run))
        return found

    async def runs(
        self, *, workflow: str | None = None, status: str | None = None, limit: int = 100
    ) -> list[RunRow]:
        """Return run rows, newest first."""
        found: list[RunRow] = await self._read(
            lambda db, _: reads.runs(db, workflow, status, limit)
        )
        return found

    async def outbox(self, run: str) -> list[Delivery]:
        """Return deliveries not done yet, oldest first."""
        found: list[Delivery] = await self._read(lambda db, _: reads.outbox(db, run))
        return found

    async def keep_blob(self, data: bytes) -> str:
        """Keep a large value by its SHA-256; return the hash."""
        kept = bytes(data)
        await self._write(lambda db, now: settling.keep_blob(db, now, kept))
        return sha256(kept)

    async def blob(self, digest: str) -> bytes:
        """Return a blob. Raises StoreError when unknown, or no longer what its hash says."""
        data: bytes = await self._read(lambda db, _: reads.blob(db, digest))
        return data

    async def aclose(self) -> None:
        """Finish what was accepted and let go of the file; the next use opens it again."""
        with self._gate:
            lanes, self._lanes = self._lanes, None
            forget, self._forget = self._forget, None
        if lanes is None or forget is None or self._pid != os.getpid():
            return  # never opened, or a forked child: the threads and locks are the parent's
        forget()
        for lane in lanes:
            await asyncio.to_thread(lane.join)

    async def _write(self, work: Work, *, alone: bool = False) -> Any:
        return await self._wait(0, work, alone=alone)

    async def _read(self, work: Work) -> Any:
        return await self._wait(1, work, alone=False)

    async def _wait(self, which: int, work: Work, *, alone: bool) -> Any:
        """Have a lane do the work, and return or raise what came of it."""
        loop = asyncio.get_running_loop()
        job = Job(loop, loop.create_future(), work, alone)
        while not self._open()[which].submit(job):
            pass  # closed by another thread between the two calls: open it again
        failed, value = await job.future
        if failed:
            raise value
        return value

    def _open(self) -> tuple[Writer, Lane]:
        """Return the lanes, starting them at first use; the files are opened by their threads."""
        lanes = self._lanes
        if lanes is not None and self._pid == os.getpid():
            return lanes
        if lanes is not None:
            raise StoreError(
                f"{self.path}: this store was opened by process {self._pid} and is used in process "
                f"{os.getpid()}; SQLite connections do not survive a fork, make a new SQLiteStore "
                "after it",
                path=str(self.path),
                opened_by=self._pid,
                used_by=os.getpid(),
            )
        with self._gate:
            if self._lanes is None:
                opened = partial(connect, self.path, self._synchronous, self._connection)
                name = f"sqlite {self.path.name}"
                file = str(self.path)
                writer = Writer(f"{name} writer", file, opened, self._group)
                # One after the other: of two connections closed at once neither is the last, and
                # the last one is who moves the WAL into the file and deletes it.
                reader = Lane(f"{name} reader", file, opened, self._group, writer.stop)
                self._lanes, self._pid = (writer, reader), os.getpid()
                self._forget = weakref.finalize(self, _stop, self._pid, reader)
            return self._lanes


def _stop(pid: int, reader: Lane) -> None:
    """End the threads of a store that was closed or dropped; a forked child has none."""
    if pid == os.getpid():
        reader.stop()
