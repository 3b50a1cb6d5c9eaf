"""What a driver is told when it is made: who hears the model, who closes it, how long yes holds."""

import pytest
from loguru import logger

from statemachine_agents.driver import Driver
from statemachine_agents.errors import UsageError
from statemachine_agents.models.claude import Claude
from statemachine_agents.models.scripted import ScriptedModel, say, use
from statemachine_agents.stores.memory import MemoryStore
from statemachine_agents.system import SteppingClock
from statemachine_agents.testing.messages_api import MessagesAPI, reply
from tests.doors import (
    STEPS,
    chat,
    consent,
    counter,
    driving,
    go,
    question,
    replayed,
    stored,
    willing,
)

HOUR = 3_600_000_000


class Closable(ScriptedModel):
    """A scripted model that counts how often it was closed."""

    def __init__(self, turns=()):
        super().__init__(turns)
        self.closed = 0

    async def aclose(self):
        self.closed += 1


# --------------------------------------------------------------------------------- text as it comes


def test_text_is_heard_as_the_model_says_it():
    """Pieces come with the run's id, before the reply is journaled; calls are no text."""

    async def body():
        heard = []
        async with driving(
            chat(), say("One moment."), say("Here."), on_text=lambda *piece: heard.append(piece)
        ) as driver:
            run_id = (await driver.start()).run_id
            await driver.send(run_id, "Hello?")
            assert heard == [(run_id, "One moment.")]
            await driver.send(run_id, "And?")
            assert heard[1:] == [(run_id, "Here.")]
        async with driving(
            counter(1), model=willing(), on_text=lambda *piece: heard.append(piece)
        ) as driver:
            await driver.start({"at": 0})
        assert len(heard) == 2

    go(body)


def test_a_claude_model_streams_to_whoever_listens():
    """Over real HTTP: several pieces, together the reply that is delivered."""

    async def body(url):
        heard = []
        model = Claude(api_key="sk-test", base_url=url)
        async with driving(
            chat(), model=model, on_text=lambda _, piece: heard.append(piece)
        ) as driver:
            run_id = (await driver.start()).run_id
            await driver.send(run_id, "Hello?")
            sent = [
                r.body["text"] for r in await driver.records(run_id) if r.kind == "reply_queued"
            ]
        await model.aclose()
        assert len(heard) > 1
        assert "".join(heard) == sent[-1] == "Your parcel left this morning, it comes tomorrow."

    with MessagesAPI([reply("Your parcel left this morning, it comes tomorrow.")]) as api:
        go(body, api.url)


def test_who_listens_badly_breaks_nothing():
    """An exception of `on_text` is logged without what was said, and the run goes on."""

    async def body():
        def broken(run_id, piece):
            raise RuntimeError(run_id, piece)

        lines = []
        logger.enable("statemachine_agents")
        sink = logger.add(lines.append, level="INFO", format="{message} {extra} {exception}")
        try:
            async with driving(chat(), say("Still here."), on_text=broken) as driver:
                run_id = (await driver.start()).run_id
                outcome = await driver.send(run_id, "Hello?")
                assert outcome.waiting == ("message",)
                assert "reply_sent" in await replayed(driver, run_id)
        finally:
            logger.remove(sink)
            logger.disable("statemachine_agents")
        (line,) = (str(line) for line in lines)
        assert line.startswith("on_text failed")
        assert "RuntimeError" in line
        assert "Still here" not in line

    go(body)


def test_without_a_listener_the_model_is_not_asked_to_stream():
    """`on_text` is None then, which lets a model answer in one piece."""

    async def body():
        asked = []

        class Asked(ScriptedModel):
            async def complete(self, request, *, on_text=None):
                asked.append(on_text)
                return await super().complete(request, on_text=on_text)

        async with driving(counter(1), model=Asked([use("count")])) as driver:
            await driver.start({"at": 0})
        assert asked == [None]

    go(body)


# --------------------------------------------------------------------------------------- who closes


def test_a_model_that_was_given_is_not_closed():
    """Whoever made it may go on with it, in another driver too."""

    async def body():
        model = Closable([use("count")] * 2)
        for _ in range(2):
            async with Driver(counter(1), model=model, store=MemoryStore()) as driver:
                assert (await driver.start({"at": 0})).status == "succeeded"
        assert model.closed == 0

    go(body)


def test_a_model_the_driver_made_is_closed(monkeypatch):
    """Named by its id, it is the driver's own: its connections go with the driver."""

    async def body():
        async with Driver(counter(1), model="claude-opus-5-5") as driver:
            assert (await driver.start({"at": 0})).status == "succeeded"
            (client,) = driver.model._clients.values()
            assert not client.is_closed()
        assert client.is_closed()

    with MessagesAPI([reply(calls=[("count", {})])]) as api:
        monkeypatch.setenv("ANTHROPIC_BASE_URL", api.url)
        monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-test")
        go(body)


def test_run_sync_lets_go_of_the_connections_of_its_loop():
    """The loop ends with the call, and what was opened in it too; the model can be used again."""
    model = Closable([use("count")] * 2)
    for times in (1, 2):
        assert Driver(counter(1), model=model).run_sync({"at": 0}).status == "succeeded"
        assert model.closed == times


# ----------------------------------------------------------------------------- how long a yes holds


@pytest.mark.parametrize("kind", STEPS)
def test_a_yes_that_comes_too_late_is_refused(kind, tmp_path):
    """It names both times; the call is not made, and a no still ends the waiting."""

    async def body():
        clock = SteppingClock()
        async with (
            stored(kind, tmp_path) as store,
            driving(
                consent(), use("pay", amount=500), store=store, clock=clock, approval_seconds=3600
            ) as driver,
        ):
            run_id = (await driver.start()).run_id
            (asked,) = await driver.pending(run_id)
            assert 0 < asked["expires"] - clock.at <= HOUR
            clock.at += HOUR
            said = (
                r"the approval a1 expired at 2026-01-01T01:00:0.*, this yes came at 2026-.*decline"
            )
            with pytest.raises(UsageError, match=said):
                await driver.approve(run_id, by="boss")
            assert await store.inbox(run_id) == []
            assert "approval_decided" not in await replayed(driver, run_id)
            outcome = await driver.approve(run_id, granted=False, by="boss", note="too late")
            assert (outcome.state, outcome.value) == ("declined", "too late")
            await replayed(driver, run_id)

    go(body)


def test_a_yes_in_time_runs_the_call():
    """The last moment counts: what was said before it expired holds."""

    async def body():
        clock = SteppingClock()
        async with driving(
            consent(), use("pay", amount=500), clock=clock, approval_seconds=3600
        ) as driver:
            run_id = (await driver.start()).run_id
            clock.at += HOUR - 1_000_000
            outcome = await driver.approve(run_id, by="boss")
            assert outcome.value == {"paid": 500}
            await replayed(driver, run_id)

    go(body)


def test_a_yes_that_was_given_in_time_and_is_read_late_holds():
    """What counts is when it was said, not when the run came to read it."""

    async def body():
        clock, store = SteppingClock(), MemoryStore()
        turns = [use("pay", amount=500)]
        options = {"store": store, "clock": clock, "approval_seconds": 3600}
        async with driving(consent(), *turns, **options) as driver:
            run_id = (await driver.start()).run_id
        body = {"approval": "a1", "granted": True, "by": "boss"}
        await store.signal(run_id, "approval:a1", "approval", body, clock.at)
        clock.at += 2 * HOUR
        async with driving(consent(), **options) as driver:
            driver._runs.ring(run_id)
            assert (await driver.result(run_id)).value == {"paid": 500}

    go(body)


def test_a_question_of_the_table_expires_too():
    """A state that waits for an approval can only be declined afterwards."""

    async def body():
        clock = SteppingClock()
        async with driving(question(), clock=clock, approval_seconds=60) as driver:
            run_id = (await driver.start({"topic": "tea"})).run_id
            assert (await driver.pending(run_id))[0]["expires"] > clock.at
            clock.at += 61_000_000
            with pytest.raises(UsageError, match="expired"):
                await driver.approve(run_id)
            assert (await driver.approve(run_id, granted=False)).state == "no"

    go(body)


def test_by_default_an_approval_waits_for_ever():
    """Nothing about expiry is written or shown."""

    async def body():
        clock = SteppingClock()
        async with driving(question(), clock=clock) as driver:
            run_id = (await driver.start({"topic": "tea"})).run_id
            assert "expires" not in (await driver.pending(run_id))[0]
            clock.at += 1_000_000 * HOUR
            assert (await driver.approve(run_id)).state == "yes"

    go(body)


@pytest.mark.parametrize("seconds", [0, -1.0, float("nan")])
def test_an_expiry_that_makes_no_sense_is_refused(seconds):
    """Zero would refuse every yes."""
    with pytest.raises(UsageError, match="expected seconds above 0"):
        Driver(question(), model=willing(), approval_seconds=seconds)
