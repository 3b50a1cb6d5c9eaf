"""Who may write a run, and for how long; one test per store lets a real lease lapse."""

import asyncio

import pytest

from statemachine_agents.errors import Fenced
from statemachine_agents.turn.ports import Lease
from tests.contracts.authors import LAPSED, LONG, Author, begun, go


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


@pytest.mark.parametrize(("phase", "shown"), [("ready", "running"), ("ended", "ended")])
def test_a_run_can_be_created_and_claimed_at_once(make, phase, shown):
    """The new run has the lease `claim` would give; nobody else gets one, and it is not due."""

    async def body(store):
        author = Author()
        write = author.write(phase=phase)
        made = await store.create(write, workflow="refund", owner="worker-1", ttl=LONG)
        assert made == ("run-1", True)
        row = await store.row("run-1")
        assert (row.owner, row.fence, row.attempts, row.phase) == ("worker-1", 1, 1, shown)
        assert row.lease_until > row.created_at
        assert await store.claim("run-1", "worker-2", LONG) is None
        assert await store.due() == []
        lease = Lease("run-1", 1, "worker-1", 1)
        assert await store.renew([lease], LONG) == (lease,)
        assert await store.append(lease, author.write(fence=1)) is False

    go(make, body)


def test_a_run_that_was_there_is_not_claimed_by_creating_it(make):
    """Neither a known request nor known records give a lease."""

    async def body(store):
        write = Author().write(phase="ready")
        await store.create(write, workflow="refund", request_id="req")
        lent = {"workflow": "refund", "owner": "worker-1", "ttl": LONG}
        other = Author("other").write()
        assert await store.create(other, request_id="req", **lent) == ("run-1", False)
        assert await store.create(write, **lent) == ("run-1", False)
        row = await store.row("run-1")
        assert (row.owner, row.fence, row.attempts, row.phase) == ("", 0, 0, "ready")
        assert (await store.claim("run-1", "worker-2", LONG)).fence == 1

    go(make, body)


def test_a_lease_a_run_was_created_under_lapses_as_any(make):
    """Whoever dies right after creating a run does not keep it."""

    async def body(store):
        write = Author().write(phase="ready")
        await store.create(write, workflow="refund", owner="worker-1", ttl=LAPSED)
        assert await store.due() == ["run-1"]
        assert (await store.claim("run-1", "worker-2", LONG)).fence == 2

    go(make, body)


def test_the_last_write_can_give_the_lease_back(make):
    """Then the run is free in that very transaction, and the attempts begin anew."""

    async def body(store):
        author, lease = await begun(store)
        assert await store.append(lease, author.write(fence=1, phase="ended", leave=True)) is False
        row = await store.row("run-1")
        assert (row.owner, row.lease_until, row.attempts, row.phase) == ("", None, 0, "ended")
        assert await store.renew([lease], LONG) == ()
        await store.release(lease)
        again = await store.claim("run-1", "worker-2", LONG)
        assert (again.fence, again.attempts) == (2, 1)

    go(make, body)


def test_a_write_that_leaves_makes_running_ready(make):
    """Somebody may go on with it, without a record too."""

    async def body(store):
        author, lease = await begun(store)
        assert await store.append(lease, author.write(0, leave=True)) is False
        assert (await store.row("run-1")).phase == "ready"
        assert await store.due() == ["run-1"]

    go(make, body)


def test_a_run_with_a_waiting_signal_is_not_left(make):
    """As with parking: whoever was about to leave looks into the inbox first."""

    async def body(store):
        author, lease = await begun(store)
        await store.signal("run-1", "s", "message", {}, 1)
        assert await store.append(lease, author.write(fence=1, leave=True)) is True
        assert (await store.row("run-1")).owner == "worker-1"
        write = author.write(fence=1, taken=("s",), leave=True)
        assert await store.append(lease, write) is False
        assert (await store.row("run-1")).owner == ""
        assert await store.append(lease, write) is False  # the same again changes nothing

    go(make, body)


def test_transactional_work_can_leave(make):
    """`transact` gives the lease back as `append` does."""

    async def body(store):
        author, lease = await begun(store)
        await store.transact(lease, lambda _: author.write(fence=1, phase="ended", leave=True))
        assert (await store.row("run-1")).owner == ""

    go(make, body)
