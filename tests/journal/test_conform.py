"""Conform: an old log says of a rule what a live run would have said."""

from __future__ import annotations

from collections import Counter
from random import Random

import attrs
import pytest

from statemachine_agents.journal.conform import Fact, audit, conform, facts_of, rules_of
from statemachine_agents.journal.journal import Journal
from statemachine_agents.kernel.workflow import Workflow
from statemachine_agents.table.automata import FORMS
from statemachine_agents.table.definition import Definition
from statemachine_agents.table.model import State, Table, Transition
from statemachine_agents.table.rules import TURN, is_call
from tests.driving import Hand, small, use
from tests.lively_tables import LIVELY
from tests.random_rules import random_rules
from tests.random_runs import random_run
from tests.rule_meaning import verdict

RUNS = 250
"""Runs a table, each with rules of its own."""


def with_rules(workflow: Workflow, rules: list[str]) -> Workflow:
    """Return the workflow with other rules, unchecked names and all."""
    definition = workflow.definition
    table = attrs.evolve(definition.table, rules=tuple(rules))
    changed = Definition(table, definition.tools, definition.children)
    return Workflow.from_definition(changed, {}, workflow.children)


def sound_rules(workflow: Workflow, seed: int, count: int) -> list[str]:
    """Return rules by chance that a table's own checks let pass."""
    random = Random(seed)
    found: list[str] = []
    while len(found) < count:
        (text,) = random_rules(workflow, random, 1)
        try:
            with_rules(workflow, [text])
        except Exception:  # noqa: BLE001 - an event that no state of this table can meet
            continue
        found.append(text)
    return found


@pytest.mark.parametrize("name", LIVELY)
def test_the_log_says_what_the_live_run_said(name):
    """States of all rules, what is broken and what is owed: the same from log and live run."""
    make, inputs = LIVELY[name]
    plain = make()
    pool = sound_rules(plain, 7, 60)
    random = Random(name)
    seen: Counter[str] = Counter()
    for seed in range(RUNS):
        workflow = with_rules(plain, random.sample(pool, 4))
        hand = random_run(workflow, seed, inputs=inputs, things=25)
        journal, snapshot = hand.journal(), hand.run.standing.snapshot
        states = workflow.rules.start()
        for fact in facts_of(journal):
            states = workflow.rules.observe(states, fact.name, fact.scope, fact.call)
        assert states == snapshot.rules
        found = conform(journal)
        ended = hand.outcome.status in ("succeeded", "failed")
        for index, rule in enumerate(workflow.rules.rules):
            mine = [each for each in found.violations if each.rule == index]
            marks = {each.value for each in mine if each.at}
            assert marks == set(rule.broken(states[index])), rule.text
            due = {each.value for each in mine if not each.at}
            assert due == (set(rule.owed(states[index])) if ended else set())
            # Undoing is the engine's own and is not refused: it takes back, it does not do.
            undoes = {r.seq for r in journal.records if r.body.get("undoes") is not None}
            calls = [each for each in mine if is_call(each.fact) and each.at not in undoes]
            assert not [each for each in calls if each.at], "the gate let a forbidden call through"
            seen[rule.form] += bool(mine)
        if not ended:
            owed = {(i, v) for i, r in enumerate(workflow.rules.rules) for v in r.owed(states[i])}
            assert set(found.owed) == owed
    assert sum(seen.values()) > 20, seen


@pytest.mark.parametrize("name", LIVELY)
def test_rules_asked_of_runs_made_without_them(name):
    """What is found in a log whose run did not know the rules is what the definitions say."""
    make, inputs = LIVELY[name]
    workflow = with_rules(make(), [])
    rules = rules_of(sound_rules(workflow, 11, 40))
    seen: Counter[str] = Counter()
    for seed in range(RUNS // 5):
        journal = random_run(workflow, seed, inputs=inputs, things=25).journal()
        facts = list(facts_of(journal))
        word = [(fact.name, dict(fact.scope), fact.call) for fact in facts]
        found = audit("r", facts, rules, ended=False)
        for index, rule in enumerate(rules.rules):
            broken = {each.value for each in found.violations if each.rule == index}
            owed = {value for number, value in found.owed if number == index}
            assert (broken, owed) == verdict(rule, word), (rule.text, seed)
            seen[rule.form] += bool(broken or owed)
        assert conform(journal, rules).facts == len(facts)
    assert len(seen) > len(FORMS) / 2, seen


def paid_twice() -> Journal:
    """Return a run that paid one order twice, looked at nothing and sent no word."""
    hand = Hand(
        small(
            Transition("here", "send.ok", "done"),
            states=[State("here", ask="x", tools=["look", "pay", "send"])],
        )
    )
    for _ in range(2):
        hand.reply(use("pay", order="A"))
        hand.returns({})
    hand.reply(use("send"))
    hand.returns({})
    return hand.journal()


def test_each_violation_names_run_position_fact_and_rule():
    """The second payment is where the rule was broken; what never came is broken at the end."""
    journal = paid_twice()
    found = conform(
        journal, ["at_most(pay, 1, per=args.order)", "must(look)", "only_after(pay, look.ok)"]
    )
    assert not found.kept
    intents = [record.seq for record in journal.records if record.kind == "call_intended"]
    assert [(each.rule, each.at, each.fact, each.value) for each in found.violations] == [
        (2, intents[0], "pay", "*"),
        (0, intents[1], "pay", '"A"'),
        (2, intents[1], "pay", "*"),
        (1, 0, "end", "*"),
    ]
    assert str(found.violations[1]).endswith('breaks at_most(pay, 1, per=args.order) for "A"')
    assert "at the end" in str(found.violations[3])
    assert found.to_dict()["violations"][0]["run_id"] == journal.run_id


def test_rules_come_from_a_workflow_a_table_parsed_or_as_texts():
    """`[define]` names of a table stand for their expressions."""
    table = Table(
        name="t",
        initial="end",
        states=[State("end", final="success")],
        define={"mine": "args.order == 'A'"},
        rules=["never(pay where mine)"],
    )
    for source in (table, rules_of(table), with_rules(LIVELY["desk"][0](), []), ["never(pay)"]):
        found = conform(paid_twice(), source)
        assert len(found.violations) == (0 if isinstance(source, Workflow) else 2)


def test_a_run_that_is_not_over_owes():
    """A parked or cancelled run still owes what a finished one has broken."""
    facts = [Fact("pay", {"args": {}}, 1, 1), Fact("pay.ok", {"args": {}}, 1, 2)]
    rules = rules_of(["leads_to(pay.ok, send.ok)", "must(send)"])
    open_, over = (audit("r", facts, rules, ended=ended) for ended in (False, True))
    assert open_.kept
    assert open_.owed == ((0, "*"), (1, "*"))
    assert [each.rule for each in over.violations] == [0, 1]
    assert over.owed == ()


def test_every_value_that_waited_too_long_is_named():
    """A turn may break `within` for several values at once."""
    facts = [
        *(Fact("pay.ok", {"args": {"n": n}}, n, n) for n in (1, 2)),
        Fact(TURN, {}, None, 3),
        Fact(TURN, {}, None, 4),
    ]
    found = audit("r", facts, rules_of(["within(pay.ok, send.ok, 1, per=args.n)"]))
    assert [(each.at, each.value) for each in found.violations] == [(4, "1"), (4, "2")]
