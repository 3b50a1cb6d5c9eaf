"""The store that forgets: the `Store` port in dictionaries, for tests, examples and short lives.

Rules.  1. Same meaning as every other store: one contract suite runs on all of them.  2. All of a
write is looked at before anything is changed, so a refused one leaves no trace.  3. An append costs
what its records cost, however long the run is.
Leases lapse by the monotonic clock, `wake_at` passes by the UTC clock; both are the store's own.
Records are kept as they came (they are frozen; nobody changes a body); bodies of signals and
deliveries are kept as canonical bytes, so a caller may go on using its own.
Not here: durability. When the process ends, so do the runs.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from copy import deepcopy
from heapq import nsmallest
from typing import Any

import anyio
import attrs

from statemachine_agents.journal.records import Record
from statemachine_agents.stores import writes
from statemachine_agents.stores.memory_run import Run, as_kept
from statemachine_agents.turn.ports import Clock, Delivery, Lease, RunRow, Signal, Write
from statemachine_agents.values import JSON, dumps, loads, sha256

__all__ = ["MemoryStore"]


class _MachineClock:
    """The clock of this machine."""

    def now(self) -> int:
        return time.time_ns() // 1000

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(seconds)


class MemoryStore:
    """Keep runs in this process.

    Args:
        clock: time of leases and wake-ups; None means the machine's. Give a simulated one in tests.

    Example:
        >>> import asyncio
        >>> asyncio.run(MemoryStore().runs())
        []
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock: Clock = clock or _MachineClock()
        # Held for a few microseconds and never across an await: drivers in several threads may
        # share one store, as they may share a SQLite file.
        self._lock = threading.Lock()
        self._runs: dict[str, Run] = {}
        self._live: dict[str, Run] = {}  # not over yet, or with a delivery left: what `due` reads
        self._requests: dict[str, str] = {}
        self._rids: set[str] = set()
        self._definitions: dict[str, bytes] = {}
        self._blobs: dict[str, bytes] = {}
        self._scratch: dict[str, Any] = {}
        self._touches = 0

    async def define(self, digest: str, data: bytes) -> None:
        """Keep a definition under its hash; keeping it twice is fine."""
        with self._lock:
            self._definitions.setdefault(digest, bytes(data))

    async def definition(self, digest: str) -> bytes:
        """Return a definition's bytes. Raises StoreError when unknown."""
        with self._lock:
            if digest not in self._definitions:
                raise writes.unknown_definition(digest)
            return self._definitions[digest]

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
        with self._lock:
            made, new = self._create(write, 0, workflow, request_id, parent)
            if definition is not None:
                self._definitions.setdefault(write.records[-1].definition, bytes(definition))
            if new and owner is not None:
                self._lend(self._runs[made], owner, ttl)
            return made, new

    async def fork(
        self, parent: str, seq: int, write: Write, *, request_id: str | None = None
    ) -> str:
        """Create a run whose journal is the parent's records up to `seq`, then `write.records`."""
        with self._lock:
            origin = self._known(parent)
            if not 1 <= seq <= origin.seq:
                raise writes.bad_fork(parent, seq, origin.seq)
            return self._create(write, seq, origin.workflow, request_id, parent)[0]

    def _create(
        self, write: Write, after: int, workflow: str, request_id: str | None, parent: str | None
    ) -> tuple[str, bool]:
        if request_id is not None and request_id in self._requests:
            return self._requests[request_id], False
        name = writes.check_first(write, after)
        if (there := self._runs.get(name)) is not None:
            if there.stands(write.records):
                return name, False
            raise writes.run_taken(name)
        self._touches += 1
        forked_at, now = after or None, self._clock.now()
        run = Run(name, workflow, request_id, parent, forked_at, now, self._touches, seq=after)
        self._enter(run, write, now)
        self._runs[name] = run
        if request_id is not None:
            self._requests[request_id] = name
        return name, True

    async def claim(
        self, run: str, owner: str, ttl: float, *, over: int | None = None
    ) -> Lease | None:
        """Take the lease for `ttl` seconds, fence + 1; None when it is held; see `Store.claim`."""
        with self._lock:
            found = self._known(run)
            held = found.until is not None and found.until > self._clock.monotonic()
            if held and found.fence != over:
                return None
            return self._lend(found, owner, ttl)

    def _lend(self, run: Run, owner: str, ttl: float) -> Lease:
        self._touches += 1
        run.touched = self._touches
        run.fence += 1
        run.attempts += 1
        run.owner = owner
        run.lend(self._clock, ttl)
        if run.phase in ("ready", "waiting"):
            run.phase = "running"
        return Lease(run.run, run.fence, owner, run.attempts)

    async def renew(self, leases: Iterable[Lease], ttl: float) -> tuple[Lease, ...]:
        """Extend the leases that are still ours; return those."""
        kept = []
        with self._lock:
            for lease in leases:
                run = self._runs.get(lease.run)
                if run is not None and run.fence == lease.fence and run.until is not None:
                    run.lend(self._clock, ttl)
                    kept.append(lease)
        return tuple(kept)

    async def release(self, lease: Lease, *, counted: bool = True) -> None:
        """Give the lease back: `running` becomes `ready`; other phases stay."""
        with self._lock:
            run = self._runs.get(lease.run)
            if run is not None and run.fence == lease.fence:
                if not counted and run.until is not None:
                    run.attempts = max(run.attempts - 1, 0)
                run.leave()

    async def append(self, lease: Lease, write: Write) -> bool:
        """Write atomically if the fence is current; see `Store.append`."""
        with self._lock:
            return self._append(lease, write)[0]

    async def transact(self, lease: Lease, work: Callable[[Any], Write]) -> Write:
        """Run `work(scratch)` and append the write it returns; see `Store.transact`.

        `scratch` is a plain dict that this store keeps; what `work` changed in it is kept only if
        the write is.
        """
        with self._lock:
            run = self._known(lease.run)
            if run.fence != lease.fence:
                raise writes.fenced(lease, run.fence, run.seq)
            scratch = deepcopy(self._scratch)
            write = work(scratch)
            if not isinstance(write, Write):
                raise writes.not_a_write(lease.run, write)
            if self._append(lease, write)[1]:
                self._scratch = scratch
            return write

    def _append(self, lease: Lease, write: Write) -> tuple[bool, bool]:
        """Append; return whether signals wait, and whether anything was written."""
        run = self._known(lease.run)
        records = write.records
        if records:
            writes.check_records(lease.run, records, records[0].seq - 1)
        if run.fence != lease.fence or (records and records[0].seq != run.seq + 1):
            if records and run.stands(records):
                return bool(run.unread), False
            if run.fence == lease.fence and records[0].seq > run.seq:
                raise writes.gap(run.run, records[0].seq, run.seq)
            raise writes.fenced(lease, run.fence, run.seq)
        self._enter(run, write, self._clock.now())
        if write.leave and not run.unread:
            run.attempts = 0
            run.leave()
        return bool(run.unread), True

    def _enter(self, run: Run, write: Write, now: int) -> None:
        """Let a write in whose records continue the journal, whole or not at all."""
        records, head = write.records, write.head
        rids = {record.rid for record in records}
        if len(rids) != len(records) or not self._rids.isdisjoint(rids):
            raise writes.used_rid(run.run)
        if write.taken or write.outbox or write.delivered:
            run.settle(write)
        for blob in write.blobs:
            self._blobs.setdefault(sha256(blob), bytes(blob))
        if records:
            self._rids |= rids
            run.records += [as_kept(record) for record in records]
            run.seq = records[-1].seq
            run.definition = records[-1].definition
            run.attempts = 0
        run.state, run.status, run.reason = head.state, head.status, head.reason
        run.phase, run.wake_at = head.phase, head.wake_at
        run.updated_at = now
        if head.phase == "ended" and not run.undelivered:
            self._live.pop(run.run, None)
        else:
            self._live[run.run] = run

    async def park(self, lease: Lease, wake_at: int | None) -> bool:
        """Give the run up until a signal or `wake_at`; False when the inbox is not empty."""
        with self._lock:
            run = self._known(lease.run)
            if run.fence != lease.fence:
                raise writes.fenced(lease, run.fence, run.seq)
            if run.unread:
                return False
            run.free()
            run.attempts = 0
            if run.phase not in ("blocked", "ended"):
                run.phase = "waiting"
                run.wake_at = wake_at
            return True

    async def signal(self, run: str, signal_id: str, name: str, body: JSON, at: int) -> bool:
        """Put a signal into the inbox; False when that id is already known."""
        data = dumps(body)
        with self._lock:
            found = self._known(run)
            if signal_id in found.known:
                return False
            found.known[signal_id] = None
            found.unread[signal_id] = Signal(run, signal_id, name, data, at)
            return True

    async def inbox(self, run: str) -> list[Signal]:
        """Return the signals not taken yet, oldest first."""
        with self._lock:
            waiting = list(self._known(run).unread.values())
        return [attrs.evolve(signal, body=loads(signal.body)) for signal in waiting]

    async def due(self, limit: int = 100) -> list[str]:
        """Return runs that somebody should advance now; see `Store.due`.

        A run somebody holds is not due. The longest untouched come first, so that a run which
        cannot get on does not keep the others waiting.
        """
        with self._lock:
            now, monotonic = self._clock.now(), self._clock.monotonic()
            found = [run for run in self._live.values() if run.due(now, monotonic)]
            return [run.run for run in nsmallest(limit, found, key=lambda run: run.touched)]

    async def read(self, run: str, after: int = 0, upto: int | None = None) -> list[Record]:
        """Return records with `after < seq <= upto`, a fork's prefix from its parent included."""
        with self._lock:
            here = self._known(run)
            last = here.seq if upto is None else min(upto, here.seq)
            parts: list[list[Record]] = []
            while last > after:
                base = here.forked_at or 0
                if last > base:
                    parts.append(here.records[max(after - base, 0) : last - base])
                if not base or here.parent is None:
                    break
                last, here = min(last, base), self._known(here.parent)
        return [record for part in reversed(parts) for record in part]

    async def row(self, run: str) -> RunRow:
        """Return one run row. Raises UnknownRun."""
        with self._lock:
            return self._known(run).row()

    async def runs(
        self, *, workflow: str | None = None, status: str | None = None, limit: int = 100
    ) -> list[RunRow]:
        """Return run rows, newest first."""
        found: list[RunRow] = []
        with self._lock:
            for run in reversed(self._runs.values()):
                if len(found) >= limit:
                    break
                if workflow in (None, run.workflow) and status in (None, run.status):
                    found.append(run.row())
        return found

    async def outbox(self, run: str) -> list[Delivery]:
        """Return deliveries not done yet, oldest first."""
        with self._lock:
            waiting = sorted(self._known(run).undelivered.items())
        return [attrs.evolve(delivery, body=loads(delivery.body)) for _, delivery in waiting]

    async def keep_blob(self, data: bytes) -> str:
        """Keep a large value by its SHA-256; return the hash."""
        digest = sha256(data)
        with self._lock:
            self._blobs.setdefault(digest, bytes(data))
        return digest

    async def blob(self, digest: str) -> bytes:
        """Return a blob. Raises StoreError when unknown."""
        with self._lock:
            if digest not in self._blobs:
                raise writes.unknown_blob(digest)
            return self._blobs[digest]

    async def aclose(self) -> None:
        """Do nothing: there is no file to let go of, and the runs stay readable."""

    def _known(self, run: str) -> Run:
        found = self._runs.get(run)
        if found is None:
            raise writes.unknown_run(run)
        return found
