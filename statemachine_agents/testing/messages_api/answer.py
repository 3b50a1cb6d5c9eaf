"""From a `Reply` to the message the API would send.

Rules.  1. Blocks come in the order thinking, text, calls, raw blocks.  2. What the step leaves open
(ids, stop reason, signature, usage) is filled in; what it says is sent as it says it.
Not here: the order of stream events (`stream`), which step is next (`server`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs

from statemachine_agents.testing.messages_api.binding import Mismatch, sign
from statemachine_agents.testing.messages_api.blocks import THINKING, tokens
from statemachine_agents.testing.messages_api.script import Reply

__all__ = ["Answer", "answer"]


@attrs.frozen
class Answer:
    """A message, and for streaming the raw argument text of calls by block index."""

    message: dict[str, Any]
    raw: Mapping[int, str]


def answer(
    step: Reply,
    body: Mapping[str, Any],
    usage: Mapping[str, Any],
    fresh: Callable[[str], str],
    drops: Sequence[Mismatch] = (),
) -> Answer:
    """Build the message of one reply.

    Args:
        step: what the script says.
        body: the request.
        usage: its input side.
        fresh: makes an id from a prefix such as `toolu`.
        drops: thinking blocks that were dropped from the request, to be reported.
    """
    content, raw = _content(step, body, fresh)
    calling = any(block.get("type") == "tool_use" for block in content)
    stop_reason = step.stop_reason or ("tool_use" if calling else "end_turn")
    if stop_reason == "max_tokens":  # the API drops arguments it could not finish
        content = [{**b, "input": {}} if n in raw else b for n, b in enumerate(content)]
    message = {
        "id": fresh("msg"),
        "type": "message",
        "role": "assistant",
        "model": body["model"],
        "content": content,
        "stop_reason": stop_reason,
        "stop_sequence": step.stop_sequence,
        "stop_details": None if step.stop_details is None else dict(step.stop_details),
        "container": None,
        "usage": {**_usage(content, usage), **step.usage},
    }
    if drops:
        message["input_transformations"] = [
            {"type": "thinking_dropped", "path": drop.path, "reason": "prefix_binding_mismatch"}
            for drop in drops
        ]
    return Answer(message, raw)


def _content(
    step: Reply, body: Mapping[str, Any], fresh: Callable[[str], str]
) -> tuple[list[dict[str, Any]], dict[int, str]]:
    content: list[dict[str, Any]] = []
    raw: dict[int, str] = {}
    if step.thinking is not False:
        thought = "" if step.thinking is True else step.thinking
        content.append({"type": "thinking", "thinking": thought})
    if step.text:
        content.append({"type": "text", "text": step.text})
    for call in step.calls:
        if call.raw is not None:
            raw[len(content)] = call.raw
        content.append(
            {
                "type": "tool_use",
                "id": call.id or fresh("toolu"),
                "name": call.name,
                "input": call.input if call.raw is None else call.raw,
                "caller": {"type": "direct"},
            }
        )
    content.extend(dict(block) for block in step.blocks)
    for index, block in enumerate(content):
        field = "data" if block.get("type") == "redacted_thinking" else "signature"
        if block.get("type") in THINKING and field not in block:
            block[field] = sign(body, content[:index], block.get("thinking", ""))
    return content, raw


def _usage(content: Sequence[Mapping[str, Any]], usage: Mapping[str, Any]) -> dict[str, Any]:
    thoughts = [block for block in content if block.get("type") in THINKING]
    return {
        **usage,
        "output_tokens": tokens(content) if content else 1,
        "service_tier": "standard",
        "inference_geo": "not_available",
        "server_tool_use": None,
        "output_tokens_details": {"thinking_tokens": tokens(thoughts) if thoughts else 0},
    }
