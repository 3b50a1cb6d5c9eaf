"""Undoing completed effects, and the clock."""

from __future__ import annotations

import pytest

from statemachine_agents.table.model import Key, Limits, State, Transition
from statemachine_agents.turn import effects as fx
from tests.driving import Hand, small, use


def undoing(*rows: Transition) -> Hand:
    """Return a run that paid twice and is about to undo both."""
    hand = Hand(
        small(
            *rows,
            Transition("buy", "pay.ok", "buy", guard="visits.buy < 2"),
            Transition("buy", "pay.ok", "charge"),
            Transition("charge", "look.ok", "done"),
            Transition("charge", "look.error", "undoing", assign={"why": "error.text"}),
            Transition("undoing", "undo.ok", "failed"),
            states=[
                State("buy", ask="x", tools=["pay"]),
                State("charge", do="look"),
                State("undoing", do="undo"),
                State("failed", final="failure", returns="context.why"),
            ],
            context={"why": Key(type="string?")},
        )
    )
    for number, order in ((1, "A"), (2, "B")):
        hand.reply(use("pay", n=number, order=order))
        hand.returns({"id": number})
    hand.fails("declined", "the bank said no")
    return hand


def test_completed_effects_are_undone_newest_first():
    """One after the other, each with the arguments of its call; then `undo.ok`, once."""
    hand = undoing()
    orders = []
    while any(isinstance(effect, fx.CallTool) for effect in hand.open()):
        call = hand.call()
        orders.append((call.tool, dict(call.arguments)))
        hand.returns({})
    assert orders == [("pay_back", {"order": "B"}), ("pay_back", {"order": "A"})]
    assert hand.events()[-1] == "undo.ok"
    assert (hand.outcome.status, hand.outcome.reason) == ("failed", "the bank said no")
    hand.audit()


@pytest.mark.parametrize("settled", [True, False])
def test_after_undoing_a_state_settles_or_fails(settled):
    """When `undo.ok` moves nothing, `settled` is tried; without a row the run fails."""
    rows = [Transition("undoing", "settled", "done")] if settled else []
    hand = Hand(
        small(
            *rows,
            Transition("undoing", "undo.ok", "done", guard="iterations > 0"),
            states=[State("undoing", do="undo")],
        )
    )
    assert hand.events() == ["run.started", "undo.ok", "settled"]
    assert hand.outcome.ok == settled
    hand.audit()


def test_an_undo_that_fails_stops_no_other_and_both_errors_are_kept():
    """All are tried; then one `undo.error` tells what failed, beside the error that led here."""
    hand = undoing()
    hand.fails("down", "no line")
    assert hand.call().arguments == {"order": "A"}
    hand.returns({})
    assert hand.events()[-1] == "undo.error"
    assert hand.outcome.status == "failed"
    assert "pay_back: no line" in hand.outcome.reason
    assert hand.context["why"] == "the bank said no"
    hand.audit()


def test_a_failed_undo_can_be_tried_again():
    """A new visit of the state tries what is not undone yet, and only that."""
    hand = undoing(
        Transition("undoing", "undo.error", "undoing", guard="visits.undoing < 3"),
    )
    hand.fails("down", "no line")
    hand.returns({})
    assert hand.call().arguments == {"order": "B"}
    hand.returns({})
    assert hand.events()[-2:] == ["undo.error", "undo.ok"]
    hand.audit()


def test_an_undo_in_doubt_waits_for_a_person():
    """Whether it was paid back must be known before the run goes on."""
    hand = undoing()
    hand.doubts()
    assert hand.waits == ("resolution",)
    hand.signal("resolution", not_done=True, by="ann")
    hand.returns({})
    assert hand.events()[-1] == "undo.error"
    hand.audit()


def test_undoing_waits_for_a_call_in_doubt():
    """A payment nobody knows about may turn out to be done, and is undone then."""
    hand = Hand(
        small(
            Transition("buy", "pay.unknown", "undoing"),
            Transition("buy", "pay.ok", "done"),
            Transition("undoing", "undo.ok", "failed"),
            states=[State("buy", ask="x", tools=["pay"]), State("undoing", do="undo")],
        )
    )
    hand.reply(use("pay", order="A"))
    hand.doubts()
    assert (hand.state, hand.waits) == ("undoing", ("resolution",))
    hand.signal("resolution", done={"id": 1}, by="ann")
    assert hand.call().tool == "pay_back"
    hand.returns({})
    assert hand.outcome.status == "failed"
    hand.audit()


def test_nothing_to_undo_is_undone_at_once():
    """No completed effect: `undo.ok` right away."""
    hand = Hand(
        small(
            Transition("undoing", "undo.ok", "done"),
            states=[State("undoing", do="undo")],
        )
    )
    assert hand.outcome.ok
    hand.audit()


# ------------------------------------------------------------------------------------ timers


def test_a_timer_is_set_on_entry_and_void_on_exit():
    """Due in recorded time; another visit sets its own; a fired one is not set again."""
    hand = Hand(
        small(
            Transition("here", "look.ok", "here"),
            Transition("here", "timer.fired", "stay"),
            Transition("here", "pay.ok", "done"),
            states=[State("here", ask="x", tools=["look", "pay"], after="90s")],
            limits=Limits(idle=9),
        )
    )
    hand.reply(use("look"))
    hand.returns({})
    first, second = hand.bodies("timer_set")
    assert (first["visit"], second["visit"]) == (1, 2)
    assert second["due"] > first["due"]
    set_at = hand.records[hand.kinds.index("timer_set")].at
    assert first["due"] == set_at + 90_000_000
    hand.signal("timer")
    hand.reply(use("pay"))
    hand.returns({})
    assert hand.outcome.ok
    assert len(hand.bodies("timer_set")) == 2
    assert "no timer" in hand.signal("timer") or hand.run.standing.timer is None
    hand.audit()


def test_a_wait_for_the_clock_tells_when():
    """The parked run says until when, and the fired timer moves it."""
    hand = Hand(
        small(
            Transition("asleep", "timer.fired", "done"),
            states=[State("asleep", wait="timer", after="2d")],
        )
    )
    wait = hand.expect(fx.Wait)
    assert wait.until == hand.bodies("timer_set")[0]["due"]
    assert hand.bodies("run_parked")[0]["wake_at"] == wait.until
    hand.reload()
    hand.signal("timer")
    assert hand.outcome.ok
    hand.audit()


def test_standings_of_two_equal_runs_are_equal():
    """The same facts at the same times give the same records, salts and keys included."""
    one, two = undoing(), undoing()
    assert [record.hash for record in one.records] == [record.hash for record in two.records]
    assert one.run.outcome == two.run.outcome
