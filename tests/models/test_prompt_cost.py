"""What our prompt costs beside the tutorial's, on the 30-turn table of docs/claude-api section 5.

Six states of five turns, six tools of about 150 tokens, 900 of system text, 120 from the customer,
replies of about 220 and results of about 350. The fake API counts tokens and cache hits of both.
"""

import asyncio
from contextlib import aclosing
from itertools import pairwise

import anthropic
import pytest

from statemachine_agents.driver import Driver
from statemachine_agents.journal.transcript import as_text
from statemachine_agents.kernel.workflow import Workflow
from statemachine_agents.models.capabilities import input_cost
from statemachine_agents.models.claude import Claude
from statemachine_agents.system import SeededEntropy, SteppingClock
from statemachine_agents.table.model import Limits, State, Table, Transition
from statemachine_agents.table.toolspec import ToolSpec
from statemachine_agents.testing.messages_api import MessagesAPI, reply
from statemachine_agents.testing.messages_api.blocks import tokens
from statemachine_agents.tools.decorator import attach
from statemachine_agents.turn.prompt import head_of

PRICED_AS = "claude-opus-5-5"
BOTH_NOTE_ROLES = ("claude-opus-5-5", "claude-sonnet-5-5")
STATES = ("intake", "identify", "inspect", "assess", "settle", "confirm")
TURNS_EACH = 5
TURNS = len(STATES) * TURNS_EACH

INSTRUCTIONS = (
    "You are the claims desk of a shipping company and handle one claim from its arrival to the "
    "letter that closes it. "
    + "Quote numbers as they stand in the records, never from memory; when two records disagree, "
    "say which two, and look at a third before you go on. " * 13
)
CLAIM = (
    "Parcel 4471 arrived with a torn corner and the lamp inside is broken. The driver saw it and "
    "wrote it down. I want the price of the lamp back, and the postage too. " * 3
)
REASONING = (
    "I read the entry first and only then say what follows from it. The last record names the "
    "parcel, its weight and the depot it went through. The weight agrees "
    "with the one on the label, so nothing fell out on the way, and the damage was done to the "
    "outside. What is missing is the next entry of the same depot, so that is what I look at now. "
) * 2
ENTRY = (
    "depot 17, belt 3, scanned and weighed, outer carton torn at one corner, tape intact, photo "
    "taken, no liquid, put on the table for inspection; "
) * 9


def work_tool(number):
    """Return one of the six tools: a spec of about 150 tokens and a function."""
    name = f"read_ledger_{number}"
    spec = ToolSpec(
        name=name,
        description=(
            f"Read one entry of ledger {number} of the depots. An entry says where a parcel was, "
            "what it weighed, who had it and what they noted down; entries are numbered from 1, "
            "the oldest first. Reading an entry changes nothing and may be repeated at any time."
        ),
        arguments={
            "type": "object",
            "properties": {
                "entry": {"type": "integer", "description": "Number of the entry, from 1."},
                "why": {"type": "string", "description": "What you hope to find in it, briefly."},
            },
            "required": ["entry", "why"],
            "additionalProperties": False,
        },
        effect="read",
    )

    async def read_ledger(entry, why):
        return {"ledger": number, "entry": entry, "note": ENTRY, "last": entry == TURNS_EACH}

    return attach(read_ledger, spec)


def claims_desk():
    """Return the table of six states; each is left on the fifth result of its own tool."""
    tools = [work_tool(number) for number in range(1, len(STATES) + 1)]
    states = [
        State(
            name,
            ask=f"Read the five entries of ledger {number} and keep what matters for the claim.",
            tools=[f"read_ledger_{number}", f"read_ledger_{number % len(STATES) + 1}"],
            shows=["claim"],
        )
        for number, name in enumerate(STATES, 1)
    ]
    rows = [
        Transition(source, f"read_ledger_{number}.ok", target, guard="result.last")
        for number, (source, target) in enumerate(pairwise([*STATES, "closed"]), 1)
    ]
    table = Table(
        name="claims_desk",
        initial=STATES[0],
        instructions=INSTRUCTIONS,
        context={"claim": "string"},
        limits=Limits(iterations=TURNS + 5, calls=TURNS + 5),
        states=[*states, State("closed", final="success")],
        transitions=rows,
    )
    return Workflow(table, tools)


def scripted(turn):
    """Return what the model says in a turn, counted from 0: some words and one call."""
    number, entry = divmod(turn, TURNS_EACH)
    call = (f"read_ledger_{number + 1}", {"entry": entry + 1, "why": "the entry before it ends"})
    return reply(REASONING, [call])


async def ours(url, workflow, name):
    """Run the table through the driver and the real client."""
    model = Claude(name, api_key="test", base_url=url, max_retries=0)
    clock = SteppingClock()
    driver = Driver(workflow, model=model, clock=clock, entropy=SeededEntropy())
    async with aclosing(model), driver:
        return await driver.start({"claim": CLAIM})


async def tutorial(url, workflow, name):
    """Play the same turns in a hand-written loop that writes the state into `system` each turn."""
    head = head_of(workflow, "agent")
    messages = [{"role": "user", "content": CLAIM}]
    async with anthropic.AsyncAnthropic(api_key="test", base_url=url, max_retries=0) as client:
        for turn in range(TURNS):
            state = workflow.state(STATES[turn // TURNS_EACH])
            now = f"CURRENT STATE: {state.name} (turn {turn + 1}). {state.ask}"
            answer = await client.messages.create(
                model=name,
                max_tokens=4096,
                system=[*head.system, {"type": "text", "text": now}],
                tools=head.tools,
                messages=messages,
            )
            results = [
                {
                    "type": "tool_result",
                    "tool_use_id": call.id,
                    "content": as_text(await workflow.functions[call.name](**call.input)),
                }
                for call in answer.content
                if call.type == "tool_use"
            ]
            messages.append({"role": "assistant", "content": answer.content})
            messages.append({"role": "user", "content": results})


def total(usage):
    """Return all input tokens of a request, cached or not."""
    cached = ("cache_read_input_tokens", "cache_creation_input_tokens")
    return usage["input_tokens"] + sum(usage[key] for key in cached)


@pytest.mark.parametrize("name", BOTH_NOTE_ROLES)
def test_the_30_turn_table_hits_the_cache_and_costs_a_seventh_of_the_tutorial(name):
    """Over turns 2 to 30 at least 90 % of all input is read from the cache, and the input of all 30
    turns, priced as opus-5-5, costs at most 15 % of what the tutorial's layout costs: system
    rewritten each turn with the current state, no cache, the same replies and results otherwise.
    """
    workflow = claims_desk()
    with MessagesAPI([scripted(turn % TURNS) for turn in range(2 * TURNS)]) as api:
        outcome = asyncio.run(ours(api.url, workflow, name))
        own = api.requests
        asyncio.run(tutorial(api.url, workflow, name))
        other = api.requests[len(own) :]

    assert (outcome.status, outcome.path[-1]) == ("succeeded", "closed")
    assert [len(own), len(other)] == [TURNS, TURNS]
    assert all(each.accepted for each in (*own, *other))
    later = [each.usage for each in own[1:]]
    rate = sum(usage["cache_read_input_tokens"] for usage in later) / sum(map(total, later))
    ours_usd = sum(input_cost(PRICED_AS, each.usage) for each in own)
    tutorial_usd = sum(input_cost(PRICED_AS, each.usage) for each in other)
    print(
        f"\n{name}: cache read over turns 2..{TURNS}: {rate:.1%} of all input; input priced as "
        f"{PRICED_AS}: {ours_usd:.4f} against {tutorial_usd:.4f} USD, {ours_usd / tutorial_usd:.1%}"
    )
    assert all(each.usage["cache_read_input_tokens"] == 0 for each in other)
    assert rate >= 0.90
    assert ours_usd <= 0.15 * tutorial_usd


def test_the_measured_table_has_the_sizes_of_the_published_one():
    """The figures mean what the page says: six tools of about 150 tokens, about 900 of system text,
    120 from the customer; per turn a reply of about 220, a result of about 350, a note of about 60.
    """
    with MessagesAPI([scripted(turn) for turn in range(TURNS)]) as api:
        asyncio.run(ours(api.url, claims_desk(), "claude-opus-5-5"))
    body = api.requests[-1].body
    sizes = {"user": [], "assistant": [], "system": []}
    for message in body["messages"]:
        sizes[message["role"]].append(sum(map(tokens, message["content"])))
    assert len(body["tools"]) == len(STATES)
    assert all(135 <= tokens(tool) <= 165 for tool in body["tools"])
    assert 850 <= sum(map(tokens, body["system"])) <= 950
    assert 100 <= sizes["user"][0] <= 150
    assert all(330 <= size <= 370 for size in sizes["user"][1:])
    assert all(205 <= size <= 235 for size in sizes["assistant"])
    assert all(50 <= size <= 75 for size in sizes["system"])
