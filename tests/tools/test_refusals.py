"""What `@tool` and `spec_of` refuse, and in which words."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Annotated

import pydantic
import pytest

from statemachine_agents.errors import TableError
from statemachine_agents.tools.decorator import Call, spec_of, tool


class Shop:
    @tool(effect="read")
    def fetch_order(self, order_id: str) -> str:
        return order_id


# Functions that are refused, each with words its message must hold.


def stars(*ids: str): ...


def double_stars(**more: str): ...


def positional(a: str, /): ...


def bare(order_id): ...


def complicated(when: complex): ...


def callback(then: Callable[[], None]): ...


def two_texts(a: int, when: str | bytes): ...


def implicit(n: int = None): ...  # noqa: RUF013


def two_calls(a: Call, b: Call): ...


def later(order: Unheard): ...  # noqa: F821


def bounded(n: Annotated[int, pydantic.Field(ge=1)]): ...


def many(n: list[Annotated[int, pydantic.Field(ge=1)]]): ...


def generator(n: int):
    yield n


async def agenerator(n: int):
    yield n


def odd_result(n: int) -> complex: ...


def broken(n: 3): ...


def unreadable(n: "int or"): ...  # noqa: F722


REFUSED = [
    (stars, "test_refusals.stars: *ids has no schema; write each argument as a named"),
    (double_stars, "**more has no schema; write each argument as a named"),
    (positional, "parameter 'a' is positional-only; remove the `/`"),
    (bare, "parameter 'order_id' has no annotation; write `order_id: str`"),
    (complicated, "parameter 'when': complex cannot be read from JSON"),
    (callback, "parameter 'then': collections.abc.Callable[[], None] cannot be read from JSON"),
    (two_texts, "parameter 'when': str | bytes cannot be read from JSON: Type unions may not"),
    (implicit, "parameter 'n' is int but its default is None; write `n: int | None = None`"),
    (two_calls, "'a' and 'b' both take the Call; keep one"),
    (later, "define or import 'Unheard' above the function"),
    (bounded, "parameter 'n': Annotated[int, FieldInfo("),
    (many, "write msgspec.Meta(ge=..., pattern=..., description=...) instead"),
    (generator, "a tool returns one value; collect what it yields into a list"),
    (agenerator, "a tool returns one value"),
    (odd_result, "return value: complex cannot be written as JSON"),
    (broken, "parameter 'n'"),
    (unreadable, "test_refusals.unreadable: an annotation cannot be read"),
    (Shop, "@tool goes above a def, not on class Shop"),
    (functools.partial(stars), "@tool goes above a def, not on functools.partial"),
    (lambda: None, "cannot be a tool's name"),
]


@pytest.mark.parametrize(("function", "words"), REFUSED, ids=[words for _, words in REFUSED])
def test_what_is_wrong_with_a_function_is_said_at_once(function, words):
    """Decorating refuses what could not work, naming function, parameter and what to write."""
    with pytest.raises(TableError) as caught:
        tool(function)
    assert words in str(caught.value)


def fine(order_id: str) -> None: ...


async def fine_async(order_id: str, call: Call) -> None: ...


def other(order_id: str, reason: str): ...


class Holder:
    def verify(self, order_id: str): ...


OPTIONS = [
    ({"effect": "safe"}, "effect='safe' is none of read, idempotent"),
    ({"timeout": 0}, "timeout=0; write seconds greater than 0"),
    ({"timeout": True}, "timeout=True"),
    ({"retry": 3}, "write retry=Retry(attempts=3)"),
    ({"breaker": 3}, "write breaker=Breaker(failures=5)"),
    ({"key_seconds": -1}, "key_seconds=-1; write seconds greater than 0"),
    ({"effect": "verifiable"}, "needs verify=: a function that finds out"),
    ({"effect": "transactional"}, "take a parameter `call: Call` and use call.connection"),
    ({"name": "a b"}, "'a b' cannot be a tool's name"),
    ({"undo": fine}, "is no tool; name one, or put @tool above it"),
    ({"verify": 3}, "verify=3 is not a function"),
    ({"verify": other}, "verify=other wants 'reason', which is no argument of the tool (order_id)"),
    ({"verify": Holder.verify}, "verify=verify takes self, but the tool does not"),
    (
        {"examples": [{"order_id": "A"}, {"order_id": 3}]},
        "example 2 is not what the function takes",
    ),
]


@pytest.mark.parametrize(("options", "words"), OPTIONS, ids=[words for _, words in OPTIONS])
def test_what_is_wrong_with_an_option_is_said_at_once(options, words):
    """Each option is checked where it is written."""
    with pytest.raises(TableError) as caught:
        tool(**options)(fine)
    assert "tool test_refusals.fine: " in str(caught.value).replace("tests.tools.", "")
    assert words in str(caught.value)


def test_transactional_tools_are_not_async():
    """Nothing can be awaited inside a transaction."""
    with pytest.raises(TableError, match="write def, not async def"):
        tool(effect="transactional")(fine_async)


def test_what_is_no_tool_is_told_how_to_become_one():
    """`spec_of` says what to write, for each thing people pass."""

    @tool
    def good(n: int) -> None: ...

    with pytest.raises(TableError, match="put @tool above def fine"):
        spec_of(fine)
    with pytest.raises(TableError, match=r"a functools.partial of good carries no spec"):
        spec_of(functools.partial(good, n=1))
    with pytest.raises(TableError, match="write a def that calls it and put @tool above it"):
        spec_of(object())
    with pytest.raises(
        TableError, match=r"Shop.fetch_order is a method without its object.*shop.fetch_order"
    ):
        spec_of(Shop.fetch_order)
