"""What rules do to a running workflow: refusals, ends that are no success, bounds, marks."""

from __future__ import annotations

import pytest

from statemachine_agents.table.model import State, Transition
from tests.driving import Hand, small, use


def desk(*rules, rows=(), tools=("look", "pay", "send")):
    """A state with a few tools, `pay` leads to the end unless other rows say more."""
    return Hand(
        small(
            *rows,
            Transition("here", "send.ok", "done"),
            states=[State("here", ask="x", tools=list(tools))],
            rules=list(rules),
        )
    )


def refusals(hand):
    return [(body["tool"], body["code"]) for body in hand.bodies("call_refused")]


@pytest.mark.parametrize(
    ("rule", "before", "refused", "instead"),
    [
        ("starts_with(look)", (), "pay", "look"),
        ("starts_with(look.ok)", (), "pay", "look"),
        ("only_after(pay, look.ok)", (), "pay", "look"),
        ("each_needs(pay, look.ok)", ("look", "pay"), "pay", "look"),
        ("next(look.ok, pay)", ("look",), "look", "pay"),
        ("never_after(look.ok, pay)", ("look",), "pay", "look"),
        ("not_both(look, pay)", ("look",), "pay", "look"),
        ("not_both(look, pay)", ("pay",), "look", "pay"),
        ("exactly(pay, 1)", ("pay",), "pay", "look"),
        ("at_most(pay, 1)", ("pay",), "pay", "look"),
        ("never(pay)", (), "pay", "look"),
    ],
)
def test_a_call_that_would_break_a_rule_is_refused(rule, before, refused, instead):
    """The gate names the rule, nothing runs, and what the rule allows still may."""
    hand = desk(rule)
    for tool in before:
        hand.reply(use(tool))
        hand.returns({})
    hand.reply(use(refused))
    assert refusals(hand) == [(refused, "rule")]
    assert rule in hand.bodies("call_refused")[0]["text"]
    hand.reply(use(instead))
    hand.returns({})
    assert len(hand.bodies("call_intended")) == len(before) + 1
    hand.audit()


def test_two_calls_of_one_reply_count_one_after_the_other():
    """What a reply has already been admitted counts for its next call."""
    hand = desk("at_most(look, 1)")
    hand.reply(use("look"), use("look"))
    assert refusals(hand) == [("look", "rule")]
    hand.audit()


@pytest.mark.parametrize("rule", ["must(look.ok)", "must(look)", "exactly(look, 2)"])
def test_a_success_without_what_a_rule_demands_is_a_failure(rule):
    """The run reaches the final state and has failed, with the rule as its reason."""
    hand = desk(rule)
    hand.reply(use("send"))
    hand.returns({})
    outcome = hand.outcome
    assert (outcome.status, outcome.state) == ("failed", "done")
    assert rule in outcome.reason
    assert [each["text"] for each in outcome.broken] == [rule]
    hand.audit()


def test_a_success_that_met_its_rules_is_one():
    """A failed audit does not count, the second one does."""
    hand = desk("must(look)")
    hand.reply(use("look"))
    hand.fails("busy", "later")
    hand.reply(use("look"))
    hand.returns({})
    hand.reply(use("send"))
    hand.returns({})
    assert (hand.outcome.status, hand.outcome.broken) == ("succeeded", ())
    hand.audit()


def test_a_run_takes_no_more_turns_than_a_rule_allows():
    """`ends_within` is the limit of requests, and raised like one."""
    hand = desk("ends_within(2)")
    hand.reply(use("look"))
    hand.returns({})
    hand.reply(use("look", n=2))
    hand.returns({})
    assert (hand.outcome.status, hand.outcome.limit) == ("failed", "requests")
    assert hand.outcome.broken == ()
    assert len(hand.bodies("model_asked")) == 2
    hand.audit()


@pytest.mark.parametrize(("turns", "late"), [(1, False), (2, True)])
def test_what_comes_too_late_breaks_within(turns, late):
    """Turns are counted from the cause; the mark stays though the answer comes."""
    hand = desk("within(pay.ok, send.ok, 2)")
    hand.reply(use("pay"))
    hand.returns({})
    for number in range(turns):
        hand.reply(use("look", n=number))
        hand.returns({})
    hand.reply(use("send"))
    hand.returns({})
    assert hand.outcome.status == "succeeded"
    assert bool(hand.outcome.broken) == late
    hand.audit()


def test_a_fact_cannot_be_refused_but_is_marked():
    """An event that breaks a rule is reported at the end."""
    hand = desk("never_after(look.ok, pay.ok)")
    hand.reply(use("look"))
    hand.returns({})
    hand.reply(use("pay"))
    hand.returns({})
    hand.reply(text="done", stop="end_turn")
    hand.reply(use("send"))
    hand.returns({})
    assert hand.outcome.status == "succeeded"
    assert [each["text"] for each in hand.outcome.broken] == ["never_after(look.ok, pay.ok)"]
    hand.audit()
