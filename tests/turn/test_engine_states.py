"""States in which the engine acts: calls, branches, undo, timers, children."""

from __future__ import annotations

import pytest

from statemachine_agents.table.model import Key, Limits, State, Transition, Use
from statemachine_agents.turn import effects as fx
from tests.driving import Hand, small, use

LOG = {"log": Key(type="list", default=[]), "order": Key(type="string", default="A1")}


def note(event: str, text: str) -> Transition:
    return Transition("*", event, None, assign={"log": f"context.log + ['{text}']"})


# -------------------------------------------------------------------------------------- do


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


# ------------------------------------------------------------------------------------- undo


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


# ---------------------------------------------------------------------------------- children


def parent(**how) -> Hand:
    """Return a run that runs children as `how` says."""
    child = small(
        Transition("here", "look.ok", "done"),
        states=[State("here", do="look")],
        name="child",
        context={"item": Key(type="any"), "order": Key(type="string?")},
    )
    rows = how.pop("rows", [])
    inputs = {"items": how.pop("items", [1, 2, 3])}
    return Hand(
        small(
            *rows,
            Transition("running", "child.success", None, assign={"log": "context.log + [result]"}),
            Transition("running", "settled", "done"),
            states=[State("running", run="child", **how)],
            context={**LOG, "items": Key(type="any")},
            children={"child": child},
        ),
        inputs,
    )


def started(hand: Hand) -> list[fx.StartChild]:
    return [effect for effect in hand.open() if isinstance(effect, fx.StartChild)]


def test_one_child_per_item_at_most_so_many_at_once():
    """`each` gives the items, `at_once` the bound; ids and inputs are recorded."""
    hand = parent(each="context.items", at_once=2)
    first = started(hand)
    assert [effect.input["item"] for effect in first] == [1, 2]
    assert [effect.child for effect in first] == ["r-1-c1", "r-1-c2"]
    assert first[0].input["order"] == "A1"
    assert hand.waits == ("child",)
    hand.give(fx.ChildEnded("r-1-c2", "success", "two"))
    assert [effect.input["item"] for effect in started(hand)] == [1, 3]
    hand.reload()
    hand.give(fx.ChildEnded("r-1-c1", "success", "one"))
    hand.give(fx.ChildEnded("r-1-c3", "success", "three"))
    assert hand.outcome.ok
    assert hand.context["log"] == ["two", "one", "three"]
    assert [body["index"] for body in hand.bodies("child_started")] == [0, 1, 2]
    hand.audit()


def test_a_child_may_end_through_the_inbox():
    """The driver reports a child's end as a signal; it is taken once."""
    hand = parent(each="context.items", items=["only"])
    assert hand.signal("child", child="r-1-c1", outcome="success", value=1) == ""
    assert hand.outcome.ok
    hand.audit()


@pytest.mark.parametrize("join", ["any", 2, "all"])
def test_settled_when_enough_have_ended(join):
    """`join` says how many: any, a number or all; the rest may still run on."""
    hand = parent(each="context.items", join=join)
    needed = {"any": 1, 2: 2, "all": 3}[join]
    for number in range(1, needed + 1):
        assert "settled" not in hand.events()
        hand.give(fx.ChildEnded(f"r-1-c{number}", "success", number))
    assert "settled" in hand.events()
    hand.audit()


@pytest.mark.parametrize(
    ("items", "status"), [([], "succeeded"), (None, "succeeded"), (5, "failed")]
)
def test_each_over_nothing_settles_and_over_no_list_fails(items, status):
    """An empty list and null have no children; anything but a list is a guard error."""
    hand = parent(each="context.items", items=items)
    assert hand.outcome.status == status
    assert started(hand) == []
    if status == "failed":
        assert "gives no list" in hand.outcome.reason
    hand.audit()


def test_an_each_that_cannot_be_evaluated_is_a_guard_error():
    """The sentence of the expression is the reason."""
    hand = parent(each="context.items + 1", items=[1])
    assert hand.outcome.status == "failed"
    assert "guard.error" in hand.outcome.reason
    hand.audit()


@pytest.mark.parametrize("join", ["any", "all"])
def test_a_settled_row_that_stays_waits_for_the_rest_or_fails(join):
    """Children that still run may yet move the run; when none is left it has failed."""
    hand = parent(
        each="context.items",
        join=join,
        items=[1, 2],
        rows=[Transition("running", "settled", "stay")],
    )
    hand.give(fx.ChildEnded("r-1-c1", "success", 1))
    assert hand.waits == ("child",)
    hand.give(fx.ChildEnded("r-1-c2", "success", 2))
    assert hand.outcome.status == "failed"
    assert "have ended and no row moved on" in hand.outcome.reason
    hand.audit()


def test_a_guard_error_of_each_that_stays_does_not_go_round():
    """Staying would evaluate the same again, so the run fails instead of looping."""
    hand = parent(
        each="context.items", items=5, rows=[Transition("running", "guard.error", "stay")]
    )
    assert hand.outcome.status == "failed"
    assert hand.events().count("guard.error") == 1
    hand.audit()


def test_a_run_does_not_end_before_its_children():
    """A parent that failed waits for what it started."""
    hand = parent(each="context.items", rows=[Transition("running", "child.failure", "failed")])
    hand.give(fx.ChildEnded("r-1-c1", "failure", None, "broken"))
    assert hand.state == "failed"
    assert hand.waits == ("child",)
    assert all(effect.over for effect in started(hand))
    for child in ("r-1-c2", "r-1-c3"):
        hand.give(fx.ChildEnded(child, "cancelled"))
    assert hand.outcome.status == "failed"
    hand.audit()


def test_standings_of_two_equal_runs_are_equal():
    """The same facts at the same times give the same records, salts and keys included."""
    one, two = undoing(), undoing()
    assert [record.hash for record in one.records] == [record.hash for record in two.records]
    assert one.run.outcome == two.run.outcome
