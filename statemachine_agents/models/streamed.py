"""Put a reply together: from a whole message, or from the events of a stream, to the same value.

Rules.  1. Blocks are kept as received, unknown types and fields included: what goes into the
transcript must be what the model said, or its thinking is refused next time.  2. The arguments of a
call are parsed here, strictly; what is no JSON object becomes `{}` and its text goes to
`unreadable`.  3. A stream is whole only after `message_stop`.
Not here: the SDK (events come in as plain dicts), the network (`claude`).

Source: docs/claude-api, sections 3 and 6. The SDK's own accumulator is not used: it gives `{}` for
cut arguments without a word, raises ValueError for wrong ones, and builds unknown blocks as text.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import attrs

from statemachine_agents.errors import ValueRefused
from statemachine_agents.turn.ports import ModelReply
from statemachine_agents.values import JSON, ingest, parse

__all__ = ["Gathering", "reply_of", "usage_of"]

_USAGE = (
    "input_tokens",
    "output_tokens",
    "cache_creation_input_tokens",
    "cache_read_input_tokens",
)
_OUT_OF_TOKENS = frozenset({"max_tokens", "model_context_window_exceeded"})


def usage_of(*parts: Any) -> dict[str, int]:
    """Return the four token counts; later parts win, what is missing or null counts as 0."""
    counts = dict.fromkeys(_USAGE, 0)
    for part in parts:
        for key in _USAGE:
            count = part.get(key) if isinstance(part, Mapping) else None
            if isinstance(count, int) and not isinstance(count, bool):
                counts[key] = count
    return counts


def reply_of(message: Mapping[str, Any]) -> ModelReply:
    """Return the reply in a whole message, given as the dict the API sent."""
    unreadable: dict[str, str] = {}
    content = [_settled(dict(block), None, unreadable) for block in message["content"]]
    return ModelReply(
        content=content,
        stop_reason=message.get("stop_reason"),
        usage=usage_of(message.get("usage")),
        model=message.get("model") or "",
        id=message.get("id") or "",
        unreadable=unreadable,
        detail=_detail(message),
    )


def _settled(
    block: dict[str, JSON], partial: str | None, unreadable: dict[str, str]
) -> dict[str, JSON]:
    """Give a finished block its arguments, or `{}` and an entry in `unreadable`."""
    if partial is None and block.get("type") != "tool_use":
        return block
    try:
        if partial is None:
            text = None
            value = ingest(block.get("input"), where="arguments").value
        else:
            text = partial
            # A call without arguments sends no JSON at all.
            value = parse(partial, where="arguments") if partial.strip() else {}
        refused = not isinstance(value, dict)
    except ValueRefused:
        value, refused = None, True
    if refused:
        call_id = str(block.get("id") or "")
        unreadable[call_id] = text if text is not None else _text_of(block.get("input"))
        value = {}
    block["input"] = value
    return block


def _text_of(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _detail(message: Mapping[str, Any]) -> str:
    details = message.get("stop_details")
    if not isinstance(details, Mapping):
        return ""
    return str(details.get("explanation") or details.get("category") or "")


@attrs.define
class Gathering:
    """A reply that is still arriving.

    Args:
        begun: the message has started, so something was received (and billed).
        whole: `message_stop` has arrived.
    """

    begun: bool = False
    whole: bool = False
    _message: dict[str, Any] = attrs.field(factory=dict, repr=False)
    _usage: list[Any] = attrs.field(factory=list, repr=False)
    _blocks: dict[int, dict[str, JSON]] = attrs.field(factory=dict, repr=False)
    _partial: dict[int, list[str]] = attrs.field(factory=dict, repr=False)

    def add(self, event: Mapping[str, Any]) -> str:
        """Take one event.

        Returns:
            The text for the reader that came with it, mostly empty.
        """
        match event.get("type"):
            case "message_start":
                self.begun = True
                self._message.update(event["message"])
                self._usage.append(self._message.get("usage"))
                for index, block in enumerate(self._message.get("content") or ()):
                    self._blocks[index] = dict(block)
            case "content_block_start":
                block = dict(event["content_block"])
                self._blocks[event["index"]] = block
                return str(block.get("text") or "") if block.get("type") == "text" else ""
            case "content_block_delta":
                return self._grow(event["index"], event["delta"])
            case "message_delta":
                self._message.update(event["delta"])
                self._usage.append(event.get("usage"))
            case "message_stop":
                self.whole = True
            case _:  # content_block_stop adds nothing; unknown events belong to no block
                pass
        return ""

    def _grow(self, index: int, delta: Mapping[str, Any]) -> str:
        block = self._blocks.setdefault(index, {})
        match delta.get("type"):
            case "text_delta":
                block["text"] = (block.get("text") or "") + delta["text"]
                return str(delta["text"])
            case "input_json_delta":
                self._partial.setdefault(index, []).append(delta["partial_json"])
            case "thinking_delta":
                block["thinking"] = (block.get("thinking") or "") + delta["thinking"]
            case "signature_delta":
                block["signature"] = delta["signature"]
            case "citations_delta":
                block["citations"] = [*(block.get("citations") or ()), delta["citation"]]
            case _:
                # A kind of delta from after this was written: texts grow, anything else is set.
                for key, value in delta.items():
                    if key != "type":
                        old = block.get(key)
                        both = isinstance(old, str) and isinstance(value, str)
                        block[key] = old + value if both else value
        return ""

    def reply(self) -> ModelReply:
        """Return what has arrived; `cut`, and without a stop reason, unless it is whole."""
        unreadable: dict[str, str] = {}
        content = []
        stop_reason = self._message.get("stop_reason") if self.whole else None
        for index in sorted(self._blocks):
            pieces = self._partial.get(index)
            partial = None if pieces is None else "".join(pieces)
            # Arguments that came whole with the start of the block are followed by no JSON.
            if not partial and self._blocks[index].get("input"):
                partial = None
            # Out of tokens inside a call: unstreamed, the API gives `{}` and says no more.
            noted = {} if stop_reason in _OUT_OF_TOKENS else unreadable
            content.append(_settled(dict(self._blocks[index]), partial, noted))
        return ModelReply(
            content=content,
            stop_reason=stop_reason,
            usage=usage_of(*self._usage),
            model=self._message.get("model") or "",
            id=self._message.get("id") or "",
            unreadable=unreadable,
            cut=not self.whole,
            detail=_detail(self._message),
        )
