"""One suite for every `Store`: memory, and SQLite in a real file.

Each test runs on both. A lease "lapses" here by a ttl of 0, and a time "passes" by lying in 1970,
so that no test waits; one test per store lets a real lease lapse.
"""

import asyncio
import random
import tempfile
from pathlib import Path

import attrs
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from statemachine_agents.errors import Fenced, StoreError, UnknownRun, ValueRefused
from statemachine_agents.journal.records import Draft, Head, blob_of, seal, verify_chain
from statemachine_agents.stores.memory import MemoryStore
from statemachine_agents.stores.sqlite import SQLiteStore
from statemachine_agents.turn.ports import Delivery, HeadRow, Lease, RunRow, Signal, Write
from statemachine_agents.values import sha256

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
        fields = ("taken", "outbox", "delivered")
        head = {key: settles.pop(key) for key in ("state", "wake_at", "reason") if key in settles}
        parts = {key: settles.pop(key) for key in fields if key in settles}
        records = self.records(count, **settles) if count else []
        return Write(records=records, head=head_row(phase=phase, status=status, **head), **parts)


def head_row(*, phase="running", status="running", state="asking", **more):
    return HeadRow(state=state, status=status, phase=phase, **more)


def delivery(seq, n=0, run="run-1", **body):
    return Delivery(run=run, seq=seq, n=n, kind="reply", target="chat-1", body=body or {"t": "hi"})


@pytest.fixture(params=["memory", "sqlite"])
def make(request, tmp_path):
    """Open the store again and again: the same runs are in it."""
    memory = MemoryStore()

    def open_store():
        return memory if request.param == "memory" else SQLiteStore(tmp_path / "runs.db")

    return open_store


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


# ---------------------------------------------------------------------------- definitions and blobs


def test_definitions_are_kept_under_their_hash(make):
    """A definition comes back byte for byte; keeping it twice is fine; an unknown one says so."""

    async def body(store):
        await store.define(DEFINITION, b'{"table":1}')
        await store.define(DEFINITION, b'{"table":1}')
        assert await store.definition(DEFINITION) == b'{"table":1}'
        with pytest.raises(StoreError, match="not in this store"):
            await store.definition("cd" * 32)

    go(make, body)


def test_blobs_are_kept_under_their_sha256(make):
    """The hash of a blob is the SHA-256 of its bytes; a blob comes back whole; unknown says so."""

    async def body(store):
        data = bytes(range(256)) * 5000
        digest = await store.keep_blob(data)
        assert digest == await store.keep_blob(data)
        assert len(digest) == 64
        assert await store.blob(digest) == data
        empty = await store.keep_blob(b"")
        assert empty == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        assert await store.blob(empty) == b""
        for unknown in ("0" * 64, "no such hash"):
            with pytest.raises(StoreError, match="not in this store"):
                await store.blob(unknown)

    go(make, body)


# ------------------------------------------------------------------------------------------- create


def test_a_created_run_has_its_row_and_no_lease(make):
    """The row says what was given; fence and attempts are 0; anybody can claim at once."""

    async def body(store):
        author = Author()
        write = author.write(2, phase="ready", state="start", status="running", reason="why")
        made = await store.create(write, workflow="refund", request_id="req-1", parent="mother")
        assert made == ("run-1", True)
        row = await store.row("run-1")
        assert isinstance(row, RunRow)
        assert row == RunRow(
            run="run-1",
            workflow="refund",
            definition=DEFINITION,
            state="start",
            status="running",
            phase="ready",
            reason="why",
            seq=2,
            fence=0,
            owner="",
            lease_until=None,
            attempts=0,
            wake_at=None,
            request_id="req-1",
            parent="mother",
            forked_at=None,
            created_at=row.created_at,
            updated_at=row.updated_at,
        )
        assert row.created_at == row.updated_at > 1_700_000_000_000_000
        assert await store.read("run-1") == author.written
        assert await store.claim("run-1", "w", LONG) is not None

    go(make, body)


def test_a_known_request_gives_the_earlier_run(make):
    """The same request id twice creates one run, whatever the second write says."""

    async def body(store):
        first = await store.create(Author("a").write(), workflow="refund", request_id="req")
        second = await store.create(Author("b").write(), workflow="refund", request_id="req")
        assert (first, second) == (("a", True), ("a", False))
        assert [row.run for row in await store.runs()] == ["a"]
        other = await store.create(Author("b").write(), workflow="refund", request_id="req-2")
        assert other == ("b", True)
        assert await store.create(Author("c").write(), workflow="refund") == ("c", True)

    go(make, body)


def test_creating_twice_with_the_same_records_is_one_run(make):
    """A repeated create is harmless; another run under a taken id is refused."""

    async def body(store):
        write = Author().write(2)
        assert await store.create(write, workflow="refund") == ("run-1", True)
        assert await store.create(write, workflow="refund") == ("run-1", False)
        with pytest.raises(StoreError, match="run of that id exists"):
            await store.create(Author(seed="other").write(2), workflow="refund")
        assert await store.read("run-1") == list(write.records)

    go(make, body)


def test_a_run_begins_with_seq_1(make):
    """A create without records, or with a later first seq, is refused and leaves nothing."""

    async def body(store):
        with pytest.raises(StoreError, match="at least one record"):
            await store.create(Write(records=(), head=head_row()), workflow="refund")
        late = Author()
        late.records()
        with pytest.raises(StoreError, match="begins at seq 2"):
            await store.create(late.write(), workflow="refund", request_id="req")
        with pytest.raises(StoreError, match="does not wait in the inbox"):
            await store.create(Author().write(taken=("s",)), workflow="refund")
        assert await store.runs() == []
        assert await store.create(Author().write(), workflow="r", request_id="req") == (
            "run-1",
            True,
        )

    go(make, body)


# ------------------------------------------------------------------------------------------- leases


def test_a_claim_raises_the_fence_and_is_exclusive(make):
    """Every lease has a higher fence; while one is held nobody gets another, same name or not."""

    async def body(store):
        await store.create(Author().write(phase="ready"), workflow="refund")
        lease = await store.claim("run-1", "worker-1", LONG)
        assert lease == Lease("run-1", 1, "worker-1", 1)
        assert (await store.row("run-1")).phase == "running"
        assert await store.claim("run-1", "worker-2", LONG) is None
        assert await store.claim("run-1", "worker-1", LONG) is None
        assert (await store.row("run-1")).fence == 1
        await store.release(lease)
        assert (await store.claim("run-1", "worker-2", LONG)).fence == 2

    go(make, body)


def test_a_lapsed_lease_can_be_taken_over(make):
    """When the ttl has passed, the next claim gets the run, and the old fence is void."""

    async def body(store):
        author, old = await begun(store, ttl=LAPSED)
        new = await store.claim("run-1", "worker-2", LONG)
        assert (new.fence, new.owner) == (2, "worker-2")
        with pytest.raises(Fenced) as caught:
            await store.append(old, author.write())
        assert caught.value.facts == {"run": "run-1", "fence": 2, "expected": 1, "seq": 1}
        assert len(await store.read("run-1")) == 1

    go(make, body)


def test_a_standing_lease_can_be_taken_over_its_fence(make):
    """Whoever knows that the owner is dead names its fence; any other fence does not help."""

    async def body(store):
        _, lease = await begun(store)
        for over in (None, 0, 2, -1):
            assert await store.claim("run-1", "worker-2", LONG, over=over) is None
        taken = await store.claim("run-1", "worker-2", LONG, over=lease.fence)
        assert taken == Lease("run-1", 2, "worker-2", 2)
        assert (await store.row("run-1")).owner == "worker-2"
        assert await store.claim("run-1", "worker-3", LONG, over=lease.fence) is None
        assert await store.renew([lease, taken], LONG) == (taken,)
        await store.release(taken)
        free = await store.claim("run-1", "worker-3", LONG, over=7)
        assert free.fence == 3

    go(make, body)


def test_the_row_names_the_owner_and_until_when(make):
    """Owner and end of the lease, in UTC microseconds; a free run shows neither."""

    async def body(store):
        _, lease = await begun(store)
        row = await store.row("run-1")
        assert row.owner == "worker-1"
        first = row.lease_until
        assert 590e6 < first - row.created_at < 660e6
        await store.renew([lease], 2 * LONG)
        assert (await store.row("run-1")).lease_until > first + 500e6
        await store.release(lease)
        row = await store.row("run-1")
        assert (row.owner, row.lease_until) == ("", None)
        lease = await store.claim("run-1", "worker-2", LAPSED)
        row = await store.row("run-1")
        assert row.owner == "worker-2"
        assert first - LONG * 1e6 <= row.lease_until < first
        assert await store.park(lease, None)
        row = await store.row("run-1")
        assert (row.owner, row.lease_until) == ("", None)

    go(make, body)


def test_a_real_lease_lapses_by_itself(make):
    """A short lease nobody renews becomes free without anybody's help."""

    async def body(store):
        await begun(store, ttl=0.05)
        for _ in range(1000):
            lease = await store.claim("run-1", "worker-2", LONG)
            if lease is not None:
                break
            await asyncio.sleep(0.01)
        assert lease.fence == 2

    go(make, body)


def test_a_lease_that_lapsed_but_was_not_taken_still_writes(make):
    """Only a higher fence ends the right to write."""

    async def body(store):
        author, lease = await begun(store, ttl=LAPSED)
        assert await store.append(lease, author.write(fence=1)) is False
        assert await store.read("run-1") == author.written

    go(make, body)


def test_renew_returns_the_leases_that_are_still_ours(make):
    """A current lease is extended; a lost, a released and an unknown one are left out."""

    async def body(store):
        _, lapsing = await begun(store, "a", ttl=LAPSED)
        _, lost = await begun(store, "b", ttl=LAPSED)
        await store.claim("b", "worker-2", LONG)
        _, released = await begun(store, "c")
        await store.release(released)
        unknown = Lease("nobody", 1, "worker-1", 1)
        kept = await store.renew(iter([lapsing, lost, released, unknown]), LONG)
        assert kept == (lapsing,)
        assert await store.claim("a", "worker-2", LONG) is None
        assert await store.claim("c", "worker-2", LONG) is not None
        assert await store.renew([], LONG) == ()

    go(make, body)


def test_release_makes_running_ready_and_leaves_other_phases(make):
    """`running` becomes `ready`; other phases stay; a lease that is not current does nothing."""

    async def body(store):
        for phase, after in (
            ("running", "ready"),
            ("ready", "ready"),
            ("waiting", "waiting"),
            ("blocked", "blocked"),
            ("ended", "ended"),
        ):
            author, lease = await begun(store, phase)
            await store.append(lease, author.write(phase=phase, fence=1))
            await store.release(lease)
            assert (await store.row(phase)).phase == after
            assert await store.claim(phase, "worker-2", LONG) is not None
        _, old = await begun(store, "old", ttl=LAPSED)
        await store.claim("old", "worker-2", LONG)
        await store.release(old)
        assert await store.claim("old", "worker-3", LONG) is None
        await store.release(Lease("nobody", 1, "worker-1", 1))

    go(make, body)


def test_an_ended_or_blocked_run_can_be_claimed_and_keeps_its_phase(make):
    """Replies may still have to go out; an operator may look at a blocked run."""

    async def body(store):
        for phase in ("ended", "blocked"):
            await store.create(Author(phase).write(phase=phase), workflow="refund")
            lease = await store.claim(phase, "worker-1", LONG)
            assert lease.fence == 1
            assert (await store.row(phase)).phase == phase

    go(make, body)


def test_attempts_count_claims_since_the_last_record(make):
    """Each claim counts itself; records clear the count; a write without records does not."""

    async def body(store):
        author, lease = await begun(store, ttl=LAPSED)
        assert lease.attempts == 1
        lease = await store.claim("run-1", "worker-1", LAPSED)
        assert lease.attempts == 2
        await store.append(lease, author.write(0))
        lease = await store.claim("run-1", "worker-1", LAPSED)
        assert lease.attempts == 3
        assert (await store.row("run-1")).attempts == 3
        await store.append(lease, author.write(fence=3))
        assert (await store.row("run-1")).attempts == 0
        assert (await store.claim("run-1", "worker-1", LONG)).attempts == 1

    go(make, body)


def test_claims_that_ended_in_order_are_not_counted(make):
    """Parking clears the count; a release can take its own claim off it, once."""

    async def body(store):
        _, lease = await begun(store)
        await store.release(lease)
        assert (await store.row("run-1")).attempts == 1
        lease = await store.claim("run-1", "worker-1", LONG)
        assert lease.attempts == 2
        await store.release(lease, counted=False)
        await store.release(lease, counted=False)
        assert (await store.row("run-1")).attempts == 1
        lease = await store.claim("run-1", "worker-1", LONG)
        assert await store.park(lease, None)
        await store.release(lease, counted=False)
        assert (await store.row("run-1")).attempts == 0

    go(make, body)


# ------------------------------------------------------------------------------------------- append


def test_appends_continue_the_journal_in_order(make):
    """Records come back as they were written, the head row follows, and the chain verifies."""

    async def body(store):
        author, lease = await begun(store)
        for count in (1, 3, 2):
            write = author.write(
                count, state=f"s{count}", reason="r", wake_at=FUTURE, fence=1, text="\u0000ö\n"
            )
            assert await store.append(lease, write) is False
        found = await store.read("run-1")
        assert found == author.written
        assert [record.body for record in found] == [record.body for record in author.written]
        assert verify_chain(found) == author.head
        row = await store.row("run-1")
        assert (row.seq, row.state, row.reason, row.wake_at) == (7, "s2", "r", FUTURE)
        assert row.updated_at >= row.created_at

    go(make, body)


def test_the_head_row_follows_every_write(make):
    """Status, phase, wake_at and definition change with an append, also back and forth."""

    async def body(store):
        author, lease = await begun(store)
        other = "cd" * 32
        await store.append(lease, author.write(status="waiting", phase="waiting", wake_at=PAST))
        row = await store.row("run-1")
        assert (row.status, row.phase, row.wake_at) == ("waiting", "waiting", PAST)
        await store.append(lease, author.write(definition=other))
        row = await store.row("run-1")
        assert (row.status, row.phase, row.wake_at, row.definition) == (
            "running",
            "running",
            None,
            other,
        )
        await store.append(lease, author.write(0, status="succeeded", phase="ended", state="z"))
        row = await store.row("run-1")
        assert (row.status, row.phase, row.state, row.seq) == ("succeeded", "ended", "z", 3)
        assert row.definition == other

    go(make, body)


def test_a_definition_that_is_no_hash_comes_back_as_it_was(make):
    """Names of definitions are opaque to a store: short ones and upper case survive."""

    async def body(store):
        for run, definition in (("a", "draft"), ("b", "AB" * 32), ("c", "zz" * 32)):
            author = Author(run)
            await store.create(author.write(definition=definition), workflow="refund")
            assert (await store.row(run)).definition == definition
            assert verify_chain(await store.read(run)) == author.head

    go(make, body)


def test_an_erased_record_is_kept_erased(make):
    """A record without body and salt is stored and read back so; the chain still verifies."""

    async def body(store):
        author = Author()
        write = author.write(2)
        erased = attrs.evolve(write.records[1], salt=b"", data=None, body={})
        await store.create(
            attrs.evolve(write, records=[write.records[0], erased]), workflow="refund"
        )
        found = await store.read("run-1")
        assert [record.erased for record in found] == [False, True]
        assert found[1].body == {}
        assert verify_chain(found) == author.head

    go(make, body)


def test_a_record_whose_body_is_a_blob_names_it(make):
    """A large body comes back as the name of its blob, as its bytes say, on every store."""

    async def body(store):
        author, lease = await begun(store)
        write = author.write(text="x" * 300_000)
        await store.append(lease, write)
        kept = (await store.read("run-1"))[1]
        assert len(blob_of(kept)) == 64
        assert kept == write.records[0]
        assert verify_chain(await store.read("run-1")) == author.head

    go(make, body)


def test_a_write_keeps_the_blobs_its_records_name(make):
    """Blobs of a write, also of the first one and of a transaction, are there with its records."""

    async def body(store):
        author = Author()
        first, second, third, fourth = (bytes([n]) * 300_000 for n in range(4))
        write = attrs.evolve(author.write(kind="run_started", phase="ready"), blobs=(first,))
        await store.create(write, workflow="refund")
        lease = await store.claim("run-1", "worker-1", LONG)
        await store.append(lease, attrs.evolve(author.write(fence=1), blobs=(second, second)))
        await store.transact(
            lease, lambda _: attrs.evolve(author.write(fence=1), blobs=(first, third))
        )
        for data in (first, second, third):
            assert await store.blob(sha256(data)) == data
        stale = attrs.evolve(author.write(fence=0), blobs=(fourth,))
        with pytest.raises(Fenced):
            await store.append(Lease("run-1", 0, "worker-0", 1), stale)
        with pytest.raises(StoreError, match="not in this store"):
            await store.blob(sha256(fourth))

    go(make, body)


def test_gaps_are_refused(make):
    """Records must begin right behind the head and have no hole; nothing is written otherwise."""

    async def body(store):
        author, lease = await begun(store)
        skipped = author.write()
        later = author.write()
        with pytest.raises(StoreError, match="begins at seq 3, but the journal is at seq 1") as e:
            await store.append(lease, later)
        assert not isinstance(e.value, Fenced)
        holed = Write(records=[skipped.records[0], author.records()[0]], head=head_row())
        with pytest.raises(StoreError, match="begins at seq 4"):
            await store.append(lease, holed)
        assert len(await store.read("run-1")) == 1
        await store.append(lease, skipped)
        await store.append(lease, later)
        assert [record.seq for record in await store.read("run-1")] == [1, 2, 3]

    go(make, body)


def test_records_of_another_run_are_refused(make):
    """One write continues one run."""

    async def body(store):
        _, lease = await begun(store)
        stranger = Author("run-2")
        stranger.records()
        with pytest.raises(StoreError, match="belongs to run run-2"):
            await store.append(lease, stranger.write())
        assert len(await store.read("run-1")) == 1

    go(make, body)


def test_the_same_records_twice_succeed_and_change_nothing(make):
    """A retry after a lost answer is a success, also when the run went on or changed hands."""

    async def body(store):
        author, lease = await begun(store)
        write = author.write(2, state="first", fence=1)
        assert await store.append(lease, write) is False
        before = await store.row("run-1")
        assert await store.append(lease, write) is False
        assert await store.row("run-1") == before
        await store.append(lease, author.write(state="second", fence=1))
        await store.signal("run-1", "s1", "message", {}, 1)
        assert await store.append(lease, write) is True
        await store.release(lease)
        await store.claim("run-1", "worker-2", LONG)
        assert await store.append(lease, write) is True
        row = await store.row("run-1")
        assert (row.state, row.seq, row.attempts) == ("second", 4, 1)
        assert await store.read("run-1") == author.written

    go(make, body)


def test_a_retry_does_not_take_signals_or_queue_replies_again(make):
    """What a write settles is settled once, however often it is repeated."""

    async def body(store):
        author, lease = await begun(store)
        await store.signal("run-1", "s1", "message", {}, 1)
        write = author.write(taken=("s1",), outbox=(delivery(2),))
        for _ in range(3):
            assert await store.append(lease, write) is False
        assert await store.inbox("run-1") == []
        assert await store.outbox("run-1") == [delivery(2)]

    go(make, body)


def test_another_record_at_that_seq_is_a_lost_race(make):
    """With the current fence but other record ids, the writer that came second is fenced."""

    async def body(store):
        author, lease = await begun(store)
        rival = Author(seed="rival", head=author.head)
        await store.append(lease, author.write(2))
        for count in (1, 2, 3):
            rival.head = Head(1, author.written[0].hash)
            with pytest.raises(Fenced, match="another record stands"):
                await store.append(lease, rival.write(count))
        longer = Write(records=[*author.written[1:], *author.records()], head=head_row())
        with pytest.raises(Fenced):
            await store.append(lease, longer)
        assert await store.read("run-1") == author.written[:3]

    go(make, body)


def test_an_old_fence_writes_nothing_at_all(make):
    """Records, empty writes, parking and transactions of a lost lease all raise Fenced."""

    async def body(store):
        author, old = await begun(store, ttl=LAPSED)
        await store.claim("run-1", "worker-2", LONG)
        before = await store.row("run-1")
        ran = []
        with pytest.raises(Fenced):
            await store.append(old, author.write(0, state="lost"))
        with pytest.raises(Fenced):
            await store.append(old, author.write(state="lost"))
        with pytest.raises(Fenced):
            await store.park(old, None)
        with pytest.raises(Fenced):
            await store.transact(old, ran.append)
        assert ran == []
        assert await store.row("run-1") == before

    go(make, body)


def test_a_record_id_is_used_once(make):
    """The same id in two places is refused, inside one write and across runs."""

    async def body(store):
        first, lease = await begun(store, "a")
        second, other = await begun(store, "b")
        write = first.write()
        await store.append(lease, write)
        copied = attrs.evolve(second.records()[0], rid=write.records[0].rid)
        with pytest.raises(StoreError, match="record id"):
            await store.append(other, Write(records=[copied], head=head_row(state="bad")))
        two = first.records(2)
        twice = [two[0], attrs.evolve(two[1], rid=two[0].rid)]
        with pytest.raises(StoreError, match="record id"):
            await store.append(lease, Write(records=twice, head=head_row(state="bad")))
        assert (await store.row("b")).seq == 1
        assert [(await store.row(run)).state for run in "ab"] == ["asking", "asking"]

    go(make, body)


def test_unknown_runs_are_named(make):
    """Every method about one run raises UnknownRun for an id that is not there."""

    async def body(store):
        lease = Lease("nobody", 1, "worker-1", 1)
        for call in (
            store.row("nobody"),
            store.read("nobody"),
            store.inbox("nobody"),
            store.outbox("nobody"),
            store.claim("nobody", "w", LONG),
            store.append(lease, Author("nobody").write()),
            store.append(lease, Author("nobody").write(0)),
            store.park(lease, None),
            store.transact(lease, lambda _: Author("nobody").write()),
            store.signal("nobody", "s", "message", {}, 1),
            store.fork("nobody", 1, Author("child").write()),
        ):
            with pytest.raises(UnknownRun, match="nobody"):
                await call

    go(make, body)


# -------------------------------------------------------------------------------- inbox and parking


def test_signals_wait_oldest_first_until_they_are_taken(make):
    """The inbox keeps the order of arrival; taking is part of the write; append says what waits."""

    async def body(store):
        author, lease = await begun(store)
        for n, at in ((1, 30), (2, 20), (3, 10)):
            assert await store.signal("run-1", f"s{n}", "message", {"text": f"m{n}"}, at) is True
        assert await store.inbox("run-1") == [
            Signal("run-1", "s1", "message", {"text": "m1"}, 30),
            Signal("run-1", "s2", "message", {"text": "m2"}, 20),
            Signal("run-1", "s3", "message", {"text": "m3"}, 10),
        ]
        assert await store.append(lease, author.write()) is True
        assert await store.append(lease, author.write(taken=("s2",))) is True
        assert [signal.id for signal in await store.inbox("run-1")] == ["s1", "s3"]
        assert await store.append(lease, author.write(taken=("s1", "s3"))) is False
        assert await store.inbox("run-1") == []

    go(make, body)


def test_a_signal_id_is_known_for_ever_in_its_run(make):
    """Sending twice is taken once, before and after it was taken; another run has its own ids."""

    async def body(store):
        author, lease = await begun(store)
        await begun(store, "run-2")
        assert await store.signal("run-1", "s1", "message", {"n": 1}, 1) is True
        assert await store.signal("run-1", "s1", "message", {"n": 2}, 2) is False
        assert [signal.body for signal in await store.inbox("run-1")] == [{"n": 1}]
        await store.append(lease, author.write(taken=("s1",)))
        assert await store.signal("run-1", "s1", "message", {"n": 3}, 3) is False
        assert await store.inbox("run-1") == []
        assert await store.signal("run-2", "s1", "message", None, 1) is True
        assert (await store.inbox("run-2"))[0].body is None

    go(make, body)


def test_taking_a_signal_that_does_not_wait_is_refused_whole(make):
    """Unknown, taken before, or named twice: the write leaves no trace, the other signal waits."""

    async def body(store):
        author, lease = await begun(store)
        await store.signal("run-1", "s1", "message", {}, 1)
        await store.signal("run-1", "s2", "message", {}, 2)
        await store.append(lease, author.write(taken=("s1",)))
        for taken in (("s2", "unknown"), ("s2", "s1"), ("s2", "s2")):
            records = Author(seed=str(taken), head=author.head).records()
            with pytest.raises(StoreError, match="does not wait in the inbox"):
                await store.append(lease, Write(records=records, head=head_row(), taken=taken))
        assert (await store.row("run-1")).seq == 2
        assert [signal.id for signal in await store.inbox("run-1")] == ["s2"]

    go(make, body)


def test_a_signal_must_be_canonical_and_is_a_copy(make):
    """What cannot be written is refused before it waits; the caller may go on using its value."""

    async def body(store):
        await begun(store)
        with pytest.raises(ValueRefused):
            await store.signal("run-1", "s1", "message", {"x": object()}, 1)
        text = {"text": "first"}
        assert await store.signal("run-1", "s1", "message", text, 1) is True
        text["text"] = "changed"
        (found,) = await store.inbox("run-1")
        assert found.body == {"text": "first"}
        found.body["text"] = "changed"
        assert (await store.inbox("run-1"))[0].body == {"text": "first"}

    go(make, body)


def test_parking_gives_the_run_up(make):
    """A parked run waits, remembers when to wake, is not due, and can be claimed by others."""

    async def body(store):
        author, lease = await begun(store)
        assert await store.park(lease, FUTURE) is True
        row = await store.row("run-1")
        assert (row.phase, row.wake_at, row.fence) == ("waiting", FUTURE, 1)
        assert await store.due() == []
        assert await store.renew([lease], LONG) == ()
        again = await store.claim("run-1", "worker-2", LONG)
        assert again.fence == 2
        assert await store.append(again, author.write(fence=2)) is False
        assert (await store.row("run-1")).wake_at is None

    go(make, body)


def test_a_run_with_a_waiting_signal_does_not_park(make):
    """Park answers False, the lease and the phase stay."""

    async def body(store):
        author, lease = await begun(store)
        await store.signal("run-1", "s1", "message", {}, 1)
        assert await store.park(lease, None) is False
        assert (await store.row("run-1")).phase == "running"
        assert await store.claim("run-1", "worker-2", LONG) is None
        await store.append(lease, author.write(taken=("s1",)))
        assert await store.park(lease, None) is True

    go(make, body)


def test_parking_keeps_an_ended_and_a_blocked_run_as_they_are(make):
    """Parking gives the lease back but does not wake the dead."""

    async def body(store):
        for phase in ("ended", "blocked"):
            author, lease = await begun(store, phase)
            await store.append(lease, author.write(phase=phase))
            assert await store.park(lease, PAST) is True
            row = await store.row(phase)
            assert (row.phase, row.wake_at) == (phase, None)
            assert await store.claim(phase, "worker-2", LONG) is not None

    go(make, body)


def test_no_wake_up_is_lost_between_signal_and_park(make):
    """Whatever the order, the signal is seen: by the park that fails, or by `due`."""

    async def body(store):
        for n in range(40):
            run = f"run-{n}"
            _, lease = await begun(store, run)
            calls = [store.park(lease, None), store.signal(run, "s", "message", {}, 1)]
            if n % 2:
                calls.reverse()
            answers = await asyncio.gather(*calls)
            parked = answers[n % 2]
            assert (run in await store.due()) == parked
            if not parked:
                assert await store.claim(run, "worker-2", LONG) is None

    go(make, body)


# ---------------------------------------------------------------------------------------------- due


def test_due_is_what_somebody_should_advance(make):
    """Ready, lapsed, woken by time or signal, or with a reply to deliver; never blocked or held."""

    async def body(store):
        async def there(run, phase, *, wake_at=None, signal=False, reply=False):
            author = Author(run)
            outbox = (delivery(1, run=run),) if reply else ()
            await store.create(
                author.write(phase=phase, wake_at=wake_at, outbox=outbox), workflow="refund"
            )
            if signal:
                await store.signal(run, "s", "message", {}, 1)

        await there("ready", "ready")
        await there("running-never-claimed", "running")
        await there("waiting", "waiting")
        await there("waiting-future", "waiting", wake_at=FUTURE)
        await there("waiting-past", "waiting", wake_at=PAST)
        await there("waiting-signal", "waiting", signal=True)
        await there("waiting-all", "waiting", wake_at=PAST, signal=True, reply=True)
        await there("waiting-reply", "waiting", reply=True)
        await there("ended", "ended")
        await there("ended-signal", "ended", signal=True)
        await there("ended-past", "ended", wake_at=PAST)
        await there("ended-reply", "ended", reply=True)
        await there("blocked", "blocked")
        await there("blocked-all", "blocked", wake_at=PAST, signal=True, reply=True)
        for run, ttl in (("held", LONG), ("lapsed", LAPSED)):
            await begun(store, run, ttl=ttl)
        found = await store.due()
        assert sorted(found) == [
            "ended-reply",
            "lapsed",
            "ready",
            "running-never-claimed",
            "waiting-all",
            "waiting-past",
            "waiting-reply",
            "waiting-signal",
        ]
        for run in found:
            assert await store.claim(run, "worker-1", LONG) is not None
        assert await store.due() == []

    go(make, body)


def test_due_follows_what_happens_to_a_run(make):
    """A run leaves the list when it parks, ends and has delivered, and comes back by a signal."""

    async def body(store):
        author, lease = await begun(store)
        await store.release(lease)
        assert await store.due() == ["run-1"]
        lease = await store.claim("run-1", "w", LONG)
        assert await store.due() == []
        await store.park(lease, None)
        assert await store.due() == []
        await store.signal("run-1", "s", "message", {}, 1)
        assert await store.due() == ["run-1"]
        lease = await store.claim("run-1", "w", LONG)
        await store.append(
            lease, author.write(phase="ended", taken=("s",), outbox=(delivery(2),), fence=3)
        )
        await store.release(lease)
        assert await store.due() == ["run-1"]
        lease = await store.claim("run-1", "w", LONG)
        await store.append(lease, author.write(phase="ended", delivered=((2, 0),), fence=4))
        await store.release(lease)
        assert await store.due() == []

    go(make, body)


def test_due_is_bounded_and_fair(make):
    """At most `limit` come, and a run that was just tried comes after those that were not."""

    async def body(store):
        runs = [f"run-{n}" for n in range(12)]
        for run in runs:
            await store.create(Author(run).write(phase="ready"), workflow="refund")
        assert len(await store.due(5)) == 5
        seen = []
        await asyncio.sleep(0.005)
        for _ in range(4):
            some = await store.due(3)
            seen += some
            for run in some:
                await store.release(await store.claim(run, "w", LONG))
                await asyncio.sleep(0.002)  # SQLite's clock counts milliseconds
        assert sorted(seen) == sorted(runs)

    go(make, body)


# ------------------------------------------------------------------------------------------- outbox


def test_deliveries_are_queued_and_reported_with_the_records(make):
    """They come out as queued, in the order of their records, until a record reports them sent."""

    async def body(store):
        author, lease = await begun(store)
        first, second, third = delivery(2, 0, text="a"), delivery(2, 1, text="b"), delivery(3)
        await store.append(lease, author.write(2, outbox=(third, second, first), fence=1))
        assert await store.outbox("run-1") == [first, second, third]
        await store.append(lease, author.write(delivered=((2, 1),), fence=1))
        assert await store.outbox("run-1") == [first, third]
        await store.append(lease, author.write(delivered=((2, 0), (2, 1), (3, 0)), fence=1))
        assert await store.outbox("run-1") == []
        at_once = delivery(6)
        await store.append(lease, author.write(outbox=(at_once,), delivered=((6, 0),), fence=1))
        assert await store.outbox("run-1") == []

    go(make, body)


def test_deliveries_that_make_no_sense_are_refused_whole(make):
    """A key twice, another run's delivery, a report of what was never queued, a body not JSON."""

    async def body(store):
        author, lease = await begun(store)
        await store.append(lease, author.write(outbox=(delivery(2),)))
        await store.append(lease, author.write(delivered=((2, 0),), outbox=(delivery(3),)))
        for parts, error, words in (
            ({"outbox": (delivery(2),)}, StoreError, "queued already"),
            ({"outbox": (delivery(3),)}, StoreError, "queued already"),
            ({"outbox": (delivery(4), delivery(4))}, StoreError, "queued already"),
            ({"outbox": (delivery(4, run="run-2"),)}, StoreError, "of run run-2"),
            ({"outbox": (delivery(4), delivery(5, x={1}))}, ValueRefused, "canonical"),
            ({"outbox": (delivery(4),), "delivered": ((9, 9),)}, StoreError, "was queued"),
        ):
            records = Author(seed=words, head=author.head).records()
            with pytest.raises(error, match=words):
                await store.append(lease, Write(records=records, head=head_row(), **parts))
        assert await store.outbox("run-1") == [delivery(3)]
        assert (await store.row("run-1")).seq == 3

    go(make, body)


# -------------------------------------------------------------------------------- reading and forks


def test_read_ranges(make):
    """`after < seq <= upto`, in order; what lies outside the journal is simply not there."""

    async def body(store):
        author, lease = await begun(store)
        await store.append(lease, author.write(9))
        for after in (0, 1, 5, 9, 10, 99):
            for upto in (None, 0, 1, 5, 10, 99):
                want = [
                    record
                    for record in author.written
                    if after < record.seq <= (10 if upto is None else upto)
                ]
                assert await store.read("run-1", after, upto) == want

    go(make, body)


def test_a_fork_reads_through_its_parents(make):
    """A fork is a pointer: prefix from the parent, chain unbroken, parents untouched, any depth."""

    async def body(store):
        author, lease = await begun(store, "a")
        await store.append(lease, author.write(9))
        a = author.written

        def forked(run, prefix, count):
            child = Author(run, head=Head(prefix[-1].seq, prefix[-1].hash))
            return child, child.write(count, kind="run_forked", phase="ready", state="again")

        b, write = forked("b", a[:6], 3)
        assert await store.fork("a", 6, write) == "b"
        in_b = [*a[:6], *b.written]
        c, write = forked("c", in_b[:8], 2)
        assert await store.fork("b", 8, write) == "c"
        in_c = [*in_b[:8], *c.written]
        d, write = forked("d", in_c[:4], 1)  # forks before its parent was forked
        assert await store.fork("c", 4, write) == "d"
        in_d = [*in_c[:4], *d.written]
        for run, want in (("a", a), ("b", in_b), ("c", in_c), ("d", in_d)):
            found = await store.read(run)
            assert found == want
            assert verify_chain(found) == Head(want[-1].seq, want[-1].hash)
            for after in range(12):
                for upto in (None, *range(12)):
                    part = [r for r in want if after < r.seq <= (upto if upto is not None else 99)]
                    assert await store.read(run, after, upto) == part
        row = await store.row("c")
        assert (row.parent, row.forked_at, row.seq, row.workflow) == ("b", 8, 10, "refund")
        assert (row.fence, row.phase, row.state) == (0, "ready", "again")

    go(make, body)


def test_a_fork_goes_on_by_itself(make):
    """Appends to a fork and to its parent do not meet; retries and races work on a fork too."""

    async def body(store):
        author, lease = await begun(store, "a")
        child = Author("b", head=author.head)
        await store.fork("a", 1, child.write(phase="ready"))
        own = await store.claim("b", "worker-1", LONG)
        write = child.write(2)
        await store.append(own, write)
        await store.append(own, write)
        await store.append(lease, author.write(3))
        assert await store.read("b") == [author.written[0], *child.written]
        assert await store.read("a") == author.written
        rival = Author("b", seed="rival", head=author.written[0])
        with pytest.raises(Fenced):
            await store.append(own, rival.write())
        before = Author("b", seed="rival")
        with pytest.raises(Fenced):  # seq 1 is the parent's
            await store.append(own, before.write())

    go(make, body)


def test_a_fork_must_leave_its_parent_where_it_is(make):
    """Seq 0, a seq behind the head and records that do not continue it are refused."""

    async def body(store):
        author, _ = await begun(store, "a")
        for seq in (0, -1, 2):
            with pytest.raises(StoreError, match="cannot be forked"):
                await store.fork("a", seq, Author("b", head=author.head).write())
        with pytest.raises(StoreError, match="begins at seq 1"):
            await store.fork("a", 1, Author("b").write())
        assert [row.run for row in await store.runs()] == ["a"]

    go(make, body)


def test_a_fork_takes_a_request_id(make):
    """The same request forks once."""

    async def body(store):
        author, _ = await begun(store, "a")
        for run in ("b", "c"):
            child = Author(run, head=author.head)
            assert await store.fork("a", 1, child.write(), request_id="req") == "b"
        assert len(await store.runs()) == 2
        assert (await store.row("b")).request_id == "req"

    go(make, body)


def test_a_fork_has_its_own_inbox_and_outbox(make):
    """What waits for the parent does not wait for the fork."""

    async def body(store):
        author, lease = await begun(store, "a")
        await store.append(lease, author.write(outbox=(delivery(2, run="a"),)))
        await store.signal("a", "s", "message", {}, 1)
        await store.fork("a", 2, Author("b", head=author.head).write())
        assert await store.inbox("b") == []
        assert await store.outbox("b") == []
        assert await store.signal("b", "s", "message", {}, 1) is True

    go(make, body)


def test_runs_are_listed_newest_first(make):
    """By creation, filtered by workflow and status, bounded."""

    async def body(store):
        for n in range(9):
            author = Author(f"run-{n}")
            await store.create(
                author.write(status=("running", "failed", "waiting")[n % 3]),
                workflow=("refund", "helpdesk")[n % 2],
            )
        lease = await store.claim("run-0", "w", LONG)
        await store.append(
            lease, Author("run-0", seed="later", head=await head_of(store, "run-0")).write()
        )

        async def listed(**filters):
            return [int(row.run[4:]) for row in await store.runs(**filters)]

        assert await listed() == [8, 7, 6, 5, 4, 3, 2, 1, 0]
        assert await listed(limit=2) == [8, 7]
        assert await listed(limit=0) == []
        assert await listed(workflow="refund") == [8, 6, 4, 2, 0]
        assert await listed(status="failed") == [7, 4, 1]
        assert await listed(workflow="refund", status="failed") == [4]
        assert await listed(workflow="helpdesk", limit=3) == [7, 5, 3]
        assert await listed(workflow="none") == []
        assert (await store.runs())[8] == await store.row("run-0")

    go(make, body)


async def head_of(store, run):
    last = (await store.read(run))[-1]
    return Head(last.seq, last.hash)


# ----------------------------------------------------------------------------------------- transact


def put(connection, key, value):
    """Write with whatever the store gives a transactional tool."""
    if isinstance(connection, dict):
        connection.setdefault("rows", {})[key] = value
    else:
        connection.execute("create table if not exists mine (k text, v text)")
        connection.execute("insert into mine values (?, ?)", (key, value))


def stored(connection):
    """Read it back."""
    if isinstance(connection, dict):
        return list(connection.get("rows", {}).items())
    connection.execute("create table if not exists mine (k text, v text)")
    return connection.execute("select k, v from mine order by k").fetchall()


async def seen(store, author, lease):
    """Return what tools have committed so far."""
    found = []

    def look(connection):
        found.extend(tuple(row) for row in stored(connection))
        return author.write(0)

    await store.transact(lease, look)
    return found


def test_a_transaction_commits_effect_and_records_together(make):
    """The write comes back, its records are in the journal, the tool's data is there."""

    async def body(store):
        author, lease = await begun(store)
        await store.signal("run-1", "s", "message", {}, 1)
        made = []

        def work(connection):
            put(connection, "credit", "12")
            made.append(author.write(2, state="done", taken=("s",), outbox=(delivery(2),)))
            return made[0]

        assert await store.transact(lease, work) is made[0]
        assert await store.read("run-1") == author.written
        assert (await store.row("run-1")).state == "done"
        assert await store.inbox("run-1") == []
        assert await store.outbox("run-1") == [delivery(2)]
        assert await seen(store, author, lease) == [("credit", "12")]

    go(make, body)


class Boom(Exception):
    """What a tool raises."""


def test_a_transaction_that_raises_leaves_nothing(make):
    """The tool's error, a refused record, a lost race or a wrong answer: both sides are undone."""

    async def body(store):
        author, lease = await begun(store)
        await store.transact(lease, lambda c: put(c, "a", "kept") or author.write())
        before = await store.row("run-1")

        def raising(connection):
            put(connection, "b", "lost")
            raise Boom("no")

        def gapped(connection):
            put(connection, "c", "lost")
            other = Author(seed="gap", head=author.head)
            other.records()
            return other.write()

        def racing(connection):
            put(connection, "d", "lost")
            return Author(seed="race").write()

        def stopping(connection):
            put(connection, "e", "lost")
            raise StopIteration

        def silent(connection):
            put(connection, "f", "lost")

        def interrupted(connection):
            put(connection, "g", "lost")
            raise asyncio.CancelledError

        for work, error in (
            (raising, Boom),
            (gapped, StoreError),
            (racing, Fenced),
            (stopping, RuntimeError),  # what Python makes of a StopIteration in a coroutine
            (silent, StoreError),
            (interrupted, asyncio.CancelledError),
        ):
            with pytest.raises(error):
                await store.transact(lease, work)
        assert await store.row("run-1") == before
        assert await seen(store, author, lease) == [("a", "kept")]

    go(make, body)


def test_a_repeated_transaction_has_one_effect(make):
    """Work that returns records already in the journal succeeds; its second effect is undone."""

    async def body(store):
        author, lease = await begun(store)
        write = author.write()
        for value in ("first", "second"):
            returned = await store.transact(
                lease, lambda c, value=value: put(c, value, "x") or write
            )
            assert returned is write
        assert await seen(store, author, lease) == [("first", "x")]
        assert await store.read("run-1") == author.written

    go(make, body)


# -------------------------------------------------------------------------------------- concurrency


def test_many_runs_written_at_once(make):
    """A hundred tasks append to their own runs; every journal is whole and verifies."""

    async def body(store):
        async def drive(run):
            author, lease = await begun(store, run)
            for _ in range(10):
                await store.append(lease, author.write(2, fence=lease.fence))
            return author

        authors = await asyncio.gather(*(drive(f"run-{n}") for n in range(100)))
        for author in authors:
            found = await store.read(author.run)
            assert found == author.written
            assert verify_chain(found) == author.head

    go(make, body)


def test_rivals_on_one_run_never_leave_a_gap(make):
    """Workers that all believe they hold a lapsed lease: one wins each seq, none is doubled."""

    async def body(store):
        await begun(store, ttl=LAPSED)

        async def work(name):
            won, pace = 0, random.Random(name)  # in lockstep each would fence the other for ever
            while won < 20:
                lease = await store.claim("run-1", name, LAPSED)
                author = Author(seed=f"{name}{lease.fence}", head=await head_of(store, "run-1"))
                for _ in range(pace.randrange(6)):
                    await asyncio.sleep(0)
                try:
                    await store.append(lease, author.write(fence=lease.fence, by=name))
                except Fenced:
                    continue
                won += 1

        await asyncio.gather(work("a"), work("b"), work("c"))
        found = await store.read("run-1")
        assert verify_chain(found).seq == 61
        by = [record.body["by"] for record in found[1:]]
        assert {name: by.count(name) for name in "abc"} == {"a": 20, "b": 20, "c": 20}

    go(make, body)


def test_of_many_claims_at_once_one_wins(make):
    """Fifty workers, one lease."""

    async def body(store):
        await store.create(Author().write(phase="ready"), workflow="refund")
        leases = await asyncio.gather(*(store.claim("run-1", f"w{n}", LONG) for n in range(50)))
        (winner,) = [lease for lease in leases if lease is not None]
        assert winner.fence == 1
        assert (await store.row("run-1")).attempts == 1

    go(make, body)


def test_of_many_equal_requests_one_creates(make):
    """Fifty starts with one request id give one run."""

    async def body(store):
        made = await asyncio.gather(
            *(
                store.create(Author(f"run-{n}").write(), workflow="w", request_id="req")
                for n in range(50)
            )
        )
        assert len({run for run, _ in made}) == 1
        assert [new for _, new in made].count(True) == 1

    go(make, body)


def test_a_closed_store_can_be_used_again(make):
    """Runs outlive `aclose`, closing twice is fine, and another event loop finds them."""

    async def first(store):
        await begun(store)
        await store.aclose()
        assert (await store.row("run-1")).seq == 1
        await store.aclose()
        await store.aclose()

    async def second(store):
        assert [record.seq for record in await store.read("run-1")] == [1]

    go(make, first)
    go(make, second)


def test_one_store_serves_several_event_loops_in_sequence(make):
    """A store made once is used from one `asyncio.run` after the other."""
    store = make()
    author = Author()
    asyncio.run(store.create(author.write(phase="ready"), workflow="refund"))
    lease = asyncio.run(store.claim("run-1", "w", LONG))
    asyncio.run(store.append(lease, author.write()))
    assert asyncio.run(store.read("run-1")) == author.written
    asyncio.run(store.aclose())


def test_a_cancelled_caller_leaves_a_whole_write(make):
    """A caller that stops listening is cancelled; the write is there whole or not at all."""

    async def body(store):
        author, lease = await begun(store)
        write = author.write(3, fence=1)
        task = asyncio.ensure_future(store.append(lease, write))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await store.append(lease, write)
        assert await store.read("run-1") == author.written

    go(make, body)


# ---------------------------------------------------------------------------------- memory's clock


class FakeClock:
    """A clock that moves when told to."""

    def __init__(self):
        self.utc, self.mono = 1_000_000, 50.0

    def now(self):
        return self.utc

    def monotonic(self):
        return self.mono

    async def sleep(self, seconds):
        self.mono += seconds


def test_memory_leases_go_by_the_monotonic_clock():
    """A jump of the wall clock frees no lease; monotonic time does, to the second."""

    async def body():
        clock = FakeClock()
        store = MemoryStore(clock)
        _, lease = await begun(store, ttl=30.0)
        clock.utc += 3600_000_000
        assert await store.claim("run-1", "w", 30.0) is None
        clock.mono += 29.9
        assert await store.claim("run-1", "w", 30.0) is None
        assert await store.renew([lease], 30.0) == (lease,)
        clock.mono += 29.9
        assert await store.claim("run-1", "w", 30.0) is None
        clock.mono += 0.1
        assert (await store.claim("run-1", "w", 30.0)).fence == 2

    asyncio.run(body())


def test_memory_wakes_by_the_utc_clock():
    """A parked run is due exactly when its `wake_at` has come."""

    async def body():
        clock = FakeClock()
        store = MemoryStore(clock)
        _, lease = await begun(store)
        await store.park(lease, 2_000_000)
        clock.mono += 1000
        clock.utc = 1_999_999
        assert await store.due() == []
        clock.utc = 2_000_000
        assert await store.due() == ["run-1"]
        assert (await store.row("run-1")).created_at == 1_000_000

    asyncio.run(body())


# ------------------------------------------------------------------------------- two workers, model


class Workers(RuleBasedStateMachine):
    """Two workers on one run against a model of it: fence, head, attempts, inbox."""

    def make(self):
        raise NotImplementedError

    @initialize()
    def begin(self):
        self.runner = asyncio.Runner()
        self.store = self.make()
        author = Author()
        self.do(self.store.create(author.write(phase="ready"), workflow="refund"))
        self.rids = [author.written[0].rid]
        self.head = author.head
        self.fence = self.attempts = self.made = self.sent = 0
        self.standing = False  # a lease is noted, lapsed or not
        self.held = False
        self.phase = "ready"
        self.waiting = []
        self.leases = {}
        self.seen = {}
        self.last = {}

    def do(self, coroutine):
        return self.runner.run(coroutine)

    def current(self, who):
        return who in self.leases and self.leases[who].fence == self.fence

    @rule(who=st.sampled_from("ab"), ttl=st.sampled_from([LONG, LAPSED]), over=st.integers(-2, 0))
    def claim(self, who, ttl, over):
        """Claim, sometimes over a fence that is the current one or was."""
        named = None if over == -2 else self.fence + over
        lease = self.do(self.store.claim("run-1", who, ttl, over=named))
        assert (lease is None) == (self.held and over != 0)
        if lease is not None:
            self.fence += 1
            self.attempts += 1
            assert lease == Lease("run-1", self.fence, who, self.attempts)
            self.leases[who], self.seen[who] = lease, self.head
            self.held = ttl == LONG
            self.standing = True
            self.phase = "running"

    @rule(who=st.sampled_from("ab"), count=st.integers(0, 3), take=st.booleans())
    def append(self, who, count, take):
        """Write behind the head this worker knows, which may be out of date."""
        if who not in self.leases:
            return
        self.made += 1
        author = Author(seed=str(self.made), head=self.seen[who])
        taken = tuple(self.waiting[:1]) if take else ()
        write = author.write(count, fence=self.leases[who].fence, taken=taken)
        stale = count and self.seen[who] != self.head
        try:
            waits = self.do(self.store.append(self.leases[who], write))
        except Fenced:
            assert not self.current(who) or stale
            return
        assert self.current(who)
        assert not stale
        self.rids += [record.rid for record in write.records]
        self.waiting = self.waiting[len(taken) :]
        self.phase = "running"
        assert waits == bool(self.waiting)
        if count:
            self.attempts = 0
            self.head = self.seen[who] = author.head
            self.last[who] = write

    @rule(who=st.sampled_from("ab"))
    def append_again(self, who):
        """Repeat the last write this worker was told is there."""
        if who in self.last:
            assert self.do(self.store.append(self.leases[who], self.last[who])) == bool(
                self.waiting
            )

    @rule(who=st.sampled_from("ab"))
    def reload(self, who):
        """Read what is there, as a worker that lost a race does."""
        last = self.do(self.store.read("run-1"))[-1]
        self.seen[who] = Head(last.seq, last.hash)
        assert self.seen[who] == self.head

    @rule(who=st.sampled_from("ab"), counted=st.booleans())
    def release(self, who, counted):
        if who in self.leases:
            self.do(self.store.release(self.leases[who], counted=counted))
            if self.current(who):
                if self.standing and not counted:
                    self.attempts = max(self.attempts - 1, 0)
                self.held = self.standing = False
                self.phase = "ready" if self.phase == "running" else self.phase

    @rule(who=st.sampled_from("ab"))
    def park(self, who):
        if who not in self.leases:
            return
        try:
            parked = self.do(self.store.park(self.leases[who], FUTURE))
        except Fenced:
            assert not self.current(who)
            return
        assert self.current(who)
        assert parked == (not self.waiting)
        if parked:
            self.held, self.phase = False, "waiting"
            self.standing, self.attempts = False, 0

    @rule()
    def signal(self):
        self.sent += 1
        assert self.do(self.store.signal("run-1", f"s{self.sent}", "message", {}, self.sent))
        assert not self.do(self.store.signal("run-1", f"s{self.sent}", "message", {}, 0))
        self.waiting.append(f"s{self.sent}")

    @invariant()
    def store_and_model_agree(self):
        if not hasattr(self, "store"):
            return
        row = self.do(self.store.row("run-1"))
        assert (row.seq, row.fence, row.attempts) == (self.head.seq, self.fence, self.attempts)
        assert row.phase == self.phase
        assert (row.lease_until is not None) == bool(row.owner) == self.standing
        assert [signal.id for signal in self.do(self.store.inbox("run-1"))] == self.waiting
        advance = not self.held and (self.phase != "waiting" or bool(self.waiting))
        assert (self.do(self.store.due()) == ["run-1"]) == advance

    def teardown(self):
        if hasattr(self, "store"):
            found = self.do(self.store.read("run-1"))
            assert [record.rid for record in found] == self.rids
            assert verify_chain(found) == self.head
            self.do(self.store.aclose())
            self.runner.close()


class MemoryWorkers(Workers):
    """On the memory store."""

    def make(self):
        return MemoryStore()


class SQLiteWorkers(Workers):
    """On a real file."""

    def make(self):
        self.folder = tempfile.TemporaryDirectory()
        return SQLiteStore(Path(self.folder.name) / "runs.db")

    def teardown(self):
        super().teardown()
        if hasattr(self, "folder"):
            self.folder.cleanup()


TestMemoryWorkers = MemoryWorkers.TestCase
TestMemoryWorkers.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
TestSQLiteWorkers = SQLiteWorkers.TestCase
TestSQLiteWorkers.settings = settings(
    max_examples=25,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
