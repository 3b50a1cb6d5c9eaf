"""What the tests of the SQLite store share; also a process of its own that uses a store.

`python journal_process.py MODE PATH ...` prints one line for every write the store acknowledged.
The tests read the functions with `runpy`: test files are no package here.
"""

import asyncio
import os
import random
import resource
import sqlite3
import sys

from statemachine_agents.errors import Fenced, StoreError
from statemachine_agents.journal.records import Draft, Head, seal, verify_chain
from statemachine_agents.stores.sqlite import SQLiteStore
from statemachine_agents.turn.ports import HeadRow, Write


class Seeded:
    """Entropy from a seed."""

    def __init__(self, seed):
        self.random = random.Random(seed)

    def take(self, count):
        return self.random.randbytes(count)


def records(run, head, count=1, *, fence=0, seed=None, **body):
    return seal(
        [Draft("stepped", {"n": n, **body}) for n in range(count)],
        run=run,
        definition="ab" * 32,
        fence=fence,
        head=head,
        at=1_760_000_000_000_000,
        entropy=Seeded(seed or f"{run} {head.seq}"),
    )


def write(sealed, phase="running", **more):
    return Write(records=sealed, head=HeadRow(state="s", status="running", phase=phase), **more)


def after(sealed):
    return Head(sealed[-1].seq, sealed[-1].hash)


async def begin(store, run):
    """Create a run and claim it; return its head and the lease."""
    sealed = records(run, Head())
    await store.create(write(sealed, "ready"), workflow="refund")
    return after(sealed), await store.claim(run, "worker", 600.0)


def with_store(path, body, kind=SQLiteStore, **options):
    """Run the body with an open store; close it whatever happens."""

    async def main():
        store = kind(path, **options)
        try:
            return await body(store)
        finally:
            await store.aclose()

    return asyncio.run(main())


def whole(path):
    """Check every journal of a file; return the seqs of their heads."""

    async def body(store):
        heads = {}
        for row in await store.runs(limit=10_000):
            head = verify_chain(await store.read(row.run))
            assert head.seq == row.seq
            heads[row.run] = head.seq
        return heads

    heads = with_store(path, body)
    with sqlite3.connect(path) as db:
        assert db.execute("pragma integrity_check").fetchall() == [("ok",)]
        assert db.execute("pragma foreign_key_check").fetchall() == []
    db.close()
    return heads


def say(*words):
    print(*words, flush=True)


async def append(store, run, count):
    """Append to a run of our own, telling each seq when it is acknowledged."""
    head, lease = await begin(store, run)
    say(run, head.seq)
    for n in range(count):
        sealed = records(run, head, 1 + n % 3, fence=lease.fence, text="x" * (n * 37 % 3000))
        await store.append(lease, write(sealed))
        head = after(sealed)
        say(run, head.seq)


async def killed(path, prefix):
    """Append to many runs until somebody kills us."""
    store = SQLiteStore(path)
    await asyncio.gather(*(append(store, f"{prefix}-{n}", 10**6) for n in range(8)))


async def rival(path, name, count):
    """Write runs of our own and fight over a shared one."""
    store = SQLiteStore(path)
    shared = records("shared", Head(), seed="shared")
    await store.create(write(shared, "ready"), workflow="refund", request_id="shared")
    await asyncio.gather(*(append(store, f"{name}-{n}", 10) for n in range(4)))
    pace, won = random.Random(name), 0
    while won < count:
        lease = await store.claim("shared", name, 0.0)
        last = (await store.read("shared"))[-1]
        await asyncio.sleep(pace.random() * 0.005)
        seed = f"{name} {lease.fence}"
        sealed = records("shared", Head(last.seq, last.hash), fence=lease.fence, seed=seed, by=name)
        try:
            await store.append(lease, write(sealed))
        except Fenced:
            continue
        won += 1
        say("shared", sealed[0].seq)
    await store.aclose()


async def limited(path, size):
    """Append under a file size limit until the store refuses; then lift it and go on."""
    store = SQLiteStore(path)
    head, lease = await begin(store, "run")
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    refused = 0
    for n in range(400):
        if n == 300:
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        sealed = records("run", head, 2, seed=str(n), text="x" * 3000)
        try:
            await store.append(lease, write(sealed))
        except StoreError as error:
            refused += 1
            if isinstance(error, Fenced) or error.facts.get("unknown"):
                last = (await store.read("run"))[-1]
                head = Head(last.seq, last.hash)
        else:
            head = after(sealed)
            say("run", head.seq)
    say("refused", refused)
    await store.aclose()


async def forked(path):
    """Use an open store in a forked child, and go on using it in the parent."""
    store = SQLiteStore(path)
    head, lease = await begin(store, "run")
    sealed = records("run", head)
    child = os.fork()
    if child == 0:
        os._exit(in_child(store, path, lease, sealed))
    _, status = os.waitpid(child, 0)  # noqa: ASYNC222 - nothing else runs on this loop
    say("child", os.waitstatus_to_exitcode(status))
    await store.append(lease, write(sealed))
    say("parent", sealed[0].seq)
    await store.aclose()


def in_child(store, path, lease, sealed):
    """Run in the child, on an event loop of its own."""
    asyncio._set_running_loop(None)  # the parent's loop looks as if it ran here too

    async def main():
        try:
            await store.append(lease, write(sealed))
        except StoreError as error:
            say("refused", error)
        await store.aclose()
        fresh = SQLiteStore(path)
        say("fresh", (await fresh.row("run")).seq)
        await fresh.aclose()

    asyncio.run(main())
    return 0


if __name__ == "__main__":
    mode, path, *more = sys.argv[1:]
    match mode:
        case "killed":
            asyncio.run(killed(path, more[0]))
        case "rival":
            asyncio.run(rival(path, more[0], int(more[1])))
        case "limited":
            asyncio.run(limited(path, int(more[0])))
        case "forked":
            asyncio.run(forked(path))
