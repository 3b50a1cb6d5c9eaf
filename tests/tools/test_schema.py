"""Types to JSON Schema and back: one row per kind of type."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import json
import uuid
from collections.abc import Callable
from typing import Annotated, Any, Generic, Literal, NamedTuple, NotRequired, TypedDict, TypeVar

import attrs
import msgspec
import pydantic
import pytest

from statemachine_agents.errors import TableError
from statemachine_agents.table.toolspec import ToolSpec
from statemachine_agents.tools.decorator import attach, spec_of, tool
from statemachine_agents.tools.schema import checker, schemas_of, sort_keys, to_plain


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


@attrs.frozen
class Line:
    """One line of an order.

    Args:
        sku: what was bought
    """

    sku: str
    qty: Annotated[int, msgspec.Meta(ge=1)] = 1
    at: dt.datetime | None = None


@dataclasses.dataclass
class Address:
    street: str
    lines: list[Line] = dataclasses.field(default_factory=list)


class Filter(TypedDict):
    state: str
    days: NotRequired[int]


class Point(NamedTuple):
    x: int
    y: int = 0


class Box(msgspec.Struct):
    size: int


@attrs.define
class Tree:
    name: str
    kids: list[Tree] = attrs.field(factory=list)


T = TypeVar("T")


class Pair(msgspec.Struct, Generic[T]):
    a: T


@attrs.frozen
class Ping:
    pong: Pong | None = None
    item: Box | None = None


@attrs.frozen
class Pong:
    ping: Ping | None = None


class Item(pydantic.BaseModel):
    sku: str
    qty: int = pydantic.Field(default=1, ge=1)


class Cart(pydantic.BaseModel):
    items: list[Item]
    note: str | None = None


class Node(pydantic.BaseModel):
    n: int
    kids: list[Node] = []


LINE = {
    "type": "object",
    "title": "Line",
    "description": "One line of an order.",
    "properties": {
        "sku": {"type": "string", "description": "what was bought"},
        "qty": {"type": "integer", "minimum": 1, "default": 1},
        "at": {
            "anyOf": [{"type": "string", "format": "date-time"}, {"type": "null"}],
            "default": None,
        },
    },
    "required": ["sku"],
    "additionalProperties": False,
}

TYPES = [
    (str, {"type": "string"}),
    (int, {"type": "integer"}),
    (float, {"type": "number"}),
    (bool, {"type": "boolean"}),
    (Any, {}),
    (int | None, {"anyOf": [{"type": "integer"}, {"type": "null"}]}),
    (Literal["a", "b"], {"enum": ["a", "b"]}),
    (Color, {"enum": ["blue", "red"], "title": "Color"}),
    (
        Annotated[int, msgspec.Meta(ge=1, description="cents")],
        {"type": "integer", "minimum": 1, "description": "cents"},
    ),
    (list[str], {"type": "array", "items": {"type": "string"}}),
    (dict[str, int], {"type": "object", "additionalProperties": {"type": "integer"}}),
    (dt.datetime, {"type": "string", "format": "date-time"}),
    (
        list[dt.datetime],
        {"type": "array", "items": {"type": "string", "format": "date-time"}},
    ),
    (dt.date, {"type": "string", "format": "date"}),
    (decimal.Decimal, {"type": "string", "format": "decimal"}),
    (uuid.UUID, {"type": "string", "format": "uuid"}),
    (Line, LINE),
    (
        Address,
        {
            "type": "object",
            "title": "Address",
            "properties": {"street": {"type": "string"}, "lines": {"type": "array", "items": LINE}},
            "required": ["street"],
            "additionalProperties": False,
        },
    ),
    (
        Filter,
        {
            "type": "object",
            "title": "Filter",
            "properties": {"state": {"type": "string"}, "days": {"type": "integer"}},
            "required": ["state"],
            "additionalProperties": False,
        },
    ),
    (
        Point,
        {
            "type": "array",
            "title": "Point",
            "prefixItems": [{"type": "integer"}, {"type": "integer", "default": 0}],
            "minItems": 1,
            "maxItems": 2,
        },
    ),
    (
        Box,
        {
            "type": "object",
            "title": "Box",
            "properties": {"size": {"type": "integer"}},
            "required": ["size"],
            "additionalProperties": False,
        },
    ),
]


@pytest.mark.parametrize(("hint", "expected"), TYPES, ids=lambda each: str(each)[:40])
def test_each_type_has_its_schema(hint, expected):
    """A type gives exactly this schema: closed objects, inlined definitions, texts and defaults."""
    (schema,), definitions = schemas_of([hint])
    if hint is Address:
        schema["properties"]["lines"].pop("default", None)
    assert schema == expected
    assert definitions == {}


@pytest.mark.parametrize("hint", [each for each, _ in TYPES] + [Tree, Cart, Node], ids=str)
def test_schemas_are_sorted_and_valid(hint):
    """Every schema has sorted keys at every level, and a validator accepts it."""
    (schema,), definitions = schemas_of([hint])
    whole = {**schema, "$defs": definitions} if definitions else schema
    assert json.dumps(schema) == json.dumps(sort_keys(schema))
    assert callable(checker(whole))


def test_a_type_that_contains_itself_keeps_one_definition():
    """Only recursive types stay in `$defs`, and the reference works."""

    @tool(effect="read")
    def grow(tree: Tree, box: Box) -> Tree:
        return tree

    schema = spec_of(grow).arguments
    assert set(schema["$defs"]) == {"Tree"}
    assert schema["properties"]["tree"] == {"$ref": "#/$defs/Tree"}
    check = checker(schema)
    assert check({"tree": {"name": "a", "kids": [{"name": "b"}]}, "box": {"size": 1}}) == ""
    assert "$.tree.kids[0]" in check({"tree": {"name": "a", "kids": [{}]}, "box": {"size": 1}})
    assert checker(spec_of(grow).result)({"name": "a", "kids": [{"name": 3, "kids": []}]}) != ""


def test_types_that_contain_each_other_keep_both_definitions():
    """A circle over two classes stays in `$defs`; what hangs on it is inlined."""
    (schema,), definitions = schemas_of([Ping])
    assert schema == {"$ref": "#/$defs/Ping"}
    assert set(definitions) == {"Ping", "Pong"}
    check = checker({**schema, "$defs": definitions})
    assert check({"pong": {"ping": {"item": {"size": 1}}}}) == ""
    assert "('x' was unexpected) - at `$.pong.ping`" in check({"pong": {"ping": {"x": 1}}})


def test_a_pydantic_model_without_a_schema_is_refused():
    """What pydantic cannot describe is a TypeError that names the model and pydantic's reason."""

    class Hook(pydantic.BaseModel):
        then: Callable[[], None]

    with pytest.raises(TypeError, match="pydantic has no schema for Hook: Cannot generate"):
        schemas_of([list[Hook]])


@pytest.mark.parametrize("hint", [Cart, list[Cart], Cart | None, dict[str, Cart]], ids=str)
def test_pydantic_models_nest(hint):
    """A pydantic model may stand alone, in a list, a dict or beside None; its parts are inlined."""
    (schema,), definitions = schemas_of([hint])
    assert definitions == {}
    assert "$ref" not in json.dumps(schema)
    assert '"minimum": 1' in json.dumps(schema)


def test_a_recursive_pydantic_model_is_lifted():
    """pydantic's own definitions move up under a name no other type has."""
    (schema,), definitions = schemas_of([list[Node]])
    assert schema == {"type": "array", "items": {"$ref": "#/$defs/Node.Node"}}
    assert definitions["Node.Node"]["properties"]["kids"]["items"] == {"$ref": "#/$defs/Node.Node"}


def test_a_result_may_be_an_open_typed_dict():
    """What a TypedDict result holds beside its keys is no reason to doubt an effect."""
    (schema,), _ = schemas_of([Filter], result=True)
    assert "additionalProperties" not in schema
    (closed,), _ = schemas_of([Line], result=True)
    assert closed["additionalProperties"] is False
    assert closed["properties"]["at"]["anyOf"][0] == {"type": "string"}


def test_private_fields_are_no_part_of_a_result():
    """msgspec does not write private fields, so the result schema does not promise them."""

    @attrs.frozen
    class Credit:
        id: str
        _token: str

    (schema,), _ = schemas_of([Credit], result=True)
    assert list(schema["properties"]) == ["id"]
    assert checker(schema)(to_plain(Credit("c1", "t"))) == ""


def test_values_become_plain_json():
    """Everything a signature may name has one plain form."""
    value = {
        "line": Line("a", at=dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)),
        "color": Color.RED,
        "sum": decimal.Decimal("1.50"),
        "cart": [Cart(items=[])],
        3: Point(1, 2),
    }
    assert to_plain(value) == {
        "line": {"sku": "a", "qty": 1, "at": "2026-01-02T03:04:05Z"},
        "color": "red",
        "sum": "1.50",
        "cart": [{"items": [], "note": None}],
        "3": (1, 2),
    }


def test_what_has_no_plain_form_is_refused():
    """An unknown object is a TypeError, and a serializer that fails is named by type only."""

    class Leaky(pydantic.BaseModel):
        @pydantic.model_serializer
        def write(self):
            raise RuntimeError("password")

    with pytest.raises(TypeError, match="of type object has no JSON form"):
        to_plain({"a": object()})
    with pytest.raises(TypeError, match=r"Leaky.model_dump raised") as caught:
        to_plain([Leaky()])
    assert "password" not in str(caught.value)


def test_names_do_not_collide():
    """Two classes of one name, tagged unions, generics and array-like Structs keep apart."""

    @attrs.frozen
    class Other:
        sku: int

    Other.__name__ = "Line"

    class Cat(msgspec.Struct, tag="cat"):
        n: int

    class Dog(msgspec.Struct, tag="dog"):
        n: int

    class Row(msgspec.Struct, array_like=True):
        n: int

    hints = [Other, Line, Cat | Dog, Row, Pair[int], Pair[str]]
    bodies, definitions = schemas_of(hints)
    assert definitions == {}
    assert bodies[0]["properties"] == {"sku": {"type": "integer"}}
    assert bodies[1] == LINE
    assert [each["properties"]["type"] for each in bodies[2]["anyOf"]] == [
        {"enum": ["cat"]},
        {"enum": ["dog"]},
    ]
    assert "discriminator" not in bodies[2]
    assert bodies[3]["type"] == "array"
    assert [each["properties"]["a"]["type"] for each in bodies[4:]] == ["integer", "string"]
    assert all(each["additionalProperties"] is False for each in bodies[4:])


def test_pydantic_aliases_differ_by_direction():
    """Arguments are read by alias, results are written by name unless the model says otherwise."""

    class Plain(pydantic.BaseModel):
        order_id: int = pydantic.Field(alias="orderId")

    class Loud(Plain):
        model_config = pydantic.ConfigDict(serialize_by_alias=True)

    for kind, written in ((Plain, "order_id"), (Loud, "orderId")):
        (taken,), _ = schemas_of([kind])
        (given,), _ = schemas_of([kind], result=True)
        assert list(taken["properties"]) == ["orderId"]
        assert list(given["properties"]) == [written]
        assert checker(given)(to_plain(kind(orderId=3))) == ""


def test_texts_of_a_subclass_are_texts():
    """A result may hold instances of a subclass of `str`."""

    class Name(str):
        __slots__ = ()

    assert to_plain([Name("a")]) == ["a"]
    assert type(to_plain(Name("a"))) is str


def test_an_unreadable_docstring_is_the_description():
    """A docstring that no parser understands is kept whole."""

    def odd(n: int) -> None: ...

    odd.__doc__ = ":param int n with no end"
    assert spec_of(tool(odd)).description == ":param int n with no end"


def test_checks_name_places_not_values():
    """A check says where and which rule, at most five times, and never shows a value."""
    check = checker({"type": "array", "items": {"type": "integer"}})
    text = check(["secret"] * 9)
    assert "secret" not in text
    assert text.count("`$[") == 5
    assert check([1, 2]) == ""


def test_no_schema_reaches_the_network():
    """A `$ref` to an address is refused, not fetched; so is what is no schema at all."""
    for schema in ({"$ref": "http://127.0.0.1:9/x"}, {"type": 7}):
        with pytest.raises(TableError, match="not a JSON Schema"):
            checker(schema)
        with pytest.raises(TableError, match="not a JSON Schema"):
            attach(lambda **_: None, ToolSpec(name="far", arguments=schema))
        with pytest.raises(TableError, match="not a JSON Schema"):
            attach(lambda **_: None, ToolSpec(name="far", result=schema))
