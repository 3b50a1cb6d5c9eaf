"""What waits: signals, parked runs, replies; and what is due."""

import asyncio

import pytest

from statemachine_agents.errors import StoreError, ValueRefused
from statemachine_agents.turn.ports import Signal, Write
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
