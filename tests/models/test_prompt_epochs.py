"""Where a prompt begins anew, or a call must be answered before its outcome is known.

A new epoch may hold no result of a call that is not in it, an agent's transcript belongs to it
alone, and every `tool_use` has its `tool_result` in the next request, whatever became of the call.
"""

import asyncio
import json
from contextlib import aclosing, asynccontextmanager

import pytest

from statemachine_agents.driver import Driver
from statemachine_agents.journal.journal import Journal
from statemachine_agents.kernel.workflow import Workflow
from statemachine_agents.models.claude import Claude
from statemachine_agents.stores.memory import MemoryStore
from statemachine_agents.system import SeededEntropy, SteppingClock
from statemachine_agents.table.model import Agent, State, Table, Transition
from statemachine_agents.testing.messages_api import MessagesAPI, error, pause, reply
from statemachine_agents.tools.decorator import tool
from tests.models.prompts import require_sound, thinking

MODELS = ("claude-opus-5-5", "claude-haiku-4-5")


@tool(effect="read")
async def look(page: int) -> dict:
    """Read a page."""
    return {"page": page, "secret": "fig"}


@tool(effect="manual")
async def pay(cents: int) -> dict:
    """Pay; nobody knows whether it worked."""
    raise ConnectionError("the line went dead")


LOOK = ("look", {"page": 7})
PAY = ("pay", {"cents": 5})


def workflow(states, rows, **more):
    table = Table(
        name="desk",
        initial=states[0].name,
        states=[*states, State("end", final="success")],
        transitions=[Transition(*row) for row in rows],
        **more,
    )
    functions = {"look": look, "pay": pay}
    used = {name for state in states for name in state.tools}
    return Workflow(table, [functions[name] for name in sorted(used)])


class Desk:
    """A run over HTTP that a test speaks to step by step, with a driver per model."""

    def __init__(self, flow, api):
        self.flow, self.api = flow, api
        self.store, self.clock = MemoryStore(), SteppingClock()

    @asynccontextmanager
    async def driver(self, name):
        model = Claude(name, api_key="test", base_url=self.api.url, max_retries=0)
        driver = Driver(
            self.flow, model=model, store=self.store, clock=self.clock, entropy=SeededEntropy()
        )
        async with aclosing(model), driver:
            yield driver

    async def journal(self, run_id):
        return Journal(self.flow.definition.data, tuple(await self.store.read(run_id)))


def converse(flow, steps, talk):
    """Play the steps while `talk(desk)` speaks to the run; return what was asked, and the end."""
    with MessagesAPI([*map(thinking, steps)]) as api:

        async def whole():
            desk = Desk(flow, api)
            outcome = await talk(desk)
            return outcome, await desk.journal(outcome.run_id)

        outcome, journal = asyncio.run(whole())
        return outcome, require_sound(api, journal)


def plain(name):
    async def talk(desk):
        async with desk.driver(name) as driver:
            return await driver.start({})

    return talk


def results_in(body):
    """Return every tool_result of a request, in order."""
    return [
        block
        for message in body["messages"]
        for block in message["content"]
        if block["type"] == "tool_result"
    ]


@pytest.mark.parametrize("name", MODELS)
def test_a_fresh_state_is_told_results_as_text(name):
    """A `fresh` state entered by a result opens an epoch without that result's call, so the result
    stands in its opening text and in no tool_result.
    """
    flow = workflow(
        [
            State("reading", ask="Read.", tools=["look"]),
            State("judging", ask="Judge.", tools=["look"], fresh=True),
        ],
        [("reading", "look.ok", "judging"), ("judging", "look.ok", "end")],
    )
    steps = [reply(calls=[LOOK]), reply(calls=[LOOK])]
    outcome, asked = converse(flow, steps, plain(name))
    assert outcome.status == "succeeded"
    assert [each["epoch"] for each, _ in asked] == [1, 2]
    opening = asked[1][1]["messages"]
    assert results_in(asked[1][1]) == []
    assert "fig" in json.dumps(opening[0])


@pytest.mark.parametrize("name", MODELS)
def test_agents_have_transcripts_of_their_own(name):
    """Two agents on one model never see each other's words; each gets its results when it speaks
    again, and its own requests stay prefixes of each other.
    """
    flow = workflow(
        [
            State("drafting", ask="Draft.", tools=["look"], agent="writer"),
            State("checking", ask="Check.", tools=["look"], agent="reader"),
            State("polishing", ask="Polish.", tools=["look"], agent="writer"),
        ],
        [
            ("drafting", "look.ok", "checking"),
            ("checking", "look.ok", "polishing"),
            ("polishing", "look.ok", "end"),
        ],
        agents=[Agent("writer", "You write."), Agent("reader", "You read.")],
    )
    steps = [reply(f"I am reply {number}.", [LOOK]) for number in (1, 2, 3)]
    outcome, asked = converse(flow, steps, plain(name))
    assert outcome.status == "succeeded"
    assert [each["agent"] for each, _ in asked] == ["writer", "reader", "writer"]
    assert [len(results_in(body)) for _, body in asked] == [0, 0, 1]
    assert "reply 1" not in json.dumps(asked[1][1]["messages"])
    assert "reply 2" not in json.dumps(asked[2][1]["messages"])


@pytest.mark.parametrize("name", MODELS)
def test_a_call_in_doubt_is_answered_before_it_is_resolved(name):
    """A row may lead on to a state that asks the model while a call is in doubt: the call then has
    its one result, which says so, and what a person finds out comes as text, not as a second one.
    """
    flow = workflow(
        [
            State("paying", ask="Pay.", tools=["pay"]),
            State("looking", ask="Look it up.", tools=["look"], talk=True),
        ],
        [("paying", "pay.unknown", "looking"), ("looking", "look.ok", "end")],
    )

    async def talk(desk):
        async with desk.driver(name) as driver:
            outcome = await driver.start({})
            assert outcome.waiting == ("message",)
            done = {"receipt": "r-77"}
            return await driver.resolve(outcome.run_id, done=done, by="staff")

    steps = [reply(calls=[PAY]), reply("I cannot say yet."), reply(calls=[LOOK])]
    outcome, asked = converse(flow, steps, talk)
    assert outcome.status == "succeeded"
    told = results_in(asked[-1][1])
    assert [json.loads(block["content"])["error"] for block in told] == ["unknown"]
    assert "r-77" in json.dumps(asked[-1][1]["messages"])


def test_another_model_gets_an_epoch_of_its_own():
    """A run that is resumed with another model opens an epoch for it, in that model's own layout,
    with the results that were owed told as text.
    """
    flow = workflow(
        [State("reading", ask="Read.", tools=["look"])],
        [("reading", "look.ok", "end", "visits.reading > 1"), ("reading", "look.ok", "reading")],
    )

    async def talk(desk):
        async with desk.driver("claude-opus-5-5") as driver:
            run_id = (await driver.start({})).run_id
        async with desk.driver("claude-haiku-4-5") as driver:
            return await driver.resume(run_id)

    steps = [reply(calls=[LOOK]), error(529), reply(calls=[LOOK])]
    outcome, asked = converse(flow, steps, talk)
    assert outcome.status == "succeeded"
    models = [(each["epoch"], body["model"]) for each, body in asked]
    assert models == [
        (1, "claude-opus-5-5"),
        (1, "claude-opus-5-5"),
        (2, "claude-haiku-4-5"),
    ]
    roles = [message["role"] for message in asked[-1][1]["messages"]]
    assert roles == ["user"]


@pytest.mark.parametrize("name", MODELS)
def test_what_must_only_go_on_is_sent_back_as_it_stands(name):
    """After `pause_turn` the next request is the last one with the paused turn at its end; after a
    request that failed it is the very same one.
    """
    flow = workflow(
        [State("reading", ask="Read.", tools=["look"])],
        [("reading", "look.ok", "end")],
    )

    async def talk(desk):
        async with desk.driver(name) as driver:
            run_id = (await driver.start({})).run_id
            return await driver.resume(run_id)

    steps = [pause("A moment."), error(529), reply(calls=[LOOK])]
    outcome, asked = converse(flow, steps, talk)
    assert outcome.status == "succeeded"
    first, paused, failed = (body["messages"] for _, body in asked)
    assert paused[:-1] == first
    assert paused[-1]["role"] == "assistant"
    assert paused[-1]["content"][-1] == {"type": "text", "text": "A moment."}
    assert failed == paused


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("text", ["", "  \n"], ids=["empty", "blank"])
def test_a_message_without_words_is_a_message(name, text):
    """A customer may send nothing but white space; the API takes no blank text, so the model is
    told that it was empty.
    """
    flow = workflow(
        [State("serving", ask="Serve.", tools=["look"], talk=True)],
        [("serving", "look.ok", "end")],
    )

    async def talk(desk):
        async with desk.driver(name) as driver:
            outcome = await driver.start({}, message=text)
            return await driver.send(outcome.run_id, text)

    steps = [reply("Yes?"), reply(calls=[LOOK])]
    outcome, asked = converse(flow, steps, talk)
    assert outcome.status == "succeeded"
    assert [len(body["messages"]) for _, body in asked] == sorted(
        {len(body["messages"]) for _, body in asked}
    )
