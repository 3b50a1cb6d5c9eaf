"""A refuted rule comes with a run that breaks it: played, audited, printed, run again."""

from pathlib import Path

import attrs
import pytest

from statemachine_agents.kernel.workflow import Workflow, used_tools
from statemachine_agents.load import bundled, load_workflow
from statemachine_agents.table.definition import Definition
from statemachine_agents.table.model import Key, State, Table, Transition
from statemachine_agents.table.toolspec import ToolSpec
from statemachine_agents.testing.proving import prove, unruled

EARLY = Path(__file__).parent.parent / "corpora" / "early_refund.toml"
LEADS = "leads_to(process_credit.ok, send_email.ok)"
GUARDED = "only_after(process_credit, check_refund_policy.ok where result.eligible)"


def early(*rules, guard="result.eligible"):
    """Return the early refund table with other rules, and perhaps without its guard."""
    table = Table.from_toml(EARLY.read_text(encoding="utf-8"))
    rows = tuple(
        attrs.evolve(row, guard=guard) if row.guard is not None else row
        for row in table.transitions
    )
    table = attrs.evolve(table, rules=rules, transitions=rows)
    tools = {name: ToolSpec(name=name) for name in used_tools(table)}
    return Workflow.from_definition(Definition(table, tools))


def repeat(script, workflow):
    """Run a printed script, as a user would who pasted it into a test."""
    code = compile(script, "script", "exec")
    exec(code, {"workflow": workflow})


@pytest.mark.parametrize(
    ("rule", "guard"),
    [
        (LEADS, "result.eligible"),
        (GUARDED, None),
        ("never(process_credit)", "result.eligible"),
        ("must(send_email)", "result.eligible"),
        ("next(fetch_order.ok, process_credit)", "result.eligible"),
        ("starts_with(check_refund_policy)", "result.eligible"),
        ("never(process_credit.unknown)", "result.eligible"),
    ],
)
def test_each_refuted_rule_is_broken_by_its_script(rule, guard):
    """With the rules off the script breaks the rule, by the audit of its journal."""
    workflow = early(rule, guard=guard)
    (proof,) = prove(workflow).proofs
    assert proof.verdict == "refuted"
    repeat(proof.script, workflow)


def test_with_the_gate_on_the_same_script_breaks_nothing_the_gate_can_refuse():
    """The rule that refutes the table refuses the call in the run."""
    workflow = early(GUARDED, guard=None)
    (proof,) = prove(workflow).proofs
    assert proof.gated
    live = proof.script.replace("unruled(workflow),", "workflow,").replace("not conform", "conform")
    repeat(live, workflow)


def test_the_four_findings_on_the_early_table():
    """Default for a doubt; failed after paying; guard errors untaken; a guard no rule needs."""
    from statemachine_agents.proof.structure import defaults

    workflow = early(LEADS, "only_after(process_credit, check_refund_policy.ok)", GUARDED)
    fallen = {(each.state, each.event, each.default)
              for each in defaults(workflow.table, workflow.definition.tools)}  # fmt: skip
    assert ("crediting", "process_credit.unknown", "parked") in fallen
    assert ("validating", "guard.error", "failed") in fallen
    leads, plain, guarded = prove(workflow).proofs
    assert (leads.verdict, leads.path[-1]) == ("refuted", "failed")
    assert "process_credit.ok" in [hop.fact for hop in leads.hops]
    assert (plain.verdict, guarded.verdict) == ("proven", "proven")
    without = early(
        LEADS, "only_after(process_credit, check_refund_policy.ok)", GUARDED, guard=None
    )
    _, plain, guarded = prove(without).proofs
    assert plain.verdict == "proven"  # the rule as it was written notices nothing
    assert guarded.verdict == "refuted"


def test_a_guard_that_cannot_be_evaluated_shows_in_the_way():
    """`*.error` does not take `guard.error`: the run fails by a default."""
    workflow = early("leads_to(check_refund_policy.ok, process_credit)")
    (proof,) = prove(workflow).proofs
    facts = [hop.fact for hop in proof.hops]
    assert proof.verdict == "refuted"
    assert "check_refund_policy.ok" in facts


@pytest.mark.parametrize("name", sorted(bundled()))
def test_shipped_workflows_have_no_rule_that_a_run_can_break(name, tmp_path):
    """Proven by the rows, kept by the gate, or by conditions on what was read (undecided)."""
    proofs = prove(load_workflow(name, tmp_path / "runs.db"))
    for proof in proofs.proofs:
        assert proof.verdict != "refuted" or proof.gated, (proof.rule.text, proof.lines())
        assert not proof.vacuous, proof.rule.text
    assert proofs.contradiction is not True


def test_what_cannot_be_shown_is_undecided():
    """Values prevent the way: the guard asks for a number that was written down to be another."""
    table = Table(
        name="t",
        initial="one",
        states=[
            State("one", ask="x", tools=["look"]),
            State("two", ask="x", tools=["pay"]),
            State("done", final="success"),
        ],
        transitions=[
            Transition("one", "look.ok", "two", guard="context.n == 2", assign={"n": "1"}),
            Transition("one", "look.ok", "done", assign={"n": "1"}),
            Transition("two", "pay.ok", "done"),
        ],
        context={"n": Key(type="integer", default=1)},
        rules=["never(pay.ok where context.n == 5)", "never(pay where context.n == 1)"],
    )
    tools = {name: ToolSpec(name=name, effect="read") for name in ("look", "pay")}
    workflow = Workflow.from_definition(Definition(table, tools))
    first, _ = prove(workflow).proofs
    assert first.verdict == "undecided"
    assert "could not be shown" in first.reason


def test_without_rules_nothing_is_refused():
    """`unruled` is the same workflow but for the rules."""
    workflow = early(GUARDED)
    bare = unruled(workflow)
    assert bare.table.rules == ()
    assert bare.table.transitions == workflow.table.transitions
