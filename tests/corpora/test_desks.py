"""Two desks against every recorded call: what the policy denies is refused, all else let through.

Retail: 157 runs of three kinds of model, airline: 100 runs.  No call is judged otherwise than its
label says, so no difference is left to explain; the labels leave out some sentences of the
policies.  The recorded `think` calls of one kind carry no
thought; the desk's own `think` takes that.
"""

from collections import Counter

import attrs
import pytest

from statemachine_agents.kernel.workflow import Workflow
from statemachine_agents.load import load_workflow
from statemachine_agents.table.definition import Definition
from tests.corpora.desk_gate import judged, told
from tests.workflows.desks import WORKFLOWS

pytestmark = pytest.mark.corpus

NOW = "2024-05-15T15:00:00Z"
"""The policies say so: 15:00 on that day, in the desks' own time, as the recorded bookings are."""


@pytest.mark.parametrize(
    ("desk", "corpus", "name", "denied", "allowed"),
    [
        ("retail", "tau_retail", "runs_free", {"no_confirmation": 16, "ineligible_status": 7}, 395),
        ("retail", "tau_retail", "runs_pre",
         {"no_confirmation": 9, "ineligible_status": 1, "refund_method": 1}, 457),
        ("retail", "tau_retail", "runs_orch", {"no_confirmation": 1, "ineligible_status": 1}, 436),
        ("airline", "tau_airline", "runs_gpt4o",
         {"no_confirmation": 30, "payment_mix": 6, "cancel_ineligible": 4}, 540),
    ],
)  # fmt: skip
def test_the_gate_judges_every_recorded_call_as_the_policy_does(
    desk, corpus, name, denied, allowed, tmp_path
):
    """Denied calls are refused, allowed ones let through; counted for each broken rule."""
    workflow = load_workflow(WORKFLOWS / desk, tmp_path)
    found = list(judged(workflow, corpus, name, now=NOW))
    print(f"\n{name}, {len(found)} calls\n{told(found)}")
    differing = [(each.run, each.at, each.tool, each.why, each.said) for each in found
                 if not each.agrees]  # fmt: skip
    assert differing == []
    refused = [each for each in found if not each.said.admitted]
    assert Counter(why for each in refused for why in each.why) == denied
    assert sum(each.said.admitted for each in found) == allowed


def test_what_the_labels_forbid_is_what_the_conditions_forbid(tmp_path):
    """Without the condition of a tool its denied calls would be let through: the test can fail."""

    workflow = load_workflow(WORKFLOWS / "airline", tmp_path)
    uses = {**workflow.table.tools}
    uses["book_reservation"] = attrs.evolve(uses["book_reservation"], when=None, why=None)
    table = attrs.evolve(workflow.table, tools=uses)
    open_ = Workflow.from_definition(Definition(table, workflow.definition.tools))
    found = list(judged(open_, "tau_airline", "runs_gpt4o", now=NOW))
    through = [each for each in found if each.said.admitted and not each.allow]
    assert {each.tool for each in through} == {"book_reservation"}
    assert len(through) == 16
