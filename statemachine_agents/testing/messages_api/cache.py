"""Prompt caching as `usage` shows it: an emulation good enough to catch an edited prefix.

Rules.  1. A request is a row of segments: tools, system, then message blocks; a running hash over
them begins with the model, and takes in `tool_choice` and `thinking` before the first message.
2. An entry is written at each mark whose prefix reaches the model's minimum; a mark finds entries
up to 20 blocks back; a hit renews the entry.  3. Turn-scoped messages whose turn is over are gone.
Not here: whether the marks are allowed (`validate`). `diagnostics` is accepted and not emulated.

Source: docs/claude-api, sections 2 (cache) and 6 (cache emulation).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs

from statemachine_agents.testing.messages_api.blocks import (
    THINKING,
    bare,
    blocks_of,
    canonical,
    cleared,
    digest,
    mark_of,
    tokens,
)

__all__ = ["LOOK_BACK", "PromptCache", "measure"]

LOOK_BACK = 20
"""Blocks before a mark in which an earlier entry is found."""

_SECONDS: Mapping[str, float] = {"5m": 300.0, "1h": 3600.0}


@attrs.frozen
class _Segment:
    """One block: the running hash up to and with it, tokens so far, its mark."""

    key: str
    total: int
    mark: str | None


@attrs.define
class _Entry:
    ttl: str
    expires: float


def measure(body: Mapping[str, Any]) -> int:
    """Return the input tokens of a request, cached or not."""
    row = _segments(body)
    return row[-1].total if row else 0


def _segments(body: Mapping[str, Any]) -> list[_Segment]:
    key = digest(b"model", canonical([body.get("model"), body.get("speed")]))
    total = 0
    row: list[_Segment] = []

    def add(where: str, block: Any) -> None:
        nonlocal key, total
        plain = bare(block)
        key = digest(key.encode(), where.encode(), canonical(plain))
        total += tokens(plain)
        row.append(_Segment(key, total, mark_of(block)))

    for tool in body.get("tools") or ():
        add("tools", tool)
    for block in blocks_of(body.get("system")):
        add("system", block)
    key = digest(key.encode(), canonical([body.get("tool_choice"), body.get("thinking")]))
    automatic = -1
    messages = body.get("messages") or []
    for message, over in zip(messages, cleared(messages), strict=True):
        if over:
            continue
        for block in blocks_of(message.get("content")):
            add(str(message.get("role")), block)
            scoped = message.get("clear_at") == "next_user_message"
            if not scoped and block.get("type") not in THINKING:
                automatic = len(row) - 1
    top = mark_of({"cache_control": body.get("cache_control")})
    if top and row:
        # Without a message block to carry it the mark falls on the last block of the prefix.
        row[automatic] = attrs.evolve(row[automatic], mark=row[automatic].mark or top)
    return row


class PromptCache:
    """The entries of one server.

    Args:
        clock: seconds; only differences matter.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._entries: dict[str, _Entry] = {}

    def account(self, body: Mapping[str, Any], minimum: int) -> dict[str, Any]:
        """Read and write the cache for one answered request.

        Args:
            body: the request.
            minimum: tokens a prefix needs to be cached, from the model's capabilities.

        Returns:
            The input side of `usage`.
        """
        now = self._clock()
        self._entries = {key: entry for key, entry in self._entries.items() if entry.expires > now}
        row = _segments(body)
        marks = [index for index, item in enumerate(row) if item.mark]
        hit = max((self._find(row, mark) for mark in marks), default=-1)
        if hit >= 0:
            entry = self._entries[row[hit].key]
            entry.expires = now + _SECONDS[entry.ttl]
        read = row[hit].total if hit >= 0 else 0
        written = dict.fromkeys(_SECONDS, 0)
        upto = read
        for index in marks:
            item = row[index]
            if item.total < minimum or item.mark is None:
                continue
            if index > hit:
                written[item.mark] += item.total - upto
                upto = item.total
                self._entries[item.key] = _Entry(item.mark, now + _SECONDS[item.mark])
            elif (known := self._entries.get(item.key)) is not None:
                known.expires = now + _SECONDS[known.ttl]
        return {
            "input_tokens": (row[-1].total if row else 0) - upto,
            "cache_creation_input_tokens": upto - read,
            "cache_read_input_tokens": read,
            "cache_creation": {
                "ephemeral_5m_input_tokens": written["5m"],
                "ephemeral_1h_input_tokens": written["1h"],
            },
        }

    def _find(self, row: list[_Segment], mark: int) -> int:
        """Return the position of the longest entry a mark can see, or -1."""
        for index in range(mark, max(mark - LOOK_BACK, 0) - 1, -1):
            if row[index].key in self._entries:
                return index
        return -1
