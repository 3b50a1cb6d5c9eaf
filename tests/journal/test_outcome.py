"""How a run ends, what it says about it, and what a parked one waits for."""

from __future__ import annotations

import json

import pytest

from statemachine_agents.journal.drafts import filled_in
from statemachine_agents.journal.outcome import pending_of
from statemachine_agents.table.model import Key, State, Transition, Use
from tests.driving import Hand, small, use
from tests.journal.test_journal import refunded


def ended(final: str, returns: str | None, **context: object) -> Hand:
    """Return a run that ended in a state which returns something."""
    return Hand(
        small(
            Transition("here", "entered", "end"),
            Transition("here", "run.cancelled", "done"),
            states=[
                State("here", do=[]),
                State("end", final=final, returns=returns),
                State("done", final="success"),
            ],
            context={"n": Key(type="any")},
        ),
        context,
    )


def test_a_final_state_returns_its_value():
    """`returns` is evaluated on the context at the end; without it the value is null."""
    hand = ended("success", "{ n: context.n, visits: visits.here }", n=[1])
    assert hand.outcome.value == {"n": [1], "visits": 1}
    assert (hand.outcome.ok, hand.outcome.reason) == (True, "")
    assert ended("success", None).outcome.value is None
    hand.audit()


@pytest.mark.parametrize(
    ("returns", "value", "reason"),
    [
        ("context.n", "too late", "too late"),
        ("context.n", {"why": 1}, "ended in state 'end' on entered"),
        ("context.n < 1", "x", "cannot be evaluated"),
        (None, None, "ended in state 'end' on entered"),
    ],
)
def test_every_failure_carries_a_reason(returns, value, reason):
    """A text that a failure returns is its reason; otherwise where and on what it ended."""
    hand = ended("failure", returns, n=value)
    assert hand.outcome.status == "failed"
    assert reason in hand.outcome.reason
    hand.audit()


def test_an_outcome_is_plain_json():
    """What the command line prints: everything but the context."""
    outcome = refunded().outcome
    plain = json.loads(json.dumps(outcome.to_dict()))
    assert plain["status"] == "succeeded"
    assert plain["path"] == ["fetching", "validating", "crediting", "emailing", "complete"]
    assert plain["iterations"] == 4
    assert "context" not in plain


@pytest.mark.parametrize("status", ["succeeded", "cancelled"])
def test_obligations_that_were_not_met_are_listed(status):
    """At the end they are broken; a parked or cancelled run owes them."""
    hand = Hand(
        small(
            Transition("here", "pay.ok", "asking"),
            Transition("here", "send.ok", "done"),
            Transition("asking", "approval.granted", "done"),
            states=[
                State("here", ask="x", tools=["pay", "send"]),
                State("asking", wait="approval"),
            ],
            rules=["leads_to(pay.ok, send.ok, per=args.order)"],
        )
    )
    hand.reply(use("pay", order="A1"))
    hand.returns({})
    owed = {"rule": 0, "text": "leads_to(pay.ok, send.ok, per=args.order)", "for": '"A1"'}
    assert (hand.outcome.broken, hand.outcome.owed) == ((), (owed,))
    if status == "cancelled":
        hand.signal("cancel")
    else:
        hand.approve(True)
    assert hand.outcome.status == status
    assert hand.outcome.broken == ((owed,) if status == "succeeded" else ())
    assert hand.outcome.owed == ((owed,) if status == "cancelled" else ())
    hand.audit()


def test_what_people_are_asked_is_listed():
    """Approvals with their arguments and digest, questions with their facts, calls in doubt."""
    hand = Hand(
        small(
            Transition("here", "pay.unknown", "asking"),
            Transition("here", "send.ok", "done"),
            Transition("asking", "approval.granted", "done"),
            states=[
                State("here", ask="x", tools=["pay", "send"]),
                State("asking", wait="approval", question="Paid?", shows=["n"]),
            ],
            tools={"pay": Use(approve="true")},
            context={"n": Key(type="integer", default=3)},
        )
    )
    hand.reply(use("pay", n=1))
    (approval,) = pending_of(hand.run.standing)
    assert (approval["approval"], approval["tool"], approval["arguments"]) == (
        "a1",
        "pay",
        {"n": 1},
    )
    assert approval["digest"] == hand.bodies("approval_asked")[0]["digest"]
    hand.approve(True, digest=approval["digest"])
    hand.doubts()
    question, doubt = pending_of(hand.run.standing)
    assert question == {"approval": "q2", "question": "Paid?", "shows": {"n": 3}}
    assert doubt == {"call": 1, "tool": "pay", "arguments": {"n": 1}}


def test_a_hole_that_cannot_be_filled_says_so():
    """A greeting or a question never stops a run."""
    assert filled_in("Hello {context.name}!", {"name": "Ann"}) == "Hello Ann!"
    for text in ("{context.a[1 < 'x']}", "{context.a[+]}"):
        assert filled_in(text, {"a": [1]}).startswith("(")
