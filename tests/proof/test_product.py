"""Verdicts on rules: proven, refuted with the shortest way, vacuous, contradictory."""

import pytest

from statemachine_agents.proof.product import prove
from statemachine_agents.table.model import Limits, Signal, State, Table, Transition, Use
from statemachine_agents.table.toolspec import ToolSpec

RESULT = {
    "type": "object",
    "properties": {"eligible": {"type": "boolean"}},
    "required": ["eligible"],
    "additionalProperties": False,
}
SPECS = {
    "look": ToolSpec(name="look", effect="read"),
    "check": ToolSpec(name="check", effect="read", result=RESULT),
    "pay": ToolSpec(name="pay", effect="idempotent"),
    "mail": ToolSpec(name="mail", effect="manual"),
}
STATES = (
    State("checking", ask="x", tools=["check"]),
    State("paying", ask="x", tools=["pay"]),
    State("mailing", ask="x", tools=["mail"]),
    State("complete", final="success"),
    State("failed", final="failure"),
)
ROWS = (
    Transition("checking", "check.ok", "paying", guard="result.eligible"),
    Transition("checking", "check.ok", "failed"),
    Transition("paying", "pay.ok", "mailing"),
    Transition("mailing", "mail.ok", "complete"),
)


def table(*rules, rows=ROWS, states=STATES, **parts):
    """Return a little refund with other rules."""
    return Table(
        name="t", initial="checking", states=states, transitions=rows, rules=rules, **parts
    )


def verdict(rule, specs=SPECS, **parts):
    """Return the proof of one rule."""
    (proof,) = prove(table(rule, **parts), specs).proofs
    return proof


@pytest.mark.parametrize(
    "rule",
    [
        "only_after(pay, check.ok where result.eligible)",
        "at_most(pay.ok, 1)",
        "each_needs(pay.ok, check.ok)",
        "never_after(mail.ok, pay)",
        "starts_with(check)",
        "not_both(mail.error where error.kind == 'x', approval.granted)",
        "never(pay where visits.checking == 'x')",
    ],
)
def test_what_the_rows_keep_is_proven(rule):
    """No run of the table breaks it, whatever model, tools and people do."""
    assert verdict(rule).verdict == "proven"


@pytest.mark.parametrize(
    ("rule", "fact", "gated"),
    [
        ("never(pay)", "pay", True),
        ("only_after(pay, mail.ok)", "pay", True),
        ("never_after(check.ok, pay)", "pay", True),
        ("must(mail)", "end", True),
        ("exactly(mail, 2)", "end", True),
        ("leads_to(pay.ok, mail.ok)", "end", False),
        ("leads_to(pay, mail)", "end", False),
        ("never(pay.error)", "pay.error", False),
        ("within(check.ok, mail.ok, 1)", "end", False),
        ("ends_within(2)", "model.asked", True),
        ("next(pay.ok, look)", "end", False),
    ],
)
def test_what_a_run_can_break_is_refuted(rule, fact, gated):
    """With the fact that breaks it, and whether the gate would refuse that."""
    proof = verdict(rule)
    assert (proof.verdict, proof.fact, proof.gated) == ("refuted", fact, gated)


def test_the_way_is_a_shortest_one():
    """Facts and rows from the start; nothing that is not needed."""
    proof = verdict("only_after(pay, mail.ok)")
    assert proof.lines() == (
        "checking: model.asked",
        "checking: check.ok (row 1) -> paying",
        "paying: model.asked",
        "paying: pay",
    )
    assert proof.path == ("checking", "paying")
    assert proof.hops[1].scope == {"result": {"eligible": True}}


def test_guards_and_conditions_of_rules_are_decided_together():
    """Without the guard the very same rule is refuted."""
    rule = "only_after(pay, check.ok where result.eligible)"
    rows = (Transition("checking", "check.ok", "paying"), *ROWS[2:])
    assert verdict(rule).verdict == "proven"
    refuted = verdict(rule, rows=rows)
    assert (refuted.verdict, refuted.fact) == ("refuted", "pay")


def test_a_call_that_failed_may_be_made_again():
    """`.error` takes the intent back; a doubt does not, until it is resolved so."""
    assert verdict("at_most(pay, 1)").verdict == "proven"
    again = (*ROWS, Transition("mailing", "mail.error", "paying"))
    assert verdict("at_most(pay, 1)", rows=again).verdict == "refuted"
    unknown = (*ROWS, Transition("paying", "pay.unknown", "checking"))
    assert verdict("at_most(pay, 1)", rows=unknown).verdict == "refuted"


def test_reads_of_one_reply_count_each():
    """Two looks in one reply are two calls, before either has returned."""
    states = (State("checking", ask="x", tools=["look"]), STATES[3])
    proof = verdict("at_most(look, 1)", states=states,
                    rows=(Transition("checking", "look.ok", "complete"),))  # fmt: skip
    assert proof.lines() == ("checking: model.asked", "checking: look", "checking: look")


def test_a_late_result_is_heard_but_moves_nothing():
    """Two reads at once: the second returns in the next state, where a rule still hears it."""
    states = (
        State("checking", ask="x", tools=["look", "check"]),
        State("resting", wait="message"),
        STATES[3],
    )
    rows = (
        Transition("checking", "look.ok", "resting"),
        Transition("resting", "user.message", "complete"),
    )
    proof = verdict("never_after(look.ok, check.ok)", states=states, rows=rows)
    assert proof.verdict == "refuted"
    assert proof.hops[-1].late


def test_bound_values_that_never_change_are_one_value():
    """`per=` over such an argument counts as without."""
    again = (*ROWS, Transition("mailing", "mail.error", "paying"))
    parts = {"rows": again, "context": {"order": "string"}}
    rule = "only_after(pay, check, per=args.order)"
    free = verdict(rule, **parts)
    assert free.verdict == "refuted"
    uses = {name: Use(bind={"order": "context.order"}) for name in ("pay", "check")}
    assert verdict(rule, tools=uses, **parts).verdict == "proven"
    changed = (*again, Transition("mailing", "mail.ok", None, assign={"order": "'other'"}))
    assert verdict(rule, tools=uses, **{**parts, "rows": changed}).verdict == "refuted"


def test_limits_end_runs_and_a_routed_one_must_park_or_end():
    """A limit that leads back to asking the model is a failure, so what is due stays due."""
    rule = "leads_to(pay.ok, mail.ok)"
    back = (*ROWS, Transition("mailing", ["limit.*", "model.refused"], "stay"))
    assert verdict(rule, rows=back).verdict == "refuted"
    away = (
        *ROWS,
        Transition("mailing", ["limit.*", "model.refused", "run.cancelled"], "waiting"),
        Transition("waiting", "approval.granted", "mailing"),
        Transition("waiting", "approval.rejected", "mailing"),
    )
    waiting = (*STATES, State("waiting", wait="approval"))
    assert verdict(rule, rows=away, states=waiting, limits=Limits()).verdict == "proven"


def test_a_guard_that_can_fail_ends_a_run():
    """Nothing says that the result has the member, so `guard.error` may come."""
    bare = {**SPECS, "mail": ToolSpec(name="mail", effect="read")}
    rows = (*ROWS[:3], Transition("mailing", "mail.ok", "complete", guard="result.sent"))
    proof = verdict("leads_to(pay.ok, mail.ok where true)", specs=bare, rows=rows)
    assert proof.verdict == "refuted"


def test_conditions_too_many_to_decide_together_are_undecided():
    """Nine guards over nine numbers: no claim, no crash."""
    rows = [
        Transition(
            "checking", "look.ok", "paying",
            guard=" and ".join(f"context.k{i} < context.k{(i + n) % 9}" for i in range(9)),
        )
        for n in range(1, 9)
    ]  # fmt: skip
    states = (State("checking", ask="x", tools=["look"]), *STATES[1:2], STATES[3])
    proofs = prove(
        table(
            "never_after(look.ok, pay)",
            rows=(*rows, Transition("paying", "pay.ok", "complete")),
            states=states,
            context={f"k{i}": "integer" for i in range(9)},
        ),
        SPECS,
    )
    (proof,) = proofs.proofs
    assert proof.verdict == "undecided"
    assert "200,000 regions" in proof.reason
    assert proofs.contradiction is None


def test_a_rule_about_nothing_is_vacuous():
    """What it speaks of cannot happen; a rule that forbids something impossible does its work."""
    assert verdict("leads_to(look.ok, mail.ok)").vacuous
    assert verdict("not_both(pay, look)").vacuous
    assert not verdict("leads_to(mail.ok, check.ok)").vacuous
    assert not verdict("never(look)").vacuous


def test_rules_that_leave_no_successful_run_contradict():
    """Each can be kept, but not both by a run that succeeds."""
    assert prove(table("must(mail)", "never(pay)"), SPECS).contradiction is True
    assert prove(table("must(mail)", "at_most(pay, 1)"), SPECS).contradiction is False
    assert prove(table(), SPECS).contradiction is False


def test_a_signal_lets_the_rest_of_a_reply_be_judged_in_the_next_state():
    """The second call of the reply is made there, before the model is asked again."""
    rows = (
        Transition("checking", "go.ok", "paying"),
        Transition("paying", "pay.ok", "complete"),
    )
    states = (State("checking", ask="x", tools=["go"]), STATES[1], STATES[3])
    proof = verdict("ends_within(1)", rows=rows, states=states, signals={"go": Signal()})
    assert proof.verdict == "refuted"
    one = verdict("within(go.ok, pay.ok, 0)", rows=rows, states=states, signals={"go": Signal()})
    assert one.verdict == "refuted"


def test_a_table_without_an_initial_state_or_with_bad_rules_is_not_proven():
    """Other checks report these; nothing is claimed about what does not read."""
    broken = Table(name="t", initial="nowhere", states=STATES, rules=["never(pay)"])
    assert prove(broken, SPECS).proofs == ()
    assert [each.index for each in prove(table("never(", "never(pay)"), SPECS).proofs] == [1]
