"""Plain data to tables and back: strict, everything reported at once, small when written."""

from __future__ import annotations

from typing import Any

import pytest

from statemachine_agents.errors import TableError
from statemachine_agents.table.model import Agent, Key, Limits, Signal, State, Table, Transition
from statemachine_agents.table.problems import Problem
from tests.tables import everything, refund

SOUND: dict[str, Any] = {
    "name": "t",
    "initial": "a",
    "states": {"a": {"ask": "x", "tools": ["f"]}, "b": {"final": "success"}},
    "transitions": [{"source": "a", "event": "f.ok", "target": "b"}],
}


def faults(data: Any) -> list[tuple[str, str]]:
    with pytest.raises(TableError) as caught:
        Table.from_dict(data)
    return [(problem.code, problem.where) for problem in caught.value.facts["problems"]]


@pytest.mark.parametrize("table", [refund(), everything()], ids=["refund", "everything"])
def test_reading_what_was_written_gives_the_same_table(table: Table):
    """`from_dict(to_dict())` is the identity, and stable."""
    plain = table.to_dict()
    assert Table.from_dict(plain) == table
    assert Table.from_dict(plain).to_dict() == plain


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"nmae": "t"}, ("unknown-key", "nmae")),
        ({"version": 1}, ("wrong-type", "version")),
        ({"rules": "at_most(f, 1)"}, ("wrong-type", "rules")),
        ({"transitions": {}}, ("wrong-type", "transitions")),
        ({"transitions": ["a"]}, ("wrong-type", "transitions[0]")),
        ({"transitions": [{"source": "a"}]}, ("missing-key", "transitions[0].event")),
        (
            {"transitions": [{"source": "a", "event": "f.ok", "gaurd": "true"}]},
            ("unknown-key", "transitions[0].gaurd"),
        ),
        (
            {"transitions": [{"source": "a", "event": "f.ok", "assign": {"n": 1}}]},
            ("wrong-type", "transitions[0].assign"),
        ),
        ({"states": []}, ("wrong-type", "states")),
        ({"states": {"a": "ask"}}, ("wrong-type", "states.a")),
        ({"states": {"a": {"ask": "x", "talk": "yes"}}}, ("wrong-type", "states.a.talk")),
        ({"states": {"a": {"aks": "x"}}}, ("unknown-key", "states.a.aks")),
        ({"states": {"a": {"run": "c", "at_once": True}}}, ("wrong-type", "states.a.at_once")),
        ({"tools": {"f": {"bnid": {}}}}, ("unknown-key", "tools.f.bnid")),
        ({"tools": {"f": {"bind": {"id": 1}}}}, ("wrong-type", "tools.f.bind")),
        ({"tools": {"f": 1}}, ("wrong-type", "tools.f")),
        ({"context": {"k": {}}}, ("missing-key", "context.k.type")),
        ({"context": {"k": 1}}, ("wrong-type", "context.k")),
        ({"groups": {"g": "a"}}, ("wrong-type", "groups.g")),
        ({"agents": {"a": {"max_tokens": 0}}}, ("wrong-value", "agents.a")),
        ({"agents": {"a": {"max_tokens": 1.5}}}, ("wrong-type", "agents.a.max_tokens")),
        ({"signals": {"s": "string"}}, ("wrong-type", "signals.s")),
        ({"define": {"d": 1}}, ("wrong-type", "define")),
        ({"limits": {"iterations": 0}}, ("wrong-value", "limits")),
        ({"limits": {"iteration": 1}}, ("unknown-key", "limits.iteration")),
        ({"limits": 3}, ("wrong-type", "limits")),
    ],
)
def test_every_wrong_key_has_its_place(change: dict[str, Any], expected: tuple[str, str]):
    """Unknown keys, wrong types, missing keys and values out of bounds say where they stand."""
    assert expected in faults({**SOUND, **change})


def test_all_faults_are_reported_at_once():
    """An author sees the whole list, not the first item of it."""
    found = faults({"version": 2, "colour": "red", "transitions": [{}], "context": {"k": {}}})
    assert {where for _, where in found} == {
        "version", "colour", "name", "initial", "states",
        "transitions[0].source", "transitions[0].event", "context.k.type",
    }  # fmt: skip


def test_a_misspelt_key_is_named_with_the_right_one():
    """Did-you-mean is part of the finding."""
    with pytest.raises(TableError, match=r"nmae.*did you mean 'name'\?"):
        Table.from_dict({**SOUND, "nmae": "x"})


@pytest.mark.parametrize("data", [[], "text", None, {"name": float("nan")}])
def test_what_is_no_table_at_all_is_refused(data: Any):
    """Foreign values end in a `TableError`, never in another exception."""
    assert faults(data)


def test_what_equals_its_default_is_left_out():
    """The plain form holds only what an author would have to write."""
    table = Table(
        name="t",
        initial="a",
        limits=Limits(),
        states=[State("a", ask="x", tools=[], talk=False), State("b", final="success")],
        transitions=[Transition("a", ["f.ok"], "b")],
        context={"k": Key(type="string"), "d": Key(type="integer", default=0)},
        agents=[Agent("a")],
        signals={"s": Signal(about="Say it.")},
    )
    assert table.to_dict() == {
        "name": "t",
        "version": "1",
        "initial": "a",
        "transitions": [{"source": "a", "event": "f.ok", "target": "b"}],
        "states": {"a": {"ask": "x"}, "b": {"final": "success"}},
        "context": {"k": "string", "d": {"type": "integer", "default": 0}},
        "agents": {"a": {}},
        "signals": {"s": {"about": "Say it."}},
    }


@pytest.mark.parametrize(
    ("state", "plain"),
    [
        (State("a", do=["f"]), {"do": ["f"]}),
        (State("a", do=[]), {"do": []}),
        (State("a", do=["undo"]), {"do": "undo"}),
        (State("a", wait=["message"]), {"wait": "message"}),
        (State("a", wait=["message", "timer"]), {"wait": ["message", "timer"]}),
        (State("a", run=["c"]), {"run": "c"}),
    ],
)
def test_single_names_are_written_as_text(state: State, plain: dict[str, Any]):
    """One wait or child is a text; the tools of a `do` stay a list, which they are."""
    table = Table(name="t", initial="a", states=[state])
    assert table.to_dict()["states"]["a"] == plain
    assert Table.from_dict(table.to_dict()) == table


def test_the_authors_order_is_kept():
    """States, definitions and the rest stay in the order of the file, though values are sorted."""
    plain = {
        **SOUND,
        "states": {"b": {"final": "success"}, "a": {"ask": "x"}},
        "define": {"z": "1", "y": "z"},
    }
    table = Table.from_dict(plain)
    assert list(table.states) == ["b", "a"]
    assert list(table.define) == ["z", "y"]


def test_lone_surrogates_are_repaired_on_the_way_in():
    """A table's text is journaled, so it must be text that can be written."""
    table = Table.from_dict({**SOUND, "instructions": "a\ud800b"})
    assert table.instructions == "a\ufffdb"


def test_a_problem_prints_what_it_knows():
    """Code, place, what, expected, got and next stand in one sentence."""
    problem = Problem("code", "place", "is wrong", "this", "that", "do so")
    assert str(problem) == "error[code] place: is wrong; expected this; got that; do so"
    assert str(Problem("c", "p", "w", severity="warning")) == "warning[c] p: w"
    assert Problem("c", "p", "w").to_dict() == {
        "code": "c",
        "where": "p",
        "what": "w",
        "severity": "error",
    }
