"""Leaving a driver, and what does not end by itself: shutdown, poison, damage, replies."""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from statemachine_agents.driver import Driver
from statemachine_agents.errors import JournalDamaged, StoreError
from statemachine_agents.models.scripted import ScriptedModel, fail, say, use
from statemachine_agents.stores.memory import MemoryStore
from statemachine_agents.stores.sqlite import SQLiteStore
from statemachine_agents.table.model import State, Transition
from statemachine_agents.tools.decorator import tool
from tests.doors import (
    STEPS,
    Box,
    bound,
    chat,
    counter,
    driving,
    errand,
    go,
    question,
    replayed,
    silent,
    stored,
    until,
    willing,
)

ROOT = Path(__file__).parent.parent


class Held:
    """A tool body that says when it is inside and returns when it is let go."""

    def __init__(self):
        self.inside = asyncio.Event()
        self.let_go = asyncio.Event()
        self.calls = 0
        self.stopped = 0

    async def __call__(self) -> str:
        self.calls += 1
        self.inside.set()
        try:
            await self.let_go.wait()
        except asyncio.CancelledError:
            self.stopped += 1
            raise
        return "done"


class Thinker(ScriptedModel):
    """A scripted model that is held before it answers."""

    def __init__(self, held, turns):
        super().__init__(turns)
        self.held = held

    async def complete(self, request, *, on_text=None):
        await self.held()
        return await super().complete(request)


def held_errand(held, effect):
    """Return a workflow around a held tool."""

    async def work() -> str:
        return await held()

    return errand(work, effect=effect)


# ------------------------------------------------------------------------------------ shutting down


@pytest.mark.parametrize("kind", STEPS)
def test_a_result_that_comes_within_the_grace_is_kept(kind, tmp_path):
    """Left in the middle of an effect, the driver waits for it, and its result is journaled."""

    async def body():
        held = Held()
        flow = held_errand(held, "manual")
        async with stored(kind, tmp_path) as store:
            async with driving(flow, store=store, grace=30.0) as driver:
                run_id = await driver.start(wait=False)
                await held.inside.wait()
                asyncio.get_running_loop().call_later(0.05, held.let_go.set)
            row = await store.row(run_id)
            assert row.lease_until is None
            assert row.attempts == 0
            async with driving(flow, store=store) as driver:
                assert (await driver.resume(run_id)).value == "done"
                assert held.calls == 1
                assert "call_doubted" not in await replayed(driver, run_id)

    go(body)


@pytest.mark.parametrize("kind", STEPS)
@pytest.mark.parametrize("effect", ["idempotent", "manual"])
def test_an_effect_that_outlasts_the_grace_is_left_open(kind, effect, tmp_path):
    """It is stopped, its intent stays open, and recovery goes by its class."""

    async def body():
        held = Held()
        flow = held_errand(held, effect)
        async with stored(kind, tmp_path) as store:
            async with driving(flow, store=store, grace=0.01) as driver:
                run_id = await driver.start(wait=False)
                await held.inside.wait()
            assert (held.calls, held.stopped) == (1, 1)
            async with driving(flow, store=store) as driver:
                held.let_go.set()
                outcome = await driver.resume(run_id)
                if effect == "manual":
                    assert outcome.waiting == ("resolution",)
                    assert held.calls == 1
                else:
                    assert outcome.value == "done"
                    assert held.calls == 2
                await replayed(driver, run_id)

    go(body)


@pytest.mark.parametrize("effect", ["read", "model"])
def test_what_changes_nothing_is_stopped_at_once(effect):
    """A read or a model request under way is not waited for; it is made again on resume."""

    async def body():
        held = Held()

        store = MemoryStore()
        if effect == "read":
            flow, model = held_errand(held, "read"), silent()
        else:
            flow, model = counter(), Thinker(held, [use("count")])
        async with driving(flow, store=store, grace=3600.0, model=model) as driver:
            run_id = await driver.start({"at": 2} if effect == "model" else None, wait=False)
            await held.inside.wait()
        assert held.stopped == 1
        assert (await store.row(run_id)).attempts == 0
        held.let_go.set()
        async with driving(flow, store=store, model=model) as driver:
            assert (await driver.resume(run_id)).status == "succeeded"
            await replayed(driver, run_id)

    go(body)


def test_nothing_begins_while_a_driver_is_left():
    """The result that came within the grace is the last thing; the next call is not even intended.

    An intent nobody acts on would be in doubt for the next driver: of this class, for a person.
    """

    async def body():
        held = Held()
        made = []

        @tool(effect="manual")
        async def first() -> str:
            return await held()

        @tool(effect="manual")
        async def second() -> str:
            made.append(1)
            return "2"

        flow = bound(
            "two",
            [
                State("one", do=["first"]),
                State("two", do=["second"]),
                State("done", final="success"),
            ],
            [("one", "first.ok", "two"), ("two", "second.ok", "done")],
            [first, second],
        )
        store = MemoryStore()
        async with driving(flow, store=store, grace=30.0) as driver:
            run_id = await driver.start(wait=False)
            await held.inside.wait()
            asyncio.get_running_loop().call_later(0.02, held.let_go.set)
        assert made == []
        kinds = [record.kind for record in await store.read(run_id)]
        assert kinds.count("call_returned") == kinds.count("call_intended") == 1
        async with driving(flow, store=store) as driver:
            assert (await driver.resume(run_id)).status == "succeeded"
            assert made == [1]
            assert "call_doubted" not in await replayed(driver, run_id)

    go(body)


def test_a_second_cancel_during_the_grace_still_leaves_a_sound_journal():
    """Whoever is in a hurry gets away at once; the run can be resumed all the same."""

    async def body():
        held = Held()
        flow = held_errand(held, "idempotent")
        store = MemoryStore()
        driver = Driver(flow, store=store, grace=3600.0, model=silent())
        run_id = await driver.start(wait=False)
        await held.inside.wait()
        task = driver._runs.tasks[run_id]
        task.cancel()
        await asyncio.sleep(0.01)
        assert not task.done()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        held.let_go.set()
        async with driving(flow, store=store) as after:
            assert (await after.resume(run_id)).value == "done"
            await replayed(after, run_id)
        await driver.aclose()

    go(body)


def test_a_cancelled_advance_raises_again_after_saving():
    """An engine's task that is cancelled ends as cancelled, and the result is not lost."""

    async def body():
        held = Held()
        async with driving(held_errand(held, "manual")) as driver:
            driver._runs.closing = True
            run_id = await driver.start(wait=False)
            driver._runs.closing = False
            task = asyncio.ensure_future(driver.advance(run_id))
            await held.inside.wait()
            task.cancel()
            held.let_go.set()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert task.cancelled()
            assert (await driver.resume(run_id)).value == "done"
            assert held.calls == 1

    go(body)


@pytest.mark.parametrize("kind", STEPS)
def test_a_write_that_was_begun_is_finished(kind, tmp_path):
    """Cancelled while the store writes: the records are there once, and the run goes on."""

    async def body():
        async with stored(kind, tmp_path) as store:
            flow = counter()
            slow = Slow(store)
            for at in range(1, 9):
                async with driving(flow, model=willing(), store=slow) as driver:
                    slow.cancel_at(at)
                    run_id = await driver.start({"at": 0}, wait=False)
                    slow.task = driver._runs.tasks[run_id]
                    await driver.result(run_id)
                    assert (await driver.resume(run_id)).value == 3
                    await replayed(driver, run_id)

    go(body)


class Slow:
    """A store that cancels the task of a run in the middle of its n-th append."""

    def __init__(self, store):
        self.store = store
        self.task = None
        self.left = 0

    def cancel_at(self, at):
        self.left = at

    def __getattr__(self, name):
        return getattr(self.store, name)

    async def append(self, lease, write):
        self.left -= 1
        answer = await self.store.append(lease, write)
        if not self.left:
            self.task.cancel()
            await asyncio.sleep(0)
        return answer


def test_ctrl_c_leaves_a_run_that_can_be_resumed(tmp_path):
    """The first Ctrl-C gives the effect its grace; the process ends, the result is kept."""
    script = tmp_path / "main.py"
    script.write_text(
        "import asyncio, sys\n"
        "from statemachine_agents.driver import Driver\n"
        "from statemachine_agents.models.scripted import ScriptedModel\n"
        "from statemachine_agents.stores.sqlite import SQLiteStore\n"
        "from tests.doors import errand\n"
        "async def work() -> str:\n"
        "    print('inside', flush=True)\n"
        "    await asyncio.to_thread(sys.stdin.readline)\n"
        "    return 'kept'\n"
        f"store = SQLiteStore({str(tmp_path / 'runs.db')!r})\n"
        "flow = errand(work, effect='manual')\n"
        "Driver(flow, model=ScriptedModel([]), store=store, grace=60).run_sync()\n"
    )
    process = subprocess.Popen(
        [sys.executable, str(script)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert process.stdout.readline() == "inside\n"
    process.send_signal(signal.SIGINT)
    time.sleep(0.2)
    _, said = process.communicate("\n", timeout=60)
    assert process.returncode != 0
    assert "KeyboardInterrupt" in said

    async def body():
        async def work() -> str:
            raise AssertionError("called again")

        store = SQLiteStore(tmp_path / "runs.db")
        async with driving(errand(work, effect="manual"), store=store) as driver:
            (row,) = await store.runs()
            assert (await driver.resume(row.run)).value == "kept"
        await store.aclose()

    go(body)


# ------------------------------------------------------------------------------------------- poison


class Reaper:
    """A store whose owner dies at its n-th append of a run: nothing more is written by it."""

    def __init__(self, store, victim):
        self.store = store
        self.victim = victim

    def __getattr__(self, name):
        return getattr(self.store, name)

    async def append(self, lease, write):
        if lease.run == self.victim():
            raise SystemError("this process would be dead by now")
        return await self.store.append(lease, write)


@pytest.mark.parametrize("kind", STEPS)
def test_a_run_that_kills_its_worker_is_quarantined(kind, tmp_path):
    """Three claims without a record, then it is put aside; other runs go on."""

    async def body():
        async with stored(kind, tmp_path) as store:
            bad = []
            reaper = Reaper(store, lambda: bad[0] if bad else None)
            async with driving(counter(), model=willing(), store=reaper) as driver:
                driver._runs.closing = True
                bad.append(await driver.start({"at": 0}, wait=False))
                driver._runs.closing = False
                for attempt in (1, 2, 3):
                    with pytest.raises(SystemError):
                        await driver.resume(bad[0])
                    assert (await store.row(bad[0])).attempts == attempt
                assert (await driver.start({"at": 0})).value == 3
            async with driving(counter(), model=willing(), store=store) as driver:
                outcome = await driver.resume(bad[0])
                assert outcome.status == "quarantined"
                assert "3 attempts at seq" in outcome.reason
                row = await store.row(bad[0])
                assert (row.phase, row.status) == ("blocked", "quarantined")
                assert await store.due() == []
                seq = row.seq
                for _ in range(5):
                    assert (await driver.resume(bad[0])).status == "quarantined"
                assert (await store.row(bad[0])).seq == seq
                assert (await driver.start({"at": 0})).value == 3
                await replayed(driver, bad[0])
                # An operator has mended what was wrong: the run goes on where it stood.
                outcome = await driver.resume(bad[0], by="op", reason="mended", lift=True)
                assert (outcome.status, outcome.value) == ("succeeded", 3)
                assert (await store.row(bad[0])).phase == "ended"
                await replayed(driver, bad[0])

    go(body)


def test_looking_and_leaving_is_no_poison():
    """Streams, resumes and clean shutdowns without a record do not count against a run."""

    async def body():
        held = Held()
        store = MemoryStore()
        model = Thinker(held, [use("count")])
        run_id = None
        for _ in range(6):
            async with driving(counter(), store=store, model=model) as driver:
                if run_id is None:
                    run_id = await driver.start({"at": 2}, wait=False)
                else:
                    await driver.resume(run_id, wait=False)
                await held.inside.wait()
                held.inside.clear()
            assert (await store.row(run_id)).attempts == 0
        held.let_go.set()
        async with driving(counter(), store=store, model=model) as driver:
            assert (await driver.resume(run_id)).value == 3
        async with driving(question()) as driver:
            run_id = (await driver.start({"topic": "x"})).run_id
            for _ in range(6):
                assert [moment async for moment in driver.stream(run_id)] == []
            assert (await driver.approve(run_id)).status == "succeeded"

    go(body)


def test_a_damaged_journal_is_put_aside_and_others_go_on(tmp_path):
    """A changed body is found before anything is decided on it; the run alone is blocked."""

    async def body():
        path = tmp_path / "runs.db"
        store = SQLiteStore(path)
        async with driving(question(), store=store) as driver:
            bad = (await driver.start({"topic": "x"})).run_id
            good = (await driver.start({"topic": "y"})).run_id
        await store.aclose()
        with closing(sqlite3.connect(path)) as db, db:
            db.execute(
                "update record set body = replace(body, 'x', 'z') where run = ? and seq = 1", (bad,)
            )
        async with driving(question(), store=store) as driver:
            for door in (driver.resume(bad), driver.load(bad), driver.approve(bad)):
                with pytest.raises(JournalDamaged, match="seq 1"):
                    await door
            with pytest.raises(JournalDamaged):
                await driver.advance(bad)
            row = await store.row(bad)
            assert (row.phase, row.status) == ("blocked", "quarantined")
            assert "seq 1" in row.reason
            assert (await driver.approve(good)).status == "succeeded"
            assert await store.due() == []
        await store.aclose()

    go(body)


# ------------------------------------------------------------------------------------------ replies


@pytest.mark.parametrize("kind", STEPS)
def test_a_reply_goes_out_until_it_arrives(kind, tmp_path):
    """A channel that fails is tried again by itself, in order, under the same id; then no more."""

    async def body():
        box = Box(failures=2)
        turns = [say("How can I help?")]
        async with (
            stored(kind, tmp_path) as store,
            driving(chat(), *turns, store=store, outbox=box) as driver,
        ):
            outcome = await driver.start()
            assert outcome.waiting == ("message",)
            assert box.texts == []
            assert len(await store.outbox(outcome.run_id)) == 1
            outcome = await driver.send(outcome.run_id, "hi")
            assert box.texts == []  # the greeting did not get through, and comes first

            async def delivered():
                return not await store.outbox(outcome.run_id)

            async with asyncio.timeout(30):
                await until(delivered)
            assert box.texts == ["Hello!", "How can I help?"]
            assert len({delivery.body["id"] for delivery in box.tried}) == 2
            assert [d.body["id"] for d in box.tried][:3] == [box.tried[0].body["id"]] * 3
            await driver.result(outcome.run_id)
            kinds = await replayed(driver, outcome.run_id)
            assert kinds.count("reply_queued") == kinds.count("reply_sent") == 2
            assert driver._runs.timers == {}

    go(body)


def test_a_last_reply_goes_out_after_the_end():
    """A run that has ended still owes its last words, also to the next driver."""

    async def body():
        flow = bound(
            "farewell",
            [
                State("waving", do=["wave"], say="Bye!"),
                State("done", final="success"),
            ],
            [("waving", "wave.ok", "done"), ("waving", "wave.error", "done")],
            [wave],
        )
        store = MemoryStore()
        box = Box(failures=1)
        async with driving(flow, store=store, outbox=box) as driver:
            outcome = await driver.start()
            assert outcome.status == "succeeded"
            assert await store.due() == [outcome.run_id]
        again = Box()
        async with driving(flow, store=store, outbox=again) as driver:
            assert (await driver.resume(outcome.run_id)) == outcome
            assert again.given == box.tried
            assert await store.due() == []
            assert (await replayed(driver, outcome.run_id))[-1] == "reply_sent"

    go(body)


@tool(effect="read")
async def wave() -> str:
    return "waved"


def test_a_reply_that_was_sent_but_not_noted_goes_out_again_under_its_id():
    """At least once: a crash between delivery and record doubles a reply, and its id tells."""

    async def body():
        box = Box()
        store = MemoryStore()
        crash = Deaf(store)
        async with driving(chat(), store=crash, outbox=box) as driver:
            with pytest.raises(StoreError):
                await driver.start()
        async with driving(chat(), store=store, outbox=box) as driver:
            (row,) = await store.runs()
            assert (await driver.resume(row.run)).waiting == ("message",)
            first, second = box.given
            assert first == second
            await replayed(driver, row.run)

    go(body)


class Deaf:
    """A store that fails to note that a reply was sent."""

    def __init__(self, store):
        self.store = store

    def __getattr__(self, name):
        return getattr(self.store, name)

    async def append(self, lease, write):
        if write.delivered:
            raise StoreError("the disk is full")
        return await self.store.append(lease, write)


def test_a_store_that_fails_for_a_moment_stops_one_run_only():
    """An append that fails is raised to whoever waits; nothing is half written; resume goes on."""

    async def body():
        store = MemoryStore()
        flaky = Flaky(store)
        async with driving(counter(), model=willing(), store=flaky) as driver:
            with pytest.raises(StoreError, match="full"):
                await driver.start({"at": 0})
            (row,) = await store.runs()
            assert (await driver.start({"at": 0})).value == 3
            assert (await driver.resume(row.run)).value == 3
            await replayed(driver, row.run)

    go(body)


class Flaky:
    """A store whose second append fails, once."""

    def __init__(self, store):
        self.store = store
        self.appends = 0

    def __getattr__(self, name):
        return getattr(self.store, name)

    async def append(self, lease, write):
        self.appends += 1
        if self.appends == 2:
            raise StoreError("the disk is full")
        return await self.store.append(lease, write)


def test_a_failed_model_is_not_asked_by_a_shutdown():
    """A stalled run stays stalled over drivers until somebody resumes it."""

    async def body():
        store = MemoryStore()
        async with driving(counter(), fail("overloaded"), store=store) as driver:
            run_id = (await driver.start({"at": 2})).run_id
        async with driving(counter(), store=store) as driver:
            serving = asyncio.ensure_future(driver.serve(every=0.001))
            await asyncio.sleep(0.05)
            serving.cancel()
            assert (await store.row(run_id)).phase == "waiting"
        async with driving(counter(), use("count"), store=store) as driver:
            assert (await driver.resume(run_id)).value == 3

    go(body)


def test_what_was_running_when_a_worker_died_is_served_by_the_next(tmp_path):
    """`serve` takes up runs whose lease lapsed, runs with a signal, and nothing else."""

    async def body():
        store = SQLiteStore(tmp_path / "runs.db")
        async with driving(question(), store=store) as driver:
            asked = (await driver.start({"topic": "x"})).run_id
            quiet = (await driver.start({"topic": "y"})).run_id
            driver._runs.closing = True
            new = await driver.start({"topic": "z"}, wait=False)
            await driver.approve(asked, wait=False)
        assert await store.claim(new, "somebody-who-died", 0.0) is not None
        async with driving(question(), store=store) as driver:
            serving = asyncio.ensure_future(driver.serve(every=0.001))

            async def served():
                rows = [await store.row(run) for run in (asked, new)]
                return [row.phase for row in rows] == ["ended", "waiting"]

            async with asyncio.timeout(30):
                await until(served)
            serving.cancel()
            assert (await store.row(quiet)).seq < (await store.row(asked)).seq
        await store.aclose()

    go(body)


def test_a_row_says_why_a_run_stands_where_it_does():
    """Lists show state, status and reason of parked and ended runs without folding them."""

    async def body():
        async with driving(question()) as driver:
            run_id = (await driver.start({"topic": "x"})).run_id
            row = await driver.store.row(run_id)
            assert (row.status, row.state, row.reason) == ("waiting", "asking", "Go on?")
            await driver.approve(run_id, granted=False)
            row = await driver.store.row(run_id)
            assert (row.status, row.state, row.reason) == ("failed", "no", "no")

    go(body)


def test_a_transition_is_never_torn(tmp_path):
    """Result and move are one write: no prefix of a journal has the one without the other."""

    async def body():
        flow = bound(
            "pair",
            [State("doing", do=["wave"]), State("done", final="success", returns="context.got")],
            [Transition("doing", "wave.ok", "done", assign={"got": "result"})],
            [wave],
            context={"got": "string?"},
        )
        writes = []

        class Noting:
            def __init__(self, store):
                self.store = store

            def __getattr__(self, name):
                return getattr(self.store, name)

            async def append(self, lease, write):
                writes.append([record.kind for record in write.records])
                return await self.store.append(lease, write)

        async with driving(flow, store=Noting(MemoryStore())) as driver:
            assert (await driver.start()).value == "waved"
        (write,) = [kinds for kinds in writes if "call_returned" in kinds]
        assert write[write.index("call_returned") + 1] == "stepped"

    go(body)
