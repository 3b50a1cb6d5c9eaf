"""States in which the engine calls tools, and pure branches."""

from __future__ import annotations

from statemachine_agents.table.model import Key, State, Transition, Use
from statemachine_agents.turn import effects as fx
from tests.driving import Hand, small, use

LOG = {"log": Key(type="list", default=[]), "order": Key(type="string", default="A1")}


def note(event: str, text: str) -> Transition:
    return Transition("*", event, None, assign={"log": f"context.log + ['{text}']"})


def test_the_calls_of_a_do_state_run_together():
    """All are intended in one commit; a conjunction joins them; nothing is called twice."""
    hand = Hand(
        small(
            Transition("work", "look.ok & peek.ok & send.ok", "done"),
            states=[State("work", do=["look", "peek", "send"])],
        )
    )
    calls = [effect for effect in hand.open() if isinstance(effect, fx.CallTool)]
    assert [call.tool for call in calls] == ["look", "peek", "send"]
    for call in reversed(calls):
        hand.give(fx.Returned(call.no, {}))
    assert hand.events() == ["run.started", "send.ok", "peek.ok", "look.ok"]
    assert hand.outcome.ok
    hand.audit()


def test_the_first_row_that_moves_makes_the_other_results_late():
    """A race: one result moves on, and the next effect starts when all calls have returned."""
    hand = Hand(
        small(
            Transition("work", "look.ok", "next"),
            Transition("next", "look.ok", None, assign={"log": "context.log + ['look']"}),
            Transition("next", "peek.ok", None, assign={"log": "context.log + ['late peek']"}),
            Transition("next", "send.ok", "done"),
            states=[State("work", do=["look", "peek"]), State("next", do="send")],
            context=LOG,
        )
    )
    hand.returns({}, "look")
    assert hand.state == "next"
    assert [effect.tool for effect in hand.open()] == ["peek"]
    hand.returns({}, "peek")
    assert hand.context["log"] == ["late peek"]
    assert [effect.tool for effect in hand.open()] == ["send"]
    hand.returns({})
    assert hand.outcome.ok
    hand.audit()


def test_an_error_fails_a_do_state_after_all_calls_returned():
    """The run has failed, but it ends only when what is under way has come back."""
    hand = Hand(
        small(
            Transition("work", "look.ok & pay.ok", "done"),
            states=[State("work", do=["look", "pay"])],
        )
    )
    hand.fails("bad", "broken", "look")
    assert "run_ended" not in hand.kinds
    hand.returns({}, "pay")
    assert hand.outcome.status == "failed"
    assert "state 'work' has no row that takes 'look.error': broken" in hand.outcome.reason
    hand.audit()


def test_a_do_state_that_collects_waits_for_all():
    """With a row for `settled` errors are collected, and the row decides."""
    hand = Hand(
        small(
            note("look.error", "error"),
            Transition("work", "settled", "done", guard="len(context.log) == 1"),
            states=[State("work", do=["look", "peek"])],
            context=LOG,
        )
    )
    hand.fails("bad", "x", "look")
    assert hand.state == "work"
    hand.returns({}, "peek")
    assert hand.outcome.ok
    hand.audit()


def test_everything_settled_and_nothing_moved_is_a_failure():
    """The reason names state and event."""
    hand = Hand(
        small(
            Transition("work", "look.ok", "done", guard="result.n == 1"),
            states=[State("work", do="look")],
        )
    )
    hand.returns({"n": 2})
    assert hand.outcome.status == "failed"
    assert "'work' has no row that takes 'settled'" in hand.outcome.reason
    hand.audit()


def test_a_settled_row_that_stays_waits_for_the_timer_or_fails():
    """Staying after everything has ended leaves only the clock."""
    for after in ("1h", None):
        rows = [Transition("work", "timer.fired", "done")] if after else []
        hand = Hand(
            small(
                *rows,
                Transition("work", "settled", "stay"),
                Transition("work", "look.ok", "done", guard="result.n == 1"),
                states=[State("work", do="look", after=after)],
            )
        )
        hand.returns({})
        if after is None:
            assert "no row moved on" in hand.outcome.reason
        else:
            assert hand.waits == ("timer",)
            hand.signal("timer")
            assert hand.outcome.ok
        hand.audit()


def test_a_call_the_gate_refuses_is_an_error_of_the_table():
    """The engine has only bound arguments; what is refused arrives as `.error`, kind `refused`."""
    hand = Hand(
        small(
            Transition("work", "pay.error", "failed", assign={"order": "error.text"}),
            Transition("work", "pay.ok", "done"),
            states=[State("work", do="pay")],
            tools={"pay": Use(when="context.order == 'B2'", why="Not this one.")},
            context=LOG,
        )
    )
    assert hand.outcome.status == "failed"
    assert hand.context["order"] == "Not this one."
    assert hand.run.standing.snap().counters.refusals == 0
    hand.audit()


def test_a_branch_without_a_matching_row_names_its_cell():
    """`do=[]` decides at once or fails."""
    for guard, status in (("context.order == 'A1'", "succeeded"), ("false", "failed")):
        hand = Hand(
            small(
                Transition("fork", "entered", "done", guard=guard),
                states=[State("fork", do=[])],
                context=LOG,
            )
        )
        assert hand.outcome.status == status
    assert "'fork' has no row that takes 'entered'" in hand.outcome.reason
    hand.audit()


def test_a_guard_error_on_entry_is_an_event_of_that_state():
    """The table may catch it; otherwise the run fails with the sentence."""
    for rows, status in (
        ([], "failed"),
        ([Transition("fork", "guard.error", "done")], "succeeded"),
    ):
        hand = Hand(
            small(
                *rows,
                Transition("fork", "entered", "done", guard="context.order < 1"),
                states=[State("fork", do=[])],
                context=LOG,
            )
        )
        assert hand.outcome.status == status
        assert hand.events() == ["run.started", "entered", "guard.error"]
        hand.audit()
    assert hand.bodies("stepped")[1]["verdicts"][0][1] is None


def test_entered_fires_once_before_anybody_acts():
    """On entry, before the model is asked; a row may move on at once."""
    hand = Hand(
        small(
            Transition("here", "entered", None, assign={"log": "context.log + ['in']"}),
            Transition("here", "look.ok", "here", guard="visits.here < 2"),
            Transition("here", "look.ok", "done"),
            states=[State("here", ask="x", tools=["look"])],
            context=LOG,
        )
    )
    for _ in range(2):
        hand.reply(use("look"))
        hand.returns({})
    assert hand.outcome.ok
    assert hand.context["log"] == ["in", "in"]
    hand.audit()
