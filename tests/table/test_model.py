"""The classes an author writes: what they accept, what they derive, what they refuse."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given

from statemachine_agents.errors import TableError
from statemachine_agents.table.model import (
    Agent,
    Key,
    Limits,
    Signal,
    State,
    Table,
    Transition,
    Use,
)
from tests.strategies import tables
from tests.tables import REFUND_TOML, everything, refund


def test_states_and_rows_read_like_a_table():
    """State and row take their columns in order; single names stand for lists."""
    state = State("fetching", "Look it up.", tools=["fetch_order"])
    row = Transition("fetching", "fetch_order.ok", "done", "result.found", {"order": "result"})
    assert (state.ask, state.tools, state.verb) == ("Look it up.", ("fetch_order",), "ask")
    assert (row.event, row.target, row.guard) == (("fetch_order.ok",), "done", "result.found")
    assert dict(row.assign) == {"order": "result"}


@pytest.mark.parametrize(
    ("state", "verbs", "verb"),
    [
        (State("a", ask="x"), ("ask",), "ask"),
        (State("a", do=[]), ("do",), "do"),
        (State("a", do="undo"), ("do",), "do"),
        (State("a", wait="message"), ("wait",), "wait"),
        (State("a", run=["x", "y"]), ("run",), "run"),
        (State("a", final="success"), ("final",), "final"),
        (State("a"), (), "final"),
        (State("a", ask="x", final="failure"), ("ask", "final"), "ask"),
    ],
)
def test_the_verb_is_what_is_set(state: State, verbs: tuple[str, ...], verb: str):
    """Every verb that is set counts, an empty list too; none set acts like an end."""
    assert state.verbs == verbs
    assert state.verb == verb


def test_no_names_may_be_written_as_none():
    """`tools=None` is the same as leaving it out."""
    assert State("a", ask="x", tools=None, shows=None) == State("a", ask="x")


def test_values_are_frozen():
    """Nothing an author wrote changes later."""
    for value in (State("a"), Transition("a", "b.ok"), Use(), Limits(), Key(type="any"), refund()):
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            value.name = "other"


def test_two_states_of_one_name_are_refused():
    """A second state of the same name would silently replace the first."""
    with pytest.raises(TableError, match="state 'a' is defined twice") as caught:
        Table(name="t", initial="a", states=[State("a", ask="x"), State("a", final="success")])
    assert caught.value.facts["name"] == "a"
    with pytest.raises(TableError, match="agent 'a' is defined twice"):
        Table(name="t", initial="a", states=[State("a")], agents=[Agent("a"), Agent("a")])


def test_lists_and_mappings_of_states_are_equal():
    """`states=[...]` and `states={...}` make the same table."""
    states = [State("a", ask="x"), State("b", final="success")]
    listed = Table(name="t", initial="a", states=states, context={"n": "integer"})
    mapped = Table(
        name="t",
        initial="a",
        states={state.name: state for state in states},
        context={"n": Key(type="integer")},
    )
    assert listed == mapped


def test_a_key_without_default_is_a_required_input():
    """Null must be allowed, or a default given, or the run needs the value at its start."""
    assert Key(type="string").required
    assert not Key(type="string?").required
    assert not Key(type="any").required
    assert not Key(type="integer", default=0).required


def test_bounds_are_checked_where_they_are_written():
    """A limit of zero would forbid every run."""
    for name in ("iterations", "calls", "visits", "refusals", "nudges", "idle", "requests"):
        with pytest.raises(ValueError, match=name):
            Limits(**{name: 0})
    assert Limits(tokens=None, cost_usd=0.0, seconds=None).cost_usd == 0.0


def test_tools_of_a_state():
    """`ask` offers its own and the table's tools once each; `do` its own; others none."""
    table = Table(
        name="t",
        initial="a",
        everywhere=["help", "b"],
        states=[
            State("a", ask="x", tools=["b", "c"]),
            State("d", do=["e", "e"]),
            State("u", do="undo"),
            State("w", wait="message"),
        ],
    )
    offered = {name: table.tools_in(state) for name, state in table.states.items()}
    assert offered == {"a": ("b", "c", "help"), "d": ("e",), "u": (), "w": ()}


def test_who_speaks_in_a_state():
    """A named agent, else the one called `agent`."""
    clerk = Agent("clerk", "You sort.")
    table = Table(name="t", initial="a", states=[], agents=[clerk])
    assert table.agent_of(State("a", ask="x", agent="clerk")) is clerk
    assert table.agent_of(State("a", ask="x")).name == "agent"
    assert table.agent_of(State("a", ask="x", agent="other")) == Agent("other")


def test_printing_a_table_shows_its_toml():
    """What an author sees is what an author may write."""
    text = str(refund())
    assert Table.from_toml(text) == refund()
    assert text.splitlines()[:3] == ['name = "refund"', 'version = "1"', 'initial = "fetching"']


def test_the_refund_table_as_python():
    """The TOML and the Python form use the same words."""
    table = Table.from_toml(REFUND_TOML)
    assert table.limits == Limits(iterations=12)
    assert table.tools["fetch_order"] == Use(bind={"order_id": "context.order_id"})
    assert table.states["complete"] == State("complete", final="success", returns="context.credit")
    assert table.transitions[0] == Transition(
        "fetching", "fetch_order.ok", "validating", assign={"order": "result"}
    )


def test_the_table_with_every_section():
    """Each section arrives in its class."""
    table = everything()
    assert table.signals["give_up"] == Signal(
        fields={"reason": "string", "code": "integer?"}, about="Say that it cannot be done."
    )
    assert table.agents["clerk"] == Agent("clerk", "You sort.", "claude-x", 100, "low")
    assert table.context["temp"] == Key(type="list", default=[], scope="stretch")
    assert table.states["asking"].wait == ("approval", "timer")
    assert table.states["children"].join == 3
    assert table.everywhere == ("look_up", "give_up")


@given(tables())
def test_random_tables_round_trip(table: Table):
    """Dict and TOML forms read back as equal tables, with states in the author's order."""
    for again in (Table.from_dict(table.to_dict()), Table.from_toml(table.to_toml())):
        assert again == table
        assert list(again.states) == list(table.states)
        assert again.to_toml() == table.to_toml()
