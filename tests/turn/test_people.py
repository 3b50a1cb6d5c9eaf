"""People: approvals of calls, questions, cancelling."""

from __future__ import annotations

import pytest

from statemachine_agents.table.model import Key, Limits, State, Transition, Use
from statemachine_agents.turn import effects as fx
from tests.driving import Hand, small, use


def desk(*rows: Transition, **parts) -> Hand:
    """Return a run that has proposed a payment which a person must approve."""
    uses = parts.pop("tools", {"pay": Use(approve="args.n > 1", bind={"order": "context.order"})})
    workflow = small(
        *rows,
        Transition("here", "pay.ok", "done", assign={"value": "result"}),
        Transition("here", "look.ok", None, assign={"order": "'B2'"}),
        states=[
            State("here", ask="x", tools=["pay", "look"], **parts.pop("state", {})),
            *parts.pop("more", []),
        ],
        tools=uses,
        context={
            "order": Key(type="string", default="A1"),
            "value": Key(type="any"),
            "by": Key(type="string?"),
        },
        limits=Limits(idle=9),
        **parts,
    )
    hand = Hand(workflow)
    hand.reply(use("pay", n=5))
    return hand


def test_an_approval_is_asked_about_the_final_arguments():
    """The record shows tool, arguments with the bound ones, their digest and a nonce."""
    hand = desk()
    asked = hand.bodies("approval_asked")[0]
    assert asked["arguments"] == {"n": 5, "order": "A1"}
    assert (asked["approval"], asked["tool"]) == ("a1", "pay")
    assert len(asked["digest"]) == 64
    assert len(asked["nonce"]) == 32
    assert hand.waits == ("approval",)
    assert hand.bodies("call_intended") == []
    hand.audit()


def test_a_yes_runs_the_call_and_is_no_event():
    """The intent follows, with the approved arguments; the table sees only the result."""
    hand = desk()
    asked = hand.bodies("approval_asked")[0]
    hand.reload()
    assert hand.approve(True, approval="a1", digest=asked["digest"]) == ""
    assert hand.call().arguments == asked["arguments"]
    assert "approval.granted" not in hand.events()
    hand.returns({"id": 1})
    assert hand.outcome.ok
    assert hand.bodies("approval_decided")[0]["by"] == "ann"
    hand.audit()


@pytest.mark.parametrize("row", [True, False])
def test_a_no_is_a_refused_result_and_an_event(row):
    """The model reads that a person declined; a row may take `approval.rejected`."""
    rows = [
        Transition("here", "approval.rejected", "failed", assign={"by": "approval.by"}),
    ]
    hand = desk(*(rows if row else ()))
    assert hand.approve(False, note="too much") == ""
    assert hand.events()[-1] == "approval.rejected"
    if row:
        assert hand.outcome.status == "failed"
        assert hand.context["by"] == "ann"
    else:
        assert hand.bodies("stepped")[-1]["default"] == "shown"
        hand.ask()
        assert "a person declined" in next(iter(hand.results().values()))["content"]
    hand.audit()


def test_other_arguments_than_shown_are_not_approved():
    """A digest of something else, in whatever alphabet, is refused without a record."""
    hand = desk()
    for digest in ("0" * 64, "", "ü", 5):
        assert "not the ones" in hand.approve(True, digest=digest)
    assert hand.bodies("approval_decided") == []
    assert "nothing waits" in hand.approve(True, approval="a9")
    assert hand.approve(True) == ""
    assert "nothing waits" in hand.approve(True)  # once only
    hand.audit()


def test_arguments_that_changed_after_approval_do_not_run():
    """A note changed what is bound between the yes and the call: the approved call is void."""
    workflow = small(
        Transition("here", "look.ok", None, assign={"order": "'B2'"}),
        Transition("here", "pay.ok & look.ok", "done"),
        states=[State("here", do=["look", "pay"])],
        tools={"pay": Use(approve="true", bind={"order": "context.order"})},
        context={"order": Key(type="string", default="A1")},
    )
    hand = Hand(workflow)
    hand.save()
    asked = hand.bodies("approval_asked")
    assert asked[0]["arguments"] == {"order": "A1"}
    hand.returns({})
    hand.approve(True)
    assert hand.bodies("call_refused")[0]["code"] == "changed"
    assert hand.bodies("call_intended")[-1]["tool"] == "look"
    hand.audit()


def test_a_rule_that_came_in_between_still_forbids():
    """The gate judges again when the approved call would run."""
    hand = Hand(
        small(
            Transition("here", "pay.ok", "stay"),
            Transition("here", "look.ok", "done"),
            states=[State("here", ask="x", tools=["pay", "look"], parallel=True)],
            tools={"pay": Use(approve="true")},
            rules=["at_most(pay, 1)"],
        )
    )
    hand.reply(use("pay", n=1), use("pay", n=2))
    assert len(hand.bodies("approval_asked")) == 2
    hand.approve(True, approval="a1")
    hand.approve(True, approval="a2")
    assert [body["arguments"]["n"] for body in hand.bodies("call_intended")] == [1]
    assert hand.bodies("call_refused")[0]["code"] == "rule"
    hand.audit()


def test_an_approval_of_a_state_that_was_left_is_void():
    """A timer moved on before anybody decided: the call is refused, the model reads why."""
    hand = desk(
        Transition("here", "timer.fired", "there"),
        Transition("there", "look.ok", "done"),
        state={"after": "1h"},
        more=[State("there", ask="y", tools=["look"])],
    )
    hand.signal("timer")
    assert hand.state == "there"
    assert hand.bodies("call_refused")[0]["code"] == "left"
    assert "nothing waits" in hand.approve(True)
    hand.ask()
    assert len(hand.results()) == 1
    hand.audit()


def test_a_rejected_call_of_the_engine_fails_a_do_state():
    """In `do` a no is `approval.rejected`, which nobody took."""
    workflow = small(
        Transition("here", "pay.ok", "done"),
        states=[State("here", do="pay")],
        tools={"pay": Use(approve="true")},
    )
    hand = Hand(workflow)
    assert hand.waits == ("approval",)
    hand.approve(False)
    assert hand.outcome.status == "failed"
    assert "approval.rejected" in hand.outcome.reason
    hand.audit()


def test_a_late_refusal_of_the_engines_own_call_moves_nothing():
    """The state was left while a person thought: the refused call is late, no error here."""
    workflow = small(
        Transition("here", "timer.fired", "there"),
        Transition("here", "pay.ok", "done"),
        Transition("there", "pay.ok", "done"),
        Transition("there", "pay.error", "failed"),
        states=[
            State("here", do="pay", after="1h"),
            State("there", do="pay"),
        ],
        tools={"pay": Use(approve="visits.there == 0")},
    )
    hand = Hand(workflow)
    assert hand.waits == ("approval",)
    hand.signal("timer")
    assert hand.state == "there"
    hand.returns({})
    assert hand.outcome.ok
    hand.audit()


# ------------------------------------------------------------------------------------ questions


def asking(wait: tuple[str, ...] = ("approval",)) -> Hand:
    """Return a run that waits for a person's yes, and perhaps for more."""
    more = "timer" in wait
    rows = [
        Transition("asking", "user.message", "asking"),
        Transition("asking", "timer.fired", "failed"),
    ]
    return Hand(
        small(
            Transition("asking", "approval.granted", "done", guard="approval.by == 'ann'"),
            Transition("asking", "approval.rejected", "failed"),
            *(rows if more else []),
            states=[
                State(
                    "asking",
                    wait=wait,
                    question="Is {context.n} right?",
                    shows=["n"],
                    after="1d" if more else None,
                )
            ],
            context={"n": Key(type="integer", default=4)},
        )
    )


def test_a_question_is_filled_in_and_asked_once_per_visit():
    """`question=` with its facts is what the person sees, under an id of this visit."""
    hand = asking()
    assert hand.waits == ("approval",)
    asked = hand.bodies("approval_asked")
    assert [body["question"] for body in asked] == ["Is 4 right?"]
    assert (asked[0]["approval"], asked[0]["shows"]) == ("q1", ["n"])
    assert hand.bodies("run_parked")[0]["reason"] == "Is 4 right?"
    assert "nothing waits" in hand.approve(True, approval="q2")
    assert hand.approve(True, approval="q1") == ""
    assert hand.outcome.ok
    hand.audit()


def test_a_question_of_an_earlier_visit_cannot_be_answered():
    """A message led to a new visit, which asks anew."""
    hand = asking(("approval", "message", "timer"))
    hand.save()
    hand.message("wait")
    assert [body["approval"] for body in hand.bodies("approval_asked")] == ["q1", "q2"]
    assert "nothing waits" in hand.approve(True, approval="q1")
    assert hand.approve(True, approval="q2") == ""
    assert hand.outcome.ok
    hand.audit()


def test_an_answer_that_no_row_takes_is_asked_for_again():
    """Bob's yes does not count here: the question stands anew, under an id of its own."""
    hand = asking()
    hand.save()
    hand.approve(True, by="bob")
    assert hand.outcome.status == "waiting"
    assert [body["approval"] for body in hand.bodies("approval_asked")] == ["q1", "q1.2"]
    assert "nothing waits" in hand.approve(True, approval="q1", by="ann")
    assert hand.approve(True, approval="q1.2", by="ann") == ""
    assert hand.outcome.ok
    hand.audit()


def test_a_timer_that_no_row_takes_does_not_park_for_ever():
    """The only thing this state waited for has come; it fails and says so."""
    hand = Hand(
        small(
            Transition("asleep", "timer.fired", "done", guard="iterations > 0"),
            states=[State("asleep", wait="timer", after="1h")],
        )
    )
    assert hand.waits == ("timer",)
    hand.signal("timer")
    assert hand.outcome.status == "failed"
    assert "waits for timer, which cannot come" in hand.outcome.reason
    hand.audit()


def test_while_something_else_can_come_the_run_stays_parked():
    """A wait with a message or a timer left goes on waiting."""
    hand = asking(("approval", "message", "timer"))
    hand.save()
    hand.approve(True, by="bob")
    wait = hand.expect(fx.Wait)
    assert wait.until is not None
    hand.signal("timer")
    assert hand.outcome.status == "failed"
    hand.audit()


def test_a_wait_for_a_resolution_that_nobody_needs_fails():
    """There is no call in doubt, so none can be resolved."""
    hand = Hand(
        small(
            Transition("here", "look.ok", "waiting"),
            Transition("here", "pay.ok", "done"),
            Transition("waiting", "pay.ok", "done"),
            states=[
                State("here", ask="x", tools=["look", "pay"]),
                State("waiting", wait="resolution"),
            ],
        )
    )
    hand.reply(use("look"))
    hand.returns({})
    assert hand.outcome.status == "failed"
    assert "resolution" in hand.outcome.reason
    hand.audit()


# ------------------------------------------------------------------------------------ cancelling


def test_a_cancel_takes_effect_between_effects():
    """What is under way is finished and fed, then the run ends cancelled, with who and why."""
    hand = Hand(
        small(
            Transition("here", "pay.ok", "done"),
            states=[State("here", ask="x", tools=["pay", "look"])],
        )
    )
    hand.reply(use("look"))
    hand.signal("cancel", by="ann", reason="enough")
    assert hand.events() == ["run.started"]
    hand.returns({})
    assert hand.outcome.status == "cancelled"
    assert hand.outcome.reason == "cancelled in state 'here'"
    assert hand.bodies("cancel_asked") == [{"by": "ann", "reason": "enough"}]
    hand.audit()


def test_a_row_may_take_a_cancel():
    """A paid order is not dropped: the table leads to a person."""
    hand = Hand(
        small(
            Transition("here", "run.cancelled", "asking", assign={"why": "error.text"}),
            Transition("here", "look.ok", "done"),
            Transition("asking", "approval.granted", "done"),
            states=[State("here", ask="x", tools=["look"]), State("asking", wait="approval")],
            context={"why": Key(type="string?")},
        )
    )
    hand.ask()
    hand.signal("cancel", by="ann", reason="enough")
    hand.reply(text="hm")
    assert hand.state == "asking"
    assert hand.context["why"] == "cancelled by ann: enough"
    hand.approve(True)
    assert hand.outcome.ok
    hand.audit()


def test_a_parked_run_is_cancelled_at_once():
    """Nothing is under way while a run waits for a person."""
    hand = desk()
    hand.signal("cancel", by="ann")
    assert hand.outcome.status == "cancelled"
    assert [body["code"] for body in hand.bodies("call_refused")] == ["ended"]
    hand.audit()
