"""A message as the server-sent events the API would stream.

Rules.  1. Order: message_start, ping, per block start, deltas, stop, then message_delta and
message_stop.  2. Text and arguments arrive in several pieces, so that a client must join them.
Not here: chunked encoding and cuts (`handler`).

Source: docs/claude-api, section 6 (SSE order).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

from statemachine_agents.testing.messages_api.answer import Answer
from statemachine_agents.testing.messages_api.blocks import canonical

__all__ = ["Event", "encode", "events"]

Event: TypeAlias = Mapping[str, Any]
"""The data of one event; its `type` is the event's name."""

_PIECE = 24
"""Characters of one delta."""

_CALLS = frozenset({"tool_use", "server_tool_use"})


def encode(event: Event) -> bytes:
    """Return the bytes of one event."""
    return f"event: {event['type']}\ndata: ".encode() + canonical(event) + b"\n\n"


def events(reply: Answer) -> Iterator[Event]:
    """Yield the events of a whole message."""
    message = reply.message
    usage = message["usage"]
    opening = {**message, "content": [], "stop_reason": None, "stop_sequence": None}
    opening |= {"stop_details": None, "usage": {**usage, "output_tokens": 1}}
    opening["usage"].pop("output_tokens_details", None)
    yield {"type": "message_start", "message": opening}
    yield {"type": "ping"}
    for index, block in enumerate(message["content"]):
        start, deltas = _block(block, reply.raw.get(index))
        yield {"type": "content_block_start", "index": index, "content_block": start}
        for delta in deltas:
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    closing = ("stop_reason", "stop_sequence", "stop_details", "container")
    counts = (
        "input_tokens",
        "cache_creation_input_tokens",
        "cache_read_input_tokens",
        "output_tokens",
        "server_tool_use",
        "output_tokens_details",
    )
    yield {
        "type": "message_delta",
        "delta": {key: message[key] for key in closing},
        "usage": {key: usage[key] for key in counts if key in usage},
    }
    yield {"type": "message_stop"}


def _block(block: Mapping[str, Any], raw: str | None) -> tuple[dict[str, Any], list[Event]]:
    """Return how a block begins, and the deltas that fill it."""
    kind = block.get("type")
    if kind == "text":
        texts: list[Event] = [{"type": "text_delta", "text": p} for p in _pieces(block["text"])]
        cites = block.get("citations") or []
        texts += [{"type": "citations_delta", "citation": item} for item in cites]
        start = {**block, "text": ""}
        return ({**start, "citations": []} if cites else start), texts
    if kind in _CALLS:
        text = canonical(block["input"]).decode() if raw is None else raw
        parts = ["", *_pieces(text)]
        return {**block, "input": {}}, [
            {"type": "input_json_delta", "partial_json": part} for part in parts
        ]
    if kind == "thinking":
        deltas: list[Event] = [
            {"type": "thinking_delta", "thinking": part} for part in _pieces(block["thinking"])
        ]
        deltas.append({"type": "signature_delta", "signature": block["signature"]})
        return {**block, "thinking": "", "signature": ""}, deltas
    return dict(block), []


def _pieces(text: str) -> list[str]:
    return [text[at : at + _PIECE] for at in range(0, len(text), _PIECE)]
