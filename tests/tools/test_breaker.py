"""The breaker, on a clock that stands still until it is told to go on."""

from __future__ import annotations

import asyncio

import attrs
import pytest

from statemachine_agents.errors import ToolError
from statemachine_agents.table.toolspec import Breaker
from statemachine_agents.tools.decorator import Call, spec_of, tool
from statemachine_agents.tools.toolbox import Returned, Toolbox

CALL = Call(run_id="r1", call_id=3, key="r1:3", attempt=2, deadline=1_000_000)


class Watch:
    """A clock that stands still until it is told to go on."""

    def __init__(self):
        self.seconds = 100.0

    def now(self) -> int:
        return int(self.seconds * 1_000_000)

    def monotonic(self) -> float:
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        self.seconds += seconds


class Flaky:
    """A tool that does as it is told, and counts how often it was asked."""

    def __init__(self):
        self.how, self.asked = "fail", 0

    @tool(effect="manual", breaker=Breaker(failures=2, reset=10))
    async def poke(self, n: int = 0) -> str:
        self.asked += 1
        how = self.how
        if isinstance(how, asyncio.Event):
            await how.wait()
        elif how == "fail":
            raise ToolError("down", kind="busy")
        elif how == "doubt":
            raise ConnectionError
        return "up"


def flaky():
    """Return a flaky tool, its watch and a way to call it."""
    thing, watch = Flaky(), Watch()
    box, spec = Toolbox({"poke": thing.poke}, clock=watch), spec_of(thing.poke)
    return thing, watch, lambda **arguments: box.call("poke", arguments, CALL, spec=spec)


def test_the_breaker_opens_and_lets_one_trial_through():
    """Closed, open after n in a row, one trial after `reset`, open again or closed by it."""
    thing, watch, poke = flaky()

    async def story():
        kinds = []
        for how in ("fail", "doubt"):
            thing.how = how
            kinds.append(type(await poke()).__name__)
        opened = await poke()
        kinds.append((opened.kind, thing.asked))
        watch.seconds += 10
        kinds.append((type(await poke()).__name__, thing.asked))
        kinds.append(((await poke()).kind, thing.asked))
        watch.seconds += 10
        thing.how = "work"
        kinds.extend([(await poke()).value, (await poke()).value, thing.asked])
        return opened.text, kinds

    text, kinds = asyncio.run(story())
    assert text == "poke was not called: its last 2 calls failed; one is tried again in 10 s"
    assert kinds == ["Failed", "Doubted", ("open", 2), ("Doubted", 3), ("open", 3), "up", "up", 5]


def test_a_success_or_wrong_arguments_do_not_open_it():
    """Only failures in a row count, and a call that was never made is none."""
    thing, _, poke = flaky()

    async def story():
        await poke()
        thing.how = "work"
        await poke()
        thing.how = "fail"
        await poke()
        for _ in range(3):
            assert (await poke(n="x")).kind == "arguments"
        return await poke(), await poke()

    last, opened = asyncio.run(story())
    assert (last.kind, opened.kind) == ("busy", "open")


def test_one_trial_at_a_time_and_a_cancelled_one_is_none():
    """While the trial runs others are refused; cancelled, it leaves the next call to try."""
    thing, watch, poke = flaky()

    async def story():
        await poke()
        await poke()
        watch.seconds += 10
        thing.how = asyncio.Event()
        trial = asyncio.create_task(poke())
        await asyncio.sleep(0)
        during = await poke()
        trial.cancel()
        await asyncio.wait([trial])
        thing.how = "work"
        return trial.cancelled(), during, await poke()

    cancelled, during, after = asyncio.run(story())
    assert cancelled
    assert (during.kind, "a trial call is under way" in during.text) == ("open", True)
    assert after == Returned("up")


def test_a_straggler_does_not_decide_the_trial():
    """A call from before the breaker opened neither closes nor prolongs it."""
    thing, watch, poke = flaky()

    async def story():
        thing.how = late = asyncio.Event()
        straggler = asyncio.create_task(poke())
        await asyncio.sleep(0)
        thing.how = "fail"
        await poke()
        await poke()
        late.set()
        value = await straggler
        return value, await poke()

    value, after = asyncio.run(story())
    assert value == Returned("up")
    assert after.kind == "open"
    assert watch.seconds == 100.0


def test_the_breaker_of_a_transactional_tool():
    """A transactional tool that keeps failing is not called either, and recovers the same way."""
    asked = []

    @tool(effect="transactional", breaker=Breaker(failures=1, reset=5))
    def move(call: Call) -> int:
        asked.append(1)
        if len(asked) == 1:
            raise KeyError
        if len(asked) == 2:
            raise KeyboardInterrupt
        return 1

    watch = Watch()
    box, call = Toolbox({"move": move}, clock=watch), attrs.evolve(CALL, connection={"": 1})

    def go():
        return box.call_sync("move", {}, call, spec=spec_of(move))

    assert [go().kind, go().kind, len(asked)] == ["exception", "open", 1]
    watch.seconds += 5
    with pytest.raises(KeyboardInterrupt):
        go()
    assert go() == Returned(1)
