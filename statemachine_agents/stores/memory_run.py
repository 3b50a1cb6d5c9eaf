"""One run as the memory store keeps it: its row, its own records, its inbox and outbox.

Rules.  1. Whatever a write settles is checked whole before any of it is changed.  2. Bodies of
signals and deliveries are canonical bytes here; they are parsed when they go out.
Not here: the runs together, leases, locks (`stores.memory`).
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from statemachine_agents.journal.records import BLOB, Record
from statemachine_agents.stores import writes
from statemachine_agents.turn.ports import Clock, Delivery, Phase, RunRow, Signal, Write
from statemachine_agents.values import loads

_BLOB = f'{{"{BLOB}":'.encode()
_ROW = tuple(field.name for field in attrs.fields(RunRow))


@attrs.define(eq=False)
class Run:
    """One run: its row, its own records (a fork's begin after `forked_at`), inbox and outbox."""

    run: str
    workflow: str
    request_id: str | None
    parent: str | None
    forked_at: int | None
    created_at: int
    touched: int
    definition: str = ""
    state: str = ""
    status: str = ""
    phase: Phase = "ready"
    reason: str = ""
    seq: int = 0
    fence: int = 0
    owner: str = ""
    lease_until: int | None = None
    attempts: int = 0
    wake_at: int | None = None
    updated_at: int = 0
    until: float | None = None
    records: list[Record] = attrs.field(factory=list)
    known: dict[str, None] = attrs.field(factory=dict)
    unread: dict[str, Signal] = attrs.field(factory=dict)
    undelivered: dict[tuple[int, int], Delivery] = attrs.field(factory=dict)
    delivered: dict[tuple[int, int], None] = attrs.field(factory=dict)

    def row(self) -> RunRow:
        """Return the row a list shows."""
        return RunRow(**{name: getattr(self, name) for name in _ROW})

    def lend(self, clock: Clock, ttl: float) -> None:
        """Let the lease stand for `ttl` seconds: it lapses by `until`, a row shows UTC."""
        self.until = clock.monotonic() + ttl
        self.lease_until = clock.now() + int(ttl * 1e6)

    def free(self) -> None:
        """Take the lease away."""
        self.owner, self.until, self.lease_until = "", None, None

    def leave(self) -> None:
        """Give the lease back: whoever comes next may go on."""
        self.free()
        if self.phase == "running":
            self.phase = "ready"

    def due(self, now: int, monotonic: float) -> bool:
        """Tell whether somebody should advance it now."""
        if self.phase == "blocked" or (self.until is not None and self.until > monotonic):
            return False
        if self.phase in ("ready", "running") or self.undelivered:
            return True
        woken = self.wake_at is not None and self.wake_at <= now
        return self.phase == "waiting" and (woken or bool(self.unread))

    def stands(self, records: Sequence[Record]) -> bool:
        """Tell whether these very records are already in the journal."""
        start = records[0].seq - 1 - (self.forked_at or 0)
        if start < 0:
            return False
        there = self.records[start : start + len(records)]
        return [record.rid for record in there] == [record.rid for record in records]

    def settle(self, write: Write) -> None:
        """Take signals, queue deliveries, note those done: all of them or an error."""
        for signal_id in write.taken:
            if signal_id not in self.unread or write.taken.count(signal_id) > 1:
                raise writes.not_waiting(self.run, signal_id)
        queued: dict[tuple[int, int], Delivery] = {}
        for delivery in write.outbox:
            key = (delivery.seq, delivery.n)
            if key in self.undelivered or key in self.delivered or key in queued:
                raise writes.queued_twice(self.run, key)
            queued[key] = attrs.evolve(delivery, body=writes.body_of(self.run, delivery))
        for key in write.delivered:
            if key not in self.undelivered and key not in self.delivered and key not in queued:
                raise writes.not_queued(self.run, key)
        for signal_id in write.taken:
            del self.unread[signal_id]
        self.undelivered |= queued
        for key in write.delivered:
            self.undelivered.pop(key, None)
            self.delivered[key] = None


def as_kept(record: Record) -> Record:
    """Return what the bytes say: of a large body they name the blob only, so the rest may go."""
    if record.data is None or not record.data.startswith(_BLOB):
        return record
    return attrs.evolve(record, body=loads(record.data))
