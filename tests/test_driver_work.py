"""What a driver does beside the doors: many runs, tools of every kind, timers, large values."""

import asyncio
import threading

import pytest

from statemachine_agents.errors import ToolError, UsageError
from statemachine_agents.journal.journal import Journal
from statemachine_agents.journal.records import blob_of
from statemachine_agents.models.scripted import use, use_all
from statemachine_agents.stores.memory import MemoryStore
from statemachine_agents.system import SteppingClock
from statemachine_agents.table.model import State, Transition, Use
from statemachine_agents.table.toolspec import Breaker, Retry
from statemachine_agents.tools.decorator import Call, tool
from statemachine_agents.values import MAX_BODY
from tests.doors import (
    STEPS,
    bound,
    chat,
    counter,
    driving,
    errand,
    go,
    replayed,
    stored,
    until,
    willing,
)

# ---------------------------------------------------------------------------------------- many runs


@pytest.mark.parametrize(("kind", "many"), [("memory", 200), ("sqlite", 50)])
def test_many_runs_at_once_on_one_driver(kind, many, tmp_path):
    """Each run has its own journal and comes to its own end; nothing of one shows in another."""

    async def body():
        flow = counter(limit=5)
        async with (
            stored(kind, tmp_path) as store,
            driving(flow, model=willing(5 * many), store=store) as driver,
        ):
            outcomes = await asyncio.gather(*(driver.start({"at": n % 5}) for n in range(many)))
            assert {outcome.value for outcome in outcomes} == {5}
            assert [outcome.iterations for outcome in outcomes] == [5 - n % 5 for n in range(many)]
            assert len({outcome.run_id for outcome in outcomes}) == many
            for outcome in outcomes[:10]:
                await replayed(driver, outcome.run_id)
            assert driver._runs.tasks == driver._runs._leases == {}
            assert await store.due() == []

    go(body)


def test_one_run_that_breaks_leaves_the_others_alone(tmp_path):
    """An exception of ours in one of many runs reaches its own waiter only."""

    async def body():
        @tool(effect="read")
        async def work(n: int) -> int:
            return n

        class Picky:
            """A model that cannot bear one of the runs."""

            def __init__(self):
                self.inner = willing(100)

            def layout(self, model):
                return self.inner.layout(model)

            async def complete(self, request, *, on_text=None):
                if request.facts["n"] == 7:
                    raise KeyError(7)
                return await self.inner.complete(request)

            async def aclose(self):
                pass

        flow = bound(
            "picky",
            [
                State("asking", ask="Go.", tools=["work"], shows=["n"]),
                State("done", final="success"),
            ],
            [("asking", "work.ok", "done")],
            [work],
            tools={"work": Use(bind={"n": "context.n"})},
            context={"n": "integer"},
        )
        async with driving(flow, model=Picky()) as driver:
            ended = await asyncio.gather(
                *(driver.start({"n": n}) for n in range(20)), return_exceptions=True
            )
            assert isinstance(ended.pop(7), KeyError)
            assert {outcome.status for outcome in ended} == {"succeeded"}

    go(body)


# -------------------------------------------------------------------------------------------- tools


def test_reads_of_one_reply_run_together(tmp_path):
    """Three reads wait for each other: one after the other, none would return."""

    async def body():
        meeting = asyncio.Barrier(3)

        @tool(effect="read")
        async def look(at: str) -> str:
            async with asyncio.timeout(20):
                await meeting.wait()
            return at

        flow = bound(
            "looking",
            [State("looking", ask="Look.", tools=["look", "more"]), State("done", final="success")],
            [("looking", "more.ok", "done")],
            [look],
            tools={"more": Use(use="look", bind={"at": "'more'"})},
        )
        reply = use_all(use("look", at="a"), use("look", at="b"), use("more"))
        async with driving(flow, reply) as driver:
            outcome = await driver.start()
            assert outcome.status == "succeeded"
            returned = [
                record.body["value"]
                for record in await driver.records(outcome.run_id)
                if record.kind == "call_returned"
            ]
            assert sorted(returned) == ["a", "b", "more"]
            await replayed(driver, outcome.run_id)

    go(body)


def test_calls_of_the_engine_run_together():
    """A `do` state makes its calls at once, effects too."""

    async def body():
        meeting = asyncio.Barrier(2)

        @tool(effect="manual")
        async def left() -> str:
            async with asyncio.timeout(20):
                await meeting.wait()
            return "l"

        @tool(effect="idempotent")
        async def right() -> str:
            async with asyncio.timeout(20):
                await meeting.wait()
            return "r"

        flow = bound(
            "both",
            [
                State("doing", do=["left", "right"]),
                State("done", final="success", returns="context.got"),
            ],
            [
                Transition("doing", "left.ok & right.ok", "done",
                           assign={"got": "[results.left, results.right]"}),
            ],
            [left, right],
            context={"got": "list?"},
        )  # fmt: skip
        async with driving(flow) as driver:
            outcome = await driver.start()
            assert outcome.value == ["l", "r"]
            await replayed(driver, outcome.run_id)

    go(body)


@pytest.mark.parametrize("kind", STEPS)
def test_attempts_are_journaled_and_share_a_key(kind, tmp_path):
    """A busy receiver is tried again: each attempt is an intent and a return, with one key."""

    async def body():
        keys = []

        @tool(effect="idempotent", retry=Retry(attempts=3, delay=0.01), name="work")
        async def work(call: Call) -> int:
            keys.append((call.key, call.attempt))
            if call.attempt < 3:
                raise ToolError("come back later", kind="busy")
            return call.attempt

        async with (
            stored(kind, tmp_path) as store,
            driving(errand(work), store=store, clock=SteppingClock()) as driver,
        ):
            outcome = await driver.start()
            assert outcome.value == 3
            assert [attempt for _, attempt in keys] == [1, 2, 3]
            assert len({key for key, _ in keys}) == 1
            kinds = await replayed(driver, outcome.run_id)
            assert kinds.count("call_intended") == kinds.count("call_returned") == 3

    go(body)


def test_attempts_come_to_an_end():
    """After the last attempt the error is the table's, and other kinds are not tried again."""

    async def body():
        for error, tries in (("busy", 2), ("not_found", 1)):
            made = []
            async with driving(errand(failing(error, made))) as driver:
                outcome = await driver.start()
                assert (outcome.status, outcome.reason) == ("failed", "no")
                assert len(made) == tries

    go(body)


def failing(kind, made):
    """Return a tool that always fails with one kind of error."""

    @tool(effect="idempotent", retry=Retry(attempts=2, delay=0.0), name="work")
    async def work() -> int:
        made.append(1)
        raise ToolError("no", kind=kind)

    return work


def test_a_breaker_opens_for_all_runs_of_a_driver():
    """After two failures in a row the tool is not called any more; the error says so."""

    async def body():
        made = []

        @tool(effect="idempotent", breaker=Breaker(failures=2, reset=600.0), name="work")
        async def work() -> int:
            made.append(1)
            raise ToolError("broken")

        async with driving(errand(work)) as driver:
            reasons = [(await driver.start()).reason for _ in range(4)]
            assert len(made) == 2
            assert reasons[:2] == ["broken", "broken"]
            assert all("work was not called" in reason for reason in reasons[2:])

    go(body)


def test_sync_tools_run_in_threads():
    """A function that blocks does not block the loop: two of them meet."""

    async def body():
        meeting = threading.Barrier(2)

        @tool(effect="read", name="work")
        def work() -> bool:
            meeting.wait(20)
            return threading.current_thread() is not threading.main_thread()

        async with driving(errand(work)) as driver:
            both = await asyncio.gather(driver.start(), driver.start())
            assert [outcome.value for outcome in both] == [True, True]

    go(body)


@pytest.mark.parametrize("kind", STEPS)
def test_a_transactional_tool_commits_with_its_records(kind, tmp_path):
    """Its effect is there with the result, and undone with a failure; observers are told."""

    async def body():
        @tool(effect="transactional", name="work", retry=Retry(attempts=2, delay=0.0, on=["busy"]))
        def work(call: Call) -> int:
            rows = call.connection
            if kind == "memory":
                rows.setdefault("made", []).append(call.attempt)
                count = len(rows["made"])
            else:
                rows.execute("create table if not exists made (attempt)")
                rows.execute("insert into made values (?)", (call.attempt,))
                (count,) = rows.execute("select count(*) from made").fetchone()
            if call.attempt == 1:
                raise ToolError("not now", kind="busy")
            return count

        moments = []
        async with (
            stored(kind, tmp_path) as store,
            driving(errand(work), store=store, observers=[moments.append]) as driver,
        ):
            for n in (1, 2, 3):
                outcome = await driver.start()
                assert outcome.value == n
                await replayed(driver, outcome.run_id)
            finished = [m.outcome for m in moments if type(m).__name__ == "CallFinished"]
            assert finished == ["error", "ok"] * 3

    go(body)


def test_a_transactional_tool_beside_reads(tmp_path):
    """It is made when nothing else is under way, and every result is recorded once."""

    async def body():
        @tool(effect="read")
        async def look() -> str:
            await asyncio.sleep(0.01)
            return "seen"

        @tool(effect="transactional")
        def book(call: Call) -> str:
            return "booked"

        flow = bound(
            "mixed",
            [State("doing", do=["look", "book", "again"]), State("done", final="success")],
            [("doing", "look.ok & book.ok & again.ok", "done")],
            [look, book],
            tools={"again": Use(use="look")},
        )
        for kind in STEPS:
            async with stored(kind, tmp_path) as store, driving(flow, store=store) as driver:
                outcome = await driver.start()
                assert outcome.status == "succeeded"
                kinds = await replayed(driver, outcome.run_id)
                assert kinds.count("call_returned") == 3

    go(body)


# ------------------------------------------------------------------------------------------- timers


def timed(after, **state):
    """Return a workflow whose first state is left when its time is over."""
    return bound(
        "timed",
        [
            State("waiting", after=after, **state),
            State("rung", final="success", returns="'rung'"),
            State("told", final="success", returns="'told'"),
        ],
        [
            Transition("waiting", "timer.fired", "rung"),
            *(
                [Transition("waiting", "user.message", "told")]
                if "message" in state["wait"]
                else []
            ),
        ],
    )


@pytest.mark.parametrize("kind", STEPS)
def test_a_timer_fires_by_itself(kind, tmp_path):
    """A driver that stays rings when the time is over, with nobody asking."""

    async def body():
        async with (
            stored(kind, tmp_path) as store,
            driving(timed("1s", wait="timer"), store=store) as driver,
        ):
            outcome = await driver.start()
            assert (outcome.status, outcome.waiting) == ("waiting", ("timer",))
            run_id = outcome.run_id

            async def ended():
                return (await store.row(run_id)).phase == "ended"

            async with asyncio.timeout(30):
                await until(ended)
            assert (await driver.result(run_id)).value == "rung"
            await replayed(driver, run_id)

    go(body)


def test_a_timer_does_not_fire_early_and_fires_once():
    """Before its time a resume changes nothing; after it, it fires; time moves only when asked."""

    async def body():
        clock = SteppingClock()
        async with driving(timed("1h", wait=["message", "timer"]), clock=clock) as driver:
            run_id = (await driver.start()).run_id
            due = (await driver.store.row(run_id)).wake_at
            assert due > clock.at
            assert (await driver.resume(run_id)).status == "waiting"
            clock.at = due
            assert (await driver.resume(run_id)).value == "rung"
            assert (await replayed(driver, run_id)).count("timer_fired") == 1
            run_id = (await driver.start()).run_id
            assert (await driver.send(run_id, "quick")).value == "told"
            clock.at += 2 * 3_600_000_000
            assert (await driver.resume(run_id)).value == "told"

    go(body)


def test_a_timer_of_another_process_is_due():
    """`serve` finds runs whose time is over in the store, and only those it has a workflow for."""

    async def body():
        store = MemoryStore()
        clock = SteppingClock(at=1_000_000_000_000_000)  # long ago for the store's own clock
        async with driving(timed("1h", wait="timer"), store=store, clock=clock) as driver:
            run_id = (await driver.start()).run_id
            clock.at += 2 * 3_600_000_000
        async with driving(counter(), model=willing(), store=store) as stranger:
            other = await stranger.start({"at": 0}, wait=False)
            await stranger.result(other)
            waiting = asyncio.ensure_future(stranger.serve(every=0.001))
            await asyncio.sleep(0.05)
            assert (await store.row(run_id)).phase == "waiting"
            waiting.cancel()
        async with driving(timed("1h", wait="timer"), store=store, clock=clock) as driver:
            serving = asyncio.ensure_future(driver.serve(every=0.001))

            async def ended():
                return (await store.row(run_id)).phase == "ended"

            async with asyncio.timeout(30):
                await until(ended)
            serving.cancel()
            with pytest.raises(asyncio.CancelledError):
                await serving

    go(body)


def test_a_timer_is_over_while_a_person_is_asked():
    """Nobody approves in time: the timer's row moves, the call is never made, nothing spins."""

    async def body():
        made = []

        @tool(effect="idempotent")
        async def pay(amount: int) -> int:
            made.append(amount)
            return amount

        flow = bound(
            "patience",
            [
                State("paying", ask="Pay.", tools=["pay"], after="1h"),
                State("done", final="success"),
                State("late", final="failure", returns="'nobody said yes'"),
            ],
            [("paying", "pay.ok", "done"), ("paying", "timer.fired", "late")],
            [pay],
            tools={"pay": Use(approve="true")},
        )
        clock = SteppingClock()
        async with driving(flow, use("pay", amount=1), clock=clock) as driver:
            outcome = await driver.start()
            assert outcome.waiting == ("approval",)
            clock.at += 2 * 3_600_000_000
            outcome = await driver.resume(outcome.run_id)
            assert (outcome.status, outcome.reason) == ("failed", "nobody said yes")
            assert made == []
            await replayed(driver, outcome.run_id)

    go(body)


def test_a_timer_fires_while_the_model_keeps_working():
    """The time of a state is over between two turns: the timer comes before the next call."""

    async def body():
        clock = SteppingClock()
        looked = []

        @tool(effect="read")
        async def look() -> int:
            looked.append(clock.at)
            clock.at += 1_900_000_000
            return clock.at

        flow = bound(
            "endless",
            [
                State("looking", ask="Look.", tools=["look"], after="1h"),
                State("late", final="failure", returns="'an hour is over'"),
            ],
            [("looking", "timer.fired", "late")],
            [look],
        )
        async with driving(flow, model=willing(20), clock=clock) as driver:
            outcome = await driver.start()
            assert outcome.reason == "an hour is over"
            assert len(looked) == 2
            await replayed(driver, outcome.run_id)

    go(body)


# ------------------------------------------------------------------------------------- large values


@pytest.mark.parametrize("kind", STEPS)
@pytest.mark.parametrize("effect", ["read", "manual", "transactional"])
def test_a_large_result_lies_beside_the_journal(kind, effect, tmp_path):
    """Over 256 KiB the record names a blob; nobody sees a difference, also after a restart."""

    async def body():
        page = "p" * (2 * MAX_BODY)

        @tool(effect=effect, name="work")
        def work(call: Call) -> dict:
            return {"page": page}

        flow = errand(work)
        async with stored(kind, tmp_path) as store, driving(flow, store=store) as driver:
            outcome = await driver.start()
            assert outcome.value == {"page": page}
            run_id = outcome.run_id
        async with stored(kind, tmp_path) as again, driving(flow, store=again) as driver:
            opened = store if kind == "memory" else again
            raw = await opened.read(run_id)
            named = [record for record in raw if blob_of(record) is not None]
            assert named
            assert all(len(record.data) < 200 for record in named)
            if kind == "sqlite":
                assert (await driver.load(run_id)).outcome == outcome
                await replayed(driver, run_id)
                run = await driver.load(run_id)
                journal = Journal(
                    run.standing.workflow.definition.data, await driver.records(run_id)
                )
                assert Journal.loads(journal.dumps()).replay().same

    go(body)


@pytest.mark.parametrize("kind", STEPS)
def test_large_inputs_and_messages_of_many_kilobytes(kind, tmp_path):
    """A context over 256 KiB begins a run like any other."""

    async def body():
        flow = bound(
            "reader",
            [
                State("asking", wait="approval", question="Read?"),
                State("read", final="success", returns="len(context.text)"),
            ],
            [("asking", "approval.granted", "read"), ("asking", "approval.rejected", "read")],
            context={"text": "string"},
        )  # fmt: skip
        async with stored(kind, tmp_path) as store, driving(flow, store=store) as driver:
            outcome = await driver.start({"text": "x" * (3 * MAX_BODY)})
            assert (await driver.approve(outcome.run_id)).value == 3 * MAX_BODY
            await replayed(driver, outcome.run_id)

    go(body)


def test_a_result_nobody_can_write_down_is_not_swallowed():
    """Over the hard cap a read is an error; an effect happened, so a person must look."""

    async def body():
        huge = "x" * (17 * 1024 * 1024)

        async def work() -> str:
            return huge

        async with driving(errand(work, effect="read")) as driver:
            outcome = await driver.start()
            assert outcome.status == "failed"
            assert "bytes" in outcome.reason
        async with driving(errand(work, effect="manual")) as driver:
            outcome = await driver.start()
            assert outcome.waiting == ("resolution",)
            assert (await driver.resolve(outcome.run_id, done="much")).value == "much"

    go(body)


# --------------------------------------------------------------------------------------- other ways


def test_a_parked_run_costs_nothing():
    """No task, no lease, no stream, nothing remembered: a parked run is a row in the store."""

    async def body():
        async with driving(chat()) as driver:
            for _ in range(50):
                await driver.start()
            inside = driver._runs
            assert (inside.tasks, inside._leases, inside.failures, inside.timers) == (
                {},
                {},
                {},
                {},
            )
            assert (inside.rung, inside._advances, inside._refusals) == (set(), {}, {})
            assert driver._archive._fresh == {}
            assert driver._streams.queues == {}

    go(body)


def test_advance_is_all_an_engine_needs():
    """Somebody else's loop may call `advance`, as often as it likes."""

    async def body():
        async with driving(counter(), model=willing()) as driver:
            driver._runs.closing = True  # nobody rings
            run_id = await driver.start({"at": 0}, wait=False)
            driver._runs.closing = False
            results = [await driver.advance(run_id) for _ in range(5)]
            assert {type(result).__name__ for result in results} == {"Done"}
            assert results[0].outcome.value == 3
            assert (await driver.store.row(run_id)).attempts == 0

    go(body)


def test_two_who_advance_one_run_at_once():
    """The second is told that the first holds it, with name and time."""

    async def body():
        inside, let_go = asyncio.Event(), asyncio.Event()

        async def work() -> str:
            inside.set()
            await let_go.wait()
            return "x"

        async with driving(errand(work, effect="manual")) as driver:
            run_id = await driver.start(wait=False)
            await inside.wait()
            busy = await driver.advance(run_id)
            assert type(busy).__name__ == "Busy"
            assert busy.owner == driver._archive.owner
            assert busy.until == (await driver.store.row(run_id)).lease_until
            async with driving(errand(work, effect="manual"), store=driver.store) as other:
                with pytest.raises(UsageError, match=r"is being advanced by .* until 20") as caught:
                    await other.resume(run_id)
                assert caught.value.facts["owner"] == driver._archive.owner
                told = await other.cancel(run_id, wait=False)
                assert told.status == "running"
            let_go.set()
            assert (await driver.result(run_id)).status in ("cancelled", "succeeded")

    go(body)
