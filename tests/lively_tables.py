"""Tables in which a lot can happen: for runs by chance, and as small worlds for single tests.

Together they use every verb, every kind of wait, every effect class, agents, epochs, output, talk,
timers, undo, children, rules, limits and approvals.
"""

from __future__ import annotations

from typing import Any

from statemachine_agents.kernel.workflow import Workflow
from statemachine_agents.table.model import Agent, Key, Limits, Signal, State, Transition, Use
from tests.driving import bound, small
from tests.tables import refund, refund_specs

COUNT = {"count": Key(type="integer", default=0)}


def desk() -> Workflow:
    """Return a desk that talks, waits for people and the clock, and has a pure branch."""
    return small(
        Transition("*", "look.ok", None, assign={"found": "result", "count": "context.count + 1"}),
        Transition("talking", "look.ok & peek.ok", "branch", guard="exists(results.look.n)"),
        Transition("talking", "user.message", "talking", guard="message.text == 'yes'"),
        Transition("talking", "give_up.ok", "failed", assign={"why": "result.reason"}),
        Transition("talking", "timer.fired", "stay", assign={"count": "0"}),
        Transition("talking", "pay.unknown", "sorry"),
        Transition("talking", "pay.ok", "branch"),
        Transition("branch", "entered", "asking", guard="context.count > 2"),
        Transition("branch", "entered", "talking"),
        Transition("asking", "approval.granted", "done"),
        Transition("asking", "timer.fired", "talking"),
        Transition("asking", "user.message", "talking"),
        Transition("sorry", "model.done", "talking"),
        Transition("*", "limit.*", "asking"),
        Transition("*", "guard.error", "failed"),
        states=[
            State(
                "talking",
                ask="Help, about {context.found}.",
                tools=["look", "peek", "pay", "give_up"],
                talk=True,
                say="Welcome.",
                after="1h",
                parallel=True,
                shows=["found", "count"],
                agent="clerk",
            ),
            State("branch", do=[]),
            State("sorry", ask="Say sorry.", agent="writer", fresh=True),
            State(
                "asking",
                wait=["approval", "timer", "message"],
                question="Close it, after {context.count}?",
                after="2h",
                shows=["count"],
            ),
        ],
        agents=[Agent("clerk", "You help."), Agent("writer", "You write.", model="other")],
        signals={"give_up": Signal(fields={"reason": "string?"})},
        tools={"pay": Use(bind={"order": "context.order"}, approve="args.n == 1")},
        context={
            **COUNT,
            "order": Key(type="string", default="A1"),
            "found": Key(type="any"),
            "why": Key(type="string?"),
            "secret": Key(type="string", default="canary", private=True),
            "temp": Key(type="list", default=[], scope="stretch"),
        },
        limits=Limits(iterations=6, calls=12),
        rules=["at_most(pay, 2, per=args.order)", "leads_to(pay.ok, approval.granted)"],
    )


def worker() -> Workflow:
    """Return a worker: the engine calls tools of every class, then pays back on trouble."""
    return small(
        Transition("gather", "look.ok & fetch.ok & post.ok", "paying"),
        Transition("gather", "fetch.error", "stay", guard="error.kind == 'busy'"),
        Transition("gather", "settled", "paying", guard="visits.gather > 2"),
        Transition("gather", "settled", "gather"),
        Transition("paying", "pay.ok", "checking"),
        Transition("paying", ["pay.error", "pay.unknown"], "reconciling"),
        Transition("reconciling", "pay.ok", "checking"),
        Transition("reconciling", "pay.error", "undoing"),
        Transition("reconciling", "timer.fired", "undoing"),
        Transition("checking", "hold.ok", "done"),
        Transition("checking", "hold.error", "undoing", assign={"why": "error.text"}),
        Transition("checking", "write.ok", None, assign={"count": "context.count + 1"}),
        Transition("undoing", "undo.ok", "failed"),
        Transition("undoing", "undo.error", "asking", assign={"why": "error.text"}),
        Transition("asking", "approval.granted", "undoing"),
        Transition("asking", "approval.rejected", "failed"),
        states=[
            State("gather", do=["look", "fetch", "post"]),
            State("paying", do="pay"),
            State("reconciling", wait="resolution", after="1d", question="Paid?"),
            State("checking", do=["write", "hold"]),
            State("undoing", do="undo"),
            State("asking", wait="approval", question="Try again?"),
        ],
        tools={"pay": Use(bind={"order": "context.order"}, approve="context.count > 0")},
        context={
            **COUNT,
            "order": Key(type="string", default="A1"),
            "why": Key(type="string?"),
        },
        limits=Limits(calls=30, visits=5),
        rules=["at_most(pay, 1)", "only_after(hold, pay.ok)"],
    )


def family() -> Workflow:
    """Return a parent that runs children, one per item and in parallel, and asks for output."""
    child = small(
        Transition("working", "look.ok", "done"),
        states=[State("working", do="look")],
        name="child",
        context={"item": Key(type="any"), "order": Key(type="string?")},
    )
    return small(
        Transition("planning", "model.done", "running", assign={"items": "reply.output.items"}),
        Transition("planning", "model.refused", "failed"),
        Transition("running", "child.success", None, assign={"count": "context.count + 1"}),
        Transition("running", "child.failure", "stay"),
        Transition("running", "settled", "done", guard="context.count > 0"),
        Transition("running", "settled", "planning"),
        states=[
            State(
                "planning",
                ask="Plan.",
                output={
                    "type": "object",
                    "properties": {"items": {"type": "array"}},
                    "required": ["items"],
                },
            ),
            State("running", run="child", each="context.items", at_once=2),
        ],
        context={**COUNT, "items": Key(type="list", default=[]), "order": Key(type="string?")},
        children={"child": child},
    )


def refund_desk() -> Workflow:
    """Return the refund desk of the design."""
    return bound(refund(), refund_specs())


LIVELY: dict[str, tuple[Any, dict[str, Any]]] = {
    "desk": (desk, {}),
    "worker": (worker, {}),
    "family": (family, {"order": "A1"}),
    "refund": (refund_desk, {"order_id": "A1"}),
}
"""Name -> how to make it, and its inputs."""
