"""What a rehearsal must do: always something legal, always the same, never stuck on a failure."""

import asyncio

import jsonschema_rs
import pytest

from statemachine_agents.models.rehearsal import RehearsalModel
from statemachine_agents.models.samples import Sampler
from statemachine_agents.turn.ports import Layout, Model, ModelRequest


def tool(name, properties=None, required=None):
    properties = properties or {}
    return {
        "name": name,
        "description": name,
        "input_schema": {
            "type": "object",
            "properties": properties,
            "required": list(properties) if required is None else required,
            "additionalProperties": False,
        },
    }


def request(offered=(), tools=(), messages=(), **fields):
    return ModelRequest(
        run="r",
        agent="desk",
        model=None,
        system=[],
        tools=list(tools),
        messages=list(messages),
        offered=tuple(offered),
        **fields,
    )


def proposed(asked, seed=0):
    (block,) = asyncio.run(RehearsalModel(seed).complete(asked)).content
    return block["name"], block["input"]


def answered(*calls):
    """Build the transcript of calls that were answered: (name, input, failed)."""
    messages = [{"role": "user", "content": "start"}]
    for number, (name, arguments, failed) in enumerate(calls):
        call = {"type": "tool_use", "id": f"c{number}", "name": name, "input": arguments}
        result = {"type": "tool_result", "tool_use_id": f"c{number}", "content": "x"}
        messages.append({"role": "assistant", "content": [call]})
        messages.append(
            {
                "role": "user",
                "content": [{**result, "is_error": True} if failed else result],
            }
        )
    return messages


AB = (tool("a"), tool("b"), tool("c"))


def test_the_first_legal_tool_is_proposed():
    """With nothing behind it, it proposes the first offered tool, not the first tool there is."""
    asked = request(("b", "c"), AB)
    reply = asyncio.run(RehearsalModel().complete(asked))
    assert reply.stop_reason == "tool_use"
    assert reply.content == [{"type": "tool_use", "id": "rehearsal_0", "name": "b", "input": {}}]
    assert isinstance(RehearsalModel(), Model)


def test_without_a_tool_it_speaks():
    """Where no tool is legal, it says a short text, also to `on_text`, and ends its turn."""
    heard = []
    reply = asyncio.run(RehearsalModel().complete(request(), on_text=heard.append))
    assert reply.stop_reason == "end_turn"
    assert [reply.content[0]["text"]] == heard
    assert asyncio.run(RehearsalModel().aclose()) is None


def test_a_failure_moves_it_on():
    """After failures it goes round the offered tools, one further for each in a row."""
    offered = ("a", "b", "c")
    assert proposed(request(offered, AB, answered(("a", {}, True)))) == ("b", {})
    two = answered(("a", {}, True), ("b", {}, True))
    assert proposed(request(offered, AB, two)) == ("c", {})
    three = answered(("a", {}, True), ("b", {}, True), ("c", {}, True))
    assert proposed(request(offered, AB, three)) == ("a", {})
    assert proposed(request(("a",), AB, three)) == ("a", {})


def test_what_was_just_done_is_not_done_again():
    """The same call with the same arguments is not repeated while another tool is legal."""
    done = answered(("a", {}, False))
    assert proposed(request(("a", "b"), AB, done)) == ("b", {})
    assert proposed(request(("a",), AB, done)) == ("a", {})
    # Further back than the last success does not count: a loop may come round again.
    assert proposed(request(("a", "b"), AB, answered(("a", {}, False), ("c", {}, False)))) == (
        "a",
        {},
    )


def test_ids_are_new_as_the_transcript_grows():
    """Two requests of one transcript never get the same call id."""
    ids = {
        asyncio.run(RehearsalModel().complete(request(("a",), AB, answered(*calls)))).content[0][
            "id"
        ]
        for calls in ([], [("a", {}, True)], [("a", {}, True), ("a", {}, True)])
    }
    assert len(ids) == 3


def test_same_request_same_reply():
    """It remembers nothing and decides by the request alone; the seed chooses another way."""
    asked = request(("a", "b"), AB)
    model = RehearsalModel()
    first = asyncio.run(model.complete(asked))
    assert asyncio.run(model.complete(asked)) == first
    assert proposed(asked, seed=1) == ("b", {})
    assert proposed(asked, seed=2) == ("a", {})


def test_layout_follows_the_id_asked_for():
    """The layout is the plain one, under the agent's model id if it has one."""
    assert RehearsalModel().layout(None) == Layout("rehearsal")
    assert RehearsalModel().layout("x") == Layout("x")


def test_a_transcript_of_plain_texts_is_no_obstacle():
    """Messages whose content is a string, or holds unknown blocks, are skipped."""
    messages = [{"role": "user", "content": "hi"}, {"role": "user", "content": ["odd", {}]}]
    assert proposed(request(("a",), AB, messages)) == ("a", {})


def test_facts_fill_arguments_of_the_same_name():
    """A fact fills a property of its name, also from inside a fact object, if its type fits."""
    asked = request(
        ("a",),
        [
            tool(
                "a",
                {
                    "order_id": {"type": "string"},
                    "email": {"type": "string", "format": "email"},
                    "amount": {"type": "integer"},
                    "note": {"type": ["string", "null"]},
                    "other": {"type": "string"},
                },
                required=["order_id", "email", "amount"],
            )
        ],
        facts={"order_id": "A1", "order": {"email": "x@y.example", "amount": "12"}, "note": "n"},
    )
    assert proposed(asked) == (
        "a",
        {"order_id": "A1", "email": "x@y.example", "amount": 1, "note": "n"},
    )


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"const": 7}, 7),
        ({"enum": ["x", "y"], "default": "y"}, "x"),
        ({"type": "string", "default": "d", "examples": ["e"]}, "d"),
        ({"type": "string", "examples": ["e"]}, "e"),
        ({"type": "string"}, "thing"),
        ({"type": "string", "format": "email"}, "customer@example.com"),
        ({"type": "string", "minLength": 7}, "thingxx"),
        ({"type": "string", "maxLength": 2}, "th"),
        ({"type": "integer"}, 1),
        ({"type": "integer", "minimum": 5}, 5),
        ({"type": "integer", "exclusiveMinimum": 5}, 6),
        ({"type": "integer", "minimum": 3, "exclusiveMinimum": 5}, 6),
        ({"type": "integer", "maximum": 0}, 0),
        ({"type": "integer", "exclusiveMaximum": 0, "maximum": 9}, -1),
        ({"type": "integer", "minimum": -9, "maximum": -4}, -9),
        ({"type": "integer", "multipleOf": 5, "minimum": 7}, 10),
        ({"type": "integer", "multipleOf": 5, "minimum": 0, "maximum": 3}, 0),
        ({"type": "number", "exclusiveMinimum": 1, "maximum": 2}, 1.5),
        ({"type": "number", "multipleOf": 0.5, "minimum": 1.2}, 1.5),
        ({"type": "boolean"}, True),
        ({"type": "null"}, None),
        ({"type": ["null", "integer"]}, 1),
        ({"anyOf": [{"type": "null"}, {"type": "boolean"}]}, True),
        ({"oneOf": [{"type": "null"}]}, None),
        ({"type": "array", "items": {"type": "string"}}, ["thing"]),
        ({"type": "array", "items": {"type": "integer"}, "minItems": 2}, [1, 1]),
        ({"type": "array", "maxItems": 0}, []),
        ({"items": {"const": 1}}, [1]),
        ({"type": "object"}, {}),
        ({"properties": {"a": {"const": 1}, "b": {"const": 2}}, "required": ["a"]}, {"a": 1}),
        ({"allOf": [{"type": "integer"}, {"minimum": 4}]}, 4),
        ({"$ref": "#/$defs/Colour"}, "red"),
        ({"$ref": "#/$defs/none"}, "thing"),
        ({}, "thing"),
        (True, "thing"),
    ],
)
def test_values_fit_their_schema(schema, expected):
    """Each keyword is honoured, and what is made validates against the schema it was made from."""
    root = {"$defs": {"Colour": {"enum": ["red", "blue"]}}}
    value = Sampler(root).value(schema, "thing")
    assert value == expected
    if isinstance(schema, dict) and schema.get("$ref") != "#/$defs/none":
        assert jsonschema_rs.is_valid({**root, **schema}, value)


@pytest.mark.parametrize(
    ("schema", "fact", "taken"),
    [
        ({"type": "integer"}, True, False),
        ({"type": "boolean"}, True, True),
        ({"type": "number"}, 3, True),
        ({"type": "string"}, None, False),
        ({"anyOf": [{"type": "null"}, {"type": "string"}]}, "z", True),
        ({"anyOf": [{"type": "null"}, {"type": "string"}]}, 4, False),
        ({"allOf": [{"type": "string"}]}, "z", True),
        ({}, "z", True),
    ],
)
def test_only_facts_that_fit_are_taken(schema, fact, taken):
    """A fact of the right name and the wrong type is left alone."""
    value = Sampler({}, {"thing": fact}).value(schema, "thing")
    assert ((type(value), value) == (type(fact), fact)) is taken


@pytest.mark.parametrize(
    "schema",
    [
        {
            "type": "object",
            "properties": {"next": {"$ref": "#"}, "value": {"type": "integer"}},
            "required": ["value", "next"],
        },
        {"$ref": "#"},
        {"anyOf": [{"$ref": "#"}]},
        {"type": "array", "items": {"$ref": "#"}},
        {"type": "nonsense", "required": None, "properties": {"a": 1}},
        {"properties": {"a": {"type": "string", "minLength": "x"}}, "required": ["a"]},
        {"properties": {"a": {"type": [{}], "anyOf": 3, "enum": []}}, "required": ["a"]},
    ],
)
def test_no_schema_makes_it_fail(schema):
    """Schemas that contain themselves, or are nonsense, still give an object."""
    assert isinstance(Sampler(schema, {"a": "fact"}).arguments(), dict)


@pytest.mark.parametrize(
    ("schema", "taken"),
    [
        ({"enum": ["fact", "other"]}, True),
        ({"enum": ["other"]}, False),
        ({"const": "other"}, False),
        ({"type": "integer"}, False),
    ],
)
def test_an_option_is_filled_only_by_a_fact_that_fits(schema, taken):
    """A property that is not required is left out, unless a fact of its name is a legal value."""
    root = {"type": "object", "properties": {"a": schema, "b": {"default": 1}}}
    assert Sampler(root, {"a": "fact"}).arguments() == ({"a": "fact"} if taken else {})


def test_a_chain_that_may_end_ends_in_null():
    """A schema that contains itself through a nullable property gives a value that validates."""
    root = {
        "type": "object",
        "properties": {"next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}},
        "required": ["next"],
    }
    assert jsonschema_rs.is_valid(root, Sampler(root).arguments())
