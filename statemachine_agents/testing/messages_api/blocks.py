"""Content blocks as the server counts and compares them.

Rules.  1. Canonical means sorted keys, no spaces; a token is four characters of that, rounded up.
2. `cache_control` marks are instructions, not content: they never count and never compare.
Not here: which blocks are allowed where (`history`), what is cached (`cache`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import orjson

__all__ = [
    "THINKING",
    "Block",
    "bare",
    "blocks_of",
    "canonical",
    "cleared",
    "digest",
    "mark_of",
    "tokens",
]

Block: TypeAlias = Mapping[str, Any]

THINKING = frozenset({"thinking", "redacted_thinking"})


def canonical(value: Any) -> bytes:
    """Return the bytes that are counted and hashed."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def tokens(value: Any) -> int:
    """Return the emulated token count: a quarter of the characters, rounded up."""
    return -(-len(canonical(value).decode()) // 4)


def digest(*parts: bytes) -> str:
    """Return a hash of byte strings in order."""
    return hashlib.sha256(b"\x00".join(parts)).hexdigest()


def blocks_of(content: Any) -> Sequence[Any]:
    """Return content as blocks; a string is shorthand for one text block."""
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return content if isinstance(content, list) else []


def bare(value: Any) -> Any:
    """Return a block without its cache marks, also inside a tool result's content."""
    if not isinstance(value, dict):
        return value
    out = {key: inner for key, inner in value.items() if key != "cache_control"}
    if isinstance(out.get("content"), list):
        out["content"] = [bare(inner) for inner in out["content"]]
    return out


def mark_of(block: Any) -> str | None:
    """Return the lifetime of the cache mark on a block, or in it: `5m`, `1h` or None."""
    if not isinstance(block, dict):
        return None
    mark = block.get("cache_control")
    if isinstance(mark, dict):
        return str(mark.get("ttl") or "5m")
    content = block.get("content")
    inner = content if isinstance(content, list) else []
    return next((found for item in inner if (found := mark_of(item))), None)


def cleared(messages: Sequence[Any]) -> Iterator[bool]:
    """Say of each message whether it is a turn-scoped one whose turn is over (it costs nothing)."""
    last_user = max(
        (n for n, item in enumerate(messages) if item.get("role") == "user"), default=-1
    )
    for number, message in enumerate(messages):
        yield message.get("clear_at") == "next_user_message" and number < last_user
