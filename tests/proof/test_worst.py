"""Cycles with effects, limits too low to succeed, effects that may be made again while in doubt."""

from statemachine_agents.proof.structure import check
from statemachine_agents.table.model import Limits, Signal, State, Table, Transition, Use
from statemachine_agents.table.toolspec import ToolSpec

SPECS = {
    "look": ToolSpec(name="look", effect="read"),
    "pay": ToolSpec(name="pay", effect="idempotent"),
    "wire": ToolSpec(name="wire", effect="manual"),
}


def found(*codes, rows, states, **parts):
    """Return the findings of some codes: (code, where)."""
    table = Table(
        name="t", initial="one", transitions=rows,
        states=[*states, State("done", final="success")], **parts,
    )  # fmt: skip
    problems = check(table, SPECS, info=True)
    return [(each.code, each.where) for each in problems if each.code in codes]


ONE = State("one", ask="x", tools=["pay"])
TWO = State("two", ask="x", tools=["look"])
ROUND = [
    Transition("one", "pay.ok", "two"),
    Transition("two", "look.ok", "one"),
    Transition("two", "look.error", "done"),
]


def test_a_cycle_that_repeats_an_effect_is_told_unless_something_counts_it():
    """A rule on its calls or a limit of visits is enough; so is a person on the way."""
    said = ("unbounded-cycle", "states.one")
    assert found("unbounded-cycle", rows=ROUND, states=[ONE, TWO]) == [said]
    for parts in ({"rules": ["at_most(pay, 2)"]}, {"limits": Limits(visits=3)}):
        assert found("unbounded-cycle", rows=ROUND, states=[ONE, TWO], **parts) == []
    counted_otherwise = {"rules": ["at_most(pay.ok, 2)"]}
    assert found("unbounded-cycle", rows=ROUND, states=[ONE, TWO], **counted_otherwise) == [said]
    asks = State("two", wait="approval")
    people = [ROUND[0], Transition("two", "approval.granted", "one"),
              Transition("two", "approval.rejected", "done")]  # fmt: skip
    assert found("unbounded-cycle", rows=people, states=[ONE, asks]) == []


def test_a_state_that_enters_itself_is_a_cycle():
    """Of one state; one that is only left is none."""
    rows = [Transition("one", "pay.error", "one"), Transition("one", "pay.ok", "done")]
    assert found("unbounded-cycle", rows=rows, states=[ONE]) == [("unbounded-cycle", "states.one")]
    assert found("unbounded-cycle", rows=rows[1:], states=[ONE]) == []


def test_a_limit_of_turns_below_the_shortest_success_is_told():
    """Two turns are needed; a message on the way begins to count anew, a signal costs no turn."""
    rows = [Transition("one", "pay.ok", "two"), Transition("two", "look.ok", "done")]
    low, enough = Limits(iterations=1), Limits(iterations=2)
    codes = ("limit-too-low", "fewest-turns")
    states = [ONE, TWO]
    assert found(*codes, rows=rows, states=states, limits=low) == [
        ("limit-too-low", "limits.iterations")
    ]
    assert found(*codes, rows=rows, states=states, limits=enough) == [("fewest-turns", "limits")]
    spoken = [
        Transition("one", "pay.ok", "rest"),
        Transition("rest", "user.message", "two"),
        Transition("two", "look.ok", "done"),
    ]
    rest = State("rest", wait="message")
    assert found(*codes, rows=spoken, states=[ONE, rest, TWO], limits=low) == [
        ("fewest-turns", "limits")
    ]
    signal = [Transition("one", "go.ok", "two"), Transition("two", "look.ok", "done")]
    one = State("one", ask="x", tools=["go"])
    assert found(*codes, rows=signal, states=[one, TWO], limits=low, signals={"go": Signal()}) == [
        ("fewest-turns", "limits")
    ]


def test_what_begins_a_stretch_without_a_row_begins_to_count_anew():
    """A yes to a call, and a customer's words in a state that talks: runs succeed within one."""
    rows = [Transition("one", "pay.ok", "two"), Transition("two", "look.ok", "done")]
    low = Limits(iterations=1)
    codes = ("limit-too-low", "fewest-turns")
    yes = {"pay": Use(approve="true")}
    said = [("fewest-turns", "limits")]
    assert found(*codes, rows=rows, states=[ONE, TWO], limits=low, tools=yes) == said
    late = {"look": Use(approve="true")}
    too_low = [("limit-too-low", "limits.iterations")]
    assert found(*codes, rows=rows, states=[ONE, TWO], limits=low, tools=late) == too_low
    talks = State("two", ask="x", tools=["look"], talk=True)
    assert found(*codes, rows=rows, states=[ONE, talks], limits=low) == said


def test_the_fewest_turns_are_told_though_the_way_has_more_rows():
    """Rows of states in which no model acts cost no turn."""
    rows = [
        Transition("zero", "look.error", "one"),
        Transition("zero", "look.ok", "left"),
        Transition("left", "look.ok", "right"),
        Transition("right", "look.ok", "done"),
        Transition("one", "pay.ok", "done"),
    ]
    states = [State(name, do=["look"]) for name in ("zero", "left", "right")]
    table = Table(
        name="t", initial="zero", transitions=rows,
        states=[*states, ONE, State("done", final="success")],
    )  # fmt: skip
    (told,) = [each for each in check(table, SPECS, info=True) if each.code == "fewest-turns"]
    assert "after 0 turns" in told.what


def test_a_long_cycle_is_told_in_few_words():
    """Its states are named, not in an order that no run takes, and not all of them."""
    names = [f"s{number}" for number in range(9)]
    rows = [
        Transition(one, "pay.ok", other)
        for one, other in zip(names, [*names[2:], "s0", "s1"], strict=True)
    ]
    rows += [Transition("s0", "pay.error", "s1"), Transition("s8", "pay.error", "done")]
    states = [State(name, ask="x", tools=["pay"]) for name in names]
    table = Table(
        name="t", initial="s0", transitions=rows, states=[*states, State("done", final="success")]
    )
    told = [each for each in check(table, SPECS, info=True) if each.code == "unbounded-cycle"]
    assert len(told) == len(names)
    assert all("s0, s1, s2, s3, s4, ..." in each.what for each in told)
    assert not any("->" in each.what for each in told)


def test_a_call_in_doubt_must_not_be_left_for_a_state_that_makes_it_again():
    """By a timer or a message; a row on the doubt is the remedy, and other classes need none."""
    rows = [
        Transition("one", "wire.ok", "done"),
        Transition("one", "timer.fired", "two"),
        Transition("two", "wire.ok", "done"),
    ]
    one = State("one", ask="x", tools=["wire"], after="1h")
    two = State("two", ask="x", tools=["wire"])
    said = [("effect-tried-again", "states.one")]
    assert found("effect-tried-again", rows=rows, states=[one, two]) == said
    mended = [*rows, Transition("one", "wire.unknown", "done")]
    assert found("effect-tried-again", rows=mended, states=[one, two]) == []
    other = [
        Transition("one", "pay.ok", "done"),
        Transition("one", "timer.fired", "two"),
        Transition("two", "pay.ok", "done"),
    ]
    ones = [State("one", ask="x", tools=["pay"], after="1h"), State("two", ask="x", tools=["pay"])]
    assert found("effect-tried-again", rows=other, states=ones) == []
