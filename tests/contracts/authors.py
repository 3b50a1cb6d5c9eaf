"""Whoever writes into a store: runs and their records, as a driver would make them.

Rules.  1. Ids and salts follow from a seed.  2. A lease "lapses" by a ttl of 0, and a time "passes"
by lying in 1970, so that no test waits.
Not here: what a store must do with them (`test_store_*`).
"""

import asyncio
import random

from statemachine_agents.journal.records import Draft, Head, seal
from statemachine_agents.turn.ports import Delivery, HeadRow, Write

DEFINITION = "ab" * 32
PAST, FUTURE = 1, 4_000_000_000_000_000
LONG, LAPSED = 600.0, 0.0


class Seeded:
    """Entropy from a seed."""

    def __init__(self, seed):
        self.random = random.Random(seed)

    def take(self, count):
        return self.random.randbytes(count)


class Author:
    """Makes the records of one run, as a driver would: sealed, one after the other."""

    def __init__(self, run="run-1", *, seed=None, head=None):
        self.run = run
        self.entropy = Seeded(seed or run)
        self.head = head or Head()
        self.written = []

    def records(self, count=1, *, fence=0, kind="stepped", definition=DEFINITION, **body):
        drafts = [Draft(kind, {"n": self.head.seq + n, **body}) for n in range(1, count + 1)]
        sealed = seal(
            drafts,
            run=self.run,
            definition=definition,
            fence=fence,
            head=self.head,
            at=1_760_000_000_000_000 + self.head.seq,
            entropy=self.entropy,
        )
        self.head = Head(sealed[-1].seq, sealed[-1].hash)
        self.written += sealed
        return sealed

    def write(self, count=1, *, phase="running", status="running", **settles):
        fields = ("taken", "outbox", "delivered", "leave")
        head = {key: settles.pop(key) for key in ("state", "wake_at", "reason") if key in settles}
        parts = {key: settles.pop(key) for key in fields if key in settles}
        records = self.records(count, **settles) if count else []
        return Write(records=records, head=head_row(phase=phase, status=status, **head), **parts)


def head_row(*, phase="running", status="running", state="asking", **more):
    return HeadRow(state=state, status=status, phase=phase, **more)


def delivery(seq, n=0, run="run-1", **body):
    return Delivery(run=run, seq=seq, n=n, kind="reply", target="chat-1", body=body or {"t": "hi"})


def go(make, body):
    """Run the body with an open store; close it whatever happens."""

    async def main():
        store = make()
        try:
            await body(store)
        finally:
            await store.aclose()

    asyncio.run(main())


async def begun(store, run="run-1", *, ttl=LONG, phase="ready", **create):
    """Create a run of one record and claim it; return its author and the lease."""
    author = Author(run)
    await store.create(author.write(kind="run_started", phase=phase), workflow="refund", **create)
    return author, await store.claim(run, "worker-1", ttl)


async def head_of(store, run):
    last = (await store.read(run))[-1]
    return Head(last.seq, last.hash)
