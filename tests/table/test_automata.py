"""Every form means what its definition says, on thousands of words, and stays small."""

from __future__ import annotations

import random

import pytest

from statemachine_agents.table.automata import FORMS
from statemachine_agents.table.rule_syntax import parse_rule
from statemachine_agents.table.rules import TURN, RuleSet
from tests.rule_meaning import verdict

TEXTS = {
    "never": ("never(a)", "never(a.ok where result.x == 1)", "never([a where args.k == 1, b])"),
    "at_most": ("at_most(a, 1)", "at_most([a, b.ok], 2)", "at_most(a where args.k == 1, 1)"),
    "exactly": ("exactly(a, 2)", "exactly(a.ok, 1)"),
    "must": ("must(a)", "must(b.ok where result.x == 1)"),
    "starts_with": ("starts_with(a)", "starts_with(a.ok)", "starts_with([a where args.k == 1, b])"),
    "only_after": ("only_after(b, a.ok)", "only_after(b, a)", "only_after(b, b.ok)"),
    "each_needs": ("each_needs(b, a.ok)", "each_needs(b.ok, a.ok)", "each_needs([b, c], a)"),
    "leads_to": ("leads_to(a.ok, b)", "leads_to(a, [b.ok, c.ok where result.x == 1])"),
    "next": ("next(a.ok, b)", "next(a.error, b.ok)", "next(a, a.ok)"),
    "never_after": ("never_after(a.ok, b)", "never_after(a, a)", "never_after(a, b.ok)"),
    "not_both": ("not_both(a, b)", "not_both(a.ok, [b, c.ok])"),
    "within": ("within(a.ok, b.ok, 1)", "within(a, b, 0)", "within(a, [b, c.ok], 2)"),
    "ends_within": ("ends_within(3)", "ends_within(0)"),
}


def words(seed, count, length=9):
    """Yield random words of facts: calls that are intended and end, and turns between them."""
    rng = random.Random(seed)
    for _ in range(count):
        word, open_calls, number = [], {}, 0
        for _ in range(rng.randrange(1, length)):
            chance = rng.random()
            if chance < 0.2:
                word.append((TURN, {"context": {}}, None))
            elif chance < 0.6 or not open_calls:
                number += 1
                tool, args = rng.choice("abc"), {"k": rng.choice((1, 2))}
                open_calls[number] = (tool, args)
                word.append((tool, {"args": args}, number))
            else:
                call = rng.choice(list(open_calls))
                tool, args = open_calls[call]
                outcome = rng.choice(("ok", "ok", "error", "unknown"))
                if outcome != "unknown":
                    del open_calls[call]
                scope = {"args": args, "result": {"x": rng.choice((0, 1))}}
                word.append((f"{tool}.{outcome}", scope, call))
        yield word


@pytest.mark.parametrize(
    ("form", "per"),
    [(form, "") for form in FORMS] + [(form, ", per=args.k") for form in FORMS if FORMS[form].per],
)
def test_an_automaton_agrees_with_the_definition(form, per):
    """Broken and owed, for every value, on 1,200 random words a text."""
    for text in TEXTS[form]:
        rule = parse_rule(text[:-1] + per + ")")
        rules = RuleSet.of((rule,))
        seen = set()
        for word in words(f"{text}{per}", 1200):
            states = rules.start()
            for name, scope, call in word:
                states = rules.observe(states, name, scope, call)
            found = set(rule.broken(states[0])), set(rule.owed(states[0]))
            assert found == verdict(rule, word), (rule.text, word, states)
            seen.add((bool(found[0]), bool(found[1])))
        assert len(seen) > 1, text  # the words tell a kept rule from one that is not


@pytest.mark.parametrize("form", FORMS)
def test_the_gate_refuses_just_the_calls_that_would_break_a_rule(form):
    """An intent is refused if and only if observing it would mark the rule as broken."""
    refused = 0
    for text in TEXTS[form]:
        rule = parse_rule(text)
        rules = RuleSet.of((rule,))
        for word in words(f"gate {text}", 400):
            states = rules.start()
            for name, scope, call in word:
                no = "." not in name and rules.forbids(states, name, scope) is not None
                after = rules.observe(states, name, scope, call)
                if "." not in name and not rules.broken(states):
                    assert no == bool(rules.broken(after))
                refused += no
                if no:
                    continue  # a refused call never happens
                states = after
    calls = {
        "never", "at_most", "exactly", "starts_with", "only_after", "each_needs", "next",
        "never_after", "not_both",
    }  # fmt: skip
    assert bool(refused) == (form in calls)


def test_automata_are_small():
    """At most three states each; what counts holds one number."""
    for form in FORMS.values():
        states = {0, *form.moves.values(), *(state for state, _ in form.moves)}
        assert len(states) <= 3
        assert (form.count is None) == (bool(form.moves) or not form.arguments)


def test_a_rule_that_hears_every_call_hears_only_calls():
    """`starts_with` and `next` are moved by calls no rule names, and by no such event."""
    rules = RuleSet.of((parse_rule("starts_with(a)"), parse_rule("never(b)")))
    assert rules.listening("zzz") == (0,)
    assert rules.listening("b") == (0, 1)
    assert rules.listening("zzz.ok") == ()


@pytest.mark.parametrize("text", ["must(a, per=args.k)", "ends_within(3, per=args.k)"])
def test_per_is_refused_where_it_means_nothing(text):
    """A rule about the run as a whole has one automaton."""
    with pytest.raises(Exception, match="has no meaning"):
        parse_rule(text)


def test_the_least_of_several_bounds_counts():
    """`ends_within` rules bound turns together."""
    rules = RuleSet.of((parse_rule("ends_within(9)"), parse_rule("ends_within(4)")))
    assert rules.turns == 4
    assert RuleSet.of(()).turns is None
