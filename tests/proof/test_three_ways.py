"""Static, at run time, afterwards: three judges of the same rules on the same runs.

Runs by chance, made without rules so that everything happens that the rows allow.
"""

from random import Random

import attrs
import pytest

from statemachine_agents.errors import TableError
from statemachine_agents.journal.conform import conform
from statemachine_agents.kernel.workflow import Workflow
from statemachine_agents.proof.product import prove
from statemachine_agents.table.definition import Definition
from tests import lively_tables
from tests.random_rules import random_rules
from tests.random_runs import random_run
from tests.random_tables import random_workflow

PARTS = 10
TABLES = 12
RUNS = 84
"""PARTS * TABLES * RUNS = 10,080 runs."""

DESKS = (
    lively_tables.desk, lively_tables.worker, lively_tables.family, lively_tables.refund_desk,
)  # fmt: skip


def ruled(workflow, rules):
    """Return a workflow with other rules."""
    definition = workflow.definition
    table = attrs.evolve(workflow.table, rules=tuple(rules))
    changed = Definition(table, definition.tools, definition.children)
    return Workflow.from_definition(changed, {}, workflow.children)


def drawn(random, number):
    """Return a workflow with rules that its checks accept, and the same one without."""
    while True:
        workflow = DESKS[number // 4 % 4]() if number % 4 == 0 else random_workflow(random)
        rules = random_rules(workflow, random, 6)
        try:
            return ruled(workflow, rules), ruled(workflow, ())
        except TableError:
            continue


def inputs(workflow):
    """Return the inputs a workflow must be given."""
    return {name: "A1" for name, key in workflow.table.context.items() if key.required}


@pytest.mark.parametrize("part", range(PARTS))
def test_what_is_proven_no_run_breaks(part):
    """Neither by the audit of its journal nor, with rules on, by the marks of the run itself."""
    random = Random(f"three ways {part}")
    runs = broken = proven = 0
    for number in range(TABLES):
        workflow, free = drawn(random, number)
        definition = workflow.definition
        proofs = prove(workflow.table, definition.tools, children=tuple(definition.children)).proofs
        kept = {proof.index for proof in proofs if proof.verdict == "proven"}
        proven += len(kept)
        for _ in range(RUNS):
            seed = random.randrange(10**9)
            journal = random_run(free, seed, things=12, inputs=inputs(free)).journal()
            found = conform(journal, workflow.table.rules).violations
            runs += 1
            broken += bool(found)
            assert not kept & {each.rule for each in found}, [str(each) for each in found]
        live = random_run(workflow, random.randrange(10**9), inputs=inputs(workflow))
        said = conform(live.journal()).violations
        assert not kept & {each.rule for each in said}, [str(each) for each in said]
        # Calls that would break a rule were refused: only facts and ends can have broken one.
        assert all("." in each.fact or each.fact == "end" for each in said), said
        snapshot = live.run.standing.snapshot
        marked = {each["rule"] for each in workflow.rules.broken(snapshot.rules)}
        assert marked == {each.rule for each in said if each.fact != "end"}
    assert runs == TABLES * RUNS
    assert broken > runs // 20
    assert proven
