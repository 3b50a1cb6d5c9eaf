"""A mistake in the refund table is noticed: by its checks, its rules, its golden journals."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from statemachine_agents.journal.journal import Journal
from statemachine_agents.load import load_workflow
from statemachine_agents.testing.mutation import score

REFUND = Path(__file__).parents[2] / "workflows" / "refund"
KNOWN = {
    "tools.process_credit.when": "the guard of `validating` lets only eligible orders come here",
    "transitions[16].target": "a run in doubt cannot end, so where it waits changes nothing seen",
    "transitions[23].target": "nothing is evaluated in `needs_person`: the row is never asked",
}
"""Places whose mutants behave alike in every run that was found, and why."""


def test_every_mistake_is_noticed_or_known_to_change_nothing(tmp_path):
    """All mutants of guards and of rows on effects; what survives is listed with its reason."""
    workflow = load_workflow(REFUND, tmp_path)
    goldens = [
        Journal.loads(path.read_bytes()).verify()
        for path in sorted((REFUND / "golden").glob("*.jsonl"))
    ]
    found = score(workflow, goldens)
    survivors = [verdict.mutant for verdict in found.survivors]
    assert {mutant.where for mutant in survivors} == set(KNOWN)
    effects = ("process_credit.", "send_email.")
    for mutant in survivors:
        row = None if mutant.row is None else workflow.table.transitions[mutant.row]
        assert mutant.kind != "guard"
        assert row is None or not any(event.startswith(effects) for event in row.event)
    kinds = Counter(verdict.mutant.kind for verdict in found.verdicts)
    assert kinds["guard"] > 10
    assert kinds["row"] > 50
