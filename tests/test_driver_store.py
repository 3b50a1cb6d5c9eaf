"""What a driver asks of its store: how often, and what becomes of the lease of a new run."""

import asyncio
import sqlite3
from collections import Counter
from contextlib import closing

import pytest

from statemachine_agents.driver import Driver
from statemachine_agents.errors import JournalDamaged, UsageError
from statemachine_agents.models.scripted import say, use
from statemachine_agents.stores.memory import MemoryStore
from statemachine_agents.stores.sqlite import SQLiteStore
from statemachine_agents.system import SteppingClock
from tests.doors import (
    STEPS,
    chat,
    counter,
    driving,
    errand,
    go,
    question,
    replayed,
    silent,
    stored,
    willing,
)


class Counting:
    """A store that counts what it is asked."""

    def __init__(self, store):
        self.store = store
        self.asked = Counter()

    def __getattr__(self, name):
        method = getattr(self.store, name)

        async def counted(*args, **kwargs):
            self.asked[name] += 1
            return await method(*args, **kwargs)

        return counted


class Gated(SQLiteStore):
    """A store whose `create` answers only when it is let go."""

    def __init__(self, path):
        super().__init__(path)
        self.written = asyncio.Event()
        self.answer = asyncio.Event()

    async def create(self, write, **more):
        made = await super().create(write, **more)
        self.written.set()
        await self.answer.wait()
        return made


# ---------------------------------------------------------------------------------------- how often


@pytest.mark.parametrize("kind", STEPS)
def test_a_run_asks_the_store_once_a_turn_and_once_to_begin(kind, tmp_path):
    """Claim, definition, inbox, release and the parent's row cost no visit of their own."""

    async def body():
        async with stored(kind, tmp_path) as inner:
            store = Counting(inner)
            async with driving(counter(4), model=willing(), store=store) as driver:
                assert (await driver.start({"at": 0})).value == 4
            assert store.asked == {"create": 1, "append": 4}

    go(body)


def test_a_run_that_parks_is_not_released_as_well():
    """Parking has given the lease back already."""

    async def body():
        store = Counting(MemoryStore())
        async with driving(chat(), model=silent(), store=store) as driver:
            await driver.start()
            assert store.asked["park"] == 1
            assert store.asked["release"] == 0

    go(body)


# ------------------------------------------------------------------------------- leases of new runs


@pytest.mark.parametrize("kind", STEPS)
def test_a_new_run_is_ours_until_it_ends(kind, tmp_path):
    """It is created under our lease, and nobody holds it afterwards."""

    async def body():
        async with stored(kind, tmp_path) as store:
            seen = []

            async def work() -> str:
                (row,) = await store.runs()
                seen.append((row.fence, row.phase, row.lease_until is not None))
                return "done"

            async with driving(errand(work, effect="manual"), store=store) as driver:
                outcome = await driver.start()
                row = await store.row(outcome.run_id)
                assert seen == [(1, "running", True)]
                assert (row.owner, row.lease_until, row.phase) == ("", None, "ended")

    go(body)


@pytest.mark.parametrize("kind", STEPS)
def test_a_run_nobody_began_is_given_back_when_the_driver_is_left(kind, tmp_path):
    """Started a moment before the end: the next driver takes it up at once."""

    async def body():
        async with stored(kind, tmp_path) as store:
            async with driving(question(), store=store) as driver:
                run_id = await driver.start({"topic": "tea"}, wait=False)
            row = await store.row(run_id)
            assert (row.owner, row.lease_until, row.attempts) == ("", None, 0)
            async with driving(question(), store=store) as driver:
                assert (await driver.resume(run_id)).waiting == ("approval",)

    go(body)


@pytest.mark.parametrize("kind", STEPS)
def test_a_driver_that_was_left_keeps_no_new_run(kind, tmp_path):
    """It can still create one; whoever comes next has it."""

    async def body():
        async with stored(kind, tmp_path) as store:
            driver = Driver(question(), model=silent(), store=store)
            await driver.aclose()
            run_id = await driver.start({"topic": "tea"}, wait=False)
            assert (await store.row(run_id)).phase == "ready"
            assert await store.due() == [run_id]

    go(body)


def test_a_start_that_is_cancelled_holds_nothing(tmp_path):
    """The run may be there; the same request finds it and goes on."""

    async def body():
        store = Gated(tmp_path / "runs.db")
        async with driving(question(), store=store) as driver:
            starting = asyncio.ensure_future(driver.start({"topic": "tea"}, request_id="req"))
            await store.written.wait()
            starting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await starting
            (row,) = await store.runs()
            assert (row.lease_until, row.attempts) == (None, 0)
            store.answer.set()
            outcome = await driver.start({"topic": "tea"}, request_id="req")
            assert (outcome.run_id, outcome.waiting) == (row.run, ("approval",))
        await store.aclose()

    go(body)


@pytest.mark.parametrize("kind", STEPS)
def test_a_new_run_that_was_left_lying_is_claimed_anew(kind, tmp_path):
    """Its lease was not renewed meanwhile, so it is taken with a higher fence and read again."""

    async def body():
        clock = SteppingClock()
        async with (
            stored(kind, tmp_path) as store,
            driving(question(), store=store, clock=clock) as driver,
        ):
            run_id = await driver.start({"topic": "tea"}, wait=False)
            clock.at += 20_000_000
            assert (await driver.result(run_id)).waiting == ("approval",)
            assert (await store.row(run_id)).fence == 2
            await replayed(driver, run_id)

    go(body)


@pytest.mark.parametrize("kind", STEPS)
def test_a_new_run_others_have_taken_meanwhile_is_theirs(kind, tmp_path):
    """Whoever claimed it over our lease goes on; we say so and write nothing."""

    async def body():
        async with (
            stored(kind, tmp_path) as store,
            driving(counter(2), model=willing(), store=store) as driver,
        ):
            run_id = await driver.start({"at": 0}, wait=False)
            lease = await store.claim(run_id, "somebody", 600.0, over=1)
            with pytest.raises(UsageError, match="taken over"):
                await driver.result(run_id)
            row = await store.row(run_id)
            assert (row.owner, row.fence, row.seq) == ("somebody", lease.fence, 3)

    go(body)


@pytest.mark.parametrize("kind", STEPS)
def test_what_is_said_with_the_start_is_heard_before_the_model_is_asked(kind, tmp_path):
    """The first message is in the first request, though a new run's inbox is not looked into."""

    async def body():
        async with (
            stored(kind, tmp_path) as store,
            driving(chat(), say("I hear you."), use("x"), store=store) as driver,
        ):
            outcome = await driver.start(message="I am here")
            kinds = await replayed(driver, outcome.run_id)
            assert kinds.index("message_received") < kinds.index("model_asked")
            assert kinds.count("model_asked") == 1

    go(body)


# ------------------------------------------------------------------------------------ lost journals


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        ("delete from record", "seq 1: its first record is gone"),
        ("update record set definition = zeroblob(32)", "seq 1: "),
    ],
)
def test_a_journal_that_does_not_name_its_definition_is_damaged(tmp_path, harm, said):
    """Said as damage, not as a definition that is not there; the run is kept out of the queue."""

    async def body():
        store = SQLiteStore(tmp_path / "runs.db")
        async with driving(question(), store=store) as driver:
            run_id = (await driver.start({"topic": "tea"})).run_id
            with closing(sqlite3.connect(store.path)) as db:
                db.execute(harm)
                db.commit()
            with pytest.raises(JournalDamaged, match=said):
                await driver.advance(run_id)
            assert (await store.row(run_id)).phase == "blocked"
        await store.aclose()

    go(body)
