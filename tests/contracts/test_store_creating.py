"""How runs come into a store: definitions and blobs, first records, forks, and the list of runs."""

import pytest

from statemachine_agents.errors import Fenced, StoreError
from statemachine_agents.journal.records import Head, verify_chain
from statemachine_agents.turn.ports import RunRow, Write
from tests.contracts.authors import DEFINITION, LONG, Author, begun, delivery, go, head_of, head_row


def test_definitions_are_kept_under_their_hash(make):
    """A definition comes back byte for byte; keeping it twice is fine; an unknown one says so."""

    async def body(store):
        await store.define(DEFINITION, b'{"table":1}')
        await store.define(DEFINITION, b'{"table":1}')
        assert await store.definition(DEFINITION) == b'{"table":1}'
        with pytest.raises(StoreError, match="not in this store"):
            await store.definition("cd" * 32)

    go(make, body)


def test_a_run_can_bring_its_definition(make):
    """It is kept with the first records that name it, and only if they are."""

    async def body(store):
        write = Author().write()
        empty = Write(records=(), head=head_row())
        with pytest.raises(StoreError, match="at least one record"):
            await store.create(empty, workflow="refund", definition=b"table")
        with pytest.raises(StoreError, match="not in this store"):
            await store.definition(DEFINITION)
        for _ in range(2):
            await store.create(write, workflow="refund", definition=b"table")
            assert await store.definition(DEFINITION) == b"table"

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
