"""Verifiers: what they get, and what counts as an answer."""

from __future__ import annotations

import asyncio

import attrs
import pytest

from statemachine_agents.tools.decorator import (
    Call,
    Verified,
    done,
    not_done,
    spec_of,
    tool,
    unknown,
)
from statemachine_agents.tools.toolbox import Toolbox

CALL = Call(run_id="r1", call_id=3, key="r1:3", attempt=2, deadline=1_000_000)


@attrs.frozen
class Order:
    id: str
    cents: int


def settle(function, arguments, **changes):
    """Ask a verifier in an event loop of its own."""
    spec = attrs.evolve(spec_of(function), **changes)
    return asyncio.run(Toolbox({"t": function}).verify("t", arguments, CALL, spec=spec))


async def answer(how: str, cents: int, call: Call):
    if how == "hang":
        await asyncio.Event().wait()
    if how == "break":
        raise KeyError("gone")
    answers = {
        "done": done(Order(call.key, cents)),
        "not_done": not_done(),
        "unknown": unknown("no line"),
        "bad": done("no order"),
        "odd": True,
    }
    return answers[how]


@tool(effect="verifiable", verify=answer)
def credit(how: str, cents: int = 5) -> Order:
    raise AssertionError


def test_a_verifier_settles_a_doubt():
    """It gets the arguments, the tool's defaults and the Call; its value is made plain."""
    assert settle(credit, {"how": "done"}) == Verified("done", {"id": "r1:3", "cents": 5})
    assert settle(credit, {"how": "not_done"}) == not_done()
    assert settle(credit, {"how": "unknown"}) == unknown("no line")


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("break", "KeyError: 'gone'"),
        ("hang", "gave no answer within 0.05 s"),
        ("bad", "the value it gave is unusable"),
        ("odd", "returned a bool, not done(), not_done() or unknown()"),
        (5, "Expected `str`, got `int` - at `$.how`"),
    ],
)
def test_a_verifier_that_fails_knows_nothing(how, words):
    """Exceptions, timeouts, odd answers and unusable values all mean unknown, with a detail."""
    found = settle(credit, {"how": how}, timeout=0.05)
    assert found.answer == "unknown"
    assert words in found.detail


def test_a_sync_verifier_may_take_less():
    """A verifier names the arguments it needs, and may be a plain function."""

    @tool(effect="verifiable", verify=lambda cents: done(cents + 1))
    def pay(order_id: str, cents: int) -> int:
        return cents

    @tool
    def plain() -> None: ...

    assert settle(pay, {"order_id": "A", "cents": 3}) == done(4)
    assert settle(plain, {}) == unknown("t has no verifier")
