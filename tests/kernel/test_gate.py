"""The gate: each stage alone, their order, and several calls of one reply."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from statemachine_agents.kernel.gate import Admission, Proposal, judge, schema_faults
from statemachine_agents.kernel.snapshot import Counters, Snapshot
from statemachine_agents.kernel.step import begin
from statemachine_agents.kernel.workflow import Workflow
from statemachine_agents.table.model import Key, Limits, Signal, State, Transition, Use
from statemachine_agents.table.toolspec import ToolSpec
from tests.driving import Hand, arguments, small, use

SPEC = ToolSpec(name="pay", effect="manual", arguments=arguments(order="string", cents="integer"))
LOOK = ToolSpec(name="look", effect="read", arguments=arguments(n="integer?"))


def desk(rules: tuple[str, ...] = (), **how: Any) -> Workflow:
    """Return a desk that may `pay`, as `how` says."""
    return small(
        Transition("here", "pay.ok", "done"),
        Transition("here", "stop.ok", "done"),
        Transition("here", "guard.error", "there"),
        Transition("there", "look.ok", "done"),
        states=[State("here", ask="x", tools=["pay", "stop"]), State("there", do=["look"])],
        everywhere=["look"],
        specs={"pay": SPEC, "look": LOOK},
        signals={"stop": Signal(fields={"why": "string", "code": "integer?"})},
        tools={"pay": Use(**{"bind": {"order": "context.order"}, **how})},
        context={"order": Key(type="any", default="A1"), "n": Key(type="integer", default=0)},
        limits=Limits(calls=5),
        rules=rules,
    )


def asked(
    workflow: Workflow,
    tool: str = "pay",
    given: Any = None,
    at: Snapshot | None = None,
    **more: Any,
) -> Admission:
    snapshot = at or begin(workflow, workflow.bind_context({})).after
    arguments_given = {"cents": 5} if given is None else given
    return judge(workflow, snapshot, Proposal(tool, arguments_given), **more)


def standing(workflow: Workflow, **changes: Any) -> Snapshot:
    context = {**workflow.bind_context({}), **changes.pop("context", {})}
    return attrs.evolve(begin(workflow, context).after, **changes)


def test_a_legal_call_gets_its_bound_arguments():
    """What the model gives and what the context gives are one set of final arguments."""
    admission = asked(desk())
    assert (admission.code, admission.admitted) == ("ok", True)
    assert admission.arguments == {"cents": 5, "order": "A1"}


@pytest.mark.parametrize("tool", ["no_such", "", "pay ", "Pay", "stop.ok"])
def test_what_is_not_offered_here_is_refused(tool):
    """The state decides what is legal; the refusal names what is."""
    admission = asked(desk(), tool, {})
    assert admission.code == "not_offered"
    assert "legal here: pay, stop, look" in admission.text
    assert not admission.admitted


def test_everywhere_means_every_ask_state():
    """Tools of the table are legal in `ask` states and nowhere else."""
    workflow = desk()
    assert asked(workflow, "look", {}).code == "ok"
    assert asked(workflow, "stop", {"why": "x"}, standing(workflow, state="there")).code == (
        "not_offered"
    )
    over = standing(workflow, state="done", status="succeeded")
    assert asked(workflow, "look", {}, over).code == "not_offered"


def test_an_ended_run_offers_nothing():
    """However it ended, nothing is legal any more."""
    workflow = desk()
    over = standing(workflow, status="cancelled")
    assert asked(workflow, at=over).code == "not_offered"


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ({}, "cents"),
        ({"cents": "5"}, "cents"),
        ({"cents": 5.5}, "cents"),
        ({"cents": 5, "order": "B2"}, "order"),
        ({"cents": 5, "x": 1}, "x"),
        ({"cents": None}, "cents"),
        ({"cents": True}, "cents"),
    ],
)
def test_arguments_must_fit_the_schema_the_model_sees(given, what):
    """Wrong types, missing and unknown keys, and a bound argument the model may not choose."""
    admission = asked(desk(), given=given)
    assert admission.code == "arguments"
    assert what in admission.text


def test_signals_have_a_schema_too():
    """A signal's fields are checked as a tool's arguments are; a `?` field may be null."""
    workflow = desk()
    for given, code in (
        ({"why": "x"}, "ok"),
        ({"why": "x", "code": 3}, "ok"),
        ({"why": "x", "code": None}, "ok"),
        ({"why": None}, "arguments"),
        ({}, "arguments"),
        ({"why": "x", "more": 1}, "arguments"),
    ):
        assert asked(workflow, "stop", given).code == code


def test_at_most_five_faults_are_told():
    """A reply with a hundred wrong keys does not fill the prompt."""
    schema = {"type": "object", "required": [f"k{number}" for number in range(40)]}
    text = schema_faults(schema, {})
    assert text.endswith("; ...")
    assert text.count(";") == 5
    assert schema_faults({"type": "object"}, {}) == ""


def test_validators_are_kept_and_let_go():
    """Thousands of schemas do not pile up, and each still judges by itself."""
    for number in range(4_200):
        schema = {"type": "object", "required": [f"k{number}"]}
        assert schema_faults(schema, {f"k{number}": 1}) == ""
    assert schema_faults(schema, {}) != ""


@pytest.mark.parametrize(
    ("bind", "context", "what"),
    [
        ({"order": "1 < 'a'"}, {}, "cannot be bound"),
        ({"order": "context.order"}, {"order": None}, "do not fit"),
        ({"order": "context.order"}, {"order": 7}, "do not fit"),
    ],
)
def test_a_binding_that_fails_refuses(bind, context, what):
    """A bound value is checked against the tool's whole schema like any other."""
    workflow = desk(bind=bind)
    admission = asked(workflow, at=standing(workflow, context=context))
    assert admission.code == "bind"
    assert what in admission.text


def test_when_refuses_with_its_reason():
    """`when` sees context and final arguments; `why` is what the model is told."""
    workflow = desk(when="args.cents < 10 and args.order == 'A1'", why="Too much.")
    assert asked(workflow).code == "ok"
    assert asked(workflow, given={"cents": 11}).text == "Too much."
    bare = desk(when="args.cents < 10")
    admission = asked(bare, given={"cents": 11})
    assert (admission.code, "args.cents < 10" in admission.text) == ("when", True)


@pytest.mark.parametrize("condition", ["args.cents < 'x'", "args.cents", "context.order.deep"])
def test_a_condition_that_cannot_be_told_refuses(condition):
    """In `when` and in `approve`: no boolean means no call, with the reason."""
    for how in ({"when": condition, "why": "Not now."}, {"approve": condition}):
        admission = asked(desk(**how))
        assert admission.code == "when"
        assert admission.text not in ("", "Not now.")


def test_approve_waits_for_a_person_once():
    """True parks the call with its final arguments; once approved it is not asked again."""
    workflow = desk(approve="args.cents > 4")
    admission = asked(workflow)
    assert (admission.code, admission.admitted) == ("approve", True)
    assert admission.arguments == {"cents": 5, "order": "A1"}
    assert asked(workflow, given={"cents": 4}).code == "ok"
    assert asked(workflow, approved=True).code == "ok"


def test_a_rule_refuses_with_its_text_and_index():
    """The refusal says which rule forbids it."""
    workflow = desk(rules=("leads_to(pay.ok, stop.ok)", "only_after(pay, look.ok)"))
    admission = asked(workflow)
    assert (admission.code, admission.rule) == ("rule", 1)
    assert "only_after(pay, look.ok)" in admission.text


def test_conditions_see_the_recorded_time():
    """`now` in a condition is the time that was recorded."""
    workflow = desk(when="now < '2026-06-01T00:00:00Z'")
    assert asked(workflow, now="2026-05-01T00:00:00Z").code == "ok"
    assert asked(workflow, now="2026-07-01T00:00:00Z").code == "when"


def test_the_stages_come_in_their_order():
    """Everything is wrong at first; each thing put right shows the next stage."""
    rules = ("never(pay where context.n == 0)",)
    how = {"when": "context.n < 2", "approve": "context.n < 4"}
    workflow = desk(rules=rules, **how)
    full = standing(workflow, counters=Counters(calls=5), context={"order": None})
    assert asked(workflow, "nothing", {}, full).code == "not_offered"
    assert asked(workflow, "pay", {}, full).code == "limit"
    free = standing(workflow, context={"order": None})
    assert asked(workflow, "pay", {}, free).code == "arguments"
    assert asked(workflow, "pay", {"cents": 1}, free).code == "bind"
    codes = [
        asked(workflow, "pay", {"cents": 1}, standing(workflow, context={"n": number})).code
        for number in (0, 2, 1)
    ]
    assert codes == ["rule", "when", "approve"]


def test_two_credits_in_one_reply():
    """The second call of a reply is judged against what the first one already took."""
    workflow = small(
        Transition("here", "pay.ok", "done"),
        states=[State("here", ask="x", tools=["pay"], parallel=True)],
        specs={"pay": SPEC},
        rules=["at_most(pay, 1, per=args.order)"],
    )
    hand = Hand(workflow)
    hand.reply(
        use("pay", order="A", cents=1),
        use("pay", order="A", cents=2),
        use("pay", order="B", cents=3),
    )
    assert [body["arguments"]["cents"] for body in hand.bodies("call_intended")] == [1, 3]
    refused = hand.bodies("call_refused")[0]
    assert (refused["code"], refused["rule"], refused["arguments"]["cents"]) == ("rule", 0, 2)
    hand.audit()


def test_reads_run_together_and_one_other_call_beside_them():
    """Without `parallel` the second effect of a reply must wait; that is no offence."""
    workflow = small(
        Transition("here", "pay.ok", "done"),
        states=[State("here", ask="x", tools=["pay", "look", "send"])],
    )
    hand = Hand(workflow)
    hand.reply(use("look"), use("pay"), use("look"), use("send"))
    assert [body["tool"] for body in hand.bodies("call_intended")] == ["look", "pay", "look"]
    refused = hand.bodies("call_refused")
    assert [(body["tool"], body["code"]) for body in refused] == [("send", "one_at_a_time")]
    assert hand.run.standing.snap().counters.refusals == 0
    hand.audit()


def test_a_read_that_waits_for_approval_leaves_room_for_an_effect():
    """Only what changes something takes the place of the one other call."""
    hand = Hand(
        small(
            Transition("here", "pay.ok & look.ok", "done"),
            states=[State("here", ask="x", tools=["pay", "look"])],
            tools={"look": Use(approve="true")},
        )
    )
    hand.reply(use("look"), use("pay"))
    assert [body["tool"] for body in hand.bodies("approval_asked")] == ["look"]
    assert [body["tool"] for body in hand.bodies("call_intended")] == ["pay"]
    hand.returns({})
    hand.approve(True)
    hand.returns({})
    assert hand.outcome.ok
    hand.audit()


def test_a_call_that_waits_for_approval_is_the_one_other_call():
    """Two effects of one reply cannot both be put before a person."""
    hand = Hand(
        small(
            Transition("here", "pay.ok", "done"),
            states=[State("here", ask="x", tools=["pay", "send"])],
            tools={"pay": Use(approve="true")},
        )
    )
    hand.reply(use("pay"), use("send"), use("pay"))
    assert len(hand.bodies("approval_asked")) == 1
    assert [body["code"] for body in hand.bodies("call_refused")] == ["one_at_a_time"] * 2
    hand.audit()
