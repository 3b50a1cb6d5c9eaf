"""What a model's reply amounts to, by its stop reason.

Rules.  1. Every stop reason is classified; an unknown one is a failure, never "done".  2. Calls run
only on `tool_use` and only if all of them could be read.  3. A reply that cannot be echoed is kept
in the journal, marked unusable, and not sent back.
Source: claude-api.md sections 0, 2 and 3.
Not here: judging the calls (`kernel.gate`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Literal, TypeAlias

from statemachine_agents.values import JSON

Meaning: TypeAlias = Literal["calls", "done", "nudge", "refused", "failed", "again", "window"]

MEANINGS: Final[Mapping[str, Meaning]] = {
    "tool_use": "calls",
    "end_turn": "done",
    "max_tokens": "nudge",
    "stop_sequence": "nudge",
    "pause_turn": "again",
    "refusal": "refused",
    "model_context_window_exceeded": "window",
    "error": "failed",
}
"""Stop reason -> meaning; `error` is ours, for a request that failed after all retries."""

_ID: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_NAME: Final = re.compile(r"[a-zA-Z0-9_-]{1,128}")


def meaning_of(reply: Mapping[str, JSON]) -> Meaning:
    """Return what a journaled reply amounts to; `reply` is the body of `model_replied`."""
    stop = reply.get("stop")
    if stop is None or reply.get("cut"):
        return "nudge"
    meaning = MEANINGS.get(stop, "failed")
    if meaning == "calls":
        sound = reply.get("calls") and reply.get("usable") and not reply.get("unreadable")
        return "calls" if sound else "nudge"
    if meaning == "done" and (reply.get("calls") or not reply.get("usable")):
        return "nudge"
    return meaning


def why_nudged(reply: Mapping[str, JSON]) -> str:
    """Return the sentence a reminder opens with, for a reply whose meaning is `nudge`."""
    stop = reply.get("stop")
    if reply.get("unreadable"):
        return "The arguments of your call were not a JSON object; nothing was executed."
    if stop is None or reply.get("cut"):
        return "Your last reply was cut off and could not be used; nothing was executed."
    if stop in ("max_tokens", "stop_sequence"):
        return "Your last reply ended too early; nothing was executed."
    if stop == "end_turn" and reply.get("calls"):
        return "You ended your turn beside a call; nothing was executed."
    return "Your last reply could not be used; nothing was executed."


def text_of(content: Iterable[Mapping[str, JSON]]) -> str:
    """Return a reply's text blocks, joined."""
    parts = [block["text"] for block in content if block.get("type") == "text"]
    return "\n\n".join(part for part in parts if isinstance(part, str) and part.strip())


def usable(content: Sequence[Mapping[str, JSON]], stop: str | None) -> bool:
    """Whether a reply can be sent back: not empty, not ending in a thought, every name legal."""
    if stop in (None, "refusal", "model_context_window_exceeded", "error") or not content:
        return False
    if content[-1].get("type") in ("thinking", "redacted_thinking"):
        return False
    return all(
        block.get("type") != "tool_use" or _NAME.fullmatch(str(block.get("name", "")))
        for block in content
    )


def _blank(block: Mapping[str, JSON]) -> bool:
    text = block.get("text")
    return block.get("type") == "text" and not (isinstance(text, str) and text.strip())


def calls_of(reply: Mapping[str, JSON]) -> list[dict[str, JSON]]:
    """Return the calls of a journaled reply: `no id name input`, in order."""
    first = reply.get("calls")
    if not first:
        return []
    found = [block for block in reply["content"] if block.get("type") == "tool_use"]
    return [
        {"no": first + index, "id": block["id"], "name": block["name"], "input": block["input"]}
        for index, block in enumerate(found)
    ]


def number_calls(
    content: Sequence[Mapping[str, JSON]], first: int, taken: set[str]
) -> tuple[list[dict[str, Any]], dict[str, JSON]]:
    """Drop blank texts and make every call's id unique in the transcript.

    Args:
        content: blocks as received.
        first: number the first call will have.
        taken: ids already used in this epoch.

    Returns:
        The blocks with unique ids, and for every replaced id what the model had given.
    """
    blocks: list[dict[str, Any]] = []
    renamed: dict[str, JSON] = {}
    used: set[str] = set()
    number = first - 1
    for block in content:
        if block.get("type") != "tool_use":
            if not _blank(block):  # the API sends blank texts but does not take them back
                blocks.append(dict(block))
            continue
        number += 1
        given = block.get("id")
        call_id = given
        unheard = isinstance(given, str) and given not in taken and given not in used
        if not unheard or not _ID.fullmatch(str(given)):
            call_id = f"call_{number}"
            while call_id in taken or call_id in used:
                call_id += "x"
        used.add(str(call_id))
        arguments = block.get("input")
        if not isinstance(arguments, Mapping):
            arguments = {}
        if call_id != given:
            renamed[str(call_id)] = given if isinstance(given, str) else None
        # In the order the journal has them, so that a resumed run sends the same bytes.
        blocks.append(dict(sorted({**block, "id": call_id, "input": arguments}.items())))
    return blocks, renamed
