"""Content blocks of a request: which types stand in which role, and their fields.

Rules.  1. Every block is checked on its own, in order; the path names message and block.
2. A block type that this server itself served is accepted back from the assistant.
Not here: what blocks mean to each other (`history`), marks counted over the request (`validate`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from statemachine_agents.testing.messages_api.blocks import THINKING
from statemachine_agents.testing.messages_api.shape import (
    TEXT,
    TOOL_ID,
    TOOL_NAME,
    Shape,
    check_mark,
    matches,
    one_of,
    tag_fault,
)
from statemachine_agents.testing.messages_api.wire import bad

__all__ = ["CHANGES", "KNOWN", "check_block", "check_text"]

CHANGES = ("tool_addition", "tool_removal")

_MARK = {"cache_control": "object"}
_ANY = Shape({"type": "string"}, _MARK, open=True)

_USER: Mapping[str, Shape] = {
    "text": TEXT,
    "image": _ANY,
    "document": _ANY,
    "search_result": _ANY,
    "container_upload": _ANY,
    "tool_result": Shape(
        {"type": "string", "tool_use_id": "string"},
        {"content": "content", "is_error": "boolean", "toolset_name": "string", **_MARK},
    ),
}

_ASSISTANT: Mapping[str, Shape] = {
    "text": Shape({"type": "string", "text": "string"}, {"citations": "array", **_MARK}),
    "thinking": Shape({"type": "string", "thinking": "string", "signature": "string"}),
    "redacted_thinking": Shape({"type": "string", "data": "string"}),
    "tool_use": Shape(
        {"type": "string", "id": "string", "name": "string", "input": "object"},
        {"caller": "object", "toolset_name": "string", **_MARK},
    ),
    "server_tool_use": Shape(
        {"type": "string", "id": "string", "name": "string", "input": "object"},
        {"caller": "object", **_MARK},
    ),
    "web_search_tool_result": _ANY,
    "web_fetch_tool_result": _ANY,
    "code_execution_tool_result": _ANY,
    "bash_code_execution_tool_result": _ANY,
    "text_editor_code_execution_tool_result": _ANY,
    "tool_search_tool_result": _ANY,
    "container_upload": _ANY,
}

KNOWN = frozenset(_ASSISTANT)
"""Block types an assistant message may hold."""

_CHANGE = Shape({"type": "string", "tool": "object"}, _MARK)
_SYSTEM: Mapping[str, Shape] = {"text": TEXT}
_SYSTEM_WITH_CHANGES: Mapping[str, Shape] = {"text": TEXT, **dict.fromkeys(CHANGES, _CHANGE)}

_IN_RESULT: Mapping[str, Shape] = {
    "text": TEXT,
    "image": _ANY,
    "document": _ANY,
    "search_result": _ANY,
    "tool_reference": _ANY,
    "browser_state": _ANY,
}


def check_block(
    block: Any, role: str, where: str, *, changes: bool, served: Collection[str]
) -> None:
    """Check one block of a message.

    Args:
        block: what stands there.
        role: of its message.
        where: path of the block.
        changes: whether a beta header allows tool changes.
        served: unknown block types this server sent.
    """
    shapes = {
        "user": _USER,
        "assistant": _ASSISTANT,
        "system": _SYSTEM_WITH_CHANGES if changes else _SYSTEM,
    }[role]
    if isinstance(block, dict) and role == "assistant" and one_of(block.get("type"), served):
        return
    kind = _check_tag(block, shapes, where, role)
    shapes[kind].check(block, f"{where}.{kind}")
    check_mark(block.get("cache_control"), f"{where}.{kind}.cache_control")
    if kind == "text":
        check_text(block["text"], where)
    elif kind == "tool_use":
        matches(block["id"], TOOL_ID, f"{where}.tool_use.id")
        matches(block["name"], TOOL_NAME, f"{where}.tool_use.name")
    elif kind == "tool_result":
        _check_result(block, f"{where}.tool_result")


def check_text(text: str, where: str) -> None:
    """Check the text of a block: something must be in it."""
    if text == "":
        raise bad(f"{where}: text content blocks must be non-empty")
    if not text.strip():
        raise bad(f"{where}: text content blocks must contain non-whitespace text")


def _check_tag(block: Any, shapes: Mapping[str, Shape], where: str, role: str) -> str:
    if not isinstance(block, dict):
        raise bad(f"{where}: Input should be a valid dictionary")
    if "type" not in block:
        raise bad(f"{where}: Unable to extract tag using discriminator 'type'")
    kind = block["type"]
    if isinstance(kind, str) and kind in shapes:
        return kind
    message = where.partition(".content")[0]
    if role in {"user", "system"} and one_of(kind, {"tool_use", *THINKING}):
        raise bad(f"{message}: `{kind}` blocks can only be in `assistant` messages")
    if role in {"assistant", "system"} and kind == "tool_result":
        raise bad(f"{message}: `tool_result` blocks can only be in `user` messages")
    raise tag_fault(where, kind, list(shapes))


def _check_result(block: Mapping[str, Any], where: str) -> None:
    matches(block["tool_use_id"], TOOL_ID, f"{where}.tool_use_id")
    content = block.get("content")
    if block.get("is_error") and not content:
        raise bad(f"{where}: content cannot be empty if `is_error` is true")
    for index, inner in enumerate(content if isinstance(content, list) else ()):
        place = f"{where}.content.{index}"
        kind = _check_tag(inner, _IN_RESULT, place, "result")
        _IN_RESULT[kind].check(inner, f"{place}.{kind}")
        check_mark(inner.get("cache_control"), f"{place}.{kind}.cache_control")
        if kind == "text":
            check_text(inner["text"], place)
