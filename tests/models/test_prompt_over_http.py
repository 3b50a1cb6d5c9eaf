"""Whole runs through the real client against the fake API: no history is ever refused, and request
n is a prefix of request n+1 whatever the model does.

The fake refuses every invalid history and every thinking block whose prefix was edited, so an
accepted request is the proof; the byte comparison below covers models that bind nothing.
"""

import asyncio
from contextlib import aclosing

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from statemachine_agents.driver import Driver
from statemachine_agents.journal.journal import Journal
from statemachine_agents.kernel.workflow import Workflow
from statemachine_agents.models.claude import Claude
from statemachine_agents.system import SeededEntropy, SteppingClock
from statemachine_agents.table.model import Limits, Signal, State, Table, Transition
from statemachine_agents.testing.messages_api import (
    MessagesAPI,
    context_window_exceeded,
    cut,
    error,
    malformed,
    pause,
    refusal,
    reply,
    stream_error,
    truncated,
)
from statemachine_agents.tools.decorator import tool
from tests.models.prompts import require_sound, thinking

MANY = 10_000
MODELS = ("claude-opus-5-5", "claude-sonnet-5-5", "claude-haiku-4-5")
"""Note in the system role; note in the user role on a bound model; a model without that role."""

WIRES = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])


@tool(effect="read")
async def fetch_order(order_id: str) -> dict:
    """Look up an order."""
    return {"id": order_id, "lines": [{"sku": "lamp", "price": 1999}], "note": "ünïcode \u2028"}


@tool(effect="read")
async def check_policy() -> dict:
    """Check the order against the policy."""
    return {"eligible": True}


@tool(effect="manual")
async def add_note(text: str) -> str:
    """Write a note into the order."""
    return f"noted: {text}"


DESK = Workflow(
    Table(
        name="desk",
        initial="looking",
        instructions="You are the refund desk of a shop. " * 40,
        context={"order_id": "string", "order": "object?"},
        signals={"close_case": Signal({"why": "string"})},
        limits=Limits(
            iterations=MANY, calls=MANY, visits=MANY, refusals=MANY, nudges=MANY, idle=MANY
        ),
        states=[
            State(
                "looking",
                ask="Look up order {context.order_id} and check it.",
                tools=["fetch_order", "add_note", "check_policy"],
                shows=["order"],
            ),
            State("telling", ask="Tell the customer.", talk=True, tools=["add_note", "close_case"]),
            State("closed", final="success"),
        ],
        transitions=[
            Transition("*", "fetch_order.ok", assign={"order": "result"}),
            Transition("*", "model.refused", "looking"),
            Transition("looking", "check_policy.ok", "telling"),
            Transition("telling", "close_case.ok", "closed", guard="args.why == 'told'"),
        ],
    ),
    tools=[fetch_order, check_policy, add_note],
)

FETCH = ("fetch_order", {"order_id": "A1"})
UNKNOWN = {"type": "hologram", "film": "xyz", "frames": [1, {"a": None}]}

ACCIDENTS = {
    "nothing": [],
    "a call": [reply("Looking.", [FETCH])],
    "refused calls": [
        reply(calls=[("close_case", {"why": "not yet"})]),
        reply(calls=[("no_such_tool", {"a": 1})]),
        reply(calls=[("fetch_order", {"order": 1})]),
        reply("Two at once.", [("no_such_tool", {}), ("close_case", {})]),
    ],
    "several calls": [
        reply(
            "All of it.",
            [FETCH, ("add_note", {"text": "one"}), FETCH, ("add_note", {"text": "two"})],
        )
    ],
    "words only": [reply("Let me think."), reply("Still thinking.")],
    "blank words": [reply("  "), reply("\n", [FETCH]), reply()],
    "out of tokens": [
        reply("and then", stop_reason="max_tokens"),
        truncated("fetch_order", {"order_id": "A1"}, text="I look it up"),
    ],
    "stop sequence": [
        reply("until", [FETCH], stop_reason="stop_sequence", stop_sequence="END"),
    ],
    "calls beside an ended turn": [reply("Done.", [FETCH], stop_reason="end_turn")],
    "tool_use without a call": [reply("I call it now.", stop_reason="tool_use")],
    "malformed arguments": [
        malformed("fetch_order", "{'order_id': 'A1'}"),
        malformed("add_note", '{"text": '),
        malformed("fetch_order", "[1, 2]", text="A list."),
    ],
    "an illegal name": [reply("Hm.", [("no name!", {})]), reply(calls=[("", {}), FETCH])],
    "reused ids": [
        reply(calls=[(*FETCH, "toolu_1")]),
        reply(calls=[(*FETCH, "toolu_1"), ("add_note", {"text": "x"}, "toolu_1")]),
        reply(calls=[(*FETCH, "not an id")]),
    ],
    "refusal": [refusal("cyber", "Not with me.", "No."), reply(calls=[FETCH]), refusal("bio")],
    "paused": [
        pause(),
        pause("More."),
        reply("Beside it.", [FETCH], stop_reason="pause_turn"),
    ],
    "unknown blocks": [reply("Look:", [FETCH], blocks=[UNKNOWN]), reply(blocks=[UNKNOWN])],
    "redacted thinking": [reply("Hm.", blocks=[{"type": "redacted_thinking"}])],
    "an unknown stop reason": [reply("?", [FETCH], stop_reason="from_the_future")],
    "busy, then fine": [error(429, retry_after=0.01), error(529, retry_after=0.01)],
    "busy for too long": [reply(calls=[FETCH]), *[error(529, retry_after=0.01)] * 3],
    "the window is full": [reply(calls=[FETCH]), context_window_exceeded("full")],
    "the window is full twice": [context_window_exceeded(), context_window_exceeded()],
}
STREAMED = {
    "cut": [cut(4, reply("Half of it.", [FETCH])), cut(9, reply("Half.", [FETCH]))],
    "cut cleanly": [
        cut(3, clean=True),
        cut(8, reply("Half of it.", [FETCH], thinking=True), clean=True),
        cut(0, clean=True),
    ],
    "an error event": [stream_error(after=2), reply(calls=[FETCH]), stream_error("api_error")],
}
NEW_EPOCHS = {"the window is full": 2, "the window is full twice": 2}

CHECKED = reply("It fits.", [("check_policy", {})])
CLOSED = reply(calls=[("close_case", {"why": "told"})])


async def converse(api, name, *, stream):
    """Run the desk to its end: speak when it waits for a customer, resume when it must be."""
    model = Claude(name, api_key="test", base_url=api.url, max_retries=2, stream=stream)
    clock, entropy = SteppingClock(), SeededEntropy()
    driver = Driver(DESK, model=model, clock=clock, entropy=entropy)
    async with aclosing(model), driver:
        outcome = await driver.start({"order_id": "A1"})
        while outcome.status == "waiting":
            if "message" in outcome.waiting:
                outcome = await driver.send(outcome.run_id, "And when do I get it?")
            else:
                assert outcome.waiting == ("resume",)
                outcome = await driver.resume(outcome.run_id)
        records = await driver.records(outcome.run_id)
    return outcome, Journal(DESK.definition.data, tuple(records))


def play(steps, name, *, stream):
    with MessagesAPI(steps) as api:
        outcome, journal = asyncio.run(converse(api, name, stream=stream))
        asked = require_sound(api, journal)
    assert (outcome.status, outcome.state) == ("succeeded", "closed")
    return [each["epoch"] for each, _ in asked], journal


@WIRES
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("accident", ACCIDENTS)
def test_no_accident_spoils_the_history(accident, name, stream):
    """Whatever the model does, every request is accepted and continues the one before it, and the
    run reaches its end; only a full context window opens a new epoch.
    """
    steps = [*ACCIDENTS[accident], CHECKED, reply("It is on its way."), CLOSED]
    epochs, _ = play([*map(thinking, steps)], name, stream=stream)
    assert epochs[-1] == NEW_EPOCHS.get(accident, 1)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("accident", STREAMED)
def test_no_broken_stream_spoils_the_history(accident, name):
    """A stream that is cut or ends in an error leaves nothing behind that the API would refuse."""
    steps = [*STREAMED[accident], CHECKED, reply("It is on its way."), CLOSED]
    epochs, _ = play([*map(thinking, steps)], name, stream=True)
    assert epochs[-1] == 1


@WIRES
@pytest.mark.parametrize("name", MODELS)
def test_all_accidents_in_one_run(name, stream):
    """The accidents one after the other, in both states, are one valid history too."""
    every = [step for steps in ACCIDENTS.values() for step in steps]
    if stream:
        every += [step for steps in STREAMED.values() for step in steps]
    steps = [*every, CHECKED, *every, CHECKED, CLOSED]
    epochs, journal = play([*map(thinking, steps)], name, stream=stream)
    assert epochs[-1] == 2
    refused = [record for record in journal.records if record.kind == "call_refused"]
    assert {"not_offered", "arguments", "one_at_a_time", "not_executed"} <= {
        record.body["code"] for record in refused
    }


ANY_STEPS = st.lists(
    st.sampled_from(
        [step for steps in [*ACCIDENTS.values(), *STREAMED.values()] for step in steps]
    ).flatmap(lambda step: st.sampled_from([step, thinking(step)])),
    max_size=8,
)


@given(looking=ANY_STEPS, telling=ANY_STEPS, name=st.sampled_from(MODELS))
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # an example is short, shrinking is not
)
def test_any_order_of_accidents_is_a_valid_history(looking, telling, name):
    """Accidents in any order, with and without thinking, never spoil the history."""
    play([*looking, CHECKED, *telling, CHECKED, CLOSED], name, stream=True)
