"""Fields of JSON objects, checked with the API's own sentences.

Rules.  1. A path is dotted with indexes, as `messages.0.content.1.text.text`.  2. The first fault
found is raised; unknown keys are faults.  3. `null` stands for an absent optional field.
Not here: rules between fields or messages (`validate`, `history`).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

import attrs

from statemachine_agents.testing.messages_api.wire import bad

__all__ = [
    "EFFORTS",
    "TEXT",
    "TOOL_ID",
    "TOOL_NAME",
    "Shape",
    "check_mark",
    "matches",
    "one_of",
    "tag_fault",
]

TOOL_NAME = "^[a-zA-Z0-9_-]{1,128}$"
TOOL_ID = "^[a-zA-Z0-9_-]+$"

EFFORTS = ("low", "medium", "high", "xhigh", "max")

_KINDS: Mapping[str, tuple[type | tuple[type, ...], str]] = {
    "string": (str, "Input should be a valid string"),
    "object": (dict, "Input should be a valid dictionary"),
    "array": (list, "Input should be a valid list"),
    "boolean": (bool, "Input should be a valid boolean"),
    "integer": (int, "Input should be a valid integer"),
    "number": ((int, float), "Input should be a valid number"),
    "content": ((str, list), "Input should be a valid list"),
    "anything": (object, ""),
}


@attrs.frozen
class Shape:
    """The fields an object may have: name to one word of `_KINDS`.

    `open` objects may have further fields: they belong to features this server does not emulate.
    """

    required: Mapping[str, str]
    optional: Mapping[str, str] = attrs.field(factory=dict)
    open: bool = False

    def check(self, value: Any, where: str) -> None:
        """Raise the fault of the first field that is missing, wrong or unknown."""
        if not isinstance(value, dict):
            raise bad(f"{where}: Input should be a valid dictionary")
        dot = f"{where}." if where else ""
        for key, kind in self.required.items():
            if key not in value:
                raise bad(f"{dot}{key}: Field required")
            _check_kind(value[key], kind, f"{dot}{key}")
        for key, inner in value.items():
            if key in self.required:
                continue
            if key not in self.optional:
                if self.open:
                    continue
                raise bad(f"{dot}{key}: Extra inputs are not permitted")
            if inner is not None:
                _check_kind(inner, self.optional[key], f"{dot}{key}")


def _check_kind(value: Any, kind: str, where: str) -> None:
    types, message = _KINDS[kind]
    numeric = kind in {"integer", "number"}
    if not isinstance(value, types) or (numeric and isinstance(value, bool)):
        raise bad(f"{where}: {message}")


_MARK = Shape({"type": "string"}, {"ttl": "string"})


def check_mark(value: Any, where: str) -> None:
    """Check one `cache_control` value."""
    if value is None:
        return
    _MARK.check(value, where)
    if value["type"] != "ephemeral":
        raise tag_fault(where, value["type"], ["ephemeral"])
    if value.get("ttl") not in {None, "5m", "1h"}:
        raise bad(f"{where}.ephemeral.ttl: Input should be '5m' or '1h'")


def one_of(value: Any, words: Collection[str]) -> bool:
    """Say whether a value of any kind is one of these words."""
    return isinstance(value, str) and value in words


def matches(value: str, pattern: str, where: str) -> None:
    """Raise the fault of a text that does not match; `$` means the very end."""
    if re.fullmatch(pattern.removeprefix("^").removesuffix("$"), value) is None:
        raise bad(f"{where}: String should match pattern '{pattern}'")


def tag_fault(where: str, tag: Any, expected: list[str]) -> Exception:
    """Return the fault of a `type` that is none of the expected ones."""
    words = ", ".join(f"'{word}'" for word in expected)
    return bad(
        f"{where}: Input tag '{tag}' found using 'type' does not match any of the expected tags: "
        f"{words}"
    )


TEXT = Shape({"type": "string", "text": "string"}, {"cache_control": "object"})
"""A text block of a user or of the system; an assistant's may have citations too."""
