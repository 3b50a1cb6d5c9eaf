"""Rules: read once, counted as the protocol says, and never in the way by mistake."""

from __future__ import annotations

from typing import Any

import pytest

from statemachine_agents.errors import ExpressionError
from statemachine_agents.table.automata import FORMS
from statemachine_agents.table.expressions import parse
from statemachine_agents.table.rule_syntax import parse_rule
from statemachine_agents.table.rules import RuleSet

EVERY_FORM = {
    "never": "never(pay)",
    "at_most": "at_most(pay, 2, per=args.order)",
    "exactly": "exactly(pay.ok, 1)",
    "must": "must(send.ok)",
    "starts_with": "starts_with(look)",
    "only_after": "only_after(pay, look.ok where result.fine)",
    "each_needs": "each_needs(pay, look.ok)",
    "leads_to": "leads_to(pay.ok, [send.ok, approval.granted])",
    "next": "next(pay.ok, send)",
    "never_after": "never_after(pay, run.cancelled)",
    "not_both": "not_both(pay, send)",
    "within": "within(pay.ok, send.ok, 3)",
    "ends_within": "ends_within(20)",
}


class Watch:
    """One rule set and its automata, fed by hand."""

    def __init__(self, *texts: str) -> None:
        self.rules = RuleSet.of(tuple(parse_rule(text) for text in texts))
        self.states = self.rules.start()

    def allows(self, tool: str, **args: Any) -> bool:
        return self.rules.forbids(self.states, tool, {"args": args, "context": {}}) is None

    def intend(self, tool: str, number: int, **args: Any) -> None:
        self.see(tool, number, args=args)

    def see(self, name: str, number: int | None = None, **scope: Any) -> None:
        before = [dict(state) for state in self.states]
        kept = self.states
        self.states = self.rules.observe(self.states, name, {"context": {}, **scope}, number)
        assert [dict(state) for state in kept] == before  # never changed in place

    @property
    def owed(self) -> list[str]:
        return [item["for"] for item in self.rules.owed(self.states)]


def test_every_form_parses():
    """All forms of verification.md are read."""
    assert set(EVERY_FORM) == set(FORMS)
    for form, text in EVERY_FORM.items():
        rule = parse_rule(text)
        assert (rule.form, rule.text) == (form, text)


@pytest.mark.parametrize(
    ("text", "at", "what"),
    [
        ("most(pay, 1)", "most", "no rule is named"),
        ("at_most(pay)", ")", "expected"),
        ("at_most(pay, x)", "x", "whole number"),
        ("at_most(pay, 1.5)", "1.5", "whole number"),
        ("at_most(pay, -1)", "-", "whole number"),
        ("at_most(pay, 1, by=args.x)", "=", "per=expression"),
        ("at_most(pay, 1, per=)", ")", ""),
        ("at_most(pay, 1, per=args.x", "", "expected"),
        ("at_most(pay, 1) more", "more", "nothing may follow"),
        ("only_after(pay, look.ok where )", ")", ""),
        ("leads_to(pay.ok, [])", "]", "tool or an event"),
        ("leads_to(pay.ok, [a.ok b.ok])", "b", "expected"),
        ("never(pay.)", ")", "outcome"),
        ("never(1)", "1", "tool or an event"),
        ("", "", "a rule"),
        ("at_most pay, 1", "pay", "expected"),
    ],
)
def test_what_is_no_rule_says_where(text, at, what):
    """The error points at the token that is wrong."""
    with pytest.raises(ExpressionError) as caught:
        parse_rule(text)
    assert what in str(caught.value)
    start, end = caught.value.facts["span"]
    assert 0 <= start <= end <= len(text)
    if what:
        assert caught.value.facts["text"] == text
        assert text[start:end] == at


def test_definitions_can_be_used_in_a_rule():
    """A name of `[define]` stands for its expression in `where` and `per`."""
    known = {"fine": parse("result.ok and true")}
    rule = parse_rule("only_after(pay, look.ok where fine)", known)
    assert rule.sides[1][0].fits({"result": {"ok": True}})
    assert not rule.sides[1][0].fits({"result": {"ok": False}})


def test_at_most_counts_intents_per_value():
    """The second credit of one order is forbidden; the first of another is not."""
    watch = Watch("at_most(pay, 1, per=args.order)")
    assert watch.allows("pay", order="A")
    watch.intend("pay", 1, order="A")
    assert not watch.allows("pay", order="A")
    assert watch.allows("pay", order="B")
    assert watch.allows("look", order="A")


def test_an_error_gives_the_count_back_and_a_doubt_does_not():
    """`.error` means nothing happened; `.unknown` counts as done; `.ok` stays counted."""
    watch = Watch("at_most(pay, 1)")
    watch.intend("pay", 1)
    watch.see("pay.error", 1, error={"kind": "busy"})
    assert watch.allows("pay")
    watch.intend("pay", 2)
    watch.see("pay.unknown", 2, error={"kind": "unknown"})
    assert not watch.allows("pay")
    watch.see("pay.error", 2, error={"kind": "not_done"})  # a person found out
    assert watch.allows("pay")
    watch.intend("pay", 3)
    watch.see("pay.ok", 3, result={})
    assert not watch.allows("pay")
    watch.see("pay.error", 3, error={})  # a call ends once; a second end gives nothing back
    assert not watch.allows("pay")


def test_the_error_of_one_call_gives_back_only_its_own_count():
    """Two open calls of different orders: one error frees one of them."""
    watch = Watch("at_most(pay, 1, per=args.order)")
    watch.intend("pay", 1, order="A")
    watch.intend("pay", 2, order="B")
    watch.see("pay.error", 1, error={}, args={"order": "B"})  # the call counts, not the arguments
    assert watch.allows("pay", order="A")
    assert not watch.allows("pay", order="B")


def test_a_condition_limits_what_counts():
    """`where` reads context and final arguments; one that cannot be evaluated does not hold."""
    watch = Watch("at_most(pay where args.amount > 100, 1)")
    for number in range(3):
        watch.intend("pay", number, amount=50)
    watch.intend("pay", 4, amount="much")
    assert watch.allows("pay", amount=500)
    watch.intend("pay", 5, amount=500)
    assert not watch.allows("pay", amount=500)
    assert watch.allows("pay", amount=5)


def test_never_forbids_from_the_start():
    """`never` is at most none."""
    watch = Watch("never(pay where args.amount > 100)")
    assert not watch.allows("pay", amount=101)
    assert watch.allows("pay", amount=100)


def test_only_after_waits_for_an_event_that_fits():
    """The tool is free once the event came with the condition met, and stays free."""
    watch = Watch("only_after(pay, look.ok where result.eligible)")
    assert not watch.allows("pay")
    watch.see("look.ok", 1, result={"eligible": False})
    watch.see("look.error", 2, error={})
    watch.see("look.ok", 3, result={"eligible": None})
    assert not watch.allows("pay")
    watch.see("look.ok", 4, result={"eligible": True})
    watch.see("look.ok", 5, result={"eligible": False})
    assert watch.allows("pay")


def test_only_after_per_value():
    """What was looked at for one order frees that order only."""
    watch = Watch("only_after(pay, look.ok, per=args.order)")
    watch.see("look.ok", 1, result={}, args={"order": "A"})
    assert watch.allows("pay", order="A")
    assert not watch.allows("pay", order="B")


def test_leads_to_is_owed_until_it_is_met():
    """An obligation opens with its cause, per value, and any of the alternatives meets it."""
    watch = Watch("leads_to(pay.ok, [send.ok, approval.granted], per=args.order)")
    watch.see("pay.ok", 1, result={}, args={"order": "A"})
    watch.see("pay.ok", 2, result={}, args={"order": "B"})
    watch.see("pay.ok", 3, result={}, args={"order": "B"})
    watch.see("send.ok", 3, result={}, args={"order": "C"})
    assert watch.owed == ['"A"', '"B"']
    assert watch.allows("pay", order="A")  # an obligation forbids nothing
    watch.see("send.ok", 4, result={}, args={"order": "A"})
    assert watch.owed == ['"B"']
    watch.see("send.error", 5, error={}, args={"order": "B"})
    assert watch.owed == ['"B"']


def test_values_that_cannot_be_read_share_one_automaton():
    """A `per` that fails on some call does not open a way around the rule."""
    watch = Watch("at_most(pay, 1, per=args.order + 1)")
    watch.intend("pay", 1, order="x")
    assert not watch.allows("pay", order="y")
    assert watch.allows("pay", order=1)


def test_a_rule_may_count_events():
    """Events have no intent behind them: each counts, none is refused, one too many marks."""
    watch = Watch("at_most(pay.ok where result.n == 1, 1)")
    for number, value in enumerate((1, 1, 2)):
        watch.see("pay.ok", number, result={"n": value})
    assert watch.states[0] == {"*": 2, "broken *": True}
    assert watch.rules.broken(watch.states) == [
        {"rule": 0, "text": "at_most(pay.ok where result.n == 1, 1)", "for": "*"}
    ]
    assert watch.allows("pay")
    watch.see("look.ok", 9, result={})
    assert watch.states[0] == {"*": 2, "broken *": True}


def test_an_obligation_may_begin_with_an_intent():
    """Proposing opens it; it is owed, and forbids nothing."""
    watch = Watch("leads_to(pay, send.ok)")
    watch.intend("pay", 1)
    assert watch.owed == ["*"]
    assert watch.allows("pay")


def test_automata_that_do_not_move_are_the_same_object():
    """What a step writes down is what moved, so nothing may be copied needlessly."""
    watch = Watch("at_most(pay, 1)", "leads_to(pay.ok, send.ok)")
    before = watch.states
    watch.see("look.ok", 1, result={})
    assert watch.states is before
    watch.see("send.ok", 2, result={})
    assert watch.states is before
    watch.intend("pay", 3)
    assert watch.states[1] is before[1]
    assert watch.states[0] is not before[0]


def test_the_first_rule_that_forbids_is_named():
    """The gate quotes the rule by index and text."""
    watch = Watch("at_most(send, 1)", "never(pay)", "at_most(pay, 0)")
    index, rule = watch.rules.forbids(watch.states, "pay", {"args": {}})
    assert (index, rule.text) == (1, "never(pay)")
