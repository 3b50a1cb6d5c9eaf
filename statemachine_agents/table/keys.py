"""The keys of the plain form of a table, and the type of each.

Rules.  1. What stands here is all that may be written; the JSON Schema says the same.
Not here: reading with them (`reading`), what they mean (`model`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

Check: TypeAlias = Callable[[Any], bool]


def is_text(value: Any) -> bool:
    """Return whether a value is text."""
    return isinstance(value, str)


def is_flag(value: Any) -> bool:
    """Return whether a value is true or false."""
    return isinstance(value, bool)


def is_whole(value: Any) -> bool:
    """Return whether a value is a whole number."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    """Return whether a value is a number."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_texts(value: Any) -> bool:
    """Return whether a value is a list of texts."""
    return isinstance(value, list | tuple) and all(isinstance(item, str) for item in value)


def is_words(value: Any) -> bool:
    """Return whether a value is text, and not the empty one."""
    return isinstance(value, str) and bool(value)


def is_list(value: Any) -> bool:
    """Return whether a value is a list."""
    return isinstance(value, list | tuple)


def is_text_or_texts(value: Any) -> bool:
    """Return whether a value is text or a list of texts."""
    return is_text(value) or is_texts(value)


def is_text_map(value: Any) -> bool:
    """Return whether a value is an object of texts."""
    return isinstance(value, Mapping) and all(isinstance(item, str) for item in value.values())


def is_object(value: Any) -> bool:
    """Return whether a value is an object."""
    return isinstance(value, Mapping)


def is_anything(value: Any) -> bool:  # noqa: ARG001 - a check that accepts all
    """Return whether a value is a value at all."""
    return True


EXPECTED: Final[dict[Check, str]] = {
    is_text: "text",
    is_words: "text that is not empty",
    is_list: "a list",
    is_flag: "true or false",
    is_whole: "a whole number",
    is_number: "a number",
    is_texts: "a list of texts",
    is_text_or_texts: "text or a list of texts",
    is_text_map: "an object of texts",
    is_object: "an object",
    is_anything: "anything",
}

STATE_KEYS: Final[dict[str, Check]] = {
    "ask": is_text,
    "do": is_text_or_texts,
    "wait": is_text_or_texts,
    "run": is_text_or_texts,
    "final": is_text,
    "tools": is_texts,
    "talk": is_flag,
    "agent": is_text,
    "output": is_object,
    "parallel": is_flag,
    "shows": is_texts,
    "fresh": is_flag,
    "say": is_text,
    "after": is_text,
    "question": is_text,
    "returns": is_text,
    "each": is_text,
    "at_once": is_whole,
    "join": is_anything,
}
TRANSITION_KEYS: Final[dict[str, Check]] = {
    "source": is_text,
    "event": is_text_or_texts,
    "target": is_text,
    "guard": is_text,
    "assign": is_text_map,
    "name": is_text,
}
USE_KEYS: Final[dict[str, Check]] = {
    "bind": is_text_map,
    "when": is_text,
    "why": is_text,
    "approve": is_text,
    "undo": is_text,
    "use": is_text,
}
AGENT_KEYS: Final[dict[str, Check]] = {
    "instructions": is_text,
    "model": is_text,
    "max_tokens": is_whole,
    "effort": is_text,
}
KEY_KEYS: Final[dict[str, Check]] = {
    "type": is_text,
    "default": is_anything,
    "scope": is_text,
    "private": is_flag,
}
LIMIT_KEYS: Final[dict[str, Check]] = {
    **dict.fromkeys(
        ("iterations", "calls", "visits", "refusals", "nudges", "idle", "requests", "tokens"),
        is_whole,
    ),
    "cost_usd": is_number,
    "seconds": is_number,
}

ALLOW_KEYS: Final[dict[str, Check]] = {"code": is_words, "reason": is_words, "where": is_text}
CHECK_KEYS: Final[dict[str, Check]] = {"allow": is_list}
TABLE_KEYS: Final[dict[str, Check]] = {
    "name": is_text,
    "version": is_text,
    "initial": is_text,
    "instructions": is_text,
    "everywhere": is_texts,
    "limits": is_object,
    "rules": is_texts,
    "transitions": lambda value: isinstance(value, list | tuple),
    "states": is_object,
    "tools": is_object,
    "context": is_object,
    "groups": is_object,
    "agents": is_object,
    "signals": is_object,
    "define": is_text_map,
    "check": is_object,
}
