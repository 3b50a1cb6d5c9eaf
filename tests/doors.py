"""Small workflows and stores for the tests of the driver.

Not here: the refund desk that survives kills (`tests/crash/desk`).
"""

import asyncio
from contextlib import asynccontextmanager

from statemachine_agents.driver import Driver
from statemachine_agents.journal.journal import Journal
from statemachine_agents.kernel.workflow import Workflow
from statemachine_agents.models.scripted import ScriptedModel, use
from statemachine_agents.stores.memory import MemoryStore
from statemachine_agents.stores.sqlite import SQLiteStore
from statemachine_agents.table.model import Limits, State, Table, Transition, Use
from statemachine_agents.tools.decorator import tool

STEPS = ("memory", "sqlite")
"""The stores every door is tried on."""


def bound(name, states, rows, functions=(), workflows=(), **parts):
    """Return a workflow; the first state is the initial one, and rows are tuples."""
    states = [state if isinstance(state, State) else State(*state) for state in states]
    rows = [row if isinstance(row, Transition) else Transition(*row) for row in rows]
    table = Table(name=name, initial=states[0].name, states=states, transitions=rows, **parts)
    return Workflow(table, functions, workflows)


def errand(work, *, name="errand", effect=None, **parts):
    """Return a workflow whose one tool `work` is called by the engine: done, or failed."""
    if effect is not None:
        work = tool(effect=effect, name="work")(work)
    return bound(
        name,
        [
            State("working", do=["work"]),
            State("done", final="success", returns="context.found"),
            State("failed", final="failure", returns="context.why"),
        ],
        [
            Transition("working", "work.ok", "done", assign={"found": "result"}),
            Transition("working", "work.error", "failed", assign={"why": "error.text"}),
        ],
        [work],
        context={"found": "any", "why": "string?", **parts.pop("context", {})},
        **parts,
    )


def counter(limit=3):
    """Return a workflow in which the model counts up to a limit, one call a turn."""

    @tool(effect="read")
    async def count(at: int) -> int:
        return at + 1

    return bound(
        "counter",
        [
            State("counting", ask="Count.", tools=["count"]),
            State("done", final="success", returns="context.at"),
        ],
        [
            Transition("counting", "count.ok", "done", f"result >= {limit}", {"at": "result"}),
            Transition("counting", "count.ok", "stay", None, {"at": "result"}),
        ],
        [count],
        tools={"count": Use(bind={"at": "context.at"})},
        context={"at": "integer"},
        limits=Limits(iterations=100, calls=100, requests=1000),
    )


def chat():
    """Return a workflow that talks: it ends when the customer says goodbye."""
    return bound(
        "chat",
        [
            State("talking", ask="Be kind.", talk=True, say="Hello!"),
            State("done", final="success", returns="context.last"),
        ],
        [
            Transition(
                "talking", "user.message", "done", "message.text == 'bye'", {"last": "message"}
            ),
            Transition("talking", "user.message", "stay", None, {"last": "message"}),
        ],
        context={"last": "any"},
        limits=Limits(visits=1000),
    )


def consent(*, limit=100):
    """Return a workflow whose payment over a limit needs a person's yes."""

    @tool(effect="idempotent")
    async def pay(amount: int) -> dict:
        return {"paid": amount}

    return bound(
        "consent",
        [
            State("paying", ask="Pay.", tools=["pay"]),
            State("done", final="success", returns="context.paid"),
            State("declined", final="failure", returns="context.why"),
        ],
        [
            Transition("paying", "pay.ok", "done", assign={"paid": "result"}),
            Transition(
                "paying",
                "approval.rejected",
                "declined",
                assign={"why": "default(approval.note, 'no')"},
            ),
        ],
        [pay],
        tools={"pay": Use(approve=f"args.amount > {limit}")},
        context={"paid": "any", "why": "string?"},
    )


def question():
    """Return a workflow that only asks a person."""
    return bound(
        "question",
        [
            State("asking", wait="approval", question="Go on?", shows=["topic"]),
            State("yes", final="success", returns="context.topic"),
            State("no", final="failure", returns="'no'"),
        ],
        [("asking", "approval.granted", "yes"), ("asking", "approval.rejected", "no")],
        context={"topic": "string"},
    )


def first(request):
    """Propose the first legal tool."""
    return use(request.offered[0])


def willing(turns=200):
    """Return a model that always proposes the first legal tool."""
    return ScriptedModel([first] * turns)


def silent():
    """Return a model that must not be asked."""
    return ScriptedModel([])


@asynccontextmanager
async def stored(kind, folder):
    """Open a store of a kind; close it whatever happens."""
    store = MemoryStore() if kind == "memory" else SQLiteStore(folder / "runs.db")
    try:
        yield store
    finally:
        await store.aclose()


@asynccontextmanager
async def driving(workflow, *turns, model=None, **options):
    """Enter a driver with a scripted model; `driver.model.unused` tells what was not said."""
    chosen = ScriptedModel(turns) if model is None else model
    async with Driver(workflow, model=chosen, **options) as driver:
        yield driver


def go(body, *args):
    """Run a test's coroutine function."""
    return asyncio.run(body(*args))


async def until(holds):
    """Wait until an async condition holds."""
    while not await holds():  # noqa: ASYNC110 - what it looks at is a store, not an event
        await asyncio.sleep(0.001)


async def replayed(driver, run_id):
    """Insist that a run's journal verifies and is decided again the same way; return its kinds."""
    run = await driver.load(run_id)
    records = await driver.records(run_id)
    Journal(run.standing.workflow.definition.data, records).replay().require_same()
    return [record.kind for record in records]


class Box:
    """An outbox that keeps what it is given and fails as often as it is told to."""

    def __init__(self, failures=0):
        self.failures = failures
        self.tried = []
        self.given = []

    async def deliver(self, delivery):
        self.tried.append(delivery)
        if self.failures:
            self.failures -= 1
            raise ConnectionError("nobody at home")
        self.given.append(delivery)

    @property
    def texts(self):
        return [delivery.body["text"] for delivery in self.given]
