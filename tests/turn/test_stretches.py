"""Limits in a run: counted per stretch, raised once, and never the start of more requests."""

from __future__ import annotations

import pytest

from statemachine_agents.table.model import Key, Limits, State, Transition
from statemachine_agents.turn import effects as fx
from tests.driving import Hand, small, use

COUNT = {"n": Key(type="integer", default=0)}


def looping(*rows: Transition, limits: Limits, **parts) -> Hand:
    """Return a run that can look for ever."""
    return Hand(
        small(
            *rows,
            Transition("here", "look.ok", None, assign={"n": "context.n + 1"}),
            Transition("here", "pay.ok", "done"),
            states=[
                State("here", ask="x", tools=["look", "pay"], talk=True),
                *parts.pop("more", []),
            ],
            context=COUNT,
            limits=limits,
            **parts,
        )
    )


def look(hand: Hand, times: int) -> int:
    """Let the model look, until it may no more; return how often it was asked."""
    for number in range(times):
        if not any(isinstance(effect, fx.AskModel) for effect in hand.open()):
            return number
        hand.reply(use("look", n=number))
        if any(isinstance(effect, fx.CallTool) for effect in hand.open()):
            hand.returns({"n": number})
    return times


@pytest.mark.parametrize(
    ("limits", "asked"),
    [
        (Limits(iterations=3), 3),
        (Limits(calls=4), 4),
        (Limits(requests=5), 5),
    ],
)
def test_a_run_ends_at_its_limit_and_names_it(limits, asked):
    """Without a row the run fails; the reason names limit, bound, state and the last states."""
    hand = looping(limits=limits)
    hand.message()
    assert look(hand, 50) == asked
    outcome = hand.outcome
    assert outcome.status == "failed"
    assert outcome.limit in ("iterations", "calls", "requests")
    assert f"limit {outcome.limit} reached in state 'here': {asked} " in outcome.reason
    assert "last states: here" in outcome.reason
    hand.audit()


def test_working_time_is_limited_and_waiting_is_free():
    """`seconds` counts work only; it is looked at before the next request."""
    hand = looping(limits=Limits(seconds=10))
    hand.clock += 3_600_000_000
    hand.message()
    hand.reply(use("look"))
    hand.clock += 11_000_000
    hand.returns({})
    assert hand.outcome.limit == "seconds"
    hand.audit()


def test_an_outside_input_begins_a_new_stretch():
    """Turns, calls, refusals, nudges and visits start over; requests of the run do not."""
    hand = looping(limits=Limits(iterations=3, requests=5))
    hand.message()
    assert look(hand, 2) == 2
    hand.reply(text="?")
    hand.message("more")
    counters = hand.run.standing.snap().counters
    assert (counters.iterations, counters.calls, counters.requests) == (1, 0, 4)
    assert look(hand, 9) == 2
    assert hand.outcome.limit == "requests"
    hand.audit()


def test_a_routed_limit_is_raised_once_in_a_stretch():
    """The row leads to a person; after the answer the model is asked again, afresh."""
    hand = looping(
        Transition("here", "limit.*", "asking"),
        Transition("asking", "approval.granted", "here"),
        limits=Limits(iterations=2),
        more=[State("asking", wait="approval")],
    )
    hand.message()
    assert look(hand, 9) == 2
    assert (hand.state, hand.waits) == ("asking", ("approval",))
    hand.approve(True)
    assert look(hand, 9) == 2
    assert hand.events().count("limit.iterations") == 2
    hand.audit()


@pytest.mark.parametrize("target", ["there", "stay", "here"])
def test_what_follows_a_routed_limit_must_not_ask_the_model(target):
    """Leading to another model request ends the run; a limit is no way to go on."""
    there = target == "there"
    hand = looping(
        Transition("here", "limit.iterations", target),
        *([Transition("there", "look.ok", "done")] if there else []),
        limits=Limits(iterations=2),
        more=[State("there", ask="y", tools=["look"])] if there else [],
    )
    hand.message()
    assert look(hand, 50) == 2
    assert hand.outcome.status == "failed"
    assert hand.outcome.limit == "iterations"
    assert "would ask the model again" in hand.outcome.reason
    hand.audit()


def test_a_routed_limit_may_do_things():
    """A `do` state after a limit runs, and the outcome still names the limit's state as last."""
    hand = looping(
        Transition("here", "limit.*", "cleaning"),
        Transition("cleaning", "send.ok", "failed"),
        limits=Limits(iterations=2),
        more=[State("cleaning", do="send")],
    )
    hand.message()
    look(hand, 9)
    hand.returns({})
    assert hand.outcome.path == ("here", "cleaning", "failed")
    hand.audit()


def test_an_end_by_a_routed_limit_names_the_limit():
    """Exit code 4 needs to know: the event that ended the run was a limit, through a row too."""
    hand = looping(Transition("here", "limit.*", "failed"), limits=Limits(iterations=2))
    hand.message()
    look(hand, 9)
    assert (hand.outcome.status, hand.outcome.limit) == ("failed", "iterations")
    assert hand.outcome.reason
    hand.audit()


# ---------------------------------------------------------------------------------------- idle


def test_turns_in_which_nothing_is_new_are_counted():
    """The same call with the same result thrice: stuck."""
    hand = looping(limits=Limits(idle=3))
    hand.message()
    for _ in range(20):
        if not any(isinstance(effect, fx.AskModel) for effect in hand.open()):
            break
        hand.reply(use("no_such_tool"))
    assert hand.outcome.limit == "idle"
    assert len(hand.requests) == 3
    hand.audit()


@pytest.mark.parametrize("assign", [None, {"n": "5"}, {"n": "context.n + 1"}])
def test_only_what_really_changes_is_new(assign):
    """An assign that writes the value that is there already is no news; another value is."""
    rows = [Transition("here", "look.ok", "stay", assign=assign or {})]
    hand = Hand(
        small(
            *rows,
            Transition("here", "pay.ok", "done"),
            states=[State("here", ask="x", tools=["look", "pay"])],
            context=COUNT,
            limits=Limits(idle=3, iterations=20),
        )
    )
    for _ in range(30):
        if not any(isinstance(effect, fx.AskModel) for effect in hand.open()):
            break
        hand.reply(use("look", n=1))
        hand.returns({"same": True})
    assert hand.outcome.limit == ("iterations" if assign == {"n": "context.n + 1"} else "idle")
    assert len(hand.requests) == (20 if hand.outcome.limit == "iterations" else 4)
    hand.audit()


def test_new_arguments_results_and_errors_are_news():
    """A search that goes on finding something else is not stuck."""
    hand = looping(limits=Limits(idle=2, iterations=9))
    hand.message()
    for number in range(3):
        hand.reply(use("look", n=number))
        hand.returns({"same": True})
    for text in ("a", "b", "c"):
        hand.reply(use("pay", n=1))
        hand.fails("busy", text)
    assert hand.expect(fx.AskModel)
    hand.audit()


def test_a_customer_makes_a_turn_new():
    """Every message is an outside input: idle turns start over."""
    hand = looping(limits=Limits(idle=2))
    for _ in range(5):
        hand.message()
        hand.reply(use("no_such_tool"))
        hand.reply(text="sorry")
    assert hand.waits == ("message",)
    hand.audit()


# -------------------------------------------------------------------------------------- loops


def test_branches_that_go_round_end_at_the_visits():
    """Two pure branches and no model: the loop is found, not run for ever."""
    hand = Hand(
        small(
            Transition("a", "entered", "b", guard="context.n < 1000"),
            Transition("a", "entered", "done"),
            Transition("b", "entered", "a", assign={"n": "context.n + 1"}),
            states=[State("a", do=[]), State("b", do=[])],
            context=COUNT,
            limits=Limits(visits=7),
        )
    )
    assert hand.outcome.limit == "visits"
    assert hand.context["n"] == 7
    assert "limit visits reached in state 'a': 7 visits" in hand.outcome.reason
    hand.audit()


@pytest.mark.parametrize("target", ["b", "a", "stay"])
def test_routing_the_visits_limit_back_into_the_loop_does_not_help(target):
    """A limit is raised once; the next round of the same loop ends the run."""
    hand = Hand(
        small(
            Transition("*", "limit.visits", target),
            Transition("a", "entered", "b", guard="context.n < 1000"),
            Transition("a", "entered", "done"),
            Transition("b", "entered", "a", assign={"n": "context.n + 1"}),
            states=[State("a", do=[]), State("b", do=[])],
            context=COUNT,
            limits=Limits(visits=7),
        )
    )
    assert hand.outcome.limit == "visits"
    assert "after that limit was routed" in hand.outcome.reason
    assert hand.events().count("limit.visits") == 2  # raised, and the failure that ends it
    hand.audit()


def test_a_visits_limit_can_lead_out():
    """A row to another state is taken, and that state works as usual."""
    hand = Hand(
        small(
            Transition("a", "limit.visits", "asking"),
            Transition("a", "entered", "a", guard="context.n < 1000"),
            Transition("a", "entered", "done"),
            Transition("asking", "approval.granted", "done"),
            states=[State("a", do=[]), State("asking", wait="approval")],
            context=COUNT,
            limits=Limits(visits=3),
        )
    )
    assert hand.waits == ("approval",)
    hand.approve(True)
    assert hand.outcome.ok
    hand.audit()


def test_calls_of_the_engine_are_limited_too():
    """A `do` loop ends at the bound of calls, routed or not."""
    for rows in ([], [Transition("work", "limit.calls", "work")]):
        hand = Hand(
            small(
                *rows,
                Transition("work", "look.ok", "work", guard="context.n < 100"),
                Transition("work", "look.ok", "done"),
                states=[State("work", do="look")],
                context=COUNT,
                limits=Limits(calls=4),
            )
        )
        for _ in range(4):
            hand.returns({})
        assert hand.outcome.limit == "calls"
        hand.audit()


def test_refusals_are_limited():
    """A model that keeps proposing what is illegal is stopped; one-at-a-time is no refusal."""
    hand = looping(limits=Limits(refusals=3, idle=9))
    hand.message()
    hand.reply(use("nothing"), use("look", n="x"))
    hand.reply(use("nothing"))
    assert hand.outcome.limit == "refusals"
    hand.audit()
