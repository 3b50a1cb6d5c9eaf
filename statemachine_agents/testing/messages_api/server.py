"""The fake Messages API: a real HTTP server that judges every request and plays a script.

Rules.  1. A request that would be a 4xx consumes no step.  2. Everything is recorded before it is
answered, so what a client saw is in `requests`.  3. One lock: requests are judged one after the
other, whatever thread they come in; waiting (`delay`) happens outside it.  4. No randomness: ids
follow from the order of requests and their text.
Not here: sockets (`handler`), the rules of a history (`history`).
"""

from __future__ import annotations

import copy
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

import attrs

from statemachine_agents.errors import UsageError
from statemachine_agents.models.capabilities import MODELS, Capabilities, capabilities
from statemachine_agents.testing.messages_api.answer import Answer, answer
from statemachine_agents.testing.messages_api.binding import Mismatch, without
from statemachine_agents.testing.messages_api.blocks import canonical, digest
from statemachine_agents.testing.messages_api.cache import PromptCache, measure
from statemachine_agents.testing.messages_api.catalogue import model_info, model_list
from statemachine_agents.testing.messages_api.handler import Listener, Plan
from statemachine_agents.testing.messages_api.history import Served
from statemachine_agents.testing.messages_api.incoming import (
    Recorded,
    body_of,
    check_headers,
    parsed,
)
from statemachine_agents.testing.messages_api.script import (
    Cut,
    Delay,
    Drop,
    Error,
    Reply,
    Script,
    Step,
    StreamError,
)
from statemachine_agents.testing.messages_api.script_file import from_dict
from statemachine_agents.testing.messages_api.stream import events
from statemachine_agents.testing.messages_api.validate import check_request
from statemachine_agents.testing.messages_api.wire import STATUS_OF, Fault, bad, rate_limits

__all__ = ["MessagesAPI", "Recorded"]

_NO_RETRY = {"x-should-retry": "false"}
"""On answers that would be the same again."""

_STEPS = (Reply, Error, Drop, Cut, StreamError, Delay)


class MessagesAPI:
    """A Messages API on 127.0.0.1 that plays a script and accepts no invalid request.

    Args:
        script: steps in order, or a function from the request body to the next step. The function
            is called one request at a time, after validation.
        clock: seconds since 1970; cache lifetimes and header dates follow it.
        port: 0 for any free one.
        extra_models: ids served beside the known ones, with the cautious capabilities of an
            unknown model. Other unknown ids answer 404, as retired ones do.

    Raises:
        UsageError: a step is none, or the port cannot be had.

    Example:
        >>> from statemachine_agents.testing.messages_api import MessagesAPI, reply
        >>> with MessagesAPI([reply("hello")]) as api:
        ...     api.url.startswith("http://127.0.0.1:")
        True
    """

    def __init__(
        self,
        script: Script = (),
        *,
        clock: Callable[[], float] = time.time,
        port: int = 0,
        extra_models: Iterable[str] = (),
    ) -> None:
        self._function = script if callable(script) else None
        items = () if callable(script) else script
        self._steps: deque[Step] = deque(_step(item, f"step {n}") for n, item in enumerate(items))
        self._clock = clock
        self._port = port
        self._extra = frozenset(extra_models)
        self._lock = threading.Lock()
        self._cache = PromptCache(clock)
        self._served = Served()
        self._requests: list[Recorded] = []
        self._failures: list[Exception] = []
        self._exhausted = 0
        self._issued = 0
        self._tokens_in = 0
        self._tokens_out = 0
        self._listener: Listener | None = None

    # ---------------------------------------------------------------------------- for its owner

    def start(self) -> Self:
        """Listen. `with` does it for you."""
        if self._listener is not None:
            raise UsageError(f"this MessagesAPI already listens on {self.url}")
        try:
            self._listener = Listener(self._port, self._decide)
        except (OSError, OverflowError) as wrong:
            msg = f"cannot listen on 127.0.0.1 port {self._port}: {wrong}; port 0 takes a free one"
            raise UsageError(msg, port=self._port) from wrong
        return self

    def close(self) -> None:
        """Shut every connection; what was recorded stays readable."""
        if self._listener is not None:
            self._listener.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def url(self) -> str:
        """The `base_url` for a client."""
        if self._listener is None:
            raise UsageError("this MessagesAPI does not listen yet; use `with` or `start()`")
        return f"http://127.0.0.1:{self._listener.port}"

    @property
    def requests(self) -> tuple[Recorded, ...]:
        """Every request so far, in order."""
        with self._lock:
            return tuple(self._requests)

    @property
    def script(self) -> tuple[Step, ...]:
        """The steps nobody has taken yet; empty for a function."""
        with self._lock:
            return tuple(self._steps)

    @property
    def exhausted(self) -> int:
        """Valid requests that found the script empty, each answered with a 500."""
        with self._lock:
            return self._exhausted

    @property
    def failures(self) -> tuple[Exception, ...]:
        """What the script function raised; each was answered with a 500."""
        with self._lock:
            return tuple(self._failures)

    def hit_rate(self, first: int = 0) -> float:
        """Return cached input tokens as a share of all input tokens of answered messages.

        Args:
            first: answered messages to leave out; 1 leaves out the one that fills the cache.
        """
        usages = [item.usage for item in self.requests if item.usage is not None][first:]
        read = sum(_count(usage, "cache_read_input_tokens") for usage in usages)
        rest = ("input_tokens", "cache_creation_input_tokens")
        total = read + sum(_count(usage, key) for usage in usages for key in rest)
        return read / total if total else 0.0

    # ----------------------------------------------------------------------------- for a request

    def _decide(
        self, method: str, path: str, headers: Mapping[str, str], data: bytes | None
    ) -> Plan:
        with self._lock:
            request_id = f"req_{self._fresh(path)}"
            seen = Recorded(method=method, path=path, headers=headers, request_id=request_id)
            try:
                plan, seen = self._route(seen, data)
            except Fault as fault:
                plan, seen = self._refused(seen, data, fault)
            except Exception as wrong:  # noqa: BLE001 - a step that cannot be sent must be seen
                self._failures.append(wrong)
                text = f"this step cannot be sent: {type(wrong).__name__}: {wrong}"
                plan, seen = self._refused(seen, data, Fault(500, text, headers=_NO_RETRY))
            if seen.usage is not None:
                self._tokens_in += _count(seen.usage, "input_tokens")
                self._tokens_out += _count(seen.usage, "output_tokens")
            self._requests.append(attrs.evolve(seen, status=0 if plan.drop else plan.status))
            own = {"request-id": request_id, "anthropic-workspace-id": "wrkspc_fake"}
            spent = (len(self._requests), self._tokens_in, self._tokens_out)
            limits = rate_limits(self._clock(), *spent)
            return attrs.evolve(plan, headers={**own, **limits, **plan.headers})

    def _refused(self, seen: Recorded, data: bytes | None, fault: Fault) -> tuple[Plan, Recorded]:
        plan = _refusal(fault, seen, fault.headers)
        return plan, attrs.evolve(seen, body=parsed(data), verdict=fault.message)

    def _route(self, seen: Recorded, data: bytes | None) -> tuple[Plan, Recorded]:
        url = urlsplit(seen.path)
        check_headers(seen.headers)
        match (seen.method, url.path.strip("/").split("/")):
            case ("POST", ["v1", "messages"]):
                return self._message(attrs.evolve(seen, body=body_of(data)))
            case ("POST", ["v1", "messages", "count_tokens"]):
                body = body_of(data)
                drops = self._check(body, seen.headers, counting=True)
                total = measure(without(body, drops) if drops else body)
                return Plan(payload={"input_tokens": total}), attrs.evolve(seen, body=body)
            case ("GET", ["v1", "models"]):
                rows = [row for row in MODELS.values() if row.lifecycle != "retired"]
                return Plan(payload=model_list(rows, dict(parse_qsl(url.query)))), seen
            case ("GET", ["v1", "models", name]):
                return Plan(payload=model_info(name, capabilities(name))), seen
        raise Fault(404, f"Not Found: {seen.method} {url.path}")

    def _check(
        self, body: Mapping[str, Any], headers: Mapping[str, str], *, counting: bool
    ) -> list[Mismatch]:
        betas = frozenset(word.strip() for word in headers.get("anthropic-beta", "").split(","))
        caps = self._row(body)
        return check_request(body, caps, betas, self._served, counting=counting)

    def _row(self, body: Mapping[str, Any]) -> Capabilities:
        name = body.get("model")
        if not isinstance(name, str):
            wrong = "Input should be a valid string" if "model" in body else "Field required"
            raise bad(f"model: {wrong}")
        row = capabilities(name)
        if row.lifecycle == "retired" or not (row.known or name in self._extra):
            raise Fault(404, f"model: {name}")
        return row

    def _message(self, seen: Recorded) -> tuple[Plan, Recorded]:
        body: dict[str, Any] = seen.body
        drops = self._check(body, seen.headers, counting=False)
        if drops:
            body = without(body, drops)
        if body["max_tokens"] == 0:  # the caller only fills the cache: no step, no words
            empty = self._answer(Reply(stop_reason="max_tokens"), body, drops)
            return self._sent(seen, None, _whole(empty, body), empty)
        step = self._next(body)
        inner, wait = (step.step, step.seconds) if isinstance(step, Delay) else (step, 0.0)
        reply: Answer | None = None
        match inner:
            case Drop():
                plan = Plan(drop=True)
            case Error():
                fault = Fault(inner.status, inner.message, inner.type, inner.code)
                plan = _refusal(fault, seen, inner.headers)
            case StreamError() if not body.get("stream"):
                fault = Fault(STATUS_OF[inner.type], inner.message, inner.type)
                plan = _refusal(fault, seen, {})
            case StreamError():
                reply = self._answer(inner.reply, body, drops)
                fault = Fault(STATUS_OF[inner.type], inner.message, inner.type)
                row = (*_some(reply, inner.after), fault.body(seen.request_id))
                plan = Plan(events=row)
            case Cut():
                reply = self._answer(inner.reply, body, drops)
                plan = _whole(reply, body)
                if plan.payload is None:
                    plan = Plan(events=_some(reply, inner.after), broken=not inner.clean)
                else:
                    plan = attrs.evolve(plan, broken=True)
            case Reply():
                reply = self._answer(inner, body, drops)
                plan = _whole(reply, body)
        return self._sent(seen, step, attrs.evolve(plan, delay=wait), reply)

    def _answer(self, step: Reply, body: Mapping[str, Any], drops: list[Mismatch]) -> Answer:
        caps = capabilities(str(body["model"]))
        usage = self._cache.account(body, caps.cache_minimum)
        seed = canonical(body["messages"]).decode()

        def fresh(kind: str) -> str:
            return f"{kind}_{self._fresh(seed)}"

        reply = answer(step, body, usage, fresh, drops)
        message = reply.message
        self._served.remember(message["content"], message["stop_reason"])
        return reply

    def _sent(
        self, seen: Recorded, step: Step | None, plan: Plan, reply: Answer | None
    ) -> tuple[Plan, Recorded]:
        usage = None if reply is None else reply.message["usage"]
        return plan, attrs.evolve(seen, step=step, usage=usage)

    def _next(self, body: dict[str, Any]) -> Step:
        if self._function is not None:
            try:
                return _step(self._function(copy.deepcopy(body)), "the script function's answer")
            except Exception as wrong:
                self._failures.append(wrong)
                text = f"the script function failed: {type(wrong).__name__}: {wrong}"
                raise Fault(500, text, headers=_NO_RETRY) from wrong
        if not self._steps:
            self._exhausted += 1
            text = (
                f"the script of this fake Messages API is exhausted: valid request "
                f"{self._exhausted} after its last step; add a step or ask less"
            )
            raise Fault(500, text, headers=_NO_RETRY)
        return self._steps.popleft()

    def _fresh(self, seed: str) -> str:
        """Return an id nobody has, the same in every run of the same script."""
        self._issued += 1
        return digest(str(self._issued).encode(), seed.encode())[:24]


# ------------------------------------------------------------------------------------- small pieces


def _step(item: Any, where: str) -> Step:
    if isinstance(item, _STEPS):
        return item
    if isinstance(item, Mapping):
        return from_dict(item, where=where)
    raise UsageError(f"{where}: got {item!r}, expected a step such as reply('hello')")


def _count(usage: Mapping[str, Any], key: str) -> int:
    """Return a count; a step may have replaced it by null, or by nonsense."""
    found = usage.get(key)
    return found if isinstance(found, int) else 0


def _refusal(fault: Fault, seen: Recorded, headers: Mapping[str, str]) -> Plan:
    return Plan(status=fault.status, headers=headers, payload=fault.body(seen.request_id))


def _whole(reply: Answer, body: Mapping[str, Any]) -> Plan:
    if body.get("stream"):
        return Plan(events=tuple(events(reply)))
    return Plan(payload=reply.message)


def _some(reply: Answer, after: int) -> tuple[Mapping[str, Any], ...]:
    """Return the first events, never the one that says the message is complete."""
    row = tuple(events(reply))
    return row[: min(after, len(row) - 1)]
