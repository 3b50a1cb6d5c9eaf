"""The prover against every run of small tables, enumerated one by one.

The tables here are closed worlds: one model, read and write tools, results of two values.  The
enumerator below knows the engine's order of things from the design, and judges whole words of facts
with the definitions of `rule_meaning`; it shares no code with the prover but the rule's text form.
"""

from __future__ import annotations

import os
from random import Random

import attrs
import pytest

from statemachine_agents.proof.product import prove
from statemachine_agents.proof.structure import check
from statemachine_agents.table.model import State, Table, Transition
from statemachine_agents.table.rule_syntax import parse_rule
from statemachine_agents.table.rules import TURN
from statemachine_agents.table.toolspec import ToolSpec
from tests.rule_meaning import verdict

TABLES = int(os.environ.get("SMA_ORACLE_TABLES", "20000"))
PARTS = 20
DEEPEST = 9
"""Facts in the longest word enumerated; what takes longer is checked by walking the way found."""

RESULT = {
    "type": "object",
    "properties": {"good": {"type": "boolean"}, "k": {"enum": [1, 2]}},
    "required": ["good", "k"],
    "additionalProperties": False,
}
SPECS = {
    name: ToolSpec(name=name, effect="transactional", result=RESULT) for name in ("pay", "ship")
}
VALUES = [{"good": good, "k": k} for good in (True, False) for k in (1, 2)]
RESULTS = {"all": VALUES, "good": [each for each in VALUES if each["good"]]}
FORMS = (
    "never({a})", "at_most({a}, {n})", "exactly({a}, {n})", "must({a})", "starts_with({a})",
    "only_after({a}, {b})", "each_needs({a}, {b})", "leads_to({a}, {b})", "next({a}, {b})",
    "never_after({a}, {b})", "not_both({a}, {b})", "within({a}, {b}, {n})", "ends_within({n})",
)  # fmt: skip
NO_PER = ("must", "starts_with", "ends_within")
ATOMS = (
    "pay", "ship", "pay.ok", "ship.ok", "pay.error", "pay.ok where result.good",
    "ship.ok where not result.good", "[pay.ok, ship.error]",
)  # fmt: skip


def random_table(random):
    """Return a table of two or three acting states, each with one write tool, and one rule."""
    names = [f"s{number}" for number in range(random.choice((1, 2, 2, 3)))]
    rows = []
    for name in names:
        tool = random.choice(("pay", "ship"))
        rows.append((name, tool))
    targets = [*names, "good", "bad"]
    transitions = []
    for name, tool in rows:
        if random.random() < 0.6:
            transitions.append(
                Transition(name, f"{tool}.ok", random.choice(targets), guard="result.good")
            )
        if random.random() < 0.8:
            transitions.append(Transition(name, f"{tool}.ok", random.choice(targets)))
        if random.random() < 0.4:
            transitions.append(Transition(name, f"{tool}.error", random.choice(targets)))
    form = random.choice(FORMS)
    a, b = random.choice(ATOMS), random.choice(ATOMS)
    text = form.format(a=a, b=b, n=random.choice((1, 1, 2)))
    if random.random() < 0.3 and not text.startswith(NO_PER):
        text = text[:-1] + ", per=result.k)"
    return Table(
        name="t",
        initial="s0",
        states=[
            *(State(name, ask="x", tools=[tool]) for name, tool in rows),
            State("good", final="success"),
            State("bad", final="failure"),
        ],
        transitions=transitions,
        rules=[text],
    )


def words(table, most):
    """Yield every word of facts up to a length, with how the run stands: open or ended.

    One write tool a state, so one call a reply.  Other endings (limits, a model that refuses, a
    cancelled run) leave every word as it is and may come before each request.
    """
    rows = table.transitions

    def moved(state, event, value):
        for row in rows:
            fires = row.guard is None or value["good"]
            if row.source == state and event in row.event and fires:
                return row.target
        return state

    pending = [(table.initial, [], 0)]
    while pending:
        state, word, calls = pending.pop()
        final = table.states[state].final
        if final is not None:
            yield word, True
            continue
        yield word, True  # a limit ends the run here as failed
        if len(word) + 1 > most:
            continue
        asked = [*word, (TURN, {}, None)]
        yield asked, True  # the model refuses
        if len(word) + 2 > most:
            continue
        (tool,) = table.states[state].tools
        call = calls + 1
        made = [*asked, (tool, {}, call)]
        yield made, False
        if len(word) + 3 > most:
            continue
        for value in VALUES:
            fact = (f"{tool}.ok", {"result": value}, call)
            pending.append((moved(state, fact[0], value), [*made, fact], call))
        error = (f"{tool}.error", {"error": {"kind": "x"}}, call)
        pending.append((moved(state, error[0], {"good": False}), [*made, error], call))
        pending.append((state, asked, calls))  # a reply that calls nothing


def ways(table):
    """Return, for each state, every state that some run from there comes to, by trying all runs."""
    found = {}
    for name, state in table.states.items():
        seen, pending = {name}, [name]
        while pending:
            here = table.states[pending.pop()]
            if here.verb == "final":
                continue
            (tool,) = here.tools
            for event, value in [
                *((f"{tool}.ok", value) for value in VALUES), (f"{tool}.error", {"good": False}),
            ]:  # fmt: skip
                target = next(
                    (row.target for row in table.transitions
                     if row.source == here.name and event in row.event
                     and (row.guard is None or value["good"])), here.name,
                )  # fmt: skip
                if target not in seen:
                    seen.add(target)
                    pending.append(target)
        found[name] = (state.verb == "final", seen)
    return found


def breaks(rule, word, *, ended):
    """Whether a word breaks a rule, by definition."""
    broken, owed = verdict(rule, word)
    return bool(broken) or (ended and bool(owed))


@pytest.mark.parametrize("part", range(PARTS))
def test_states_out_of_reach_and_without_an_end_agree_with_every_run(part):
    """Exactly the states that no run comes to, and those from which none comes to an end."""
    random = Random(f"ways {part}")
    kinds = set()
    for _ in range(TABLES // PARTS):
        table = random_table(random)
        found = ways(table)
        reached = found[table.initial][1]
        ending = {name for name, (_, seen) in found.items()
                  if any(table.states[each].verb == "final" for each in seen)}  # fmt: skip
        said = {}
        for problem in check(attrs.evolve(table, rules=()), SPECS):
            said.setdefault(problem.code, set()).add(problem.where.removeprefix("states."))
        assert said.get("unreachable-state", set()) == set(table.states) - reached, table.to_toml()
        stuck = said.get("no-end", set()) | said.get("dead-end", set())
        # A state that fails by a default when nothing moves it is an end of its own kind.
        assert stuck == set(table.states) - ending, table.to_toml()
        kinds |= set(said)
    assert {"unreachable-state", "no-end"} <= kinds


@pytest.mark.parametrize("part", range(PARTS))
def test_verdicts_agree_with_every_enumerated_run(part):
    """Whatever is proven no word breaks; whatever is refuted, a word breaks within the length."""
    random = Random(f"oracle {part}")
    judged = 0
    for _ in range(TABLES // PARTS):
        table = random_table(random)
        rule = parse_rule(table.rules[0])
        proof = prove(table, SPECS).proofs[0]
        assert proof.verdict in ("proven", "refuted"), (table.to_toml(), proof)
        judged += 1
        if proof.verdict == "refuted" and len(proof.hops) > DEEPEST:
            continue
        most = len(proof.hops) if proof.verdict == "refuted" else 6
        found = any(breaks(rule, word, ended=ended) for word, ended in words(table, most))
        assert found is (proof.verdict == "refuted"), (table.to_toml(), proof.lines())
    assert judged == TABLES // PARTS
