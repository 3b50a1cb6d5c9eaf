"""Many callers at once: tasks, event loops, and two workers against a model of one run."""

import asyncio
import random
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from statemachine_agents.errors import Fenced
from statemachine_agents.journal.records import Head, verify_chain
from statemachine_agents.stores.memory import MemoryStore
from statemachine_agents.stores.sqlite import SQLiteStore
from statemachine_agents.turn.ports import Lease
from tests.contracts.authors import FUTURE, LAPSED, LONG, Author, begun, go, head_of


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

    @rule(
        who=st.sampled_from("ab"),
        count=st.integers(0, 3),
        take=st.booleans(),
        leave=st.booleans(),
    )
    def append(self, who, count, take, leave):
        """Write behind the head this worker knows, which may be out of date; maybe leave then."""
        if who not in self.leases:
            return
        self.made += 1
        author = Author(seed=str(self.made), head=self.seen[who])
        taken = tuple(self.waiting[:1]) if take else ()
        write = author.write(count, fence=self.leases[who].fence, taken=taken, leave=leave)
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
        if leave and not waits:
            self.held = self.standing = False
            self.attempts, self.phase = 0, "ready"

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
