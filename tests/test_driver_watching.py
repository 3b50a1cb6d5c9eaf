"""Who watches a run: observers, streams and logs; and what none of them, nor the disk, may see."""

import asyncio
import json
import subprocess
import sys

import pytest
from loguru import logger

from statemachine_agents.errors import ToolError
from statemachine_agents.models.scripted import ScriptedModel, fail, say, use
from statemachine_agents.moments import (
    AgentReplied,
    CallFinished,
    CallStarted,
    ReplyQueued,
    RunEnded,
    RunParked,
    StateEntered,
    StateLeft,
)
from statemachine_agents.stores.memory import MemoryStore
from statemachine_agents.stores.sqlite import SQLiteStore
from statemachine_agents.system import SteppingClock
from statemachine_agents.table.model import State, Transition, Use
from statemachine_agents.table.toolspec import Retry
from statemachine_agents.tools.decorator import Call, tool
from tests.doors import (
    STEPS,
    Box,
    bound,
    chat,
    consent,
    driving,
    errand,
    first,
    go,
    question,
    replayed,
    stored,
    willing,
)


def names(moments):
    return [type(moment).__name__ for moment in moments]


def line():
    """Return a workflow whose three states stand in a line."""

    @tool(effect="manual")
    async def pack(item: str) -> str:
        return f"box of {item}"

    @tool(effect="idempotent", retry=Retry(attempts=2, delay=0.0))
    async def ship(call: Call) -> str:
        if call.attempt == 1:
            raise ToolError("the van is away", kind="busy")
        return "gone"

    return bound(
        "line",
        [
            State("packing", ask="Pack.", tools=["pack"]),
            State("shipping", do=["ship"]),
            State("done", final="success"),
            State("lost", final="failure"),
        ],
        [
            Transition("packing", "pack.ok", "shipping", name="packed"),
            Transition("shipping", "ship.ok", "done"),
            Transition("shipping", "ship.error", "lost"),
        ],
        [pack, ship],
        tools={"pack": Use(bind={"item": "'tea'"})},
    )


# ---------------------------------------------------------------------------------------- observers


def test_observers_are_told_everything_in_order():
    """From the first state to the end: what was entered, asked, called, left, with their places."""

    async def body():
        moments = []
        async with driving(
            line(), first, observers=[moments.append], clock=SteppingClock()
        ) as driver:
            outcome = await driver.start()
            records = await driver.records(outcome.run_id)
        assert names(moments) == [
            "StateEntered",
            "AgentReplied",
            "CallStarted",
            "CallFinished",
            "StateLeft",
            "StateEntered",
            "CallStarted",
            "CallFinished",
            "CallStarted",
            "CallFinished",
            "StateLeft",
            "StateEntered",
            "RunEnded",
        ]
        entered = [moment for moment in moments if isinstance(moment, StateEntered)]
        assert [(m.state, m.index, m.total, m.seq) for m in entered[:1]] == [("packing", 1, 3, 2)]
        assert [(m.state, m.index, m.total) for m in entered[1:]] == [
            ("shipping", 2, 3),
            ("done", 3, 3),
        ]
        left = [moment for moment in moments if isinstance(moment, StateLeft)]
        assert [(m.state, m.event, m.target, m.label) for m in left] == [
            ("packing", "pack.ok", "shipping", "packed"),
            ("shipping", "ship.ok", "done", "row 2"),
        ]
        assert all(m.seconds > 0 for m in left)
        finished = [moment for moment in moments if isinstance(moment, CallFinished)]
        assert [(m.tool, m.outcome) for m in finished] == [
            ("pack", "ok"),
            ("ship", "error"),
            ("ship", "ok"),
        ]
        assert moments[-1] == RunEnded(run_id=outcome.run_id, seq=records[-1].seq, outcome=outcome)
        assert [m.seq for m in moments] == sorted(m.seq for m in moments)

    go(body)


@pytest.mark.parametrize("kind", STEPS)
def test_moments_come_after_their_commit(kind, tmp_path):
    """When an observer is told of a record, that record is in the store."""

    async def body():
        early = []
        async with stored(kind, tmp_path) as store:
            tally = Tally(store)

            def observe(moment):
                if moment.seq > tally.written.get(moment.run_id, 0):
                    early.append(moment)

            async with driving(line(), first, store=tally, observers=[observe]) as driver:
                assert (await driver.start()).status == "succeeded"
            assert early == []

    go(body)


class Tally:
    """A store that knows how far each run is written."""

    def __init__(self, store):
        self.store = store
        self.written = {}

    def __getattr__(self, name):
        return getattr(self.store, name)

    async def create(self, write, **more):
        made = await self.store.create(write, **more)
        self.written[write.records[0].run] = write.records[-1].seq
        return made

    async def append(self, lease, write):
        answer = await self.store.append(lease, write)
        if write.records:
            self.written[lease.run] = write.records[-1].seq
        return answer


def test_an_observer_that_breaks_breaks_nothing():
    """The others are told all the same, the run goes on, and the log says so without the moment."""

    async def body():
        moments = []

        def broken(moment):
            raise ValueError(f"cannot bear {moment}")

        async with driving(line(), first, observers=[broken, moments.append]) as driver:
            assert (await driver.start()).status == "succeeded"
        assert len(moments) == 13

    go(body)


def test_after_a_resume_the_moments_go_on_where_they_were():
    """A new driver tells of nothing twice, and knows state, turn, tool, time and visits."""

    async def body():
        @tool(effect="read")
        async def look() -> int:
            return 1

        flow = bound(
            "rounds",
            [State("looking", ask="Look.", tools=["look"]), State("done", final="success")],
            [
                Transition("looking", "look.ok", "looking", "visits.looking < 3"),
                Transition("looking", "look.ok", "done"),
            ],
            [look],
        )
        store, clock = MemoryStore(), SteppingClock()
        before, after = [], []
        async with driving(
            flow, first, fail("overloaded"), store=store, observers=[before.append], clock=clock
        ) as driver:
            run_id = (await driver.start()).run_id
        clock.at += 5_000_000
        async with driving(
            flow, model=willing(), store=store, observers=[after.append], clock=clock
        ) as driver:
            await driver.resume(run_id)
        assert names(before)[:2] == ["StateEntered", "AgentReplied"]
        assert isinstance(before[-1], RunParked)
        assert after[0].seq > before[-1].seq
        replied = next(moment for moment in after if isinstance(moment, AgentReplied))
        assert (replied.state, replied.turn) == ("looking", 3)
        left = next(moment for moment in after if isinstance(moment, StateLeft))
        assert (left.state, left.attempt) == ("looking", 2)
        assert left.seconds > 5
        assert isinstance(after[-1], RunEnded)

    go(body)


def test_a_call_resumed_elsewhere_is_named():
    """A result that comes in another process than its call still says which tool it was."""

    async def body():
        @tool(effect="manual")
        async def work() -> str:
            raise OSError("gone")

        flow = errand(work)
        store, moments = MemoryStore(), []
        async with driving(flow, store=store) as driver:
            run_id = (await driver.start()).run_id
        async with driving(flow, store=store, observers=[moments.append]) as driver:
            await driver.resolve(run_id, done="it was")
        finished = [moment for moment in moments if isinstance(moment, CallFinished)]
        assert [(m.tool, m.outcome) for m in finished] == [("work", "ok")]

    go(body)


# ------------------------------------------------------------------------------------------ streams


def test_a_stream_yields_the_moments_of_one_run_in_order():
    """Opened right after the start it misses nothing; several streams get the same."""

    async def body():
        seen = []
        async with driving(line(), first, first, observers=[seen.append]) as driver:
            run_id = await driver.start(wait=False)

            async def listen():
                return [moment async for moment in driver.stream(run_id)]

            other = await driver.start(wait=False)
            one, two = await asyncio.gather(listen(), listen())
            await driver.result(other)
            assert one == two == [moment for moment in seen if moment.run_id == run_id]
            assert names(one)[0] == "StateEntered"
            assert names(one)[-1] == "RunEnded"
            assert driver._streams.queues == {}
            assert [moment async for moment in driver.stream(run_id)] == []

    go(body)


def test_a_stream_ends_when_the_run_parks_and_begins_again():
    """A conversation is streamed turn by turn."""

    async def body():
        turns = [say("one"), say("two")]
        async with driving(chat(), *turns) as driver:
            run_id = await driver.start(wait=False)
            first = [moment async for moment in driver.stream(run_id)]
            assert names(first) == ["StateEntered", "ReplyQueued", "RunParked"]
            for text in ("one", "two"):
                await driver.send(run_id, "hi", wait=False)
                heard = [moment async for moment in driver.stream(run_id)]
                assert [m.text for m in heard if isinstance(m, ReplyQueued)] == [text]
                assert isinstance(heard[-1], RunParked)

    go(body)


def test_a_stream_raises_what_stopped_the_run():
    """After the last moment comes the exception, as `result` would raise it."""

    async def body():
        async with driving(line()) as driver:
            run_id = await driver.start(wait=False)
            stream = driver.stream(run_id)
            assert isinstance(await anext(stream), StateEntered)
            with pytest.raises(AssertionError, match="script"):
                await anext(stream)

    go(body)


def test_a_stream_that_is_not_read_to_its_end_disturbs_nobody():
    """Whoever stops listening is forgotten; the run and the other listeners go on."""

    async def body():
        held = asyncio.Event()

        async def work() -> str:
            await held.wait()
            return "x"

        async with driving(errand(work, effect="manual")) as driver:
            run_id = await driver.start(wait=False)
            stream, other = driver.stream(run_id), driver.stream(run_id)
            assert isinstance(await anext(stream), StateEntered)
            await stream.aclose()
            held.set()
            assert names(await collect(other))[-1] == "RunEnded"
            assert driver._streams.queues == {}
            assert (await driver.result(run_id)).value == "x"

    go(body)


def test_a_stream_ends_when_its_driver_is_left():
    """Listeners of a run that is still under way are not left hanging."""

    async def body():
        async def work() -> str:
            await asyncio.Event().wait()

        async with driving(errand(work, effect="manual"), grace=0.0) as driver:
            run_id = await driver.start(wait=False)
            stream = driver.stream(run_id)
            assert isinstance(await anext(stream), StateEntered)
            assert isinstance(await anext(stream), CallStarted)
            rest = asyncio.ensure_future(collect(stream))
        assert await rest == []
        assert await collect(driver.stream(run_id)) == []

    go(body)


async def collect(stream):
    return [moment async for moment in stream]


# --------------------------------------------------------------------------------------------- logs


def test_the_package_is_silent_until_it_is_asked():
    """Importing and running writes nothing; loguru's own sink stays the application's affair."""
    script = (
        "import asyncio\n"
        "from statemachine_agents.driver import Driver\n"
        "from statemachine_agents.models.scripted import ScriptedModel, fail\n"
        "from tests.doors import counter\n"
        "def broken(moment):\n"
        "    raise ValueError(moment)\n"
        "model = ScriptedModel([fail('overloaded')])\n"
        "driver = Driver(counter(), model=model, observers=[broken])\n"
        "print(driver.run_sync({'at': 0}).status)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("waiting\n", "")


CANARY = "canary-4711-swordfish"


def test_no_words_of_people_above_trace(tmp_path):
    """Messages, inputs, results, replies and exceptions stay out of the log, with tracebacks."""

    async def body():
        lines = []
        logger.enable("statemachine_agents")
        sink = logger.add(lines.append, level=0, format="{level.no} {message} {extra} {exception}",
                          diagnose=True, backtrace=True)  # fmt: skip
        try:
            await trouble(tmp_path)
        finally:
            logger.remove(sink)
            logger.disable("statemachine_agents")
        return [str(line) for line in lines]

    lines = go(body)
    loud = [line for line in lines if int(line.split(" ", 1)[0]) > 5]
    assert len(loud) >= 4
    assert [line for line in loud if CANARY in line] == []


async def trouble(folder):
    """Let everything go wrong that can, with the canary in every text."""

    def broken(moment):
        raise ValueError(f"{moment} {CANARY}")

    @tool(effect="read")
    async def look(what: str) -> str:
        raise RuntimeError(f"{what} {CANARY}")

    @tool(effect="manual")
    async def work(what: str) -> str:
        raise RuntimeError(f"{what} {CANARY}")

    flow = bound(
        "trouble",
        [
            State("talking", ask="Talk.", talk=True, tools=["look", "work"], say=f"Hi {CANARY}"),
            State("done", final="success"),
        ],
        [("talking", "work.ok", "done")],
        [look, work],
        context={"secret": "string"},
    )
    box = Box(failures=1)

    class Angry(ScriptedModel):
        async def complete(self, request, *, on_text=None):
            if self.unused:
                return await super().complete(request)
            raise LookupError(CANARY)

    turns = [
        use("look", what=CANARY),
        fail("overloaded", CANARY),
        say(CANARY),
        use("work", what=CANARY),
    ]
    store = SQLiteStore(folder / "runs.db")
    async with driving(
        flow, model=Angry(turns), store=store, observers=[broken], outbox=box
    ) as driver:
        run_id = (await driver.start({"secret": CANARY})).run_id
        await driver.send(run_id, CANARY, sender=CANARY)
        await driver.resume(run_id)
        await driver.send(run_id, CANARY)
        await store.signal(run_id, CANARY, "approval", {"note": CANARY}, 0)
        with pytest.raises(LookupError):
            await driver.resolve(run_id, not_done=True, by=CANARY)
    await store.aclose()


# ---------------------------------------------------------------------------------------- redaction


def masked(kind, value):
    """Mask the canary wherever it stands; what was masked is marked, and marked once."""
    if isinstance(value, str):
        return value.replace(CANARY, f"<{kind}>")
    if isinstance(value, list):
        return [masked(kind, item) for item in value]
    if isinstance(value, dict):
        return {masked(kind, key): masked(kind, item) for key, item in value.items()}
    return value


def spilled(folder):
    """Return where in the files of a folder the canary stands, with what is around it."""
    found = []
    for path in folder.iterdir():
        data = path.read_bytes()
        at = data.find(CANARY.encode())
        while at >= 0:
            found.append((path.name, data[max(at - 60, 0) : at + 40]))
            at = data.find(CANARY.encode(), at + 1)
    return found


def test_redacted_words_are_written_nowhere(tmp_path):
    """Not in any file of the store, not in the prompt, not in moments; replay is identical."""

    async def body():
        @tool(effect="read")
        async def look(what: str) -> dict:
            return {CANARY: [what, CANARY]}

        @tool(effect="manual")
        async def work(secret: str) -> str:
            raise RuntimeError(f"{secret} {CANARY}")

        flow = bound(
            "desk",
            [
                State("talking", ask="Talk.", talk=True, tools=["look", "work"], shows=["secret"]),
                State("asking", wait="approval", question="Done?", shows=["secret"]),
                State("done", final="success", returns="context"),
            ],
            [
                Transition("talking", "look.ok", "stay", assign={"seen": "result"}),
                Transition("talking", "work.ok", "asking", assign={"seen": "result"}),
                Transition("talking", "user.message", "stay", assign={"heard": "message"}),
                Transition("asking", "approval.granted", "done", assign={"note": "approval.note"}),
                Transition("asking", "approval.rejected", "done"),
            ],
            [look, work],
            tools={"work": Use(bind={"secret": "context.secret"})},
            context={"secret": "string", "seen": "any", "heard": "any", "note": "any"},
        )
        model = ScriptedModel(
            [
                use("look", what=CANARY),
                say(f"I know {CANARY}"),
                fail("overloaded", f"key {CANARY}"),
                use("work"),
            ]
        )
        moments, box = [], Box()
        store = SQLiteStore(tmp_path / "runs.db")
        async with driving(
            flow, model=model, store=store, observers=[moments.append], outbox=box, redact=masked
        ) as driver:
            run_id = (await driver.start({"secret": CANARY}, message=f"hello {CANARY}")).run_id
            outcome = await driver.send(
                run_id, f"again {CANARY}", sender=CANARY, attributes={"more": [CANARY]}
            )
            assert outcome.waiting == ("resume",)
            outcome = await driver.resume(run_id, by=CANARY, reason=CANARY)
            assert outcome.waiting == ("resolution",)
            await driver.resolve(run_id, done={"said": CANARY}, by=CANARY)
            outcome = await driver.approve(run_id, by=CANARY, note=f"ok {CANARY}")
            assert outcome.status == "succeeded"
            assert outcome.value["secret"] == "<context>"
            assert outcome.value["heard"]["text"] == "again <message>"
            assert outcome.value["seen"] == {"said": "<resolution>"}
            assert outcome.value["note"] == "ok <message>"
            kinds = await replayed(driver, run_id)
            assert kinds.count("message_received") == 2
            # The model answers to what was written: its calls carry no secret either.
            shown = json.dumps([list(request.messages) for request in model.requests])
            assert CANARY not in shown
            assert "<message>" in shown
        assert spilled(tmp_path) == []
        await store.aclose()
        assert spilled(tmp_path) == []
        assert CANARY not in repr(moments)
        assert CANARY not in repr(box.given)

    go(body)


def test_what_is_redacted_is_redacted_once(tmp_path):
    """A redactor that would change its own output is applied to each value a single time."""

    def counted(kind, value):
        if isinstance(value, str):
            return f"{value}|{kind}"
        if isinstance(value, dict):
            return {key: counted(kind, item) if key in ("text", "topic", "more") else item
                    for key, item in value.items()}  # fmt: skip
        return value

    async def body():
        child = question()
        flow = bound(
            "mother",
            [
                State("listening", wait="message"),
                State("asking", run=["question"]),
                State("done", final="success", returns="context"),
            ],
            [
                Transition("listening", "user.message", "asking", assign={"heard": "message"}),
                Transition("asking", "question.success", "done", assign={"got": "result"}),
                Transition("asking", "question.failure", "done"),
            ],
            workflows=[child],
            context={"topic": "string", "heard": "any", "got": "string?"},
        )
        async with driving(flow, redact=counted) as driver:
            run_id = (await driver.start({"topic": "tea"})).run_id
            await driver.send(run_id, "hi", attributes={"more": "x"})
            await driver.approve(f"{run_id}-c1", note="fine")
            outcome = await driver.result(run_id)
            assert outcome.value["topic"] == outcome.value["got"] == "tea|context"
            heard = outcome.value["heard"]
            assert (heard["text"], heard["more"]) == ("hi|message", "x|message")
            decided = [
                record
                for record in await driver.records(f"{run_id}-c1")
                if record.kind == "approval_decided"
            ]
            assert decided[0].body["note"] == "fine|message"

    go(body)


def test_an_approval_shows_what_was_redacted():
    """A person sees, and agrees to, the arguments as they are written and will be used."""

    async def body():
        def mask(kind, value):
            if isinstance(value, list):
                return [mask(kind, item) for item in value]
            if isinstance(value, dict):
                return {key: mask(kind, item) for key, item in value.items()}
            return 999 if value == 500 else value

        async with driving(consent(), use("pay", amount=500), redact=mask) as driver:
            outcome = await driver.start()
            (asked,) = await driver.pending(outcome.run_id)
            assert asked["arguments"] == {"amount": 999}
            assert (await driver.approve(outcome.run_id, digest=asked["digest"])).value == {
                "paid": 999
            }

    go(body)
