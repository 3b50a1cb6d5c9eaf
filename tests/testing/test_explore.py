"""The explorer: sound workflows hold, planted faults are found, and their scripts are short."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from statemachine_agents.errors import UsageError
from statemachine_agents.load import load_workflow
from statemachine_agents.table.model import State, Transition
from statemachine_agents.testing.choices import Choices, shrink
from statemachine_agents.testing.explore import explore, faults_of, inputs_for, repeat
from statemachine_agents.testing.hints import Hints
from statemachine_agents.testing.strategies import lives
from tests.driving import bound, small
from tests.lively_tables import LIVELY
from tests.tables import refund, refund_specs


def careless(*rules):
    """A desk that pays, and may end without telling anybody."""
    return small(
        Transition("paying", "pay.ok", "telling", guard="exists(result)"),
        Transition("paying", "pay.error", "failed"),
        Transition("telling", "send.ok", "done"),
        Transition("telling", "send.error", "failed"),
        states=[
            State("paying", ask="Pay.", tools=["look", "pay"]),
            State("telling", ask="Tell.", tools=["look", "send"]),
        ],
        rules=list(rules),
    )


@pytest.mark.parametrize("name", LIVELY)
def test_nothing_is_found_where_nothing_is_wrong(name):
    """Tables that use every verb and effect class hold against the adversary."""
    make, inputs = LIVELY[name]
    found = explore(make(), inputs, runs=60, seed=3)
    assert [f for f in found.findings if f.kind != "rule"] == []
    assert sum(found.rows.values()) > 60
    assert len(found.ends) > 1


def test_the_shipped_refund_holds(tmp_path):
    """No rule is broken, no call slips through, nearly every state is visited."""
    found = explore(load_workflow("refund", tmp_path), {"order_id": "A1"}, runs=150)
    found.require_sound()
    assert set(found.states) > {"crediting", "emailing", "complete", "needs_person"}
    assert found.ends["succeeded"] > 5


def test_a_rule_that_can_be_broken_is_found_with_a_short_script():
    """Paid, the mail fails, the run ends: the shortest run that leaves the promise unkept."""
    found = explore(careless("leads_to(pay.ok, send.ok)"), runs=150)
    (finding,) = found.findings
    assert finding.kind == "rule"
    assert "leads_to(pay.ok, send.ok)" in finding.text
    assert finding.path[-1] != "done"
    assert len(finding.script) <= 6
    again = repeat(careless("leads_to(pay.ok, send.ok)"), finding.choices)
    assert again.script == finding.script
    assert ("rule", finding.text) in faults_of(again)
    with pytest.raises(AssertionError, match="leads_to"):
        found.require_sound()


def test_a_check_of_ones_own_is_asked_of_every_run():
    """What the caller says is wrong is a finding like any other, and shrunk."""
    seen = []

    def check(lived):
        seen.append(lived)
        return "it was told" if "done" in lived.path else None

    found = explore(careless(), runs=60, check=check)
    (finding,) = found.findings
    assert (finding.kind, finding.text) == ("check", "it was told")
    assert finding.path == ("paying", "telling", "done")
    assert len(finding.script) == 4
    assert len(seen) > 60


def test_a_check_that_raises_is_a_crash_with_its_script():
    """An exception is told with what led to it."""

    def check(lived):
        if lived.executed:
            raise ValueError("oh")

    (finding,) = explore(careless(), runs=20, check=check).findings
    assert (finding.kind, finding.text) == ("crash", "ValueError: oh")
    assert len(finding.script) <= 2


def test_the_same_seed_gives_the_same_runs():
    """Another seed gives others."""
    one, two, other = (explore(careless(), runs=25, seed=seed) for seed in (1, 1, 2))
    assert one == two
    assert one.states != other.states


def test_what_was_never_reached_is_named():
    """States and rows without a visit, by name and label."""
    workflow = small(
        Transition("here", "look.ok", "there", guard="false", name="never"),
        Transition("here", "look.ok", "done"),
        Transition("there", "look.ok", "done"),
        states=[State("here", ask="x", tools=["look"]), State("there", ask="x", tools=["look"])],
    )
    found = explore(workflow, runs=20)
    assert "there" in found.unvisited
    assert found.unfired == ("never", "row 3")


@pytest.mark.parametrize("more", [{"runs": 0}, {"steps": 0}])
def test_nothing_to_explore_is_said(more):
    """A count of none is a mistake."""
    with pytest.raises(UsageError, match="1 or more"):
        explore(careless(), **more)


def test_inputs_are_sampled_where_none_are_given():
    """Every required key has a value of its type."""
    assert inputs_for(bound(refund(), refund_specs())) == {"order_id": "order_id"}


def test_hints_are_what_expressions_compare_with():
    """Constants and their neighbours, by path; null for what is only read."""
    workflow = small(
        Transition("here", "look.ok", "done", guard="result.n <= 5 and result.kind == 'a'"),
        Transition("here", "look.ok", "failed", guard="result.deep.flag"),
        states=[State("here", ask="x", tools=["look"])],
    )
    hints = Hints.of(workflow)
    assert set(hints.values["result.n"]) >= {5, 6, 4, None}
    assert "a" in hints.values["result.kind"]
    filled = hints.filled("result", None, Choices.written([0, 0, 0]))
    assert filled["n"] in hints.values["result.n"]
    assert "flag" in filled["deep"]


def test_choices_are_written_down_and_repeated():
    """The list is the run; a list that ends goes on with the most ordinary choice."""
    drawn = Choices.drawn(7)
    numbers = [drawn.below(count) for count in (5, 1, 9, 100)]
    assert len(drawn.taken) == 3  # a choice of one is none
    written = Choices.written(drawn.taken)
    assert [written.below(count) for count in (5, 1, 9, 100)] == numbers
    assert [written.below(3), written.pick("abc"), written.chance(99)] == [0, "a", False]
    assert Choices.written([50]).below(3) == 2


@given(st.lists(st.integers(0, 20), max_size=40))
def test_shrinking_keeps_what_is_shown_and_loses_the_rest(numbers):
    """A list shows it if it holds two numbers of 7 or more; the simplest is two sevens."""

    def size(found):
        return 1 if sum(number >= 7 for number in found) >= 2 else None

    if size(numbers):
        assert shrink(numbers, size) == (7, 7)


def test_a_shorter_run_is_simpler_than_a_shorter_list():
    """The size of the run counts first."""
    assert shrink([3, 1, 2], lambda found: 9 - sum(found)) == (3, 1, 2)


def test_hypothesis_finds_and_shrinks_too():
    """The same adversary as a strategy: the failing example is a short script."""
    workflow = careless("leads_to(pay.ok, send.ok)")

    @settings(
        max_examples=200, deadline=None, database=None, derandomize=True,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(lives(workflow, steps=20))
    def holds(lived):
        shortest.append(lived.script)
        assert faults_of(lived) == []

    shortest = []
    with pytest.raises(AssertionError):
        holds()
    assert len(shortest[-1]) <= 12
