"""Arguments from JSON to what a function takes."""

from __future__ import annotations

import datetime as dt
import enum
from typing import Annotated, Any, NotRequired, TypedDict

import attrs
import msgspec
import pydantic
import pytest

from statemachine_agents.tools.decorator import signature_of_tool, tool


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


class Filter(TypedDict):
    state: str
    days: NotRequired[int]


class Item(pydantic.BaseModel):
    sku: str
    qty: int = pydantic.Field(default=1, ge=1)


class Cart(pydantic.BaseModel):
    items: list[Item]
    note: str | None = None


def test_pydantic_is_converted_by_pydantic_but_strictly():
    """A model arrives as a model; "5" is not 5 and the message has no values in it."""

    @tool
    def buy(cart: Cart | None, carts: list[Cart]) -> None:
        """Buy."""

    keywords = signature_of_tool(buy).keywords
    one = {"items": [{"sku": "a", "qty": 2}]}
    assert keywords({"cart": None, "carts": [one]})["carts"] == [Cart(items=[Item(sku="a", qty=2)])]
    with pytest.raises(
        msgspec.ValidationError, match=r"\"integer\" - at `\$\.cart\.items\[0\]\.qty`"
    ):
        keywords({"cart": {"items": [{"sku": "a", "qty": "5"}]}, "carts": []})
    with pytest.raises(msgspec.ValidationError, match=r"items\.0\.qty: .*\$\.carts\[0\]") as caught:
        keywords({"cart": None, "carts": [{"items": [{"sku": "secret", "qty": 0}]}]})
    assert "secret" not in str(caught.value)
    assert "https" not in str(caught.value)


def test_a_validator_may_raise_what_it_likes():
    """A ValueError that is not pydantic's own keeps its words and gets its place."""

    class Odd(pydantic.BaseModel):
        @classmethod
        def model_validate(cls, value):
            raise ValueError("never on a Sunday")

    @tool
    def take(odds: list[Odd]): ...

    with pytest.raises(msgspec.ValidationError, match=r"never on a Sunday - at `\$\.odds\[0\]`"):
        signature_of_tool(take).keywords({"odds": [{}]})


CONVERSIONS = [
    ({"order_id": 5}, "Expected `str`, got `int` - at `$.order_id`"),
    ({"order_id": "A", "n": "5"}, "Expected `int`, got `str` - at `$.n`"),
    ({"order_id": "A", "zz": 1}, "Object contains unknown field `zz`"),
    ({}, "Object missing required field `order_id`"),
    (
        {"order_id": "A", "lines": [{"sku": "s", "qty": 0}]},
        "Expected `int` >= 1 - at `$.lines[0].qty`",
    ),
    (
        {"order_id": "A", "lines": [{"sku": "s", "more": 0}]},
        "('more' was unexpected) - at `$.lines[0]`",
    ),
    (
        {"order_id": "A", "filter": {"state": "s", "more": 0}},
        "('more' was unexpected) - at `$.filter`",
    ),
]


@pytest.mark.parametrize(
    ("arguments", "expected"), CONVERSIONS, ids=[words for _, words in CONVERSIONS]
)
def test_arguments_are_refused_with_their_place(arguments, expected):
    """A wrong argument is refused by one sentence with the whole path, nested extras included."""

    @tool
    def search(order_id: str, n: int = 3, lines: list[Line] = [], filter: Filter | None = None):  # noqa: A002, B006
        """Search."""

    with pytest.raises(msgspec.ValidationError) as caught:
        signature_of_tool(search).keywords(arguments)
    assert expected in str(caught.value)


def test_only_given_arguments_are_passed():
    """Defaults stay with the function; what is given arrives typed."""

    @tool
    def search(
        order_id: str,
        n: int = 3,
        at: dt.date | None = None,
        by: dict[int, Color] = {},  # noqa: B006 - what users write
    ):
        """Search."""

    keywords = signature_of_tool(search).keywords
    assert keywords({"order_id": "A"}) == {"order_id": "A"}
    assert keywords({"order_id": "A", "at": "2026-01-02", "by": {"7": "red"}}) == {
        "order_id": "A",
        "at": dt.date(2026, 1, 2),
        "by": {7: Color.RED},
    }


def test_a_tool_cannot_change_the_journaled_arguments():
    """Untyped parts are copies: changing them leaves the caller's arguments as they were."""

    @tool
    def spoil(bag: dict[str, Any], anything: Any) -> None:
        """Spoil."""

    arguments = {"bag": {"a": [1]}, "anything": [1]}
    keywords = signature_of_tool(spoil).keywords(arguments)
    keywords["bag"]["a"].append(2)
    keywords["anything"].append(2)
    assert arguments == {"bag": {"a": [1]}, "anything": [1]}
