"""Call tools: convert, guard, time, and tell three outcomes apart.

Rules.  1. `Returned`: it happened, here is the value. `Failed`: it did not happen, or may be
repeated. `Doubted`: nobody knows.  2. Only a `ToolError`, or anything at all in a `read` tool, is
`Failed`; every other exception, timeout or unusable result of an effect is `Doubted`.
3. `CancelledError` always passes.  4. What the model may see (`text`) never holds the message of a
foreign exception; the journal gets it whole (`detail`).
Not here: repeating (the run journals each attempt and calls again), legality (`kernel.gate`).
"""

from __future__ import annotations

import inspect
import time
import traceback
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

import attrs
import msgspec

from statemachine_agents.errors import ToolError, UsageError, ValueRefused
from statemachine_agents.table.toolspec import ToolSpec
from statemachine_agents.tools.breaker import Circuit
from statemachine_agents.tools.decorator import signature_of_tool, spec_of, verifier_of
from statemachine_agents.tools.schema import checker, to_plain
from statemachine_agents.tools.signature import Call, Signature
from statemachine_agents.tools.timing import Late, Threads, run_async
from statemachine_agents.tools.verifying import Verified, Verifier, unknown
from statemachine_agents.turn.ports import Clock
from statemachine_agents.values import JSON, ingest

THREADS: Final = 40
"""Sync tools at work at once in one event loop; anyio's own default."""

MAX_TEXT: Final = 64 * 1024
"""Characters kept of a message or traceback: an error page of megabytes helps nobody."""


@attrs.frozen
class Returned:
    """The tool answered, and the answer is what it declares."""

    value: JSON


@attrs.frozen
class Failed:
    """The effect did not happen, or repeating it does no harm.

    Args:
        kind: of the `ToolError`, or `arguments timeout exception result open busy`.
        text: for the model.
        detail: for the journal; a traceback where there is one.
    """

    kind: str
    text: str
    detail: str = ""


@attrs.frozen
class Doubted:
    """Nobody knows whether the effect happened.

    Args:
        why: `exception`, `timeout` or `result` (it happened, but its value is unusable).
        detail: for the journal.
        text: for the model.
    """

    why: str
    detail: str = ""
    text: str = ""


Result: TypeAlias = Returned | Failed | Doubted


@attrs.define(eq=False)
class _Tool:
    """One function, with everything that can be known before it is called."""

    name: str
    function: Callable[..., Any]
    signature: Signature
    verifier: Verifier | None
    is_async: bool
    circuit: Circuit = attrs.field(factory=Circuit)
    declared: Mapping[str, JSON] | None = None
    check: Callable[[JSON], str] | None = None

    def keywords(self, arguments: dict[str, JSON], call: Call) -> dict[str, Any]:
        given = self.signature.keywords(arguments)
        if self.signature.call is not None:
            given[self.signature.call] = call
        return given

    def problem(self, value: JSON, schema: Mapping[str, JSON]) -> str:
        if self.check is None or self.declared is not schema:
            self.check, self.declared = checker(schema), schema
        return self.check(value)


class Toolbox:
    """The functions behind a workflow's tools.

    Args:
        functions: by the name the table uses; an alias may bring the same function twice.
        clock: its `monotonic` times the breakers; the system's by default.
        threads: sync tools at work at once, see `timing.Threads`.

    Raises:
        TableError: a function is not decorated.
    """

    def __init__(
        self,
        functions: Mapping[str, Callable[..., Any]],
        *,
        clock: Clock | None = None,
        threads: int = THREADS,
    ) -> None:
        self._monotonic = time.monotonic if clock is None else clock.monotonic
        self._threads = Threads(threads)
        self._tools: dict[str, _Tool] = {}
        for name, function in functions.items():
            spec_of(function)
            self._tools[name] = _Tool(
                name,
                function,
                signature_of_tool(function),
                verifier_of(function),
                inspect.iscoroutinefunction(function),
            )

    async def call(
        self, name: str, arguments: dict[str, JSON], call: Call, *, spec: ToolSpec
    ) -> Result:
        """Make one attempt.

        Args:
            name: of the tool, as the table writes it.
            arguments: plain JSON.
            call: handed to the function if it asks for it.
            spec: as the definition of the run holds it; decides effect class, timeout, breaker
                and result schema.

        Raises:
            UsageError: no such tool, or one of class `transactional`.
        """
        tool = self._tool(name)
        if spec.effect == "transactional":
            msg = f"{name} is transactional: call_sync runs it, inside Store.transact"
            raise UsageError(msg, tool=name)
        try:
            keywords = tool.keywords(arguments, call)
        except Exception as error:  # noqa: BLE001 - converters run the author's validators
            return _misfit(error)
        breaker, circuit = spec.breaker, tool.circuit
        if breaker is None:
            return await self._attempt(tool, keywords, spec)
        refusal = circuit.refusal(breaker, self._monotonic())
        if refusal:
            return Failed("open", f"{name} was not called: {refusal}")
        trial = circuit.enter()
        try:
            result = await self._attempt(tool, keywords, spec)
        except BaseException:
            circuit.forget(trial=trial)
            raise
        ok = isinstance(result, Returned)
        circuit.leave(breaker, self._monotonic(), trial=trial, ok=ok)
        return result

    def call_sync(
        self, name: str, arguments: dict[str, JSON], call: Call, *, spec: ToolSpec
    ) -> Result:
        """Make one attempt of a `transactional` tool, here, in the thread of the transaction.

        Unless it is `Returned`, the caller rolls back; then nothing has happened, so there is no
        doubt. There is no timeout either: the thread belongs to the store.

        Raises:
            UsageError: no such tool, another class, an async function, or no connection.
        """
        tool = self._tool(name)
        _refuse_sync(tool, call, spec)
        try:
            keywords = tool.keywords(arguments, call)
        except Exception as error:  # noqa: BLE001 - see `call`
            return _misfit(error)
        breaker, circuit = spec.breaker, tool.circuit
        if breaker is None:
            return self._attempt_sync(tool, keywords, spec)
        refusal = circuit.refusal(breaker, self._monotonic())
        if refusal:
            return Failed("open", f"{name} was not called: {refusal}")
        trial = circuit.enter()
        try:
            result = self._attempt_sync(tool, keywords, spec)
        except BaseException:
            circuit.forget(trial=trial)
            raise
        ok = isinstance(result, Returned)
        circuit.leave(breaker, self._monotonic(), trial=trial, ok=ok)
        return result

    async def verify(
        self, name: str, arguments: dict[str, JSON], call: Call, *, spec: ToolSpec
    ) -> Verified:
        """Ask the verifier what became of a call in doubt.

        Returns:
            Its answer, the value as plain JSON; whatever goes wrong is `unknown` with a detail.
        """
        tool = self._tool(name)
        verifier = tool.verifier
        if verifier is None:
            return unknown(f"{name} has no verifier")
        try:
            # What the tool would have filled in itself, the verifier gets too.
            given = {**tool.signature.defaults, **tool.signature.keywords(arguments)}
            keywords = {each: given[each] for each in verifier.names if each in given}
            if verifier.call is not None:
                keywords[verifier.call] = call
            if inspect.iscoroutinefunction(verifier.function):
                answer = await run_async(verifier.function, keywords, spec.timeout)
            else:
                answer = await self._threads.run(verifier.function, keywords, spec.timeout)
        except Late:
            return unknown(f"the verifier of {name} gave no answer within {spec.timeout:g} s")
        except Exception as error:  # noqa: BLE001 - a verifier that fails knows nothing
            return unknown(_trace(error))
        if not isinstance(answer, Verified):
            kind = type(answer).__name__
            return unknown(f"the verifier returned a {kind}, not done(), not_done() or unknown()")
        if answer.answer != "done":
            return attrs.evolve(answer, detail=_clean(answer.detail))
        result = self._judge(tool, answer.value, spec)
        if isinstance(result, Returned):
            return attrs.evolve(answer, value=result.value)
        return unknown(f"done, but the value it gave is unusable: {result.detail}")

    def _tool(self, name: str) -> _Tool:
        tool = self._tools.get(name)
        if tool is None:
            msg = f"no function for tool {name!r} in this toolbox; it has {sorted(self._tools)}"
            raise UsageError(msg, tool=name)
        return tool

    async def _attempt(self, tool: _Tool, keywords: dict[str, Any], spec: ToolSpec) -> Result:
        try:
            if tool.is_async:
                value = await run_async(tool.function, keywords, spec.timeout)
            else:
                value = await self._threads.run(tool.function, keywords, spec.timeout)
        except ToolError as error:
            return _declared(error)
        except Late as late:
            text = f"no answer within {spec.timeout:g} s"
            if not late.started:
                return Failed("busy", f"no thread was free within {spec.timeout:g} s; not called")
            detail = _trace(late.__cause__) if late.__cause__ is not None else text
            if spec.effect == "read":
                return Failed("timeout", text, detail)
            return Doubted("timeout", detail, text)
        except Exception as error:  # noqa: BLE001 - becomes a value, the traceback with it
            kind = type(error).__name__
            if spec.effect == "read":
                return Failed("exception", kind, _trace(error))
            return Doubted("exception", _trace(error), kind)
        return self._judge(tool, value, spec)

    def _attempt_sync(self, tool: _Tool, keywords: dict[str, Any], spec: ToolSpec) -> Result:
        try:
            result = self._judge(tool, tool.function(**keywords), spec)
        except ToolError as error:
            return _declared(error)
        except Exception as error:  # noqa: BLE001 - becomes a value, the traceback with it
            return Failed("exception", type(error).__name__, _trace(error))
        if isinstance(result, Doubted):
            return Failed(result.why, result.text, result.detail)
        return result

    def _judge(self, tool: _Tool, value: Any, spec: ToolSpec) -> Result:
        """Return what the tool answered as plain JSON, or why it is no answer."""
        detail = ""
        try:
            plain = ingest(to_plain(value), where="result").value
            problem = "" if spec.result is None else tool.problem(plain, spec.result)
        except (ValueRefused, TypeError, OverflowError) as error:
            plain, problem, detail = None, str(error), _trace(error)
        except Exception as error:  # noqa: BLE001 - serializers of the author's classes
            plain, problem, detail = None, type(error).__name__, _trace(error)
        if not problem:
            return Returned(plain)
        text = _clean(f"the result of {tool.name} is not what it declares: {problem}")
        if spec.effect == "read":
            return Failed("result", text, detail or text)
        return Doubted("result", detail or text, text)


def _refuse_sync(tool: _Tool, call: Call, spec: ToolSpec) -> None:
    if spec.effect != "transactional":
        msg = f"{tool.name} is {spec.effect}, not transactional: await call(...) runs it"
    elif tool.is_async:
        msg = f"{tool.name} is async, and nothing can be awaited in a transaction: write def"
    elif call.connection is None:
        msg = f"{tool.name} is transactional and got no connection: run it inside Store.transact"
    else:
        return
    raise UsageError(msg, tool=tool.name)


def _misfit(error: Exception) -> Failed:
    if isinstance(error, msgspec.ValidationError):
        return Failed("arguments", _clean(error), _trace(error) if error.__cause__ else "")
    return Failed("arguments", type(error).__name__, _trace(error))


def _declared(error: ToolError) -> Failed:
    detail = _trace(error) if error.__cause__ is not None else ""
    return Failed(_clean(error.kind), _clean(error.message), detail)


def _trace(error: BaseException) -> str:
    return _clean("".join(traceback.format_exception(error)))


def _clean(text: Any) -> str:
    """Return a text that fits into a journal: no lone surrogates, no megabytes."""
    found = str(text)
    if len(found) > MAX_TEXT:
        cut = len(found) - MAX_TEXT
        found = f"{found[: MAX_TEXT // 2]}\n... {cut} characters cut ...\n{found[-MAX_TEXT // 2 :]}"
    return str(ingest(found).value)
