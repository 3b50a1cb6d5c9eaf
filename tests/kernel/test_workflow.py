"""A workflow: bound once, every problem told together, inputs checked."""

from __future__ import annotations

import pytest

from statemachine_agents.errors import TableError, UsageError
from statemachine_agents.kernel.workflow import Workflow, signal_spec, used_tools
from statemachine_agents.table.definition import Definition
from statemachine_agents.table.model import Key, Signal, State, Table, Transition, Use
from statemachine_agents.table.toolspec import ToolSpec
from tests.driving import TOOLS, arguments, small


def function(spec: ToolSpec):
    def call(**given):
        return given

    call.__sma_tool__ = spec
    call.__name__ = spec.name
    return call


def table(**parts) -> Table:
    values = {
        "name": "t",
        "initial": "here",
        "states": [State("here", ask="x", tools=["look", "web"]), State("done", final="success")],
        "transitions": [Transition("here", ["look.ok", "web.ok"], "done")],
        "tools": {"web": Use(use="peek", bind={"n": "1"})},
    }
    return Table(**{**values, **parts})


def test_functions_are_bound_by_the_names_the_table_uses():
    """An alias is the same function under another name, with its own bindings and schema."""
    workflow = Workflow(table(), [function(TOOLS["look"]), function(TOOLS["peek"])])
    assert set(workflow.functions) == {"look", "web"}
    assert workflow.bindings["web"].spec.name == "web"
    assert "n" not in workflow.bindings["web"].shown["properties"]
    assert "n" in workflow.bindings["look"].shown["properties"]
    assert workflow.bindings["look"].reads
    assert repr(workflow).startswith("<Workflow t@1 ")


def test_every_missing_function_is_told_together():
    """One error lists what is missing, what is twice and what is no tool, each with advice."""
    with pytest.raises(TableError) as caught:
        Workflow(table(), [function(TOOLS["pay"]), function(TOOLS["pay"]), len])
    codes = sorted(problem.code for problem in caught.value.facts["problems"])
    assert codes == ["no-function", "no-function", "no-tool", "twice"]
    assert "@tool" in str(caught.value)
    assert "'peek'" in str(caught.value)


def test_a_table_with_errors_is_no_workflow():
    """Structural errors are refused when binding, all of them."""
    broken = table(initial="nowhere", transitions=[Transition("here", "look.ok", "gone")])
    with pytest.raises(TableError) as caught:
        Workflow(broken, [function(TOOLS["look"]), function(TOOLS["peek"])])
    assert len(caught.value.facts["problems"]) >= 2


def test_undo_tools_are_needed_too():
    """A tool that only undoes another one must have a function."""
    undoing = table(tools={"look": Use(undo="pay_back"), "web": Use(use="peek")})
    assert set(used_tools(undoing)) == {"look", "web", "pay_back"}


def test_the_undo_of_a_tool_is_bound_with_it():
    """A spec that names its undo needs that function, whether or not the table says so."""
    paying = table(
        states=[State("here", ask="x", tools=["pay"]), State("done", final="success")],
        transitions=[Transition("here", "pay.ok", "done")],
        tools={},
    )
    with pytest.raises(TableError, match="pay_back"):
        Workflow(paying, [function(TOOLS["pay"])])
    workflow = Workflow(paying, [function(TOOLS["pay"]), function(TOOLS["pay_back"])])
    assert set(workflow.functions) == {"pay", "pay_back"}


def test_the_definition_alone_makes_the_same_workflow():
    """Stored bytes give the same hash, grid and bindings; functions are not needed."""
    workflow = Workflow(table(), [function(TOOLS["look"]), function(TOOLS["peek"])])
    again = Workflow.from_definition(Definition.from_data(workflow.definition.data))
    assert again.definition.hash == workflow.definition.hash
    assert set(again.grid.cells) == set(workflow.grid.cells)
    assert again.bindings["web"].shown == workflow.bindings["web"].shown
    assert again.functions == {}


CONTEXT = {
    "order": "string",
    "count": Key(type="integer", default=3),
    "price": "number?",
    "open": "boolean?",
    "data": "object?",
    "items": Key(type="list", default=[]),
    "free": "any",
}


def with_context() -> Workflow:
    return small(
        Transition("here", "look.ok", "done"),
        states=[State("here", do=["look"])],
        context=CONTEXT,
    )


def test_a_context_is_whole():
    """Every declared key has a value: the input, the default, or null."""
    context = with_context().bind_context({"order": "A1", "price": 1.5})
    assert context == {
        "order": "A1", "count": 3, "price": 1.5, "open": None, "data": None, "items": [],
        "free": None,
    }  # fmt: skip


def test_all_faults_of_inputs_are_told_together():
    """Unknown, missing, mistyped and unwritable inputs are one error, with a suggestion."""
    with pytest.raises(UsageError) as caught:
        with_context().bind_context(
            {"order_": "A1", "count": True, "price": "1", "open": 1, "data": [], "free": 2**60}
        )
    text = str(caught.value)
    assert len(caught.value.facts["faults"]) == 7
    for part in (
        "'order_' is not declared",
        "did you mean 'order'",
        "'order' is missing",
        "'count': expected integer, got boolean",
        "'price': expected number?, got string",
        "'open': expected boolean?, got integer",
        "'data': expected object?, got list",
        "beyond 2**53",
    ):
        assert part in text


def test_null_fits_where_the_type_allows_it():
    """A `?` type and `any` take null; others do not."""
    workflow = with_context()
    assert workflow.wrong_type("price", None) == ""
    assert workflow.wrong_type("free", None) == ""
    assert "got null" in workflow.wrong_type("order", None)
    assert "not declared" in workflow.wrong_type("nothing", 1)


def test_signals_look_like_tools():
    """A signal's fields become an argument schema; it reads nothing and changes nothing."""
    spec = signal_spec(
        "stop", Signal(fields={"why": "string", "more": "list?", "x": "any"}, about="S")
    )
    assert spec.arguments == {
        "type": "object",
        "properties": {"why": {"type": "string"}, "more": {"type": ["array", "null"]}, "x": {}},
        "additionalProperties": False,
        "required": ["why", "x"],
    }
    assert (spec.effect, spec.description) == ("read", "S")


def test_bound_arguments_leave_the_schema_and_its_examples():
    """What the model cannot choose, it does not see."""
    schema = {**arguments(a="string", b="integer"), "examples": [{"a": "x", "b": 1}]}
    workflow = small(
        Transition("here", "pay.ok", "done"),
        states=[State("here", ask="x", tools=["pay"])],
        specs={"pay": ToolSpec(name="pay", arguments=schema)},
        tools={"pay": Use(bind={"a": "'x'"})},
    )
    shown = workflow.bindings["pay"].shown
    assert shown["properties"] == {"b": {"type": "integer"}}
    assert shown["required"] == ["b"]
    assert shown["examples"] == [{"b": 1}]
    assert schema["required"] == ["a", "b"]
