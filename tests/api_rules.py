"""The rules of the Messages API for a history, written down once more for the tests.

Rules.  1. Independent of the package: it reads plain messages and knows nothing of runs.
2. Every fault is listed, not only the first.
Source: claude-api.md sections 2.1 and 3.
Not here: the fake server, which has its own reading of the same page.
"""

from __future__ import annotations

import re
from typing import Any

_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")


def faults(messages: list[dict[str, Any]], *, paused: bool = False) -> list[str]:
    """Return what is wrong with a history as it is sent; `paused` allows an assistant turn last."""
    found = []
    if not messages:
        return ["no message at all"]
    if messages[0]["role"] != "user":
        found.append("the first message must be the user's")
    if messages[-1]["role"] == "assistant" and not paused:
        found.append("an assistant turn may not stand last")
    seen: set[str] = set()
    for number, message in enumerate(messages):
        before = messages[number - 1] if number else None
        after = messages[number + 1] if number + 1 < len(messages) else None
        found += [f"{number}: {fault}" for fault in _content(message)]
        if message["role"] == "system":
            if before is None or before["role"] not in ("user", "system"):
                found.append(f"{number}: a system message must follow a user message")
            if after is not None and after["role"] == "user":
                found.append(f"{number}: a system message must not be followed by the user")
        calls = _ids(message, "tool_use", "id")
        for call in calls:
            if call in seen:
                found.append(f"{number}: the id {call} is used twice")
            seen.add(call)
        results = _leading_results(after)
        if calls and sorted(calls) != sorted(results):
            found.append(f"{number}: calls {calls}, results right after {results}")
        if message["role"] == "user":
            owed = [] if before is None else _ids(before, "tool_use", "id")
            given = _ids(message, "tool_result", "tool_use_id")
            if sorted(given) != sorted(owed):
                found.append(f"{number}: results {given}, calls right before {owed}")
    return found


def _content(message: dict[str, Any]) -> list[str]:
    content = message.get("content")
    if set(message) != {"role", "content"} or not isinstance(content, list) or not content:
        return ["empty or malformed"]
    found = []
    for block in content:
        kind = block.get("type")
        if kind == "text" and not str(block.get("text", "")).strip():
            found.append("a blank text")
        if kind == "tool_result":
            if message["role"] != "user":
                found.append("a result outside a user message")
            if not isinstance(block.get("content"), str) or not block["content"]:
                found.append("a result without text")
        if kind == "tool_use":
            if message["role"] != "assistant":
                found.append("a call outside an assistant turn")
            if not _ID.fullmatch(block["id"]) or not _NAME.fullmatch(block["name"]):
                found.append(f"a malformed call {block['id']!r} {block['name']!r}")
            if not isinstance(block["input"], dict):
                found.append("arguments that are no object")
    if message["role"] == "assistant" and content[-1].get("type") in (
        "thinking",
        "redacted_thinking",
    ):
        found.append("an assistant turn that ends in a thought")
    return found


def _ids(message: dict[str, Any], kind: str, key: str) -> list[str]:
    return [block[key] for block in message["content"] if block.get("type") == kind]


def _leading_results(message: dict[str, Any] | None) -> list[str]:
    if message is None or message["role"] != "user":
        return []
    found = []
    for block in message["content"]:
        if block.get("type") != "tool_result":
            break
        found.append(block["tool_use_id"])
    return found
