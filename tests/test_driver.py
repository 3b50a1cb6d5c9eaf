"""The doors of a driver: start, result, resume, send, approve, resolve, cancel, pending."""

import asyncio
import threading

import pytest

from statemachine_agents.driver import Driver
from statemachine_agents.errors import ToolError, UnknownRun, UsageError
from statemachine_agents.models.scripted import ScriptedModel, fail, say, stop, use
from statemachine_agents.stores.memory import MemoryStore
from statemachine_agents.table.model import State, Transition, Use
from statemachine_agents.tools.decorator import tool
from tests.doors import (
    STEPS,
    bound,
    chat,
    consent,
    counter,
    driving,
    errand,
    first,
    go,
    question,
    replayed,
    silent,
    stored,
    until,
    willing,
)

pytestmark = pytest.mark.parametrize("kind", STEPS)


# -------------------------------------------------------------------------------- start and result


def test_a_started_run_comes_to_its_end(kind, tmp_path):
    """`start` returns how the run ended; the store's row and the journal say the same."""

    async def body():
        async with (
            stored(kind, tmp_path) as store,
            driving(counter(), first, first, store=store) as driver,
        ):
            outcome = await driver.start({"at": 1})
            assert (outcome.status, outcome.state, outcome.value) == ("succeeded", "done", 3)
            assert outcome.iterations == 2
            row = await store.row(outcome.run_id)
            assert (row.phase, row.status, row.state) == ("ended", "succeeded", "done")
            assert (row.owner, row.lease_until) == ("", None)
            assert (await driver.load(outcome.run_id)).outcome == outcome
            assert (await replayed(driver, outcome.run_id))[-1] == "run_ended"

    go(body)


def test_who_does_not_wait_gets_the_id(kind, tmp_path):
    """`wait=False` returns the run id at once; `result` returns the outcome, as often as asked."""

    async def body():
        async with (
            stored(kind, tmp_path) as store,
            driving(counter(), model=willing(), store=store) as driver,
        ):
            run_id = await driver.start({"at": 0}, wait=False)
            assert isinstance(run_id, str)
            both = await asyncio.gather(driver.result(run_id), driver.result(run_id))
            assert both[0] == both[1] == await driver.result(run_id)
            assert both[0].value == 3

    go(body)


def test_a_request_id_makes_one_run(kind, tmp_path):
    """The same request twice, at once or later, in this driver or the next, is one run."""

    async def body():
        async with stored(kind, tmp_path) as store:
            async with driving(counter(), model=willing(), store=store) as driver:
                both = await asyncio.gather(
                    driver.start({"at": 0}, request_id="req-1"),
                    driver.start({"at": 0}, request_id="req-1"),
                )
                assert both[0] == both[1]
                again = await driver.start({"at": 2}, request_id="req-1")
                assert again == both[0]
            async with driving(counter(), store=store) as driver:
                assert await driver.start({"at": 0}, request_id="req-1") == both[0]
                assert len(await store.runs()) == 1

    go(body)


def test_a_parked_run_is_found_by_its_request_id(kind, tmp_path):
    """Starting again what waits for a person shows where it stands, however often; no poison."""

    async def body():
        async with stored(kind, tmp_path) as store, driving(question(), store=store) as driver:
            outcomes = [await driver.start({"topic": "x"}, request_id="req-1") for _ in range(6)]
            assert {outcome.status for outcome in outcomes} == {"waiting"}
            assert outcomes[0] == outcomes[-1]
            assert (await store.row(outcomes[0].run_id)).attempts == 0

    go(body)


def test_wrong_inputs_are_refused_before_anything_is_written(kind, tmp_path):
    """Undeclared, missing and mistyped inputs are named together; no run comes of them."""

    async def body():
        async with stored(kind, tmp_path) as store, driving(counter(), store=store) as driver:
            for inputs, said in (
                ({"at": 1, "att": 2}, "'att'"),
                ({}, "'at'"),
                (None, "'at'"),
                ({"at": "one"}, "expected integer, got string"),
                ({"at": 2**60}, r"2\*\*53"),
            ):
                with pytest.raises((UsageError, ValueError, Exception), match=said) as caught:
                    await driver.start(inputs)
                assert isinstance(caught.value, UsageError), caught.value
            assert await store.runs() == []

    go(body)


def test_a_first_message_comes_with_the_start(kind, tmp_path):
    """`message=` is in the inbox before the run is advanced, once per request."""

    async def body():
        async with stored(kind, tmp_path) as store, driving(chat(), store=store) as driver:
            for _ in range(2):
                outcome = await driver.start(message="bye", request_id="req-1")
                assert outcome.status == "succeeded"
                assert outcome.value == {"id": "first", "text": "bye"}
            with pytest.raises(UsageError, match="262144 bytes"):
                await driver.start(message="x" * 300_000)
            assert len(await store.runs()) == 1

    go(body)


def test_result_gives_up_waiting_and_the_run_goes_on(kind, tmp_path):
    """A timeout ends the waiting alone."""

    async def body():
        gate = asyncio.Event()

        async def work() -> str:
            await gate.wait()
            return "late"

        async with (
            stored(kind, tmp_path) as store,
            driving(errand(work, effect="manual"), store=store) as driver,
        ):
            with pytest.raises(TimeoutError):
                await driver.start(timeout=0.05)
            (row,) = await store.runs()
            with pytest.raises(TimeoutError):
                await driver.result(row.run, timeout=0.0)
            gate.set()
            assert (await driver.result(row.run, timeout=30)).value == "late"

    go(body)


def test_whoever_waits_may_be_cancelled_and_the_run_goes_on(kind, tmp_path):
    """Cancelling the task that waits does not cancel the run."""

    async def body():
        gate = asyncio.Event()

        async def work() -> str:
            await gate.wait()
            return "late"

        async with (
            stored(kind, tmp_path) as store,
            driving(errand(work, effect="manual"), store=store) as driver,
        ):
            run_id = await driver.start(wait=False)
            waiting = asyncio.ensure_future(driver.result(run_id))
            await asyncio.sleep(0.01)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            gate.set()
            assert (await driver.result(run_id)).value == "late"

    go(body)


def test_run_sync_needs_no_loop(kind, tmp_path):
    """Outside a loop it runs, also twice with one driver; inside one it says what to write."""

    async def work() -> str:
        return threading.current_thread().name

    async def inside(driver):
        with pytest.raises(UsageError, match="await driver"):
            driver.run_sync()

    async def listed():
        async with stored(kind, tmp_path) as store:
            return await store.runs()

    async def opened():
        async with stored(kind, tmp_path) as store:
            return store

    store = asyncio.run(opened())
    driver = Driver(errand(work, effect="read"), model=silent(), store=store)
    assert driver.run_sync().value == "MainThread"
    assert driver.run_sync(request_id="req").status == "succeeded"
    asyncio.run(inside(driver))
    asyncio.run(store.aclose())
    if kind == "sqlite":
        assert len(asyncio.run(listed())) == 2


def test_an_unknown_run_is_unknown_at_every_door(kind, tmp_path):
    """Every door names the run that is not in the store."""

    async def body():
        async with stored(kind, tmp_path) as store, driving(chat(), store=store) as driver:
            doors = (
                driver.result("r-0"),
                driver.resume("r-0"),
                driver.send("r-0", "hi"),
                driver.approve("r-0", "a1"),
                driver.approve("r-0"),
                driver.resolve("r-0", 1, done=1),
                driver.cancel("r-0"),
                driver.pending("r-0"),
                driver.load("r-0"),
                driver.records("r-0"),
                driver.advance("r-0"),
                anext(driver.stream("r-0")),
            )
            for door in doors:
                with pytest.raises(UnknownRun, match="'r-0'"):
                    await door

    go(body)


# ------------------------------------------------------------------------------------------ resume


def test_resuming_what_has_ended_says_how(kind, tmp_path):
    """An ended run stays as it is: same outcome, not a record more."""

    async def body():
        async with (
            stored(kind, tmp_path) as store,
            driving(counter(), first, store=store) as driver,
        ):
            outcome = await driver.start({"at": 2})
            records = await driver.records(outcome.run_id)
            for _ in range(5):
                assert await driver.resume(outcome.run_id) == outcome
            assert await driver.records(outcome.run_id) == records

    go(body)


def test_resuming_what_is_parked_shows_what_it_waits_for(kind, tmp_path):
    """A run that waits for a person keeps waiting, however often it is looked at."""

    async def body():
        async with stored(kind, tmp_path) as store, driving(question(), store=store) as driver:
            outcome = await driver.start({"topic": "x"})
            seq = (await store.row(outcome.run_id)).seq
            for _ in range(5):
                assert await driver.resume(outcome.run_id) == outcome
            row = await store.row(outcome.run_id)
            assert (row.seq, row.phase, row.attempts) == (seq, "waiting", 0)

    go(body)


def test_a_model_that_failed_is_asked_again_on_resume(kind, tmp_path):
    """The run parks, names the reason, and a resume, here or elsewhere, asks again."""

    async def body():
        async with stored(kind, tmp_path) as store:
            async with driving(
                counter(), fail("overloaded"), fail("transport"), store=store
            ) as driver:
                outcome = await driver.start({"at": 2})
                assert (outcome.status, outcome.waiting) == ("waiting", ("resume",))
                again = await driver.resume(outcome.run_id, by="me", reason="up again")
                assert again.status == "waiting"
            async with driving(counter(), first, store=store) as driver:
                assert (await driver.resume(outcome.run_id)).value == 3
                kinds = await replayed(driver, outcome.run_id)
                assert kinds.count("run_resumed") == 2
                resumed = [
                    r for r in await driver.records(outcome.run_id) if r.kind == "run_resumed"
                ]
                assert resumed[0].body == {"by": "me", "reason": "up again"}

    go(body)


def test_a_failure_of_ours_is_raised_and_the_run_can_be_resumed(kind, tmp_path):
    """An unexpected exception reaches whoever waits; the run stands where it stood."""

    async def body():
        async with stored(kind, tmp_path) as store:
            async with driving(counter(), store=store) as driver:
                with pytest.raises(AssertionError, match="script"):
                    await driver.start({"at": 0})
                (row,) = await store.runs()
                assert (row.phase, row.lease_until) == ("ready", None)
                run_id = await driver.start({"at": 1}, wait=False)
                with pytest.raises(AssertionError, match="script"):
                    await driver.result(run_id)
                assert (await driver.result(run_id)).status == "running"  # said once
            async with driving(counter(), model=willing(), store=store) as driver:
                assert (await driver.resume(row.run)).value == 3
                assert (await driver.resume(run_id, wait=False)).status == "running"
                assert (await driver.result(run_id)).value == 3

    go(body)


# -------------------------------------------------------------------------------------------- send


def test_a_conversation_goes_to_and_fro(kind, tmp_path):
    """Each message is taken, answered, and the run waits for the next one."""

    async def body():
        turns = [say("How can I help?"), say("I see.")]
        async with stored(kind, tmp_path) as store, driving(chat(), *turns, store=store) as driver:
            outcome = await driver.start()
            assert outcome.waiting == ("message",)
            for text in ("hi", "it broke"):
                outcome = await driver.send(outcome.run_id, text, sender="c-1", attributes={"n": 1})
                assert (outcome.status, outcome.waiting) == ("waiting", ("message",))
                last = outcome.context["last"]
                assert {key: last[key] for key in ("text", "sender", "n")} == {
                    "text": text,
                    "sender": "c-1",
                    "n": 1,
                }
            outcome = await driver.send(outcome.run_id, "bye", message_id="m9")
            assert outcome.value == {"text": "bye", "id": "m9"}
            await replayed(driver, outcome.run_id)
            with pytest.raises(UsageError, match="has ended"):
                await driver.send(outcome.run_id, "hello?")

    go(body)


def test_a_message_id_is_taken_once(kind, tmp_path):
    """The channel may deliver twice, at once or later; the run hears it once."""

    async def body():
        turns = [say("one"), say("two")]
        async with stored(kind, tmp_path) as store, driving(chat(), *turns, store=store) as driver:
            run_id = (await driver.start()).run_id
            await asyncio.gather(*(driver.send(run_id, "hi", message_id="m1") for _ in range(4)))
            await driver.send(run_id, "hi", message_id="m1")
            await driver.send(run_id, "hi", message_id="m2")
            kinds = await replayed(driver, run_id)
            assert kinds.count("message_received") == 2
            assert not driver.model.unused

    go(body)


def test_a_message_to_a_busy_run_is_taken_between_effects(kind, tmp_path):
    """What is said while the model thinks is in the journal at once and heard right after."""

    async def body():
        asked, go_on = asyncio.Event(), asyncio.Event()

        class Slow(ScriptedModel):
            async def complete(self, request, *, on_text=None):
                asked.set()
                await go_on.wait()
                return await super().complete(request, on_text=on_text)

        model = Slow([say("first"), say("second")])
        async with (
            stored(kind, tmp_path) as store,
            driving(chat(), model=model, store=store) as driver,
        ):
            run_id = (await driver.start()).run_id
            await driver.send(run_id, "one", wait=False)
            await asked.wait()
            two = asyncio.ensure_future(driver.send(run_id, "two"))
            await until(lambda: store.inbox(run_id))
            go_on.set()
            assert (await two).context["last"]["text"] == "two"
            assert model.asked == 2
            assert await store.inbox(run_id) == []
            await replayed(driver, run_id)

    go(body)


def test_a_message_no_state_takes_is_kept_until_one_does(kind, tmp_path):
    """It waits in the run's own inbox while a person is asked, and is heard in the next state."""

    async def body():
        flow = bound(
            "desk",
            [
                State("asking", wait="approval", question="Open?"),
                State("listening", wait="message"),
                State("done", final="success", returns="context.said"),
            ],
            [
                ("asking", "approval.granted", "listening"),
                ("asking", "approval.rejected", "done"),
                Transition("listening", "user.message", "done", assign={"said": "message.text"}),
            ],
            context={"said": "string?"},
        )
        async with stored(kind, tmp_path) as store, driving(flow, store=store) as driver:
            run_id = (await driver.start()).run_id
            outcome = await driver.send(run_id, "I am early")
            assert (outcome.state, outcome.waiting) == ("asking", ("approval",))
            assert (await driver.approve(run_id)).value == "I am early"
            await replayed(driver, run_id)

    go(body)


def test_a_message_that_is_no_message_is_refused(kind, tmp_path):
    """Too large, too deep, not JSON: refused at the door, and nothing is in the inbox."""

    async def body():
        async with stored(kind, tmp_path) as store, driving(chat(), store=store) as driver:
            run_id = (await driver.start()).run_id
            deep = []
            for _ in range(80):
                deep = [deep]
            for text, extra in (
                ("x" * 300_000, {}),
                ("x", {"deep": deep}),
                ("x", {"set": {1, 2}}),
                ("x", {"nan": float("nan")}),
                (17, {}),
            ):
                with pytest.raises(UsageError):
                    await driver.send(run_id, text, attributes=extra)
            assert await store.inbox(run_id) == []
            outcome = await driver.send(
                run_id, "caf\u00e9 \ud800 \u0000", message_id="odd", wait=False
            )
            assert outcome.run_id == run_id

    go(body)


# --------------------------------------------------------------------------------------- approvals


def test_a_yes_runs_the_call_that_was_shown(kind, tmp_path):
    """`pending` shows tool, arguments and digest; the yes runs exactly these; twice is once."""

    async def body():
        async with (
            stored(kind, tmp_path) as store,
            driving(consent(), use("pay", amount=500), store=store) as driver,
        ):
            outcome = await driver.start()
            assert (outcome.status, outcome.waiting) == ("waiting", ("approval",))
            (asked,) = await driver.pending(outcome.run_id)
            assert (asked["tool"], asked["arguments"]) == ("pay", {"amount": 500})
            done = await driver.approve(
                outcome.run_id, asked["approval"], by="staff-1", digest=asked["digest"], note="ok"
            )
            assert done.value == {"paid": 500}
            decided = [r for r in await driver.records(done.run_id) if r.kind == "approval_decided"]
            assert decided[0].body["by"] == "staff-1"
            assert decided[0].body["digest"] == asked["digest"]
            with pytest.raises(UsageError):
                await driver.approve(outcome.run_id, asked["approval"])
            assert await driver.pending(outcome.run_id) == []
            await replayed(driver, outcome.run_id)

    go(body)


def test_a_no_declines_the_call(kind, tmp_path):
    """The tool is not called, and the reason reaches the table."""

    async def body():
        async with (
            stored(kind, tmp_path) as store,
            driving(consent(), use("pay", amount=500), store=store) as driver,
        ):
            outcome = await driver.start()
            done = await driver.approve(outcome.run_id, granted=False, by="boss", note="too much")
            assert (done.status, done.reason) == ("failed", "too much")
            assert "call_intended" not in await replayed(driver, outcome.run_id)

    go(body)


def test_an_approval_of_other_arguments_is_refused(kind, tmp_path):
    """A digest that is not the shown one, or another approval's name, changes nothing."""

    async def body():
        async with (
            stored(kind, tmp_path) as store,
            driving(consent(), use("pay", amount=500), store=store) as driver,
        ):
            outcome = await driver.start()
            with pytest.raises(UsageError, match="not the ones that were shown"):
                await driver.approve(outcome.run_id, digest="0" * 64)
            with pytest.raises(UsageError, match="nothing waits for the approval a9"):
                await driver.approve(outcome.run_id, "a9")
            assert (await driver.resume(outcome.run_id)).waiting == ("approval",)
            assert await store.inbox(outcome.run_id) == []

    go(body)


def test_nothing_to_approve_is_said(kind, tmp_path):
    """A run that waits for something else, or has ended, takes no approval."""

    async def body():
        async with stored(kind, tmp_path) as store, driving(chat(), store=store) as driver:
            run_id = (await driver.start()).run_id
            with pytest.raises(UsageError, match="nothing waits for an approval"):
                await driver.approve(run_id)
            with pytest.raises(UsageError, match="nothing waits for the approval a1"):
                await driver.approve(run_id, "a1")

    go(body)


def test_two_people_who_decide_at_once_decide_once(kind, tmp_path):
    """A yes and a no at the same time: one of them counts, and the call runs at most once."""

    async def body():
        async with (
            stored(kind, tmp_path) as store,
            driving(consent(), use("pay", amount=500), store=store) as driver,
        ):
            run_id = (await driver.start()).run_id
            await asyncio.gather(
                driver.approve(run_id, granted=True),
                driver.approve(run_id, granted=False),
                return_exceptions=True,
            )
            kinds = await replayed(driver, run_id)
            assert kinds.count("approval_decided") == 1
            assert kinds[-1] == "run_ended"

    go(body)


def test_several_approvals_must_be_named(kind, tmp_path):
    """With two calls waiting, an answer without a name is refused and lists both."""

    async def body():
        @tool(effect="idempotent")
        async def pay(amount: int) -> int:
            return amount

        flow = bound(
            "two",
            [
                State("paying", do=["left", "right"]),
                State("done", final="success"),
                State("failed", final="failure"),
            ],
            [
                Transition("paying", "left.ok & right.ok", "done"),
                Transition("paying", "*.error", "failed"),
                Transition("paying", "approval.rejected", "failed"),
            ],
            [pay],
            tools={
                "left": Use(use="pay", bind={"amount": "context.left"}, approve="true"),
                "right": Use(use="pay", bind={"amount": "context.right"}, approve="true"),
            },
            context={"left": "integer", "right": "integer"},
        )
        async with stored(kind, tmp_path) as store, driving(flow, store=store) as driver:
            run_id = (await driver.start({"left": 1, "right": 2})).run_id
            waiting = await driver.pending(run_id)
            assert [each["arguments"] for each in waiting] == [{"amount": 1}, {"amount": 2}]
            with pytest.raises(UsageError, match="name one of a1, a2"):
                await driver.approve(run_id)
            assert (await driver.approve(run_id, "a2")).waiting == ("approval",)
            assert (await driver.approve(run_id)).status == "succeeded"

    go(body)


def test_a_question_of_the_table_is_answered(kind, tmp_path):
    """A state that waits for an approval shows its question and what belongs to it."""

    async def body():
        for granted, state in ((True, "yes"), (False, "no")):
            async with stored(kind, tmp_path) as store, driving(question(), store=store) as driver:
                run_id = (await driver.start({"topic": "tea"})).run_id
                (asked,) = await driver.pending(run_id)
                assert (asked["question"], asked["shows"]) == ("Go on?", {"topic": "tea"})
                outcome = await driver.approve(run_id, asked["approval"], granted=granted)
                assert outcome.state == state

    go(body)


# ----------------------------------------------------------------------------------------- resolve


def doubtful(**options):
    """Return a workflow whose one effect breaks, so that nobody knows whether it happened."""

    @tool(name="work", **options)
    async def work() -> dict:
        raise OSError("the line went dead")

    return errand(work)


def test_a_person_says_that_it_was_done(kind, tmp_path):
    """The value given is the call's result; the call is not made again."""

    async def body():
        async with stored(kind, tmp_path) as store, driving(doubtful(), store=store) as driver:
            outcome = await driver.start()
            assert (outcome.status, outcome.waiting) == ("waiting", ("resolution",))
            (doubt,) = await driver.pending(outcome.run_id)
            assert (doubt["call"], doubt["tool"]) == (1, "work")
            done = await driver.resolve(outcome.run_id, 1, done={"id": "w-1"}, by="auditor")
            assert (done.status, done.value) == ("succeeded", {"id": "w-1"})
            kinds = await replayed(driver, outcome.run_id)
            assert kinds.count("call_intended") == kinds.count("call_resolved") == 1
            with pytest.raises(UsageError):
                await driver.resolve(outcome.run_id, 1, done={})

    go(body)


def test_a_person_says_that_it_was_not_done(kind, tmp_path):
    """The call arrives as an error of kind `not_done`."""

    async def body():
        async with stored(kind, tmp_path) as store, driving(doubtful(), store=store) as driver:
            outcome = await driver.start()
            done = await driver.resolve(outcome.run_id, not_done=True, by="auditor")
            assert done.status == "failed"
            assert "not done" in done.reason
            await replayed(driver, outcome.run_id)

    go(body)


def test_only_a_call_in_doubt_can_be_resolved(kind, tmp_path):
    """Another number, or a run in which everything is known, is refused."""

    async def body():
        async with stored(kind, tmp_path) as store, driving(doubtful(), store=store) as driver:
            outcome = await driver.start()
            with pytest.raises(UsageError, match="no call 7 is in doubt"):
                await driver.resolve(outcome.run_id, 7, done=1)
            assert (await driver.resume(outcome.run_id)).waiting == ("resolution",)
        async with stored(kind, tmp_path) as store, driving(chat(), store=store) as driver:
            with pytest.raises(UsageError, match="is in doubt"):
                await driver.resolve((await driver.start()).run_id, done=1)

    go(body)


# ------------------------------------------------------------------------------------------ cancel


def test_a_parked_run_is_cancelled(kind, tmp_path):
    """It ends as cancelled, saying by whom and why; nothing can be said to it afterwards."""

    async def body():
        async with stored(kind, tmp_path) as store, driving(question(), store=store) as driver:
            run_id = (await driver.start({"topic": "x"})).run_id
            outcome = await driver.cancel(run_id, by="me", reason="no longer needed")
            assert (outcome.status, outcome.state) == ("cancelled", "asking")
            asked = [r for r in await driver.records(run_id) if r.kind == "cancel_asked"]
            assert asked[0].body == {"by": "me", "reason": "no longer needed"}
            assert (await store.row(run_id)).status == "cancelled"
            with pytest.raises(UsageError, match="has ended"):
                await driver.cancel(run_id)
            await replayed(driver, run_id)

    go(body)


def test_a_running_run_is_cancelled_at_the_next_state_boundary(kind, tmp_path):
    """The effect under way is finished and recorded; the next one does not begin."""

    async def body():
        inside, let_go = asyncio.Event(), asyncio.Event()

        @tool(effect="manual")
        async def step(n: int) -> int:
            inside.set()
            await let_go.wait()
            return n

        flow = bound(
            "steps",
            [
                State("one", do=["step"]),
                State("two", do=["again"]),
                State("done", final="success"),
            ],
            [("one", "step.ok", "two"), ("two", "again.ok", "done")],
            [step],
            tools={
                "step": Use(bind={"n": "1"}),
                "again": Use(use="step", bind={"n": "2"}),
            },
        )
        async with stored(kind, tmp_path) as store, driving(flow, store=store) as driver:
            run_id = await driver.start(wait=False)
            await inside.wait()
            cancelling = asyncio.ensure_future(driver.cancel(run_id, reason="stop"))
            await until(lambda: store.inbox(run_id))
            let_go.set()
            outcome = await cancelling
            assert (outcome.status, outcome.state) == ("cancelled", "two")
            kinds = await replayed(driver, run_id)
            assert kinds.count("call_returned") == 1
            assert kinds.count("call_intended") <= 2

    go(body)


def test_a_cancel_waits_until_a_doubt_is_settled(kind, tmp_path):
    """Money may be gone: the cancel is kept, and takes effect with the resolution."""

    async def body():
        async with stored(kind, tmp_path) as store, driving(doubtful(), store=store) as driver:
            run_id = (await driver.start()).run_id
            outcome = await driver.cancel(run_id, by="me")
            assert (outcome.status, outcome.waiting) == ("waiting", ("resolution",))
            outcome = await driver.resolve(run_id, not_done=True)
            assert outcome.status in ("cancelled", "failed")
            assert (await store.row(run_id)).phase == "ended"
            await replayed(driver, run_id)

    go(body)


def test_a_row_may_take_a_cancel(kind, tmp_path):
    """`run.cancelled` is an event like any other: here it leads to a tidy end."""

    async def body():
        flow = bound(
            "tidy",
            [
                State("asking", wait="approval", question="Go on?"),
                State("done", final="success", returns="'tidied'"),
            ],
            [
                ("asking", "approval.granted", "done"),
                ("asking", "approval.rejected", "done"),
                ("asking", "run.cancelled", "done"),
            ],
        )
        async with stored(kind, tmp_path) as store, driving(flow, store=store) as driver:
            outcome = await driver.cancel((await driver.start()).run_id)
            assert (outcome.status, outcome.value) == ("succeeded", "tidied")

    go(body)


# ------------------------------------------------------------------------------- model's own doors


def test_a_refusing_model_ends_the_run_with_its_reason(kind, tmp_path):
    """A refusal is an event; without a row the run fails and says so."""

    async def body():
        async with (
            stored(kind, tmp_path) as store,
            driving(counter(), stop("refusal", "I will not."), store=store) as driver,
        ):
            outcome = await driver.start({"at": 0})
            assert outcome.status == "failed"
            assert "model.refused" in outcome.reason

    go(body)


def test_a_tool_error_is_what_the_table_says_it_is(kind, tmp_path):
    """`ToolError` reaches the row with kind and text."""

    async def body():
        async def work() -> str:
            raise ToolError("no such order", kind="not_found")

        async with (
            stored(kind, tmp_path) as store,
            driving(errand(work, effect="manual"), store=store) as driver,
        ):
            outcome = await driver.start()
            assert (outcome.status, outcome.reason) == ("failed", "no such order")

    go(body)


def test_two_drivers_share_a_store(kind, tmp_path):
    """What one starts and parks, the other goes on with; each knows its own workflow's tools."""

    async def body():
        async with stored(kind, tmp_path) as store:
            async with (
                driving(question(), store=store) as one,
                driving(question(), store=store) as two,
            ):
                run_id = (await one.start({"topic": "x"})).run_id
                assert (await two.approve(run_id)).status == "succeeded"
                assert (await one.result(run_id)).status == "succeeded"
            async with driving(counter(), store=store) as stranger:
                assert (await stranger.resume(run_id)).state == "yes"
                other = await stranger.start({"at": 0}, wait=False)
            async with driving(question(), store=store) as one:
                with pytest.raises(UsageError, match="no function for count"):
                    await one.resume(other)
                row = await store.row(other)
                assert (row.phase, row.attempts) == ("ready", 0)

    go(body)


def test_a_store_is_shared_by_threads(kind, tmp_path):
    """Drivers in several threads, each with a loop of its own, use one store."""
    store = MemoryStore() if kind == "memory" else None
    outcomes = []

    async def body():
        async with (
            stored(kind, tmp_path) as opened,
            driving(counter(), model=willing(), store=store or opened) as driver,
        ):
            outcomes.extend([await driver.start({"at": 0}) for _ in range(5)])

    threads = [threading.Thread(target=asyncio.run, args=(body(),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [outcome.value for outcome in outcomes] == [3] * 20
    assert len({outcome.run_id for outcome in outcomes}) == 20
