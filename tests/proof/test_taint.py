"""What a model or a customer wrote must not decide whom an effect is about."""

import pytest

from statemachine_agents.proof.structure import check
from statemachine_agents.table.model import State, Table, Transition, Use
from statemachine_agents.table.toolspec import ToolSpec

ARGUMENTS = {
    "type": "object",
    "properties": {"to": {"type": "string"}},
    "required": ["to"],
    "additionalProperties": False,
}
SPECS = {
    "look": ToolSpec(name="look", effect="read", arguments=ARGUMENTS),
    "pay": ToolSpec(name="pay", effect="idempotent", arguments=ARGUMENTS, wants_call=True),
}


def found(event, assign, *, tools=None, more=(), talk=False, specs=SPECS):
    """Return the places where something written is bound; `assign` is what a row fills."""
    table = Table(
        name="t",
        initial="one",
        states=[
            State("one", ask="x", tools=["look"], talk=talk),
            State("two", ask="x", tools=["pay"]),
            State("done", final="success"),
        ],
        transitions=[
            Transition("one", event, None, assign=assign),
            *more,
            Transition("one", "look.ok", "two"),
            Transition("two", "pay.ok", "done"),
        ],
        tools={"pay": Use(bind={"to": "context.to"}), **(tools or {})},
        context={"to": "string?", "asked": "string?", "known": "string?"},
    )
    return [each.where for each in check(table, specs) if each.code == "written-binding"]


@pytest.mark.parametrize(
    ("event", "assign", "talk"),
    [
        ("user.message", {"to": "message.text"}, True),
        ("model.done", {"to": "reply.text"}, False),
        ("look.ok", {"to": "args.to"}, False),
    ],
)
def test_what_somebody_wrote_is_told(event, assign, talk):
    """A message, a reply, an argument that the model chose."""
    assert found(event, assign, talk=talk) == ["tools.pay.bind.to"]


def test_what_is_written_beside_something_else_is_told_too():
    """An attribute of the application does not excuse the text next to it."""
    mixed = {"to": "default(message.account, context.asked)"}
    more = [Transition("one", "user.message", None, assign={"asked": "message.text"})]
    assert found("user.message", mixed, more=more, talk=True) == ["tools.pay.bind.to"]


def test_what_was_written_is_followed_from_key_to_key():
    """By way of another context key, in any order of rows."""
    more = [Transition("one", "look.ok", None, assign={"to": "context.asked"})]
    assert found("look.ok", {"asked": "args.to"}, more=more) == ["tools.pay.bind.to"]


def test_what_a_tool_looked_up_or_the_application_says_is_no_text_of_a_customer():
    """Results, bound arguments, attributes of a message that the application sets."""
    assert found("look.ok", {"to": "result.owner"}) == []
    bound = {"look": Use(bind={"to": "context.known"})}
    assert found("look.ok", {"to": "args.to"}, tools=bound) == []
    assert found("user.message", {"to": "message.account"}, talk=True) == []


def test_an_idempotent_tool_that_takes_no_call_is_remarked():
    """It cannot hand its key on; without specs nothing is said."""
    bare = {**SPECS, "pay": ToolSpec(name="pay", effect="idempotent", arguments=ARGUMENTS)}
    table = Table(
        name="t",
        initial="one",
        states=[State("one", ask="x", tools=["pay"]), State("done", final="success")],
        transitions=[Transition("one", "pay.ok", "done")],
    )
    codes = [each.code for each in check(table, bare, info=True)]
    assert "key-unused" in codes
    assert "key-unused" not in [each.code for each in check(table, SPECS, info=True)]
    assert "key-unused" not in [each.code for each in check(table, info=True)]
