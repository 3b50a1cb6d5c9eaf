"""What is measured: the same refund flow, by hand, on bare `transitions`, and by us.

The limit is a hand-written loop with a dictionary table, a prompt, a history and one orjson record
per step: what nobody can beat in Python. All subjects use in-process tools and a scripted model.
"""

import asyncio
import hashlib
import sqlite3
import time
from pathlib import Path

import orjson
from transitions import Machine

from statemachine_agents.driver import Driver
from statemachine_agents.journal.conform import Fact
from statemachine_agents.kernel.workflow import Workflow
from statemachine_agents.stores.memory import MemoryStore
from statemachine_agents.stores.sqlite import SQLiteStore
from statemachine_agents.system import SystemEntropy
from statemachine_agents.table.model import Table
from statemachine_agents.table.rules import TURN
from statemachine_agents.tools.decorator import tool
from statemachine_agents.turn import effects as fx
from statemachine_agents.turn.ports import Layout, ModelReply
from statemachine_agents.turn.run import Run, Settings

LOOP = ("fetching", "validating", "crediting", "emailing")
TOOL = {
    "fetching": "fetch_order",
    "validating": "check_refund_policy",
    "crediting": "process_credit",
    "emailing": "send_email",
}
NEXT = dict(zip(LOOP, (*LOOP[1:], "complete"), strict=True))
RESULT = {
    "fetch_order": {"id": "A1", "email": "ada@shop.example"},
    "check_refund_policy": {"eligible": True, "amount_cents": 1999},
    "process_credit": {"id": "cr-1", "amount_cents": 1999},
    "send_email": {"sent": True},
}
ARGS = {"send_email": {"subject": "Refund", "body": "Done."}}
TURNS = len(LOOP)

# ruff: noqa: E501 - one row of a table is one line
REFUND = """
name = "bench"
version = "1"
initial = "fetching"
instructions = "You are the refund desk of a shop."
limits = { iterations = 1000000, calls = 1000000, visits = 1000000, requests = 1000000 }
rules = [
  "at_most(process_credit, 1, per=args.order_id)",
  "only_after(process_credit, check_refund_policy.ok where result.eligible)",
]
transitions = [
  { source = "fetching",   event = "fetch_order.ok",         target = "validating", assign = { order = "result" } },
  { source = "validating", event = "check_refund_policy.ok", target = "crediting",  guard = "result.eligible and result.amount_cents <= 50000", assign = { policy = "result" } },
  { source = "validating", event = "check_refund_policy.ok", target = "failed" },
  { source = "crediting",  event = "process_credit.ok",      target = "emailing",   assign = { credit = "result" } },
  { source = "emailing",   event = "send_email.ok",          target = "complete" },
]

[states]
fetching   = { ask = "Look up the order.", tools = ["fetch_order"] }
validating = { ask = "Check it against the policy.", tools = ["check_refund_policy"] }
crediting  = { ask = "Credit the customer once.", tools = ["process_credit"] }
emailing   = { ask = "Send the confirmation.", tools = ["send_email"] }
complete   = { final = "success", returns = "context.credit" }
failed     = { final = "failure" }

[tools]
fetch_order.bind         = { order_id = "context.order_id" }
check_refund_policy.bind = { order_id = "context.order_id" }
process_credit.bind      = { order_id = "context.order_id", amount_cents = "context.policy.amount_cents" }
send_email.bind          = { to = "context.order.email" }

[context]
order_id = "string"
order    = "object?"
policy   = "object?"
credit   = "object?"
"""

LOOPING = REFUND.replace('target = "complete" }', 'target = "fetching" }').replace(
    "at_most(process_credit, 1, per=args.order_id)", "at_most(process_credit, 1000000)"
)
"""The same table as an endless loop, for growth: a run of as many steps as wanted."""


@tool(effect="read")
async def fetch_order(order_id: str) -> dict:
    """Look up an order."""
    return RESULT["fetch_order"]


@tool(effect="read")
async def check_refund_policy(order_id: str) -> dict:
    """Check an order against the policy."""
    return RESULT["check_refund_policy"]


@tool(effect="read")
async def process_credit(order_id: str, amount_cents: int) -> dict:
    """Credit a customer."""
    return RESULT["process_credit"]


@tool(effect="read")
async def send_email(to: str, subject: str, body: str) -> dict:
    """Send a mail."""
    return RESULT["send_email"]


def workflow(text=REFUND):
    return Workflow(
        Table.from_toml(text), tools=[fetch_order, check_refund_policy, process_credit, send_email]
    )


class FastModel:
    """The cheapest possible model: proposes the first legal tool."""

    def __init__(self, delay=0.0):
        self.delay = delay
        self.count = 0

    def layout(self, model):
        return Layout(model="bench")

    async def complete(self, request, *, on_text=None):
        if self.delay:
            await asyncio.sleep(self.delay)
        self.count += 1
        name = request.offered[0]
        block = {
            "type": "tool_use",
            "id": f"t{self.count}",
            "name": name,
            "input": ARGS.get(name, {}),
        }
        return ModelReply(content=[block], stop_reason="tool_use", usage={"input_tokens": 9})

    async def aclose(self):
        pass


# ------------------------------------------------------------------------------------ the limit


HAND_TABLE = {
    "fetching": [("fetch_order", lambda result: True, "validating")],
    "validating": [
        (
            "check_refund_policy",
            lambda r: r["eligible"] and r["amount_cents"] <= 50000,
            "crediting",
        ),
        ("check_refund_policy", lambda result: True, "failed"),
    ],
    "crediting": [("process_credit", lambda result: True, "emailing")],
    "emailing": [("send_email", lambda result: True, "complete")],
}
HAND_TOOLS = {name: (lambda _arguments, _name=name: RESULT[_name]) for name in RESULT}


def scripted(messages, state):
    """What a model answers: the call that is due."""
    name = TOOL[state]
    return {
        "type": "tool_use",
        "id": f"t{len(messages)}",
        "name": name,
        "input": ARGS.get(name, {}),
    }


def by_hand(journal=None, runs=1):
    """The hand-written loop: table, prompt, history, one record per step."""
    for _ in range(runs):
        state, context, messages = "fetching", {"order_id": "A1"}, []
        seq = 0
        while state in HAND_TABLE:
            legal = ", ".join(row[0] for row in HAND_TABLE[state])
            messages.append(
                {"role": "user", "content": f"State: {state}. Legal: {legal}. Facts: {context}"}
            )
            block = scripted(messages, state)
            messages.append({"role": "assistant", "content": [block]})
            name = block["name"]
            result = HAND_TOOLS[name]({**block["input"], "order_id": context["order_id"]})
            context[name] = result
            messages.append(
                {
                    "role": "user",
                    "content": [
                        {"type": "tool_result", "tool_use_id": block["id"], "content": result}
                    ],
                }
            )
            before = state
            state = next(row[2] for row in HAND_TABLE[state] if row[0] == name and row[1](result))
            seq += 1
            if journal is not None:
                journal(
                    orjson.dumps(
                        {
                            "seq": seq,
                            "from": before,
                            "to": state,
                            "tool": name,
                            "args": block["input"],
                            "value": result,
                        }
                    )
                )


def bare_transitions(machine, runs=1):
    """The library alone, one shared machine, no prompt, no journal."""

    class Cursor:
        __slots__ = ("state",)

    for _ in range(runs):
        cursor = Cursor()
        cursor.state = "fetching"
        for state in LOOP:
            machine.events[TOOL[state]].trigger(cursor)


def bare_machine():
    machine = Machine(
        model=None,
        states=[*LOOP, "complete"],
        initial="fetching",
        auto_transitions=False,
        send_event=True,
    )
    for state in LOOP:
        machine.add_transition(TOOL[state], state, NEXT[state], conditions=lambda event: True)
    return machine


class BareSQLite:
    """One INSERT and one FULL commit per record: the price of durability itself."""

    def __init__(self, path):
        self.db = sqlite3.connect(path, isolation_level=None)
        self.db.execute("PRAGMA journal_mode=WAL")
        self.db.execute("PRAGMA synchronous=FULL")
        self.db.execute("CREATE TABLE r (n INTEGER PRIMARY KEY, hash BLOB, data BLOB)")

    def __call__(self, data):
        self.db.execute("BEGIN IMMEDIATE")
        self.db.execute(
            "INSERT INTO r (hash, data) VALUES (?, ?)", (hashlib.sha256(data).digest(), data)
        )
        self.db.execute("COMMIT")


# ------------------------------------------------------------------------------------------- us


def sans_io(flow, runs=1, steps=None, seal=True):
    """Our `Run` without store or driver; with `seal`, records and hash chain in memory."""
    layout = Layout(model="bench")
    settings = Settings(layout=lambda model: layout, entropy=SystemEntropy())
    records = []
    for _ in range(runs):
        at = time.time_ns() // 1000
        run = Run.start(flow, "r-bench", {"order_id": "A1"}, settings, at=at)
        done = 0
        while True:
            if seal:
                sealed = run.seal(1)
                run.saved(sealed)
                records += sealed
            else:
                run.unsaved = []
            effect = run.next_effect()
            at += 1000
            if isinstance(effect, fx.AskModel):
                name = effect.request.offered[0]
                done += 1
                if steps is not None and done > steps:
                    break
                block = {
                    "type": "tool_use",
                    "id": f"t{at}",
                    "name": name,
                    "input": ARGS.get(name, {}),
                }
                reply = ModelReply(content=[block], stop_reason="tool_use")
                run.receive(fx.Replied(reply), at)
            elif isinstance(effect, fx.CallTool):
                run.receive(fx.Returned(effect.no, RESULT[effect.tool]), at)
            else:
                break
    return records


PLAIN_RULES = (
    "only_after(pay, send.ok)",
    "leads_to(pay.ok, send.ok)",
    "never_after(void.ok, pay)",
    "each_needs(pay, send.ok)",
    "next(pay.ok, send)",
    "within(pay.ok, send.ok, 3)",
    "at_most(pay, 1000000)",
    "not_both(void, pay)",
    "must(pay)",
    "starts_with(pay)",
) * 2
KEYED_RULES = (
    "only_after(pay where args.order > 3, send.ok)",
    "at_most(pay, 1000000, per=args.order)",
    "leads_to(pay.ok where result.fine, send.ok)",
    "each_needs(pay, send.ok where args.order == null, per=args.order)",
) * 5


def facts(rounds):
    """A long run as rules see it: asked, paid one of fifty orders, wrote."""
    out = []
    for number in range(rounds):
        paid = {"args": {"order": number % 50}, "result": {"fine": True}, "context": {}}
        out += [
            Fact(TURN, {}, None, number),
            Fact("pay", paid, number, number),
            Fact("pay.ok", paid, number, number),
            Fact("send.ok", {"args": {}, "context": {}}, None, number),
        ]
    return out


async def driven(flow, store, runs=1, model=None):
    async with Driver(flow, model=model or FastModel(), store=store) as driver:
        for _ in range(runs):
            await driver.start({"order_id": "A1"})


async def many(flow, store, runs, delay):
    """As many runs at once as asked; returns turns a second."""
    async with Driver(flow, model=FastModel(delay), store=store) as driver:
        started = time.perf_counter()
        await asyncio.gather(*(driver.start({"order_id": "A1"}) for _ in range(runs)))
        return runs * TURNS / (time.perf_counter() - started)


def memory():
    return MemoryStore()


def sqlite(folder):
    return SQLiteStore(Path(folder, f"{time.time_ns()}.db"))
