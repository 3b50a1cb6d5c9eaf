"""The toolbox: three outcomes told apart, and nothing said to the model that it must not see."""

from __future__ import annotations

import asyncio
import functools
import threading
from typing import Any, TypedDict

import attrs
import pydantic
import pytest

from statemachine_agents.errors import TableError, ToolError, UsageError
from statemachine_agents.table.toolspec import ToolSpec
from statemachine_agents.tools.decorator import (
    Call,
    attach,
    spec_of,
    tool,
)
from statemachine_agents.tools.toolbox import Doubted, Failed, Returned, Toolbox

CALL = Call(run_id="r1", call_id=3, key="r1:3", attempt=2, deadline=1_000_000)

EFFECTS = ["manual", "idempotent", "verifiable"]


def ask(function, arguments=None, *, call=CALL, box=None, **changes):
    """Make one call in an event loop of its own."""
    spec = attrs.evolve(spec_of(function), **changes)
    box = box or Toolbox({spec.name: function})
    return asyncio.run(box.call(spec.name, arguments or {}, call, spec=spec))


@attrs.frozen
class Order:
    id: str
    cents: int


class Shop:
    prefix = "shop-"

    @tool(effect="read")
    def sync(self, order_id: str, call: Call, n: int = 2) -> str:
        return f"{self.prefix}{order_id}{call.key}{n}"

    @tool(effect="read")
    async def waiting(self, order_id: str, call: Call, n: int = 2) -> str:
        await asyncio.sleep(0)
        return f"{self.prefix}{order_id}{call.key}{n}"

    @tool(effect="read")
    async def instant(self, order_id: str, call: Call, n: int = 2) -> str:
        return f"{self.prefix}{order_id}{call.key}{n}"


@pytest.mark.parametrize("name", ["sync", "waiting", "instant"])
def test_methods_are_called_with_their_instance_and_the_call(name):
    """Sync and async methods get typed arguments, their own defaults and the Call."""
    function = getattr(Shop(), name)
    assert ask(function, {"order_id": "A"}) == Returned("shop-Ar1:32")
    assert ask(function, {"order_id": "A", "n": 7}) == Returned("shop-Ar1:37")


@pytest.mark.parametrize("effect", ["read", *EFFECTS])
@pytest.mark.parametrize("is_async", [True, False])
def test_a_tool_error_says_that_nothing_happened(effect, is_async):
    """`ToolError` is `Failed` with its kind and text, whatever the class."""

    @tool
    def sync(n: int) -> None:
        raise ToolError("no such order", kind="not_found")

    @tool
    async def later(n: int) -> None:
        await asyncio.sleep(0)
        raise ToolError("no such order", kind="not_found")

    found = ask(later if is_async else sync, {"n": 1}, effect=effect)
    assert found == Failed("not_found", "no such order")


def test_the_cause_of_a_tool_error_goes_to_the_journal_only():
    """A chained cause is kept in `detail` and is no part of `text`."""

    @tool
    def look() -> None:
        try:
            {}["secret"]
        except KeyError as error:
            raise ToolError("gone") from error

    found = ask(look)
    assert (found.kind, found.text) == ("error", "gone")
    assert "secret" in found.detail


@pytest.mark.parametrize("is_async", [True, False])
def test_any_other_exception_is_a_doubt_unless_it_only_reads(is_async):
    """The type alone is for the model; the journal gets the whole traceback."""

    @tool
    def sync() -> None:
        raise ConnectionError("api_key=hunter2")

    @tool
    async def later() -> None:
        raise ConnectionError("api_key=hunter2")

    function = later if is_async else sync
    for effect in EFFECTS:
        found = ask(function, effect=effect)
        assert isinstance(found, Doubted)
        assert (found.why, found.text) == ("exception", "ConnectionError")
        assert "api_key=hunter2" in found.detail
        assert "Traceback" in found.detail
    found = ask(function, effect="read")
    assert isinstance(found, Failed)
    assert (found.kind, found.text) == ("exception", "ConnectionError")
    assert "api_key=hunter2" in found.detail


def test_texts_fit_into_a_journal():
    """Lone surrogates are repaired and megabytes are cut in the middle."""

    @tool(effect="read")
    def shout() -> None:
        raise ToolError("\ud800" + "x" * 1_000_000 + "end")

    text = ask(shout).text
    assert text.startswith("\ufffd")
    assert text.endswith("end")
    assert len(text) < 70_000


# ---------------------------------------------------------------------------------------- arguments


def test_wrong_arguments_never_reach_the_function():
    """A wrong argument is `Failed` of kind `arguments` with the whole path, for every class."""
    seen = []

    @tool
    def pay(order: Order) -> None:
        seen.append(order)

    assert ask(pay, {"order": {"id": "A", "cents": "5"}}) == Failed(
        "arguments", "Expected `int`, got `str` - at `$.order.cents`"
    )
    assert ask(pay, {"order": {"id": "A", "cents": 5, "more": 1}}) == Failed(
        "arguments",
        "Additional properties are not allowed ('more' was unexpected) - at `$.order`",
    )
    assert ask(pay, {}).text == "Object missing required field `order`"
    assert seen == []
    assert ask(pay, {"order": {"id": "A", "cents": 5}}) == Returned(None)
    assert seen == [Order("A", 5)]


def test_a_validator_that_breaks_is_no_doubt():
    """An unforeseen exception while converting means the function was not called."""

    class Strange(pydantic.BaseModel):
        n: int

        @pydantic.field_validator("n")
        @classmethod
        def look(cls, n):
            raise KeyError("secret")

    @tool
    def pay(strange: Strange) -> None:
        raise AssertionError

    found = ask(pay, {"strange": {"n": 1}})
    assert (type(found), found.kind, found.text) == (Failed, "arguments", "KeyError")
    assert "secret" in found.detail


# ------------------------------------------------------------------------------------------ results


def test_results_become_plain_json():
    """Typed results are journaled as plain JSON, which need not know their classes."""

    class Cart(pydantic.BaseModel):
        lines: list[int]

    @tool(effect="read")
    async def typed() -> tuple[Order, Cart]:
        return Order("A", 5), Cart(lines=[1])

    assert ask(typed) == Returned([{"id": "A", "cents": 5}, {"lines": [1]}])


def wrong_type() -> Order:
    return {"id": "A", "cents": "secret"}


def not_json() -> Any:
    return {"a": [object()]}


def not_finite() -> Any:
    return {"a": [float("nan")]}


def too_big() -> Any:
    return 2**60


def endless() -> Any:
    out: list = []
    out.append(out)
    return out


def unfit_key() -> Any:
    return {(1, 2): 3}


BAD = [
    (wrong_type, 'the value is not of type "integer" - at `$.cents`'),
    (not_json, "of type object has no JSON form"),
    (not_finite, "result.a[0]: got nan, expected a finite number"),
    (too_big, "an integer beyond 2**53"),
    (endless, "is not what it declares: RecursionError"),
    (unfit_key, "Only dicts with str-like or number-like keys"),
]


@pytest.mark.parametrize(("function", "words"), BAD, ids=[each[0].__name__ for each in BAD])
def test_an_unusable_result_is_a_doubt_unless_it_only_reads(function, words):
    """The effect has happened, so a result that breaks its schema is `Doubted`."""
    function = tool(function)
    for effect in EFFECTS:
        found = ask(function, effect=effect)
        assert (type(found), found.why) == (Doubted, "result")
        assert words in found.text
        assert "secret" not in found.text
    found = ask(function, effect="read")
    assert (type(found), found.kind) == (Failed, "result")
    assert f"the result of {function.__name__} is not what it declares" in found.text


def test_a_serializer_that_breaks_says_its_type_only():
    """Whatever a model's serializer raises, the model sees no message of it."""

    class Leaky(pydantic.BaseModel):
        @pydantic.computed_field
        @property
        def total(self) -> int:
            raise RuntimeError("secret")

    @tool(effect="read")
    def leak() -> Leaky:
        return Leaky()

    found = ask(leak)
    assert found.kind == "result"
    assert "secret" not in found.text
    assert "Leaky.model_dump raised" in found.text
    assert "secret" in found.detail


def test_a_typed_dict_result_may_hold_more():
    """Extra keys of a TypedDict result are kept and are no reason to doubt an effect."""

    class Credit(TypedDict):
        id: str

    @tool
    def credit() -> Credit:
        return {"id": "c", "more": 1}

    assert ask(credit) == Returned({"id": "c", "more": 1})


def test_the_definition_decides_about_the_result():
    """The result is checked against the spec of the run's definition, not that of today's code."""

    @tool
    def count() -> int:
        return 3

    assert ask(count, result={"type": "string"}).why == "result"
    assert ask(count, result=None) == Returned(3)


# ------------------------------------------------------------------------------------------- shapes


def test_a_sync_wrapper_may_return_a_coroutine():
    """A sync function that hands back a coroutine is awaited, under the same timeout."""

    async def inner(n):
        await asyncio.sleep(0 if n else 20)
        return n

    @tool(effect="read", timeout=0.4)
    def wrapped(n: int) -> int:
        return inner(n)

    assert ask(wrapped, {"n": 4}, timeout=20) == Returned(4)
    assert ask(wrapped, {"n": 0}).kind == "timeout"


def test_the_function_that_was_passed_is_called():
    """A wrapper above `@tool` is what runs, not the function inside it."""

    @tool(effect="read")
    def inner(n: int) -> int:
        return n

    @functools.wraps(inner)
    async def outer(n):
        return 10 * inner(n)

    assert ask(outer, {"n": 4}) == Returned(40)


def test_one_toolbox_serves_several_event_loops():
    """The limit on threads is per loop, so one toolbox works in one loop after another."""

    @tool(effect="read")
    def where() -> bool:
        return threading.current_thread() is threading.main_thread()

    box = Toolbox({"where": where})
    assert [ask(where, box=box) for _ in range(3)] == [Returned(False)] * 3


def test_an_attached_function_takes_its_arguments_as_they_are():
    """Tools without Python types are checked by their schema and called with copies."""
    schema = {
        "type": "object",
        "properties": {"a-b": {"type": "array"}},
        "additionalProperties": False,
    }
    spec = ToolSpec(name="far", arguments=schema, effect="read")

    async def forward(**arguments):
        arguments["a-b"].append(arguments.pop("_call").key)
        return arguments

    attach(forward, spec, call="_call")
    given = {"a-b": [1]}
    assert ask(forward, given) == Returned({"a-b": [1, "r1:3"]})
    assert given == {"a-b": [1]}
    assert ask(forward, {"x": 1}).kind == "arguments"


def test_what_the_caller_must_correct_is_an_exception():
    """An undecorated function, an unknown name and a wrong door are errors of the caller."""

    @tool(effect="transactional")
    def move(call: Call) -> None: ...

    @tool
    def plain() -> None: ...

    with pytest.raises(TableError, match="put @tool above def ask"):
        Toolbox({"ask": ask})
    box = Toolbox({"move": move, "plain": plain})
    with pytest.raises(UsageError, match=r"no function for tool 'other'.*\['move', 'plain'\]"):
        asyncio.run(box.call("other", {}, CALL, spec=spec_of(plain)))
    with pytest.raises(UsageError, match="move is transactional: call_sync runs it"):
        ask(move)
    with pytest.raises(UsageError, match="plain is manual, not transactional"):
        box.call_sync("plain", {}, CALL, spec=spec_of(plain))
    with pytest.raises(UsageError, match=r"got no connection: run it inside Store.transact"):
        box.call_sync("move", {}, CALL, spec=spec_of(move))
