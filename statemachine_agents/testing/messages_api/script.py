"""What the fake model does next: a small vocabulary of steps, in Python and as JSON lines.

Rules.  1. A step is a frozen value; building a wrong one is a `UsageError` that names the place.
2. Functions (`reply`, `error`, ...) are what authors write, classes are what the server reads.
3. Arguments are checked here, so that the file form (`script_file`) needs no rules of its own.
Not here: what a step looks like on the wire (`answer`, `stream`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import attrs

from statemachine_agents.errors import UsageError, ValueRefused
from statemachine_agents.testing.messages_api.wire import STATUS_OF, TYPE_OF
from statemachine_agents.values import JSON, dumps, ingest

__all__ = [
    "Call",
    "Cut",
    "Delay",
    "Drop",
    "Error",
    "Reply",
    "Script",
    "Step",
    "StreamError",
    "context_window_exceeded",
    "cut",
    "delay",
    "drop",
    "error",
    "malformed",
    "pause",
    "refusal",
    "reply",
    "stream_error",
    "truncated",
]


def _is(*kinds: type | None) -> Callable[[Any, Any, Any], None]:
    """Return an attrs validator: the field is one of these types, None standing for null."""
    types = tuple(type(None) if kind is None else kind for kind in kinds)

    def check(_: Any, field: Any, value: Any) -> None:
        boolean = isinstance(value, bool) and bool not in types
        if boolean or not isinstance(value, types):
            words = " or ".join("null" if kind is None else kind.__name__ for kind in kinds)
            raise UsageError(f"{field.name}: got {value!r}, expected {words}", field=field.name)

    return check


def _all_objects(_: Any, field: Any, value: Any) -> None:
    if wrong := [item for item in value if not isinstance(item, dict) or "type" not in item]:
        got = f"{field.name}: got {wrong[0]!r}"
        raise UsageError(f"{got}, expected objects with a type", field=field.name)


@attrs.frozen
class Call:
    """One tool call of a reply.

    Args:
        name: tool name, declared or not: a model may call anything.
        input: arguments.
        id: tool_use id; None lets the server make a fresh one.
        raw: text streamed as the arguments instead of `input`; it need not be JSON. Not streamed,
            the block's `input` is `{}` when the reply stopped at `max_tokens` (as the API does),
            otherwise the raw text itself: a string where an object belongs.
    """

    name: str = attrs.field(validator=_is(str))
    input: JSON = attrs.field(factory=dict)
    id: str | None = attrs.field(default=None, validator=_is(str, None))
    raw: str | None = attrs.field(default=None, validator=_is(str, None))


@attrs.frozen(kw_only=True)
class Reply:
    """Answer with a message. Built by `reply` and its special cases; fields as documented there."""

    text: str | None = attrs.field(default=None, validator=_is(str, None))
    calls: tuple[Call, ...] = ()
    thinking: bool | str = attrs.field(default=False, validator=_is(bool, str))
    stop_reason: str | None = attrs.field(default=None, validator=_is(str, None))
    stop_sequence: str | None = attrs.field(default=None, validator=_is(str, None))
    stop_details: Mapping[str, JSON] | None = attrs.field(default=None, validator=_is(dict, None))
    usage: Mapping[str, JSON] = attrs.field(factory=dict, validator=_is(dict))
    blocks: tuple[Mapping[str, JSON], ...] = attrs.field(default=(), validator=_all_objects)


@attrs.frozen(kw_only=True)
class Error:
    """Answer with an HTTP error."""

    status: int = attrs.field(validator=_is(int))
    type: str = attrs.field(validator=_is(str))
    message: str = attrs.field(validator=_is(str))
    code: str | None = attrs.field(default=None, validator=_is(str, None))
    headers: Mapping[str, str] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class Drop:
    """Shut the socket before a header is sent."""


@attrs.frozen(kw_only=True)
class Cut:
    """Stop a stream in the middle."""

    reply: Reply = attrs.field(validator=_is(Reply))
    after: int = attrs.field(validator=_is(int))
    clean: bool = attrs.field(default=False, validator=_is(bool))


@attrs.frozen(kw_only=True)
class StreamError:
    """Send `event: error` in a stream that began with 200."""

    reply: Reply = attrs.field(validator=_is(Reply))
    after: int = attrs.field(validator=_is(int))
    type: str
    message: str = attrs.field(validator=_is(str))


@attrs.frozen(kw_only=True)
class Delay:
    """Wait, then do the inner step."""

    seconds: float
    step: Reply | Error | Drop | Cut | StreamError = attrs.field(
        validator=_is(Reply, Error, Drop, Cut, StreamError)
    )


Step: TypeAlias = Reply | Error | Drop | Cut | StreamError | Delay

Script: TypeAlias = Iterable[Step | Mapping[str, Any]] | Callable[[dict[str, Any]], Any]
"""Steps in order (values, or the mappings of the file form), or a function of the request body."""


def reply(
    text: str | None = None,
    calls: Iterable[Call | Sequence[Any]] = (),
    *,
    thinking: bool | str = False,
    stop_reason: str | None = None,
    stop_sequence: str | None = None,
    stop_details: Mapping[str, JSON] | None = None,
    usage: Mapping[str, JSON] | None = None,
    blocks: Iterable[Mapping[str, JSON]] = (),
) -> Reply:
    """Answer with a message.

    Args:
        text: text block before the calls; None or "" for none.
        calls: `Call` values, or `(name, input)` or `(name, input, id)`.
        thinking: True for a thinking block with empty text and a signature (the API's default
            display), or the text to show in it.
        stop_reason: by default `tool_use` when there are calls, else `end_turn`; any word is sent
            as it is, so a future one can be tried.
        stop_sequence: the sequence that was met, with stop_reason `stop_sequence`.
        stop_details: what a refusal says.
        usage: keys that replace the computed ones.
        blocks: raw content blocks after thinking, text and calls; also of unknown type.

    Raises:
        UsageError: a call is not `(name, input[, id])`, or something is not JSON.

    Example:
        >>> reply(calls=[("fetch_order", {"order_id": "A1"})]).calls[0].name
        'fetch_order'
    """
    return Reply(
        text=text,
        calls=tuple(_call(item, index) for index, item in enumerate(calls)),
        thinking=thinking,
        stop_reason=stop_reason,
        stop_sequence=stop_sequence,
        stop_details=None if stop_details is None else _json(stop_details, "stop_details"),
        usage=_json(usage or {}, "usage"),
        blocks=tuple(_json(list(blocks), "blocks")),
    )


def error(
    status: int,
    type: str | None = None,  # noqa: A002 - the word on the wire
    message: str = "scripted error",
    *,
    code: str | None = None,
    retry_after: float | None = None,
    headers: Mapping[str, str] | None = None,
) -> Error:
    """Answer with an HTTP error.

    Args:
        status: 400 to 599.
        type: `error.type`; by default the API's for that status.
        message: `error.message`.
        code: `error.details.error_code`.
        retry_after: seconds, as a `retry-after` header (fractions as `retry-after-ms` too).
        headers: further headers, such as `x-should-retry`.
    """
    if not 400 <= status <= 599:
        raise UsageError(f"error: status is {status}, expected 400 to 599", status=status)
    extra = {str(key).lower(): str(value) for key, value in (headers or {}).items()}
    if retry_after is not None:
        extra["retry-after"] = str(round(retry_after))
        if retry_after != round(retry_after):
            extra["retry-after-ms"] = str(round(retry_after * 1000))
    return Error(
        status=status,
        type=type or TYPE_OF.get(status, "api_error"),
        message=message,
        code=code,
        headers=extra,
    )


def delay(seconds: float, step: Step) -> Delay:
    """Wait before `step`; closing the server ends the wait."""
    if isinstance(step, Delay):
        raise UsageError("delay: the inner step is a delay again; add the seconds up")
    if not 0 <= seconds <= 3600:
        raise UsageError(f"delay: got {seconds} seconds, expected 0 to 3600", seconds=seconds)
    return Delay(seconds=seconds, step=step)


def drop() -> Drop:
    """Shut the socket before headers: the client sees a lost connection."""
    return Drop()


def cut(after: int, step: Reply | None = None, *, clean: bool = False) -> Cut:
    """Stop a stream after some events.

    Args:
        after: events that still arrive (message_start and ping count); `message_stop` never does.
        step: the reply that is cut; by default a short text.
        clean: False breaks the chunked encoding, True ends it properly without `message_stop`.

    A request that does not stream gets half of its JSON body, then the socket is shut; `clean`
    makes no difference there.
    """
    if after < 0:
        raise UsageError(f"cut: after is {after}, expected 0 or more events", after=after)
    return Cut(reply=step or reply("cut short"), after=after, clean=clean)


def stream_error(
    type: str = "overloaded_error",  # noqa: A002 - the word on the wire
    message: str = "Overloaded",
    *,
    after: int = 1,
    step: Reply | None = None,
) -> StreamError:
    """Send `event: error` after `after` events of a stream that began with 200.

    A request that does not stream gets the same error under its own HTTP status.
    """
    if type not in STATUS_OF:
        raise UsageError(f"stream_error: got type {type!r}, expected one of {sorted(STATUS_OF)}")
    return StreamError(reply=step or reply("to be cut"), after=after, type=type, message=message)


def malformed(name: str, raw: str, *, id: str | None = None, text: str | None = None) -> Reply:  # noqa: A002
    """Answer with a call whose arguments are not JSON (see `Call.raw`)."""
    return reply(text, [Call(name, {}, id, raw)])


def truncated(
    name: str,
    input: Mapping[str, JSON],  # noqa: A002 - the word on the wire
    *,
    id: str | None = None,  # noqa: A002
    text: str | None = None,
) -> Reply:
    """Answer with a call that `max_tokens` cut in the middle of its arguments."""
    whole = dumps(_json(input, "input")).decode()
    return reply(text, [Call(name, {}, id, whole[: len(whole) // 2])], stop_reason="max_tokens")


def refusal(category: str | None = None, explanation: str | None = None, text: str = "") -> Reply:
    """Answer with stop_reason `refusal` and its details."""
    details = {"type": "refusal", "category": category, "explanation": explanation}
    return reply(text, stop_reason="refusal", stop_details=details)


def context_window_exceeded(text: str = "") -> Reply:
    """Answer that the context window is full."""
    return reply(text, stop_reason="model_context_window_exceeded")


def pause(text: str = "Still at it.", *, blocks: Iterable[Mapping[str, JSON]] = ()) -> Reply:
    """Answer with stop_reason `pause_turn`: this message may come back as the last one."""
    return reply(text, stop_reason="pause_turn", blocks=blocks)


def _call(item: Call | Sequence[Any], index: int) -> Call:
    if isinstance(item, Call):
        return item
    texts = [item[at] for at in (0, 2) if isinstance(item, list | tuple) and at < len(item)]
    if not texts or len(item) not in {2, 3} or not all(isinstance(word, str) for word in texts):
        raise UsageError(
            f"calls[{index}]: got {item!r}, expected (name, input) or (name, input, id)"
        )
    return Call(item[0], _json(item[1], f"calls[{index}].input"), *item[2:])


def _json(value: Any, where: str) -> Any:
    try:
        return ingest(value, where=where).value
    except ValueRefused as refused:
        raise UsageError(str(refused), **refused.facts) from refused
