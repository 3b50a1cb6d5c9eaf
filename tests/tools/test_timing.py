"""Timeouts, threads and cancellation."""

from __future__ import annotations

import asyncio
import contextvars
import threading

import anyio
import attrs
import pytest

from statemachine_agents.errors import ToolError
from statemachine_agents.tools.decorator import Call, spec_of, tool
from statemachine_agents.tools.timing import run_async
from statemachine_agents.tools.toolbox import Doubted, Failed, Returned, Toolbox

CALL = Call(run_id="r1", call_id=3, key="r1:3", attempt=2, deadline=1_000_000)

EFFECTS = ["manual", "idempotent", "verifiable"]


def ask(function, arguments=None, *, call=CALL, box=None, **changes):
    """Make one call in an event loop of its own."""
    spec = attrs.evolve(spec_of(function), **changes)
    box = box or Toolbox({spec.name: function})
    return asyncio.run(box.call(spec.name, arguments or {}, call, spec=spec))


@pytest.mark.parametrize("effect", ["read", *EFFECTS])
def test_an_async_timeout(effect):
    """A timeout is `Failed` for a read and `Doubted` for everything else."""
    stopped = []

    @tool
    async def hang() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            stopped.append(True)

    found = ask(hang, effect=effect, timeout=0.01)
    text = "no answer within 0.01 s"
    if effect == "read":
        assert found == Failed("timeout", text, text)
    else:
        assert found == Doubted("timeout", text, text)
    assert stopped == [True]


@pytest.mark.parametrize("effect", ["read", "manual"])
def test_a_sync_tool_is_abandoned_after_its_timeout(effect):
    """The answer comes while the thread still works; it may yet act, hence the doubt."""
    release, acted = threading.Event(), threading.Event()

    @tool
    def hang() -> None:
        release.wait(20)
        acted.set()

    async def both():
        spec = attrs.evolve(spec_of(hang), timeout=0.4, effect=effect)
        found = await Toolbox({"hang": hang}).call("hang", {}, CALL, spec=spec)
        early = acted.is_set()
        release.set()
        await anyio.to_thread.run_sync(acted.wait, 20)
        return found, early

    found, early = asyncio.run(both())
    assert not early
    assert acted.is_set()
    assert isinstance(found, Failed if effect == "read" else Doubted)


def test_a_call_that_got_no_thread_never_happens():
    """Whoever only waited for a thread is told so, and the function does not run afterwards."""
    release, ran = threading.Event(), []

    @tool
    def hold() -> None:
        release.wait(20)

    @tool
    def pay() -> None:
        ran.append(True)

    async def crowd():
        box = Toolbox({"hold": hold, "pay": pay}, threads=1)
        first = asyncio.create_task(box.call("hold", {}, CALL, spec=spec_of(hold)))
        await asyncio.sleep(0.05)
        found = await box.call("pay", {}, CALL, spec=attrs.evolve(spec_of(pay), timeout=0.05))
        release.set()
        return found, await first, list(ran), await box.call("pay", {}, CALL, spec=spec_of(pay))

    found, first, before, after = asyncio.run(crowd())
    assert found == Failed("busy", "no thread was free within 0.05 s; not called")
    assert first == Returned(None)
    assert before == []
    assert after == Returned(None)


@pytest.mark.parametrize("is_async", [True, False])
def test_a_timeout_error_of_the_tool_is_not_ours(is_async):
    """`TimeoutError` raised by the function itself is an exception like any other."""

    @tool
    def sync() -> None:
        raise TimeoutError("the bank is slow")

    @tool
    async def later() -> None:
        await asyncio.sleep(0)
        raise asyncio.TimeoutError("the bank is slow")  # noqa: UP041 - what users write

    found = ask(later if is_async else sync)
    assert (found.why, found.text) == ("exception", "TimeoutError")
    assert "the bank is slow" in found.detail


def test_a_tool_that_is_stopped_may_still_say_what_it_knows():
    """On being stopped a ToolError is believed, a value is taken, anything else is the timeout."""

    @tool
    async def stopped(how: str) -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if how == "value":
                return "done after all"
            if how == "knows":
                raise ToolError("never sent", kind="busy") from None
            raise ValueError("secret") from None
        return ""

    assert ask(stopped, {"how": "value"}, timeout=0.01) == Returned("done after all")
    assert ask(stopped, {"how": "knows"}, timeout=0.01) == Failed("busy", "never sent")
    found = ask(stopped, {"how": "breaks"}, timeout=0.01)
    assert (found.why, found.text) == ("timeout", "no answer within 0.01 s")
    assert "secret" in found.detail


def test_a_started_coroutine_goes_on_as_usual():
    """Waiting many times, failing in between and task-bound libraries work as under plain await."""
    variable = contextvars.ContextVar("variable", default="outer")

    @tool
    async def busy() -> list[str]:
        out = []
        variable.set("inner")
        for _ in range(3):
            await asyncio.sleep(0)
        try:
            async with asyncio.timeout(0.01):
                await asyncio.Event().wait()
        except TimeoutError:
            out.append("own timeout")
        future = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(future.set_exception, KeyError("x"))
        try:
            await future
        except KeyError:
            out.append("own error")
        async with anyio.create_task_group() as group:
            group.start_soon(asyncio.sleep, 0)
        with anyio.move_on_after(0.01):
            await anyio.sleep(20)
        return [*out, variable.get()]

    assert ask(busy) == Returned(["own timeout", "own error", "inner"])


def test_the_first_wait_may_fail():
    """An exception delivered at the very first wait reaches the function, which may catch it."""

    @tool
    async def first() -> str:
        future = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(future.set_exception, KeyError("x"))
        try:
            await future
        except KeyError:
            return "caught"
        return "missed"

    assert ask(first) == Returned("caught")


def test_a_coroutine_that_is_closed_closes_the_function():
    """Whoever throws the call away closes the function too, so that its `finally` runs."""
    closed = []

    async def hang():
        try:
            await asyncio.Event().wait()
        finally:
            closed.append(True)

    async def main():
        pending = run_async(hang, {}, 20)
        pending.send(None)
        pending.close()

    asyncio.run(main())
    assert closed == [True]


def test_other_awaitables_are_awaited():
    """A function marked async may return any awaitable, not only a coroutine."""

    def later():
        return asyncio.ensure_future(asyncio.sleep(0, 7))

    async def main():
        return await run_async(later, {}, 20)

    assert asyncio.run(main()) == 7


@pytest.mark.parametrize("is_async", [True, False])
def test_cancellation_passes(is_async):
    """Cancelling the caller raises CancelledError there, is no outcome, and stops an async tool."""
    release, begun, events = threading.Event(), threading.Event(), []

    @tool
    def sync() -> None:
        events.append("started")
        begun.set()
        release.wait(20)

    @tool
    async def later() -> None:
        events.append("started")
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0)
            events.append("stopped")
            raise

    async def cancel():
        function = later if is_async else sync
        box = Toolbox({"it": function})
        task = asyncio.create_task(box.call("it", {}, CALL, spec=spec_of(function)))
        await anyio.to_thread.run_sync(begun.wait, 20)
        task.cancel()
        try:
            with pytest.raises(asyncio.CancelledError):
                await task
        finally:
            release.set()
        return task.cancelled()

    assert asyncio.run(cancel())
    assert events == (["started", "stopped"] if is_async else ["started"])
