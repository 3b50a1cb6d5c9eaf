"""States that run child workflows: starting, joining, failing."""

from __future__ import annotations

import pytest

from statemachine_agents.table.model import Key, State, Transition
from statemachine_agents.turn import effects as fx
from tests.driving import Hand, small

LOG = {"log": Key(type="list", default=[]), "order": Key(type="string", default="A1")}


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
    assert hand.context["log"] == ["one", "two", "three"]
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
