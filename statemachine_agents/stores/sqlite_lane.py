"""The two threads of a SQLite store: one writes, many callers to a commit; one reads.

Rules.  1. A connection lives and dies in its lane's thread.  2. The writer takes what is waiting,
runs it inside one `BEGIN IMMEDIATE`, commits once, and answers only then: nobody hears of a write
that is not durable.  3. A write that raises undoes itself alone. That is rare, so it is paid for
then: the batch is rolled back and run again, each write under a savepoint.  4. A COMMIT that raises
says nothing about what is in the file (28 of 129 such commits were there). The lane opens the file
anew and looks: every batch moves this lane's witness row, so the row tells.
Not here: what the writes are (`stores.sqlite_rows`), the port (`stores.sqlite`).
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import os
import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, TypeAlias

import attrs
from loguru import logger

from statemachine_agents.errors import StoreError
from statemachine_agents.stores.sqlite_guard import WorkFailed
from statemachine_agents.stores.sqlite_reads import clock

Work: TypeAlias = Callable[[sqlite3.Connection, int], Any]
"""A write, called with the connection and the database's time."""


_WITNESS = """
insert into witness (writer, batch, at) values (?, ?, ?)
on conflict (writer) do update set batch = excluded.batch, at = excluded.at
"""

_FORGET = 3_600_000_000
"""Microseconds after which the witness of a store that is gone may go; looking takes seconds."""


@attrs.define(eq=False)
class Job:
    """Something a caller waits for.

    Args:
        loop: the caller's event loop.
        future: set there when the job is over.
        work: what to do in the lane.
        alone: in a transaction of its own: it must not run twice, and others must not wait on it
            inside theirs.
        failed: whether `value` is an exception.
        value: the answer.
    """

    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[tuple[bool, Any]]
    work: Work
    alone: bool = False
    failed: bool = False
    value: Any = None

    def fail(self, error: BaseException) -> None:
        """Note an exception as the answer."""
        self.failed, self.value = True, error


class Lane:
    """One thread with one connection that works off a queue: the reader, as it stands.

    Args:
        name: name of the thread.
        path: what error sentences call the file.
        connect: opens the file; called in the thread, at first use and after trouble.
        group: most jobs taken at once.
        after: called in the thread when the connection is closed.
    """

    _effect: ClassVar[str] = "nothing was read"

    def __init__(
        self,
        name: str,
        path: str,
        connect: Callable[[], sqlite3.Connection],
        group: int,
        after: Callable[[], None] | None = None,
    ) -> None:
        self._path = path
        self._connect = connect
        self._group = group
        self._after = after
        self._db: sqlite3.Connection | None = None
        self._queue: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._gate = threading.Lock()
        self._closed = False
        # A daemon: a process that forgets `aclose` still ends. What it had not been told was
        # written may be lost then, as in any crash; SQLite recovers.
        self._thread = threading.Thread(target=self._live, name=name, daemon=True)
        self._thread.start()

    def submit(self, job: Job) -> bool:
        """Queue a job; False when the lane is closed and will never do it."""
        with self._gate:
            if self._closed:
                return False
            self._queue.put(job)
            return True

    def stop(self) -> None:
        """Close after what is queued already."""
        with self._gate:
            if not self._closed:
                self._closed = True
                self._queue.put(None)

    def join(self) -> None:
        """Wait until the thread has ended and the connection is closed."""
        self._thread.join()

    def _live(self) -> None:
        ended = False
        while not ended:
            jobs: list[Job] = []
            job = self._queue.get()
            while job is not None:
                jobs.append(job)
                if len(jobs) == self._group:
                    break
                try:
                    job = self._queue.get_nowait()
                except queue.Empty:
                    break
            ended = job is None
            try:
                self._serve(jobs)
            except BaseException as error:  # noqa: BLE001 - somebody waits for each of these
                for each in jobs:
                    each.fail(self._named(error))
            _answer(jobs)
            job = None  # an idle lane keeps nobody's data alive
            del jobs
        self._drop()
        if self._after is not None:
            self._after()

    def _serve(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            try:
                job.value = job.work(self._opened(), 0)
            except Exception as error:  # noqa: BLE001 - raised in the caller
                if isinstance(error, sqlite3.Error):
                    self._drop()
                job.fail(self._named(error))

    def _opened(self) -> sqlite3.Connection:
        if self._db is None:
            self._db = self._connect()
        return self._db

    def _drop(self) -> None:
        """Close the connection; closing rolls back what is open."""
        db, self._db = self._db, None
        if db is not None:
            with contextlib.suppress(sqlite3.Error):
                db.close()

    def _named(self, error: BaseException) -> BaseException:
        """Turn what SQLite says into an error of ours; what a tool raised stays as it is."""
        if isinstance(error, WorkFailed):
            return error.error
        if not isinstance(error, sqlite3.Error | UnicodeError | OverflowError):
            return error
        named = StoreError(
            f"{self._path}: {error}; {self._effect}", path=self._path, cause=str(error)
        )
        named.__cause__ = error
        return named


class Writer(Lane):
    """The lane that writes; see the rules of this file."""

    _effect: ClassVar[str] = "nothing was written"

    def __init__(
        self, name: str, path: str, connect: Callable[[], sqlite3.Connection], group: int
    ) -> None:
        self._id = os.urandom(16)
        self._batch = 0
        super().__init__(name, path, connect, group)

    def _serve(self, jobs: Sequence[Job]) -> None:
        together: list[Job] = []
        for job in jobs:
            if not job.alone:
                together.append(job)
                continue
            if together:
                self._commit(together)
                together = []
            self._commit([job])
        if together:
            self._commit(together)

    def _commit(self, jobs: list[Job]) -> None:
        """Run the jobs in one transaction and commit it."""
        try:
            db = self._opened()
            db.execute("begin immediate")
            if not self._run(db, jobs):
                if db.in_transaction:
                    db.execute("rollback")
                if len(jobs) == 1:
                    return
                _anew(jobs)
                db.execute("begin immediate")
                if not self._run_apart(db, jobs):
                    self._drop()
                    self._each(jobs)
                    return
        except Exception as error:  # noqa: BLE001 - raised in every caller
            self._drop()
            for job in jobs:
                job.fail(self._named(_again(error)))
            return
        try:
            db.execute("commit")
        except sqlite3.Error as error:
            self._find_out(jobs, error)

    def _run(self, db: sqlite3.Connection, jobs: list[Job]) -> bool:
        """Run the jobs one after the other; False, and the failure noted, when one raised."""
        now = self._bear_witness(db)
        for job in jobs:
            try:
                job.value = job.work(db, now)
            except BaseException as error:  # noqa: BLE001 - raised in the caller
                job.fail(self._named(error))
                return False
        return True

    def _run_apart(self, db: sqlite3.Connection, jobs: list[Job]) -> bool:
        """Run each job under its savepoint; False when SQLite rolled the whole transaction back."""
        now = self._bear_witness(db)
        for job in jobs:
            db.execute("savepoint piece")
            try:
                job.value = job.work(db, now)
            except BaseException as error:  # noqa: BLE001 - raised in the caller
                # Disk full, out of memory and I/O errors may undo everything, not the piece alone.
                job.fail(self._named(error))
                if not db.in_transaction:
                    return False
                db.execute("rollback to piece")
            db.execute("release piece")
        return True

    def _bear_witness(self, db: sqlite3.Connection) -> int:
        """Number the batch in the file; return the database's time."""
        now = clock(db)
        if not self._batch:
            db.execute("delete from witness where at < ?", (now - _FORGET,))
        self._batch += 1
        db.execute(_WITNESS, (self._id, self._batch, now))
        return now

    def _each(self, jobs: list[Job]) -> None:
        """Give every job its own transaction: one of them broke the one they shared."""
        _anew(jobs)
        for job in jobs:
            self._commit([job])

    def _find_out(self, jobs: list[Job], error: sqlite3.Error) -> None:
        """After a COMMIT that raised: look into the file, and answer what is true.

        Looking ends with a commit of its own. Frames a failed commit left in the WAL are behind
        its end; the next commit writes over them, so that even a crash cannot bring them back.
        """
        self._drop()
        try:
            db = self._opened()
            db.execute("begin immediate")
            row = db.execute("select batch from witness where writer = ?", (self._id,)).fetchone()
            written = row is not None and row[0] == self._batch
            self._bear_witness(db)
            db.execute("commit")
        except (sqlite3.Error, StoreError) as second:
            self._drop()
            sentence = (
                f"{self._path}: the commit failed ({error}) and so did looking whether it was "
                f"written ({second}); appending the same records again will tell"
            )
            logger.error("a commit failed and could not be looked into")
            for job in jobs:
                if not job.failed:
                    job.fail(StoreError(sentence, path=self._path, unknown=True))
            return
        logger.warning("a commit raised; looked into the file", written=written)
        for job in jobs:
            if not written and not job.failed:
                job.fail(self._named(error))


def _anew(jobs: Sequence[Job]) -> None:
    """Forget what came of jobs whose transaction was rolled back."""
    for job in jobs:
        job.failed, job.value = False, None


def _again(error: Exception) -> Exception:
    """Return a copy for one of several callers: each raises its own, or tracebacks pile up."""
    again = copy.copy(error)
    again.__cause__ = error.__cause__
    return again


def _answer(jobs: Sequence[Job]) -> None:
    """Complete the futures, waking each event loop once."""
    loops: dict[asyncio.AbstractEventLoop, list[Job]] = {}
    for job in jobs:
        loops.setdefault(job.loop, []).append(job)
    for loop, mine in loops.items():
        with contextlib.suppress(RuntimeError):  # that loop is closed: nobody waits any more
            loop.call_soon_threadsafe(_complete, mine)


def _complete(jobs: Sequence[Job]) -> None:
    for job in jobs:
        if not job.future.done():  # a caller that was cancelled does not listen any more
            job.future.set_result((job.failed, job.value))
