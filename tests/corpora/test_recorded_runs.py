"""Recorded runs of real support desks, driven again through a permissive table of one state.

The model is a script of what was recorded and every tool answers what it answered then. Nothing a
recorded model did (several calls at once, ids used twice, arguments that are Python and no JSON)
may lead to an invalid history, a crash, a lost or second result, or a journal that replays
differently.
"""

import asyncio
from collections import Counter
from contextlib import aclosing
from functools import cache

import attrs
import pytest

from statemachine_agents.driver import Driver
from statemachine_agents.errors import ToolError
from statemachine_agents.journal.journal import Journal
from statemachine_agents.journal.transcript import as_text
from statemachine_agents.kernel.workflow import Workflow
from statemachine_agents.models.capabilities import capabilities, note_role
from statemachine_agents.models.claude import Claude
from statemachine_agents.models.scripted import ScriptedModel, say
from statemachine_agents.system import SeededEntropy, SteppingClock
from statemachine_agents.table.model import Limits, State, Table, Transition
from statemachine_agents.table.toolspec import ToolSpec
from statemachine_agents.testing.messages_api import Call, MessagesAPI, reply
from statemachine_agents.testing.messages_api.history import Served
from statemachine_agents.testing.messages_api.validate import check_request
from statemachine_agents.tools.decorator import attach
from statemachine_agents.values import parse
from tests.corpora.recorded import READERS, RecordedReply, load

pytestmark = pytest.mark.corpus

MANY = 100_000
CLOSING = "Is there anything else?"
"""Said after the recording has ended: the last results are fed, and the run waits."""

MODELS = ("claude-opus-5-5", "claude-haiku-4-5")
"""One with the state note in the system role, one without that role."""

READS = ("calculate", "find_", "get_", "list_", "search_", "think")


class Tape:
    """The results of the run that is driven now, by the number of the call."""

    def __init__(self):
        self.calls = ()
        self.made = []

    def put_in(self, run):
        self.calls, self.made = run.calls, []

    def answer(self, name, arguments, call):
        recorded = self.calls[call.call_id - 1]
        self.made.append((call.call_id, name, arguments))
        if recorded.failed:
            raise ToolError(recorded.result, kind="recorded")
        return recorded.result

    @property
    def expected(self):
        """What must have been called: every recorded call that could be read, as recorded."""
        return [
            (number, call.name, call.arguments)
            for number, call in enumerate(self.calls, 1)
            if call.raw is None
        ]


def tool_of(name, about, tape):
    spec = ToolSpec(
        name=name,
        description=about,
        arguments={"type": "object"},
        effect="read" if name.startswith(READS) else "manual",
        wants_call=True,
    )

    async def function(call, **arguments):
        return tape.answer(name, arguments, call)

    return attach(function, spec, call="call")


@cache
def desk(name, greeting):
    """Return the permissive workflow of a corpus, and the tape its tools answer from."""
    corpus, tape = load(name), Tape()
    table = Table(
        name="desk",
        initial="serving",
        instructions="You serve the customers of this desk.",
        limits=Limits(
            iterations=MANY, calls=MANY, visits=MANY, refusals=MANY, nudges=MANY, idle=MANY,
            requests=MANY,
        ),
        states=[
            State(
                "serving",
                ask="Serve the customer.",
                talk=True,
                parallel=True,
                tools=list(corpus.tools),
                say=greeting or None,
            ),
            State("closed", final="success"),
        ],
        transitions=[Transition("serving", "run.cancelled", "closed")],
    )  # fmt: skip
    tools = [tool_of(tool, about, tape) for tool, about in corpus.tools.items()]
    return Workflow(table, tools), tape


@attrs.frozen
class Driven:
    journal: Journal
    outcome: object

    def bodies(self, kind):
        return [record.body for record in self.journal.records if record.kind == kind]


async def drive(workflow, run, model):
    """Drive one run: a customer message whenever it waits for one, then close it."""
    messages = list(run.messages)
    clock, entropy = SteppingClock(), SeededEntropy()
    driver = Driver(workflow, model=model, clock=clock, entropy=entropy)
    async with aclosing(model), driver:
        outcome = await driver.start({})
        run_id = outcome.run_id
        while outcome.waiting == ("message",) and messages:
            outcome = await driver.send(run_id, messages.pop(0))
        assert outcome.waiting == ("message",), (run.id, outcome)
        assert not messages, run.id
        outcome = await driver.cancel(run_id, by="the test", reason="the recording has ended")
        records = await driver.records(run_id)
    return Driven(Journal(workflow.definition.data, tuple(records)), outcome)


def one_result_each(run, messages):
    """Return the contents of all results; each call has one, all of a reply in one message."""
    contents = []
    ids = Counter()
    for number, message in enumerate(messages):
        calls = [block["id"] for block in message["content"] if block["type"] == "tool_use"]
        if not calls:
            continue
        ids.update(calls)
        following = messages[number + 1]
        results = [block for block in following["content"] if block["type"] == "tool_result"]
        assert following["role"] == "user", run.id
        assert [block["tool_use_id"] for block in results] == calls, run.id
        contents += [block["content"] for block in results]
    assert set(ids.values()) <= {1}, run.id
    total = sum(
        block["type"] == "tool_result" for message in messages for block in message["content"]
    )
    assert total == len(contents) == len(run.calls), run.id
    return contents


def told_as_recorded(run, contents):
    """Every result is the recorded one, or says why there is none."""
    for call, content in zip(run.calls, contents, strict=True):
        if call.raw is not None:
            assert parse(content)["error"] == "not_executed", run.id
        elif call.failed:
            assert parse(content) == {"error": "recorded", "text": call.result}, run.id
        else:
            assert content == as_text(call.result), run.id


def sound(run, driven, tape):
    """What must hold of every driven run, whoever the model was."""
    assert (driven.outcome.status, driven.outcome.state) == ("succeeded", "closed"), run.id
    assert sorted(tape.made) == tape.expected, run.id
    assert {body["epoch"] for body in driven.bodies("model_asked")} <= {1}, run.id
    refused = [body["code"] for body in driven.bodies("call_refused")]
    assert refused == ["not_executed"] * (len(run.calls) - len(tape.made)), run.id
    assert len(driven.bodies("call_intended")) == len(tape.made), run.id
    spoken = [body["text"] for body in driven.bodies("reply_queued")]
    words = [reply.text for reply in run.replies if not reply.calls]
    assert spoken == [*filter(None, [run.greeting]), *words, *[CLOSING] * bool(run.messages)]
    driven.journal.replay().require_same()
    assert Journal.loads(driven.journal.dumps()) == driven.journal, run.id


def reused_ids(run):
    """Return how many calls of a recording bear the id of an earlier one."""
    ids = [call.id for call in run.calls if call.id is not None]
    return len(ids) - len(set(ids))


def closing(run):
    """Return what the model says after the recording; an empty one never asks it."""
    return [say(CLOSING)] if run.messages else []


@pytest.mark.parametrize("model_id", MODELS)
@pytest.mark.parametrize("name", READERS)
def test_every_recorded_run_is_a_valid_history_and_replays(name, model_id):
    """For each run of each corpus: every request is valid, every recorded call is made once with
    its recorded arguments (malformed ones are refused), has one result in one user message, and
    the journal replays identically and survives its file form.
    """
    corpus = load(name)
    counted = Counter()
    for run in corpus.runs:
        workflow, tape = desk(name, run.greeting)
        tape.put_in(run)
        script = [*(each.turn() for each in run.replies), *closing(run)]
        model = ScriptedModel(script, note_role=note_role(model_id))
        driven = asyncio.run(drive(workflow, run, model))
        requests = model.requests
        for request in requests:
            check_request(
                {
                    "model": model_id,
                    "max_tokens": request.max_tokens,
                    "system": [*request.system],
                    "tools": [*request.tools],
                    "messages": request.messages,
                },
                capabilities(model_id),
                frozenset(),
                Served(),
                counting=False,
            )
        assert not model.unused, run.id
        renamed = sum(len(body.get("renamed", ())) for body in driven.bodies("model_replied"))
        assert renamed == reused_ids(run), run.id
        sound(run, driven, tape)
        told = one_result_each(run, requests[-1].messages) if requests else []
        told_as_recorded(run, told)
        counted.update(
            runs=1,
            requests=len(requests),
            calls=len(run.calls),
            made=len(tape.made),
            renamed=renamed,
        )
    assert counted["runs"] == len(corpus.runs) > 0
    print(f"\n{name} as {model_id}: " + ", ".join(f"{n} {word}" for word, n in counted.items()))


def over_http(number, recorded: RecordedReply):
    """Return a recorded reply as a step of the fake API; ids are given where there are none."""
    calls = [
        Call(call.name, dict(call.arguments or {}), call.id or f"toolu_{number}_{place}", call.raw)
        for place, call in enumerate(recorded.calls)
    ]
    return reply(recorded.text, calls, thinking=True)


@pytest.mark.parametrize("name", READERS)
def test_recorded_runs_over_real_http(name):
    """The longest runs of each corpus through the real client, streamed, with signed thinking:
    the fake API accepts every request, malformed arguments arrive as `input_json_delta`.
    """
    corpus = load(name)
    runs = sorted(corpus.runs, key=lambda run: len(run.calls), reverse=True)[:4]
    requests = 0
    for place, run in enumerate(runs):
        workflow, tape = desk(name, run.greeting)
        tape.put_in(run)
        steps = [over_http(number, each) for number, each in enumerate(run.replies)]
        with MessagesAPI([*steps, reply(CLOSING)]) as api:
            model = Claude(
                MODELS[place % 2], api_key="test", base_url=api.url, max_retries=0, stream=True
            )
            driven = asyncio.run(drive(workflow, run, model))
        assert not api.script, run.id
        assert [each.verdict for each in api.requests if not each.accepted] == [], run.id
        sound(run, driven, tape)
        told_as_recorded(run, one_result_each(run, api.requests[-1].body["messages"]))
        requests += len(api.requests)
    print(f"\n{name} over HTTP: {len(runs)} runs, {requests} requests, all accepted")
