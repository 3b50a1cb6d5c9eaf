"""Tools that write through the journal's own connection."""

from __future__ import annotations

import threading
from typing import Any

import attrs
import pytest

from statemachine_agents.errors import ToolError, UsageError
from statemachine_agents.tools.decorator import Call, spec_of, tool
from statemachine_agents.tools.toolbox import Failed, Returned, Toolbox

CALL = Call(run_id="r1", call_id=3, key="r1:3", attempt=2, deadline=1_000_000)


def test_transactional_tools_run_in_the_callers_thread():
    """The function gets the connection and runs here; its result is checked like any other."""

    @tool(effect="transactional")
    def move(n: int, call: Call) -> int:
        call.connection["n"] = n
        call.connection["thread"] = threading.current_thread()
        return n + 1

    kept: dict[str, Any] = {}
    box = Toolbox({"move": move})
    call = attrs.evolve(CALL, connection=kept)
    assert box.call_sync("move", {"n": 1}, call, spec=spec_of(move)) == Returned(2)
    assert kept == {"n": 1, "thread": threading.current_thread()}
    assert box.call_sync("move", {"n": "1"}, call, spec=spec_of(move)).kind == "arguments"


def test_a_transaction_leaves_no_doubt():
    """Whatever goes wrong is `Failed`: everything is rolled back."""

    @tool(effect="transactional")
    def move(how: str, call: Call) -> int:
        if how == "declared":
            raise ToolError("no stock", kind="empty")
        if how == "broken":
            raise KeyError("secret")
        return how

    box, call = Toolbox({"move": move}), attrs.evolve(CALL, connection={"": 1})

    def go(how):
        return box.call_sync("move", {"how": how}, call, spec=spec_of(move))

    assert go("declared") == Failed("empty", "no stock")
    broken = go("broken")
    assert (broken.kind, broken.text) == ("exception", "KeyError")
    assert "secret" in broken.detail
    assert go("text").kind == "result"


def test_an_async_function_has_no_place_in_a_transaction():
    """A definition that calls an async function transactional is refused."""

    @tool
    async def later() -> None: ...

    spec = attrs.evolve(spec_of(later), effect="transactional")
    with pytest.raises(UsageError, match="later is async"):
        Toolbox({"later": later}).call_sync("later", {}, CALL, spec=spec)
