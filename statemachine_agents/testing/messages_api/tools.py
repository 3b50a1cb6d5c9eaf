"""The `tools` of a request.

Rules.  1. Names are unique and match the API's pattern; a schema is an object schema.  2. A strict
tool's schema is held to what strict mode supports.  3. A server tool (its `type` is dated) is
accepted by name only: this server runs none.
Not here: which tool a `tool_choice` names (`validate`).

Source: docs/claude-api, section 2 (tool fields, strict).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from statemachine_agents.testing.messages_api.shape import TOOL_NAME, Shape, check_mark, matches
from statemachine_agents.testing.messages_api.wire import bad

__all__ = ["check_custom", "check_tools"]

_CUSTOM = Shape(
    {"name": "string", "input_schema": "object"},
    {
        "type": "string",
        "description": "string",
        "strict": "boolean",
        "defer_loading": "boolean",
        "allowed_callers": "array",
        "cache_control": "object",
        "input_examples": "array",
        "eager_input_streaming": "boolean",
    },
)
_SERVER = Shape({"type": "string", "name": "string"}, open=True)
_MOST_STRICT = 20
_UNSUPPORTED = (
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "maxItems",
    "uniqueItems",
)


def check_tools(tools: Sequence[Any]) -> None:
    """Raise the first fault of the tool list."""
    names: set[str] = set()
    strict = 0
    for index, tool in enumerate(tools):
        where = f"tools.{index}"
        if isinstance(tool, dict) and tool.get("type") not in (None, "custom"):
            _SERVER.check(tool, where)
        else:
            check_custom(tool, f"{where}.custom")
            strict += bool(tool.get("strict"))
        if tool["name"] in names:
            raise bad("tools: Tool names must be unique.")
        names.add(tool["name"])
        check_mark(tool.get("cache_control"), f"{where}.cache_control")
    if strict > _MOST_STRICT:
        raise bad(f"tools: at most {_MOST_STRICT} tools may be strict. Found {strict}.")
    if tools and all(tool.get("defer_loading") for tool in tools):
        raise bad("tools: At least one tool must have defer_loading=false.")


def check_custom(tool: Any, where: str) -> None:
    """Raise the first fault of one tool definition."""
    _CUSTOM.check(tool, where)
    matches(tool["name"], TOOL_NAME, f"{where}.name")
    schema = tool["input_schema"]
    if "type" not in schema:
        raise bad(f"{where}.input_schema.type: Field required")
    if schema["type"] != "object":
        raise bad(f"{where}.input_schema.type: Input should be 'object'")
    if tool.get("strict"):
        _check_strict(schema, where)


def _check_strict(schema: Any, where: str) -> None:
    """Walk a strict schema: objects are closed, and no keyword is one the grammar cannot keep."""
    if isinstance(schema, list):
        for item in schema:
            _check_strict(item, where)
        return
    if not isinstance(schema, dict):
        return
    kind = schema.get("type")
    if kind == "object" and schema.get("additionalProperties") is not False:
        raise bad(
            f"{where}: For 'object' type, 'additionalProperties' must be explicitly set to false"
        )
    for key in _UNSUPPORTED:
        if key in schema and isinstance(kind, str):
            raise bad(f"{where}: For '{kind}' type, property '{key}' is not supported")
    for key, inner in schema.items():
        if key in {"properties", "$defs", "definitions"} and isinstance(inner, dict):
            _check_strict(list(inner.values()), where)
        elif key in {"items", "anyOf", "allOf", "oneOf"}:
            _check_strict(inner, where)
