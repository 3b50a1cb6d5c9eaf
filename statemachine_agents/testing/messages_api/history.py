"""The message list of a request: every way to get it wrong, in the API's words.

Rules.  1. Nothing is repaired: a history is accepted as it stands or refused with its first fault.
2. Where sources leave it open the stricter reading holds: all results of one assistant message
stand first in the very next user message.  3. An assistant message may only come last when this
server paused there.
Not here: single blocks (`content`), tools and settings (`validate`), signatures (`binding`).

Source: docs/claude-api, section 3 (history 400s) and 2.1 (system messages, tool changes).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from statemachine_agents.models.capabilities import Capabilities
from statemachine_agents.testing.messages_api.blocks import (
    Block,
    bare,
    blocks_of,
    canonical,
    digest,
)
from statemachine_agents.testing.messages_api.content import CHANGES, KNOWN, check_block, check_text
from statemachine_agents.testing.messages_api.shape import EFFORTS, Shape, one_of
from statemachine_agents.testing.messages_api.tools import check_custom
from statemachine_agents.testing.messages_api.wire import bad

__all__ = ["BETA_CLEAR", "BETA_EFFORT", "BETA_INLINE", "BETA_TOOLS", "Served", "check_messages"]

BETA_CLEAR = "mid-conversation-system-clear-at-2026-08-21"
BETA_EFFORT = "mid-conversation-output-config-2026-07-01"
BETA_INLINE = "inline-tools-2026-09-15"
BETA_TOOLS = "mid-conversation-tool-changes-2026-07-01"

_MOST = 100_000


@attrs.define
class Served:
    """What this server sent before and therefore takes back.

    Args:
        paused: digests of the contents that ended in `pause_turn`.
        types: block types outside the vocabulary.
    """

    paused: set[str] = attrs.field(factory=set)
    types: set[str] = attrs.field(factory=set)

    def remember(self, content: Sequence[Block], stop_reason: str | None) -> None:
        """Note a reply that is about to be sent."""
        if stop_reason == "pause_turn":
            self.paused.add(_content_digest(content))
        self.types |= {str(block.get("type")) for block in content} - KNOWN

    def is_paused(self, content: Any) -> bool:
        """Say whether this content was served with `pause_turn`."""
        return _content_digest(blocks_of(content)) in self.paused


def _content_digest(content: Sequence[Any]) -> str:
    return digest(canonical([bare(block) for block in content]))


def check_messages(
    body: Mapping[str, Any], caps: Capabilities, betas: frozenset[str], served: Served
) -> None:
    """Raise the first fault of `body["messages"]`."""
    messages = body["messages"]
    if not messages:
        raise bad("messages: at least one message is required")
    if len(messages) > _MOST:
        raise bad(f"messages: List should have at most {_MOST} items after validation")
    for number, message in enumerate(messages):
        _check_shape(message, f"messages.{number}", betas)
    if messages[0]["role"] == "assistant":
        raise bad('messages: first message must use the "user" role')
    if messages[0]["role"] == "system":
        raise bad("messages.0: use the top-level 'system' parameter for the initial system prompt")
    for number, message in enumerate(messages):
        _check_content(messages, number, message, betas, served)
        if message["role"] == "system":
            _check_system(messages, number, message, caps, served)
    _check_unique(messages)
    _check_pairs(messages)
    _check_changes(messages, body.get("tools") or [], inline=BETA_INLINE in betas)
    if messages[-1]["role"] == "assistant" and not served.is_paused(messages[-1].get("content")):
        _refuse_prefill(messages[-1].get("content"), caps)


# -------------------------------------------------------------------------------- one message


def _check_shape(message: Any, where: str, betas: frozenset[str]) -> None:
    if not isinstance(message, dict):
        raise bad(f"{where}: Input should be a valid dictionary")
    role = message.get("role")
    if "role" not in message:
        raise bad(f"{where}.role: Field required")
    if not one_of(role, ("user", "assistant", "system")):
        raise bad(f"{where}.role: Input should be 'user', 'assistant' or 'system'")
    system = role == "system"
    optional: dict[str, str] = {}
    if system and BETA_CLEAR in betas:
        optional["clear_at"] = "string"
    if system and BETA_EFFORT in betas:
        optional["output_config"] = "object"
    required = {"role": "string", "content": "content"}
    if "output_config" in optional and message.get("output_config"):
        optional["content"] = required.pop("content")  # an effort may come without words
    Shape(required, optional).check(message, where)
    if message.get("clear_at") not in {None, "never", "next_user_message"}:
        raise bad(f"{where}.clear_at: Input should be 'next_user_message' or 'never'")
    effort = (message.get("output_config") or {}).get("effort", "low")
    if not one_of(effort, EFFORTS):
        raise bad(
            f"{where}.output_config.effort: "
            "Input should be 'low', 'medium', 'high', 'xhigh' or 'max'"
        )


def _check_content(
    messages: Sequence[Any],
    number: int,
    message: Mapping[str, Any],
    betas: frozenset[str],
    served: Served,
) -> None:
    content, role, where = message.get("content"), message["role"], f"messages.{number}"
    last_assistant = number == len(messages) - 1 and role == "assistant"
    if not content and not last_assistant and not message.get("output_config"):
        raise bad(
            f"{where}: all messages must have non-empty content except for the optional final "
            "assistant message"
        )
    if isinstance(content, str):
        if content and not last_assistant:
            check_text(content, where)
        return
    changes = bool(betas & {BETA_INLINE, BETA_TOOLS})
    for index, block in enumerate(content or ()):
        place = f"{where}.content.{index}"
        check_block(block, role, place, changes=changes, served=served.types)


def _check_system(
    messages: Sequence[Any],
    number: int,
    message: Mapping[str, Any],
    caps: Capabilities,
    served: Served,
) -> None:
    where = f"messages.{number}"
    if not caps.role_system_accepted:
        raise bad(f"{where}: role 'system' is not supported on this model")
    blocks = blocks_of(message.get("content"))
    changing = [n for n, block in enumerate(blocks) if block.get("type") in CHANGES]
    if message.get("clear_at") == "next_user_message":
        if caps.clear_at == "refused":
            raise bad(f"{where}.clear_at: not supported on this model")
        if changing:
            raise bad(
                f"{where}: a turn-scoped system message supports text blocks only "
                "(clear_at: 'next_user_message')"
            )
        for key in ("cache_control", "output_config"):
            if message.get(key) or any(block.get(key) for block in blocks):
                raise bad(f"{where}: a turn-scoped system message does not support {key}")
    if changing and not caps.tool_change:
        raise bad(f"{where}.content.{changing[0]}: tool changes are not supported on this model")
    first = number  # consecutive system messages count as one section
    while messages[first - 1]["role"] == "system":
        first -= 1
    before = messages[first - 1]
    if before["role"] == "assistant":
        end = blocks_of(before.get("content"))[-1:]
        if not end or not str(end[0].get("type")).endswith("_tool_result"):
            raise bad(
                f"{where}: a system message must directly follow a user message or an assistant "
                "message that ends in a server tool result"
            )
        if changing and served.is_paused(before.get("content")):
            raise bad(f"{where}: tool changes cannot directly follow a paused turn")
    if number + 1 < len(messages) and messages[number + 1]["role"] == "user":
        raise bad(
            f"{where}: a system message must be the last message or be followed by an assistant "
            "message"
        )


# ---------------------------------------------------------------------------- between messages


def _calls(message: Mapping[str, Any]) -> list[str]:
    if message["role"] != "assistant":
        return []
    blocks = blocks_of(message.get("content"))
    return [block["id"] for block in blocks if block.get("type") == "tool_use"]


def _check_unique(messages: Sequence[Any]) -> None:
    seen: set[str] = set()
    for number, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        for index, block in enumerate(blocks_of(message.get("content"))):
            if block.get("type") != "tool_use":
                continue
            if block["id"] in seen:
                raise bad(f"messages.{number}.content.{index}: `tool_use` ids must be unique")
            seen.add(block["id"])


def _check_pairs(messages: Sequence[Any]) -> None:
    for number, message in enumerate(messages):
        calls = _calls(message)
        following = messages[number + 1] if number + 1 < len(messages) else None
        if calls:
            answered = _leading_results(following)
            if missing := [call for call in calls if call not in answered]:
                raise bad(
                    f"messages.{number}: `tool_use` ids were found without `tool_result` blocks "
                    f"immediately after: {', '.join(missing)}. Each `tool_use` block must have a "
                    "corresponding `tool_result` block in the next message."
                )
        if message["role"] == "user":
            _check_results(message, number, _calls(messages[number - 1]) if number else [])


def _leading_results(message: Mapping[str, Any] | None) -> set[str]:
    """Return the ids answered before any other block of a user message."""
    found: set[str] = set()
    for block in blocks_of(message.get("content")) if message and message["role"] == "user" else ():
        if block["type"] != "tool_result":
            break
        found.add(block["tool_use_id"])
    return found


def _check_results(message: Mapping[str, Any], number: int, calls: list[str]) -> None:
    seen: set[str] = set()
    for index, block in enumerate(blocks_of(message.get("content"))):
        if block["type"] != "tool_result":
            continue
        name, where = block["tool_use_id"], f"messages.{number}.content.{index}"
        if name not in calls:
            raise bad(
                f"{where}: unexpected `tool_use_id` found in `tool_result` blocks: {name}. Each "
                "`tool_result` block must have a corresponding `tool_use` block in the previous "
                "message."
            )
        if name in seen:
            raise bad(
                f"{where}: each tool_use must have a single result. Found multiple `tool_result` "
                f"blocks with id: {name}"
            )
        seen.add(name)


def _check_changes(messages: Sequence[Any], tools: Sequence[Any], *, inline: bool) -> None:
    names = {str(tool.get("name")) for tool in tools}
    for number, message in enumerate(messages):
        for index, block in enumerate(blocks_of(message.get("content"))):
            if block.get("type") not in CHANGES:
                continue
            tool, where = block["tool"], f"messages.{number}.content.{index}.{block['type']}.tool"
            adding = inline and block["type"] == "tool_addition"
            if adding and tool.get("type") == "tool_definition":
                check_custom(tool.get("definition"), f"{where}.definition")
                name = tool["definition"]["name"]
                if name in names:
                    raise bad(
                        f"{where}: tool name '{name}' is already in use", code="tool_name_conflict"
                    )
                names.add(name)
            elif tool.get("type") != "tool_reference" or not one_of(tool.get("name"), names):
                missing = f"'{tool.get('name')}' is not defined at this position"
                raise bad(
                    f"{where}: {missing} in the conversation",
                    code="tool_reference_unresolved",
                )


def _refuse_prefill(content: Any, caps: Capabilities) -> None:
    end = blocks_of(content)[-1:]
    text = str(end[0].get("text", "")) if end else ""
    if caps.prefill and text != text.rstrip():
        raise bad("messages: final assistant content cannot end with trailing whitespace")
    raise bad(
        "This model does not support assistant message prefill. "
        "The conversation must end with a user message."
    )
