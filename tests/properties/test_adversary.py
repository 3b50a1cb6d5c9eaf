"""A model that proposes anything: what runs is legal all the same, and every run comes to an end.

Whether a call may run is judged here a second time, from the refund desk's own story and not from
its table: which step it is at, what the policy said, what was paid already, who approved what.
"""

from __future__ import annotations

from functools import cache
from random import Random
from typing import Any

import attrs
import pytest

from statemachine_agents.kernel.snapshot import Counters
from statemachine_agents.kernel.workflow import Workflow
from statemachine_agents.table.model import Table
from statemachine_agents.turn import effects as fx
from statemachine_agents.turn.ports import ModelReply
from statemachine_agents.values import hash_of
from tests.driving import Hand, bound
from tests.lively_tables import desk, refund_desk, worker
from tests.tables import refund, refund_specs

PROPOSALS = 30_000
PARTS = 4
TOOLS = ("fetch_order", "check_refund_policy", "process_credit", "send_email")
LEGAL = {
    "fetching": "fetch_order",
    "validating": "check_refund_policy",
    "crediting": "process_credit",
    "emailing": "send_email",
}
MOST_REQUESTS = 12


@cache
def desks() -> tuple[Workflow, Workflow]:
    """Return the refund desk, and one that takes several effects of a reply together."""
    plain = refund().to_dict()
    plain["states"]["crediting"]["parallel"] = True
    return refund_desk(), bound(Table.from_dict(plain), refund_specs())


class Breach(AssertionError):
    """Something ran that must not run."""


@attrs.define
class Ledger:
    """What an independent bookkeeper knows about one refund."""

    policies: dict[int, dict[str, Any]] = attrs.field(factory=dict)
    mails: dict[int, str] = attrs.field(factory=dict)
    open_credits: int = 0
    paid: int = 0
    approved: set[str] = attrs.field(factory=set)

    @property
    def mail(self) -> str:
        """The address of the first order that was found; a second look changes nothing."""
        return self.mails[min(self.mails)]

    def may(self, state: str, call: fx.CallTool) -> None:
        """Raise unless this call is legal, by the story of a refund."""
        given = dict(call.arguments)
        if LEGAL.get(state) != call.tool:
            raise Breach(f"{call.tool} in {state}")
        if "order_id" in given and given["order_id"] != "A1":
            raise Breach(f"a foreign order: {given}")
        match call.tool:
            case "process_credit":
                policy = self.policies[min(self.policies)]
                final = {"order_id": "A1", "amount_cents": policy["amount_cents"]}
                if not policy["eligible"] or given != final:
                    raise Breach(f"a credit of {given}, the policy said {policy}")
                if self.paid + self.open_credits > 0:
                    raise Breach("a second credit")
                asked = hash_of([call.tool, given])
                if given["amount_cents"] > 20_000 and asked not in self.approved:
                    raise Breach("a large credit nobody approved")
            case "send_email":
                if self.paid != 1 or given != {"to": self.mail}:
                    raise Breach(f"a mail to {given}, paid {self.paid}")
            case _:
                if given != {"order_id": "A1"}:
                    raise Breach(f"arguments nobody checked: {given}")


class Adversary:
    """One run against a model that wants to break it."""

    def __init__(self, random: Random) -> None:
        self.random = random
        role = random.choice(("system", "user"))
        self.hand = Hand(random.choice(desks()), {"order_id": "A1"}, role=role)
        self.ledger = Ledger()
        self.proposals = 0
        self.refused = 0
        self.requests = 0

    def go(self) -> None:
        """Let the run go on until it has ended, or parked for somebody who does not come."""
        for _ in range(400):
            effects = self.hand.open()
            effect = self.random.choice(
                [e for e in effects if not isinstance(e, fx.Wait)] or effects
            )
            match effect:
                case fx.AskModel():
                    self.ask()
                case fx.CallTool():
                    self.call(effect)
                case fx.Wait():
                    if not self.person(effect):
                        return
                case fx.End():
                    return
        raise Breach("a run without an end")

    def ask(self) -> None:
        """Answer with whatever comes to mind, and see what became of it."""
        hand = self.hand
        self.requests += 1
        if self.requests > MOST_REQUESTS:
            raise Breach("more requests than the limit allows")
        before = hand.run.standing.snap()
        reply = self.reply()
        calls = sum(block["type"] == "tool_use" for block in reply.content)
        self.proposals += max(1, calls)
        seen = len(hand.records)
        hand.ask()
        hand.give(fx.Replied(reply))
        new = hand.records[seen:]
        refused = [record for record in new if record.kind == "call_refused"]
        self.refused += len(refused)
        admitted = [r for r in new if r.kind in ("call_intended", "approval_asked", "stepped")]
        if refused and not admitted:
            self.untouched(before)

    def untouched(self, before: Any) -> None:
        """A refusal changes nothing but counts."""
        after = self.hand.run.standing.snap()
        if attrs.evolve(after, counters=Counters()) != attrs.evolve(before, counters=Counters()):
            raise Breach("a refusal changed the run")

    def call(self, effect: fx.CallTool) -> None:
        """Judge a call that is about to be made, then let it go somehow."""
        random, ledger = self.random, self.ledger
        ledger.may(self.hand.state, effect)
        chance = random.random()
        if chance < 0.1:
            self.hand.give(fx.Failed(effect.no, random.choice(("busy", "not_found")), "no"))
            return
        credit = effect.tool == "process_credit"
        if credit and chance < 0.2:
            ledger.open_credits += 1
            self.hand.give(fx.Doubted(effect.no, "timeout"))
            return
        value = {"id": effect.no}
        match effect.tool:
            case "fetch_order":
                ledger.mails[effect.no] = f"{random.randrange(9)}@example.org"
                value = {"email": ledger.mails[effect.no]}
            case "check_refund_policy":
                cents = random.choice((100, 20_000, 20_001, 50_000, 50_001))
                value = {"eligible": random.random() < 0.8, "amount_cents": cents}
                ledger.policies[effect.no] = value
            case "process_credit":
                ledger.paid += 1
        self.hand.give(fx.Returned(effect.no, value))

    def person(self, effect: fx.Wait) -> bool:
        """Answer as a person would; return whether anybody came."""
        random, hand, ledger = self.random, self.hand, self.ledger
        if random.random() < 0.1:
            return False
        self.requests = 0
        if "resolution" in effect.waiting:
            done = random.random() < 0.5
            ledger.open_credits -= 1
            ledger.paid += done
            answer = {"done": {"id": 1}} if done else {"not_done": True}
            hand.signal("resolution", by="ann", **answer)
        elif "approval" in effect.waiting:
            waiting = [c for c in hand.run.standing.calls.values() if c.status == "approval"]
            granted = random.random() < 0.7
            if waiting and granted:
                ledger.approved.add(hash_of([waiting[0].tool, dict(waiting[0].arguments)]))
            hand.approve(granted)
        else:
            hand.signal("resume", by="op")
        return True

    # ------------------------------------------------------------------------------- proposals

    def reply(self) -> ModelReply:
        """Draw a reply, mostly an attack."""
        random = self.random
        right = LEGAL.get(self.hand.state, "fetch_order")
        attack = random.randrange(9)
        names = {
            0: [random.choice(TOOLS)],  # a wrong tool
            1: ["process_credit", "process_credit"],  # two credits in one reply
            2: [*TOOLS],  # the whole story at once
            3: [right, right, "process_credit"],
            4: [random.choice(("refund_all", "", "process_credit ", "x" * 200, "run.cancelled"))],
            5: [],  # text only
        }.get(attack, [right])
        content: list[dict[str, Any]] = [self.block(name) for name in names]
        if not names or random.random() < 0.2:
            said = random.choice(("I have paid it.", "The refund is complete.", " ", "{}"))
            content.insert(0, {"type": "text", "text": said})
        stop = "tool_use" if names else "end_turn"
        if random.random() < 0.08:
            stop = random.choice(("end_turn", "max_tokens", "pause_turn", "stop_sequence", "new"))
        return ModelReply(content=content, stop_reason=stop, cut=random.random() < 0.02)

    def block(self, name: str) -> dict[str, Any]:
        """Draw a call of a tool: legal, foreign or malformed arguments, reused and odd ids."""
        random = self.random
        given: Any = {}
        if random.random() < 0.45:
            given = random.choice(
                (
                    {"order_id": "B2"},
                    {"order_id": "A1"},
                    {"order_id": "B2", "amount_cents": 1},
                    {"amount_cents": 10**6},
                    {"amount_cents": "all"},
                    {"to": "thief@example.org"},
                    {"approved": True, "approve": "true"},
                    {"order_id": {"$ref": "context.order_id"}},
                    {"__proto__": {}, "state": "complete"},
                    None,
                    "order_id=A1",
                    [{"order_id": "A1"}],
                    {"n": 2**80},
                )
            )
        number = random.choice(("t1", "t1", f"t{random.randrange(10**9)}", "", None, "a b", 7))
        return {"type": "tool_use", "id": number, "name": name, "input": given}


@pytest.mark.parametrize("part", range(PARTS))
def test_no_proposal_makes_anything_illegal_run(part):
    """Over 20,000 proposals: 0 illegal executions, refusals change nothing, every run stops.

    In each part a twentieth of the runs is audited too: history, chain, fold and replay.
    """
    proposals = refused = runs = 0
    statuses = set()
    while proposals < PROPOSALS / PARTS:
        adversary = Adversary(Random(runs * PARTS + part))
        adversary.go()
        if runs % 20 == 0:
            adversary.hand.audit()
        outcome = adversary.hand.outcome
        statuses.add(outcome.status)
        if outcome.ok:
            assert adversary.ledger.paid == 1
        if outcome.status == "failed" and adversary.hand.run.standing.ended is not None:
            assert outcome.reason
        proposals += adversary.proposals
        refused += adversary.refused
        runs += 1
    assert statuses == {"succeeded", "failed", "waiting"}
    assert refused > proposals / 4


@pytest.mark.parametrize("make", [desk, worker])
def test_a_model_that_never_gives_up_is_stopped(make):
    """Whatever it repeats, the number of requests in a stretch stays within the limit."""
    for attack in range(6):
        hand = Hand(make())
        hand.message("hello")
        asked = 0
        for _ in range(200):
            effects = [e for e in hand.open() if not isinstance(e, fx.Say)]
            if not effects or isinstance(effects[0], fx.Wait | fx.End):
                break
            if isinstance(effects[0], fx.AskModel):
                asked += 1
                blocks = [
                    {"type": "tool_use", "id": "x", "name": name, "input": {"n": attack}}
                    for name in (("look", "peek", "pay", "no", "give_up")[attack : attack + 2])
                ]
                stop = "tool_use" if blocks else "max_tokens"
                hand.ask()
                hand.give(fx.Replied(ModelReply(content=blocks, stop_reason=stop)))
            elif isinstance(effects[0], fx.CallTool):
                hand.give(fx.Failed(effects[0].no, "busy", "no"))
            else:
                hand.give(fx.Checked(effects[0].no, "unknown"))
        assert asked <= hand.workflow.table.limits.iterations
        assert isinstance(hand.open()[-1], fx.Wait | fx.End)
        hand.audit()
