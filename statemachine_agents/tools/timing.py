"""Run one function with a time limit: async ones in place, the others in a thread.

Rules.  1. Our timeout is `Late`; a `TimeoutError` of the function itself stays what it is.
2. What was reported as not started never starts.  3. Cancellation passes through.
Not here: what an outcome means for an effect (`toolbox`).
"""

from __future__ import annotations

import asyncio
import inspect
import threading
import types
import weakref
from collections.abc import Callable, Coroutine, Generator
from typing import Any

import anyio
import anyio.to_thread

from statemachine_agents.errors import ToolError


class Late(Exception):
    """The time is up. Chained to whatever the function raised when it was stopped.

    Args:
        started: whether the function was entered at all.
    """

    def __init__(self, *, started: bool) -> None:
        super().__init__()
        self.started = started


async def run_async(function: Callable[..., Any], keywords: dict[str, Any], timeout: float) -> Any:
    """Await a function in this task.

    Raises:
        Late: it took longer than `timeout` seconds.
    """
    pending = function(**keywords)
    if type(pending) is types.CoroutineType:
        # Fakes and caches answer without waiting, and a timer costs more than they do (3.5 us).
        # So the first step is made by hand; only what then waits is timed.
        try:
            waiting = pending.send(None)
        except StopIteration as stop:
            return stop.value
        pending = _rest(pending, waiting)
    scope = asyncio.timeout(timeout)
    try:
        async with scope:
            return await pending
    except ToolError:
        # Stopped or not, it knows that nothing happened.
        raise
    except Exception as error:
        if scope.expired():
            raise Late(started=True) from _own(error)
        raise


class Threads:
    """Where functions run that are not async.

    A thread that was given up after a timeout works on and is no longer counted; the interpreter
    waits for it at exit.

    Args:
        limit: functions at work at once, per event loop.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        # A limiter belongs to one event loop; a program may have several, one after another.
        self._limiters: weakref.WeakKeyDictionary[
            asyncio.AbstractEventLoop, anyio.CapacityLimiter
        ] = weakref.WeakKeyDictionary()

    async def run(
        self, function: Callable[..., Any], keywords: dict[str, Any], timeout: float
    ) -> Any:
        """Run a function in a thread; if it returns a coroutine, await that.

        Raises:
            Late: no answer within `timeout` seconds, the wait for a free thread included; or no
                thread could be had (`started` is False then: it has not run and never will).
        """
        # Whoever takes this first decides whether the function runs at all: the thread when it
        # gets there, or we when the time is up. Without it a call that only waited for a free
        # thread would be in doubt, and might still happen after we said so.
        claim = threading.Lock()
        started = True

        def work() -> Any:
            return function(**keywords) if claim.acquire(blocking=False) else None

        scope = asyncio.timeout(timeout)
        try:
            try:
                async with scope:
                    value = await anyio.to_thread.run_sync(
                        work, abandon_on_cancel=True, limiter=self._limiter()
                    )
                    return await value if inspect.isawaitable(value) else value
            finally:
                started = not claim.acquire(blocking=False)
        except ToolError:
            raise
        except Exception as error:
            if scope.expired() or not started:
                raise Late(started=started) from _own(error)
            raise

    def _limiter(self) -> anyio.CapacityLimiter:
        loop = asyncio.get_running_loop()
        limiter = self._limiters.get(loop)
        if limiter is None:
            limiter = self._limiters[loop] = anyio.CapacityLimiter(self._limit)
        return limiter


@types.coroutine
def _rest(started: Coroutine[Any, Any, Any], waiting: Any) -> Generator[Any, Any, Any]:
    """Go on with a coroutine that was started by hand and now waits for `waiting`."""
    while True:
        try:
            yield waiting
        except GeneratorExit:
            started.close()
            raise
        except BaseException as error:  # noqa: BLE001 - a cancellation too belongs to the coroutine
            try:
                waiting = started.throw(error)
            except StopIteration as stop:
                return stop.value
        else:
            return (yield from started.__await__())


def _own(error: Exception) -> Exception | None:
    """Return what the function raised when it was stopped; None for the timeout we raised."""
    return None if isinstance(error, TimeoutError) else error
