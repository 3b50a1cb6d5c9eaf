"""`@tool`: what it attaches, what it refuses and in which words."""

from __future__ import annotations

import dataclasses
import functools
from typing import Annotated

import pydantic
import pytest

from statemachine_agents.errors import TableError
from statemachine_agents.table.toolspec import Breaker, Retry, ToolSpec
from statemachine_agents.tools.decorator import (
    Call,
    Verified,
    done,
    not_done,
    spec_of,
    tool,
    unknown,
    verifier_of,
)


class Shop:
    def __init__(self, orders):
        self.orders = orders

    def check(self, order_id: str, call: Call) -> Verified:
        return done(self.orders.get(call.key))

    @tool(effect="read", timeout=5)
    def fetch_order(self, order_id: str) -> str:
        """Look up an order."""
        return self.orders[order_id]

    @tool(effect="verifiable", verify=check)
    async def credit(self, order_id: str, call: Call) -> str:
        """Credit it."""
        return call.key

    @staticmethod
    @tool
    def below(n: int) -> int:
        return n

    @tool
    @staticmethod
    def above(n: int) -> int:
        return n

    @classmethod
    @tool
    def made(cls, n: int) -> str:
        return cls.__name__ + str(n)

    @tool
    @classmethod
    def built(cls, n: int) -> str:
        return cls.__name__ + str(n)


def test_the_function_stays_a_function():
    """Decorating returns the very function; the spec hangs on it."""

    def twice(n: int) -> int:
        return 2 * n

    assert tool(twice) is twice
    assert twice(4) == 8
    assert isinstance(twice.__sma_tool__, ToolSpec)
    assert spec_of(twice) is twice.__sma_tool__


def test_without_options_a_tool_is_manual():
    """Whoever declares nothing gets the class that is never called twice."""

    @tool
    def credit(order_id: str) -> None:
        """Credit."""

    spec = spec_of(credit)
    assert (spec.name, spec.effect, spec.timeout, spec.result) == ("credit", "manual", 30.0, None)
    assert not spec.wants_call
    assert not spec.verifies


def test_every_option_is_in_the_spec():
    """Options are data of the spec, and the spec survives its own round trip."""

    @tool
    def refund(order_id: str) -> None:
        """Refund."""

    @tool(
        name="charge_card",
        effect="idempotent",
        timeout=2,
        retry=Retry(attempts=4),
        breaker=Breaker(failures=2),
        undo=refund,
        verify=lambda **_: unknown(),
        key_seconds=60,
        examples=[{"cents": 5}],
    )
    def charge(cents: int, call: Call | None = None) -> dict[str, int]:
        """Charge a card.

        It takes a while.

        :param cents: how much
        """
        return {"cents": cents}

    spec = spec_of(charge)
    assert spec.name == "charge_card"
    assert spec.description == "Charge a card.\n\nIt takes a while."
    assert spec.arguments == {
        "type": "object",
        "properties": {"cents": {"type": "integer", "description": "how much"}},
        "required": ["cents"],
        "additionalProperties": False,
        "examples": [{"cents": 5}],
    }
    assert spec.result == {"type": "object", "additionalProperties": {"type": "integer"}}
    assert (spec.retry.attempts, spec.breaker.failures, spec.undo) == (4, 2, "refund")
    assert (spec.key_seconds, spec.verifies, spec.wants_call) == (60, True, True)
    assert ToolSpec.from_dict(spec.to_dict()) == spec


DOCS = [
    "Move it.\n\n    Args:\n        a: first\n            of two\n        b (int): second",
    "Move it.\n\nParameters\n----------\na : str\n    first\n    of two\nb : int\n    second",
    "Move it.\n\n    :param a: first of two\n    :param b: second",
]


@pytest.mark.parametrize("doc", DOCS, ids=["google", "numpy", "rest"])
def test_docstrings_describe_the_parameters(doc):
    """Google, NumPy and ReST docstrings all reach the schema."""

    def move(a: str, b: Annotated[int, "kept"], c: int = 1) -> None: ...

    move.__doc__ = doc
    spec = spec_of(tool(move))
    assert spec.description == "Move it."
    assert spec.arguments["properties"] == {
        "a": {"type": "string", "description": "first of two"},
        "b": {"type": "integer", "description": "kept"},
        "c": {"type": "integer", "default": 1},
    }


def test_a_docstring_without_sections_is_the_description():
    """Text alone describes the tool; none at all is fine."""

    @tool
    def plain() -> None:
        """Do it.   Now."""

    @tool
    def silent() -> None: ...

    assert spec_of(plain).description == "Do it.   Now."
    assert spec_of(silent).description == ""


def test_bound_methods_are_tools():
    """A method of an instance is a tool without `self`, and is called with its own instance."""
    shop = Shop({"A": "paid"})
    spec = spec_of(shop.fetch_order)
    assert spec.name == "fetch_order"
    assert list(spec.arguments["properties"]) == ["order_id"]
    assert shop.fetch_order("A") == "paid"


@pytest.mark.parametrize("name", ["below", "above", "made", "built"])
def test_static_and_class_methods_are_tools(name):
    """`@tool` works above and below `@staticmethod` and `@classmethod`."""
    for owner in (Shop, Shop({})):
        assert list(spec_of(getattr(owner, name)).arguments["properties"]) == ["n"]
    assert str(getattr(Shop, name)(3)).endswith("3")


def test_a_verifier_method_is_bound_to_the_same_instance():
    """`verify=` may name a method of the class; it is asked on the tool's instance."""
    verifier = verifier_of(Shop({"k": "seen"}).credit)
    assert (verifier.names, verifier.call) == (("order_id",), "call")
    call = Call(run_id="r", call_id=1, key="k", deadline=0)
    assert verifier.function(order_id="A", call=call) == done("seen")
    assert verifier_of(Shop({}).fetch_order) is None


def test_a_wrapper_that_keeps_the_attributes_is_the_tool():
    """`functools.wraps` above `@tool` carries the spec on, also for a bound method."""

    @functools.wraps(Shop({}).fetch_order)
    def logged(**arguments):
        return arguments

    assert spec_of(logged).name == "fetch_order"


def test_a_static_verifier():
    """`verify=` may name a static method of the class body."""

    class Bank:
        @staticmethod
        def look(order_id: str) -> Verified:
            return done(order_id)

        @tool(effect="verifiable", verify=look)
        def pay(self, order_id: str) -> str:
            return order_id

        @classmethod
        def wrong(cls, order_id: str): ...

        with pytest.raises(TableError, match="is not a function; write verify=name_of_a_def"):
            tool(verify=wrong)(pay)

    assert verifier_of(Bank().pay).function("A") == done("A")


def test_answers_of_a_verifier():
    """The three answers are plain frozen values."""
    assert done(3) == Verified("done", 3)
    assert not_done().answer == "not_done"
    assert unknown("no line").detail == "no line"


def test_call_hides_its_connection():
    """A connection is neither shown nor compared."""
    one = Call(run_id="r", call_id=1, key="k", deadline=5, connection={"secret": 1})
    assert "secret" not in repr(one)
    assert one == Call(run_id="r", call_id=1, key="k", deadline=5)


def test_local_classes_may_be_named_in_annotations():
    """Under postponed annotations a class of the surrounding function is still found."""

    class Local(pydantic.BaseModel):
        n: int

    def inner():
        @tool(effect="read")
        def take(local: Local) -> Local:
            return local

        return take

    assert spec_of(inner()).arguments["properties"]["local"]["title"] == "Local"
    assert Local(n=1).n == 1


def test_a_local_class_that_names_another_is_explained():
    """msgspec reads the fields of a class from its module, so the message says to move it there."""

    class Inner(pydantic.BaseModel):
        n: int

    @dataclasses.dataclass
    class Outer:
        inner: Inner

    def take(outer: Outer): ...

    def give() -> Outer: ...

    for function, words in ((take, "parameter 'outer'"), (give, "return value")):
        with pytest.raises(TableError, match=f"{words}.*its fields name 'Inner'.*define it there"):
            tool(function)


def test_names_of_a_class_body_come_last():
    """A nested class may be named in an annotation; a method named `list` stays a method."""

    class Desk:
        class Form(pydantic.BaseModel):
            n: int

        @tool(effect="read")
        def list(self, n: int) -> str:
            return "x" * n

        @tool(effect="read")
        def fill(self, form: Form, ids: list[str]) -> list[str]:
            return ids

    properties = spec_of(Desk().fill).arguments["properties"]
    assert properties["form"]["title"] == "Form"
    assert properties["ids"] == {"type": "array", "items": {"type": "string"}}


def test_a_sentinel_default_stays_with_the_function():
    """A default without a JSON form is left out of the schema and still applies."""
    missing = object()

    @tool
    def find(n: int = missing) -> bool:
        return n is missing

    assert spec_of(find).arguments["properties"]["n"] == {"type": "integer"}
    assert find() is True
