"""A whole request: known fields, tools and settings of the model, marks, then the history.

Rules.  1. The first fault is raised as the 400 the API would send.  2. What a model cannot do is
read from `models.capabilities`, never from its name.  3. Fields of features this server does not
emulate are refused, not ignored (threads, context management, MCP servers, fallbacks).
Not here: authentication and headers (`server`).

Source: docs/claude-api, sections 2, 2.1 and 6 (validation).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from statemachine_agents.models.capabilities import Capabilities
from statemachine_agents.testing.messages_api import binding
from statemachine_agents.testing.messages_api.blocks import blocks_of, mark_of
from statemachine_agents.testing.messages_api.content import check_text
from statemachine_agents.testing.messages_api.history import Served, check_messages
from statemachine_agents.testing.messages_api.shape import (
    EFFORTS,
    TEXT,
    Shape,
    check_mark,
    one_of,
    tag_fault,
)
from statemachine_agents.testing.messages_api.tools import check_tools
from statemachine_agents.testing.messages_api.wire import bad

__all__ = ["BETA_BINDING", "check_request"]

BETA_BINDING = "thinking-binding-controls-2026-08-01"

_COUNTED = {
    "system": "content",
    "tools": "array",
    "tool_choice": "object",
    "cache_control": "object",
    "thinking": "object",
    "output_config": "object",
    "speed": "string",
}
_COUNT = Shape({"model": "string", "messages": "array"}, _COUNTED)
_CREATE = Shape(
    {"model": "string", "max_tokens": "integer", "messages": "array"},
    {
        **_COUNTED,
        "stop_sequences": "array",
        "metadata": "object",
        "container": "anything",
        "diagnostics": "object",
        "service_tier": "string",
        "inference_geo": "string",
        "stream": "boolean",
    },
)
_FORCED = {"disable_parallel_tool_use": "boolean"}
_CHOICES = {
    "auto": Shape({"type": "string"}, _FORCED),
    "any": Shape({"type": "string"}, _FORCED),
    "tool": Shape({"type": "string", "name": "string"}, _FORCED),
    "none": Shape({"type": "string"}),
}
_DISPLAY = {"display": "string"}
_THINKING = {
    "adaptive": Shape({"type": "string"}, _DISPLAY),
    "enabled": Shape({"type": "string", "budget_tokens": "integer"}, _DISPLAY),
    "disabled": Shape({"type": "string"}),
    "between_tools": Shape({"type": "string"}),
}
_OUTPUT = Shape({}, {"effort": "string", "format": "object"})
_MOST_MARKS = 4


def check_request(
    body: Mapping[str, Any],
    caps: Capabilities,
    betas: frozenset[str],
    served: Served,
    *,
    counting: bool,
) -> list[binding.Mismatch]:
    """Raise the first fault of a request.

    Args:
        body: parsed JSON object; its model is `caps`.
        caps: what the model accepts.
        betas: words of the `anthropic-beta` header.
        served: what this server sent before.
        counting: the request only asks for a token count.

    Returns:
        The thinking blocks to drop, when the request asked for that instead of a fault.
    """
    (_COUNT if counting else _CREATE).check(body, "")
    if body.get("max_tokens", 0) < 0:
        raise bad("max_tokens: Input should be greater than or equal to 0")
    _check_system_prompt(body.get("system"))
    tools = body.get("tools") or []
    check_tools(tools)
    _check_settings(body)
    _check_thinking(body, caps, betas)
    _check_choice(body, caps, tools)
    check_messages(body, caps, betas, served)
    _check_marks(body)
    if not tools and any(_speaks_of_tools(message) for message in body["messages"]):
        raise bad("Requests which include `tool_use` or `tool_result` blocks must define tools.")
    return _check_binding(body, caps)


def _check_system_prompt(system: Any) -> None:
    for index, block in enumerate(system if isinstance(system, list) else ()):
        where = f"system.{index}"
        TEXT.check(block, where)
        if block["type"] != "text":
            raise tag_fault(where, block["type"], ["text"])
        check_text(block["text"], where)
        check_mark(block.get("cache_control"), f"{where}.cache_control")


def _check_settings(body: Mapping[str, Any]) -> None:
    check_mark(body.get("cache_control"), "cache_control")
    output = body.get("output_config")
    if output is not None:
        _OUTPUT.check(output, "output_config")
        if output.get("effort") is not None and not one_of(output["effort"], EFFORTS):
            raise bad(
                "output_config.effort: Input should be 'low', 'medium', 'high', 'xhigh' or 'max'"
            )
    if body.get("speed") not in {None, "standard", "fast"}:
        raise bad("speed: Input should be 'standard' or 'fast'")
    if body.get("service_tier") not in {None, "auto", "standard_only"}:
        raise bad("service_tier: Input should be 'auto' or 'standard_only'")
    if body.get("metadata") is not None:
        Shape({}, {"user_id": "string"}).check(body["metadata"], "metadata")
    for index, text in enumerate(body.get("stop_sequences") or ()):
        if not isinstance(text, str):
            raise bad(f"stop_sequences.{index}: Input should be a valid string")
        if not text.strip():
            raise bad("stop_sequences: each stop sequence must contain non-whitespace")


def _check_thinking(body: Mapping[str, Any], caps: Capabilities, betas: frozenset[str]) -> None:
    thinking = body.get("thinking")
    if thinking is None:
        return
    kind = thinking.get("type")
    if not one_of(kind, _THINKING):
        raise tag_fault("thinking", kind, list(_THINKING))
    shape = _THINKING[kind]
    if BETA_BINDING in betas and shape.optional:
        shape = Shape(shape.required, {**shape.optional, "block_binding": "object"})
    shape.check(thinking, f"thinking.{kind}")
    wish = (thinking.get("block_binding") or {}).get("prefix_mismatch_behavior")
    if wish is not None and not one_of(wish, ("error", "drop_block")):
        raise bad(
            f"thinking.{kind}.block_binding.prefix_mismatch_behavior: "
            "Input should be 'error' or 'drop_block'"
        )
    if kind not in caps.thinking:
        if kind == "adaptive":
            raise bad("adaptive thinking is not supported on this model")
        raise bad(
            f'"thinking.type.{kind}" is not supported for this model. Use "thinking.type.adaptive" '
            'and "output_config.effort" to control thinking behavior.'
        )
    if kind == "enabled":
        if thinking["budget_tokens"] < 1024:
            raise bad(
                "thinking.enabled.budget_tokens: Input should be greater than or equal to 1024"
            )
        if thinking["budget_tokens"] >= body.get("max_tokens", float("inf")):
            raise bad("`max_tokens` must be greater than `thinking.budget_tokens`.")


def _check_choice(body: Mapping[str, Any], caps: Capabilities, tools: list[Any]) -> None:
    choice = body.get("tool_choice")
    if choice is None:
        return
    kind = choice.get("type")
    if not one_of(kind, _CHOICES):
        raise tag_fault("tool_choice", kind, list(_CHOICES))
    _CHOICES[kind].check(choice, f"tool_choice.{kind}")
    if kind in {"any", "tool"}:
        if not caps.forced_tool_choice:
            old = "fable" in caps.model or "mythos" in caps.model
            raise bad(
                "tool_choice forces tool use is not compatible with this model"
                if old
                else 'tool_choice: type "tool" and "any" are not supported for this model.'
            )
        if (body.get("thinking") or {}).get("type") == "enabled":
            raise bad("Thinking may not be enabled when tool_choice forces tool use.")
    if not tools and kind != "none":
        raise bad("tool_choice: tool_choice may only be specified while providing tools")
    if kind == "tool" and choice["name"] not in {tool.get("name") for tool in tools}:
        raise bad(f"tool_choice: Tool '{choice['name']}' not found in provided tools")


def _marks(body: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield path and lifetime of every cache mark, in the order the API reads them."""
    for index, tool in enumerate(body.get("tools") or ()):
        if mark := mark_of(tool):
            yield f"tools.{index}.cache_control.ttl", mark
    for index, block in enumerate(blocks_of(body.get("system"))):
        if mark := mark_of(block):
            yield f"system.{index}.cache_control.ttl", mark
    for number, message in enumerate(body["messages"]):
        for index, block in enumerate(blocks_of(message.get("content"))):
            if mark := mark_of(block):
                yield f"messages.{number}.content.{index}.cache_control.ttl", mark
    if mark := mark_of({"cache_control": body.get("cache_control")}):
        yield "cache_control.ttl", mark


def _check_marks(body: Mapping[str, Any]) -> None:
    marks = list(_marks(body))
    if len(marks) > _MOST_MARKS:
        raise bad(
            f"A maximum of {_MOST_MARKS} blocks with cache_control may be provided. "
            f"Found {len(marks)}."
        )
    short = False
    for where, ttl in marks:
        if ttl == "1h" and short:
            raise bad(
                f"{where}: a ttl='1h' cache_control block must not come after a ttl='5m' "
                "cache_control block. Note that blocks are processed in the following order: "
                "`tools`, `system`, `messages`."
            )
        short = short or ttl == "5m"


def _speaks_of_tools(message: Mapping[str, Any]) -> bool:
    blocks = blocks_of(message.get("content"))
    return any(block.get("type") in {"tool_use", "tool_result"} for block in blocks)


def _check_binding(body: Mapping[str, Any], caps: Capabilities) -> list[binding.Mismatch]:
    wish = ((body.get("thinking") or {}).get("block_binding") or {}).get("prefix_mismatch_behavior")
    drops: list[binding.Mismatch] = []
    for found in binding.check(body):
        field = "data" if found.kind == "redacted_thinking" else "signature"
        if found.forged:
            raise bad(f"{found.path}: Invalid `{field}` in `{found.kind}` block")
        if not caps.prefix_bound:
            continue
        if wish != "drop_block":
            raise bad(
                f"{found.path}: Invalid `{field}` in `{found.kind}` block. The block is bound to a "
                "different conversation. Remove the block, or set "
                '`thinking.block_binding.prefix_mismatch_behavior` to "drop_block".'
            )
        drops.append(found)
    return drops
