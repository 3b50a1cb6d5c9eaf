"""Child workflows: runs of their own, in parallel, whose end is an event of their parent."""

import asyncio

import pytest

from statemachine_agents.advance import Done
from statemachine_agents.driver import Driver
from statemachine_agents.errors import StoreError, UsageError
from statemachine_agents.models.scripted import use
from statemachine_agents.stores.memory import MemoryStore
from statemachine_agents.system import SteppingClock
from statemachine_agents.table.model import Key, State, Transition, Use
from statemachine_agents.tools.decorator import Call, tool
from tests.doors import (
    STEPS,
    bound,
    counter,
    driving,
    go,
    question,
    replayed,
    silent,
    stored,
    until,
    willing,
)


def doubler(body=None):
    """Return a child that doubles its item; a negative one fails."""

    @tool(effect="idempotent")
    async def double(item: int) -> int:
        if body is not None:
            await body(item)
        return item * 2

    return bound(
        "doubler",
        [
            State("doubling", do=["double"]),
            State("done", final="success", returns="context.twice"),
            State("failed", final="failure", returns="'negative'"),
        ],
        [
            Transition("doubling", "double.ok", "failed", "result < 0"),
            Transition("doubling", "double.ok", "done", assign={"twice": "result"}),
            Transition("doubling", "double.error", "failed"),
        ],
        [double],
        tools={"double": Use(bind={"item": "context.item"})},
        context={"item": "integer", "twice": "integer?"},
    )


def family(child, *, at_once=None, join=None, rows=(), each="context.items"):
    """Return a parent that runs a child for each of its items."""
    name = child.table.name
    more = {"got": "context.got + [result]"}
    return bound(
        "family",
        [
            State("running", run=[name], each=each, at_once=at_once, join=join),
            State("done", final="success", returns="context.got"),
            State("failed", final="failure", returns="context.why"),
        ],
        [
            *rows,
            Transition("running", f"{name}.success", None, assign=more),
            Transition("running", f"{name}.failure", "failed", assign={"why": "error.text"}),
            Transition("running", "settled", "done"),
        ],
        workflows=[child],
        context={
            "items": Key(type="list", default=[1, 2, 3]),
            "got": Key(type="list", default=[]),
            "why": "string?",
            "item": "integer?",
        },
    )  # fmt: skip


async def children_of(store, run_id):
    """Return the rows of a run's children, oldest first."""
    rows = await store.runs(limit=1000)
    return [row for row in reversed(rows) if row.parent == run_id]


@pytest.mark.parametrize("kind", STEPS)
def test_each_item_has_a_run_of_its_own(kind, tmp_path):
    """Every child has its journal, its parent and its place; the parent gets every value."""

    async def body():
        async with (
            stored(kind, tmp_path) as store,
            driving(family(doubler()), store=store) as driver,
        ):
            outcome = await driver.start({"items": [5, 6, 7]})
            assert outcome.status == "succeeded"
            assert sorted(outcome.value) == [10, 12, 14]
            rows = await children_of(store, outcome.run_id)
            assert [row.run for row in rows] == [f"{outcome.run_id}-c{n}" for n in (1, 2, 3)]
            assert {row.status for row in rows} == {"succeeded"}
            for row in rows:
                assert (await driver.result(row.run)).status == "succeeded"
                await replayed(driver, row.run)
            await replayed(driver, outcome.run_id)
            assert await store.due() == []

    go(body)


def test_no_item_is_no_child():
    """An empty list settles at once."""

    async def body():
        async with driving(family(doubler())) as driver:
            outcome = await driver.start({"items": []})
            assert (outcome.status, outcome.value) == ("succeeded", [])

    go(body)


def test_children_run_together_and_no_more_than_at_once():
    """Two at a time: two meet, a third never joins them; without a bound all meet."""

    async def body():
        for at_once, meets in ((2, 2), (None, 4)):
            meeting = asyncio.Barrier(meets)
            here, most = set(), []

            async def inside(item, meeting=meeting, here=here, most=most):
                here.add(item)
                async with asyncio.timeout(20):
                    await meeting.wait()
                most.append(len(here))
                here.discard(item)

            async with driving(family(doubler(inside), at_once=at_once)) as driver:
                outcome = await driver.start({"items": [1, 2, 3, 4]})
                assert sorted(outcome.value) == [2, 4, 6, 8]
                assert max(most) == meets
                await replayed(driver, outcome.run_id)

    go(body)


@pytest.mark.parametrize("kind", STEPS)
def test_a_failing_child_is_an_event(kind, tmp_path):
    """The row of `<workflow>.failure` says what follows; here the parent fails with its reason."""

    async def body():
        async with (
            stored(kind, tmp_path) as store,
            driving(family(doubler()), store=store) as driver,
        ):
            outcome = await driver.start({"items": [1, -1, 2]})
            assert (outcome.status, outcome.reason) == ("failed", "negative")
            rows = await children_of(store, outcome.run_id)
            assert [row.status for row in rows] == ["succeeded", "failed", "succeeded"]
            await replayed(driver, outcome.run_id)

    go(body)


def test_a_child_that_cannot_begin_has_failed():
    """An input of the wrong type is the child's failure, told to the table like any other."""

    async def body():
        async with driving(family(doubler())) as driver:
            outcome = await driver.start({"items": ["one"]})
            assert outcome.status == "failed"
            assert "expected integer, got string" in outcome.reason
            assert await children_of(driver.store, outcome.run_id) == []
            await replayed(driver, outcome.run_id)

    go(body)


def test_the_first_of_several_is_enough():
    """With `join="any"` the parent moves on; children it no longer needs are asked to stop."""

    async def body():
        gate = asyncio.Event()

        async def inside(item):
            if item > 1:
                await gate.wait()

        async with driving(family(doubler(inside), join="any")) as driver:
            run_id = await driver.start({"items": [1, 2]}, wait=False)

            async def cancelled():
                rows = await children_of(driver.store, run_id)
                return len(rows) == 2 and await driver.store.inbox(rows[1].run)

            async with asyncio.timeout(30):
                await until(cancelled)
            gate.set()
            outcome = await driver.result(run_id)
            assert (outcome.status, outcome.value) == ("succeeded", [2])
            rows = await children_of(driver.store, run_id)
            assert {row.phase for row in rows} == {"ended"}
            await replayed(driver, run_id)

    go(body)


@pytest.mark.parametrize("kind", STEPS)
def test_a_child_that_waits_keeps_its_parent_waiting(kind, tmp_path):
    """The parent's caller is told; answering the child ends the parent, also in another driver."""

    async def body():
        child = question()
        flow = bound(
            "mother",
            [
                State("asking", run=["question"]),
                State("done", final="success", returns="context.got"),
            ],
            [Transition("asking", "question.success", "done", assign={"got": "result"}),
             Transition("asking", "question.failure", "done", assign={"got": "error.kind"})],
            workflows=[child],
            context={"topic": "string", "got": "string?"},
        )  # fmt: skip
        async with stored(kind, tmp_path) as store:
            async with driving(flow, store=store) as driver:
                outcome = await driver.start({"topic": "tea"})
                assert (outcome.status, outcome.waiting) == ("waiting", ("child",))
                (row,) = await children_of(store, outcome.run_id)
                assert (row.status, row.state) == ("waiting", "asking")
            async with driving(flow, store=store) as driver:
                assert (await driver.approve(row.run)).value == "tea"
                assert (await driver.result(outcome.run_id)).value == "tea"
                await replayed(driver, outcome.run_id)

    go(body)


def test_one_child_that_waits_does_not_hold_up_the_others():
    """Of two children one asks a person; the other ends, and its end is told at once."""

    async def body():
        child = bound(
            "either",
            [
                State("choosing", do=[]),
                State("asking", wait="approval", question="?"),
                State("done", final="success", returns="context.item"),
            ],
            [
                Transition("choosing", "entered", "asking", "context.item == 1"),
                Transition("choosing", "entered", "done"),
                Transition("asking", "approval.granted", "done"),
                Transition("asking", "approval.rejected", "done"),
            ],
            context={"item": "integer"},
        )
        async with driving(family(child)) as driver:
            outcome = await driver.start({"items": [1, 2]})
            assert outcome.waiting == ("child",)
            assert outcome.context["got"] == []  # the second waits for the first
            assert (await driver.approve(f"{outcome.run_id}-c1")).value == 1
            assert (await driver.result(outcome.run_id)).value == [1, 2]

    go(body)


def test_grandchildren_share_one_root():
    """Keys of all calls in a tree begin with the run at its top, whatever the ids look like."""

    async def body():
        keys = []

        @tool(effect="idempotent")
        async def note(call: Call) -> str:
            keys.append(call.key)
            return call.run_id

        leaf = bound(
            "leaf",
            [State("noting", do=["note"]), State("done", final="success")],
            [("noting", "note.ok", "done")],
            [note],
        )
        middle = bound(
            "middle",
            [State("below", run=["leaf"]), State("done", final="success")],
            [("below", "leaf.success", "done"), ("below", "leaf.failure", "done")],
            workflows=[leaf],
        )
        top = bound(
            "top",
            [State("below", run=["middle"]), State("done", final="success")],
            [("below", "middle.success", "done"), ("below", "middle.failure", "done")],
            workflows=[middle],
        )
        for first in ("c1", "0a"):

            class Noise:
                """Run ids that begin as a child's suffix does."""

                def __init__(self, first):
                    self.first = bytes.fromhex(first)
                    self.count = 0

                def take(self, count):
                    self.count += 1
                    return (self.first + self.count.to_bytes(25, "big")[-(count - 1) :])[:count]

            keys.clear()
            async with driving(top, entropy=Noise(first)) as driver:
                outcome = await driver.start()
                assert outcome.status == "succeeded"
                assert outcome.run_id.startswith(f"r-{first}")
                assert [key.split("/")[0] for key in keys] == [outcome.run_id]
                assert (await driver.store.row(f"{outcome.run_id}-c1-c1")).status == "succeeded"

    go(body)


def test_what_stops_a_child_reaches_who_waits_for_the_parent():
    """A child whose model breaks is no event: the parent's caller gets the exception."""

    async def body():
        child = counter()
        flow = bound(
            "mother",
            [
                State("counting", run=["counter"]),
                State("done", final="success", returns="context.got"),
            ],
            [Transition("counting", "counter.success", "done", assign={"got": "result"}),
             Transition("counting", "counter.failure", "done")],
            workflows=[child],
            context={"at": "integer", "got": "integer?"},
        )  # fmt: skip
        store = MemoryStore()
        async with driving(flow, store=store) as driver:
            with pytest.raises(AssertionError, match="script"):
                await driver.start({"at": 1})
            (row,) = [row for row in await store.runs() if row.parent is None]
        async with driving(flow, model=willing(), store=store) as driver:
            assert (await driver.resume(row.run)).value == 3
            await replayed(driver, row.run)

    go(body)


def test_a_child_workflow_nobody_gave_is_named():
    """A parent loaded without its children says which one is missing."""

    async def body():
        flow = family(doubler())
        store = MemoryStore()
        async with driving(flow, store=store) as driver:
            driver._runs.closing = True
            run_id = await driver.start({"items": [1]}, wait=False)
        flow.children.clear()
        async with driving(flow, store=store) as driver:
            with pytest.raises(UsageError, match="no workflow 'doubler'"):
                await driver.resume(run_id)

    go(body)


def test_cancelling_a_parent_stops_its_children():
    """The parent ends as cancelled when its children have; each was told why."""

    async def body():
        flow = family(question(), each=None)
        flow = bound(
            "mother",
            [State("asking", run=["question"]), State("done", final="success")],
            [("asking", "question.success", "done"), ("asking", "question.failure", "done")],
            workflows=[question()],
            context={"topic": "string"},
        )
        async with driving(flow) as driver:
            run_id = (await driver.start({"topic": "x"})).run_id
            outcome = await driver.cancel(run_id, by="me", reason="enough")
            assert outcome.status == "cancelled"
            (row,) = await children_of(driver.store, run_id)
            assert row.status == "cancelled"
            told = [r for r in await driver.records(row.run) if r.kind == "cancel_asked"]
            assert told[0].body == {"by": run_id, "reason": "its parent has ended"}
            await replayed(driver, run_id)

    go(body)


def test_the_end_of_a_child_an_engine_advanced_is_told_to_its_parent():
    """Whoever calls `advance` on a child, its parent hears of the end and goes on."""

    async def body():
        flow = bound(
            "mother",
            [State("asking", run=["question"]), State("done", final="success")],
            [("asking", "question.success", "done"), ("asking", "question.failure", "done")],
            workflows=[question()],
            context={"topic": "string"},
        )
        async with driving(flow) as driver:
            run_id = (await driver.start({"topic": "x"})).run_id
            (child,) = await children_of(driver.store, run_id)
            said = {"granted": True, "by": "me"}
            await driver.store.signal(child.run, "yes", "approval", said, driver.clock.now())
            assert isinstance(await driver.advance(child.run), Done)
            assert (await driver.result(run_id)).status == "succeeded"
            await replayed(driver, run_id)

    go(body)


class Wire:
    """A store that dies at its n-th write: that one and every later one fails."""

    WRITES = ("create", "claim", "append", "signal", "park", "release")

    def __init__(self, store, at):
        self.store = store
        self.at = at
        self.writes = 0

    def __getattr__(self, name):
        method = getattr(self.store, name)
        if name not in self.WRITES:
            return method

        async def counted(*args, **kwargs):
            self.writes += 1
            if self.at and self.writes >= self.at:
                raise StoreError("dead")
            return await method(*args, **kwargs)

        return counted


@pytest.mark.parametrize("at_once", [None, 1])
def test_a_crash_anywhere_in_a_family_changes_nothing(at_once):
    """Whichever write is the last one, the next driver brings parent and children to their end."""

    async def body():
        made = []

        async def inside(item):
            made.append(item)

        flow = family(doubler(inside), at_once=at_once)
        whole = Wire(MemoryStore(), 0)
        async with driving(flow, store=whole) as driver:
            await driver.start({"items": [1, 2]})
        crashes = 0
        for at in range(1, whole.writes + 1):
            store = MemoryStore()
            clock = SteppingClock()
            dying = Driver(flow, model=silent(), store=Wire(store, at), clock=clock, ttl=0.0)
            try:
                await dying.start({"items": [1, 2]}, request_id="req-1")
            except StoreError:
                crashes += 1
            dying._runs.closing = True
            await dying.aclose()
            async with driving(flow, store=store, clock=clock) as driver:
                outcome = await driver.start({"items": [1, 2]}, request_id="req-1")
                assert outcome.status == "succeeded", at
                assert sorted(outcome.value) == [2, 4]
                rows = await children_of(store, outcome.run_id)
                assert [row.status for row in rows] == ["succeeded", "succeeded"]
                for run_id in (outcome.run_id, *(row.run for row in rows)):
                    await replayed(driver, run_id)
        assert crashes > 8

    go(body)


def test_a_child_gets_what_it_declares():
    """Context keys of the same name, and `item`; nothing else of its parent."""

    async def body():
        child = bound(
            "nosy",
            [State("done", final="success", returns="context")],
            [],
            context={"item": "integer", "shared": "string", "own": "string?"},
        )
        flow = bound(
            "mother",
            [
                State("running", run=["nosy"], each="[1]"),
                State("done", final="success", returns="context.got"),
            ],
            [Transition("running", "nosy.success", "done", assign={"got": "result"}),
             Transition("running", "nosy.failure", "done", assign={"got": "error"})],
            workflows=[child],
            context={"shared": "string", "secret": "string", "got": "any"},
        )  # fmt: skip
        async with driving(flow, use("x")) as driver:
            outcome = await driver.start({"shared": "tea", "secret": "hidden"})
            assert outcome.value == {"item": 1, "shared": "tea", "own": None}

    go(body)
