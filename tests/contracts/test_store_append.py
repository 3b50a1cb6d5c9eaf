"""What a write does to journal and head, and which ones are refused whole."""

import attrs
import pytest

from statemachine_agents.errors import Fenced, StoreError, UnknownRun
from statemachine_agents.journal.records import Head, blob_of, verify_chain
from statemachine_agents.turn.ports import Lease, Write
from statemachine_agents.values import sha256
from tests.contracts.authors import (
    FUTURE,
    LAPSED,
    LONG,
    PAST,
    Author,
    begun,
    delivery,
    go,
    head_row,
)


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
