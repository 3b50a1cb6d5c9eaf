"""Signatures that bind a thinking block to everything that stood before it.

Rules.  1. A signature is a pure function of tools, system, the blocks before (thinking blocks and
cache marks left out) and the thinking itself, so a restarted server still knows its own.
2. Same-role neighbours are one turn: blocks count, message boundaries do not.
3. A text nobody here signed is invalid on every model; a changed prefix only matters on bound ones.
Not here: which models are bound (`models.capabilities`).

Source: docs/claude-api, section 6 (prefix binding) and section 3 (edited prefix).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attrs

from statemachine_agents.testing.messages_api.blocks import (
    THINKING,
    Block,
    bare,
    blocks_of,
    canonical,
    digest,
)

__all__ = ["Mismatch", "check", "sign", "without"]

_FORM = re.compile(r"^sig_(?P<prefix>[0-9a-f]{40})(?P<seal>[0-9a-f]{24})$")


@attrs.frozen
class Mismatch:
    """A thinking block that does not belong where it stands.

    `forged`: no signature of this server, or the block's text was changed. Otherwise the
    conversation before it is another one.
    """

    message: int
    block: int
    kind: str
    forged: bool

    @property
    def path(self) -> str:
        """The place, as error messages write it."""
        return f"messages.{self.message}.content.{self.block}"


class _Prefix:
    """A running hash over what stands before a block."""

    def __init__(self, body: Mapping[str, Any]) -> None:
        self._hash = hashlib.sha256()
        self._feed(["tools", [bare(tool) for tool in body.get("tools") or ()]])
        self._feed(["system", [bare(block) for block in blocks_of(body.get("system"))]])

    def _feed(self, value: Any) -> None:
        self._hash.update(canonical(value) + b"\n")

    def add(self, role: str, scope: str | None, block: Block) -> None:
        if block.get("type") not in THINKING:
            self._feed([role, scope, bare(block)])

    def value(self) -> str:
        return self._hash.copy().hexdigest()[:40]


def _seal(prefix: str, thought: str) -> str:
    return digest(b"seal", prefix.encode(), thought.encode())[:24]


def sign(body: Mapping[str, Any], before: Sequence[Block], thought: str) -> str:
    """Return the signature of a thinking block.

    Args:
        body: the request it answers.
        before: blocks of the same reply that stand before it.
        thought: its text, empty for a redacted one.
    """
    prefix = _Prefix(body)
    for message in body.get("messages") or ():
        for block in blocks_of(message.get("content")):
            prefix.add(message["role"], message.get("clear_at"), block)
    for block in before:
        prefix.add("assistant", None, block)
    value = prefix.value()
    return f"sig_{value}{_seal(value, thought)}"


def check(body: Mapping[str, Any]) -> Iterator[Mismatch]:
    """Yield every thinking block of the history that is forged or stands after another prefix."""
    prefix = _Prefix(body)
    for number, message in enumerate(body.get("messages") or ()):
        for index, block in enumerate(blocks_of(message.get("content"))):
            kind = str(block.get("type"))
            if kind in THINKING:
                redacted = kind == "redacted_thinking"
                text = block["data"] if redacted else block["signature"]
                thought = "" if redacted else block["thinking"]
                form = _FORM.match(text)
                if form is None or form["seal"] != _seal(form["prefix"], thought):
                    yield Mismatch(number, index, kind, forged=True)
                elif form["prefix"] != prefix.value():
                    yield Mismatch(number, index, kind, forged=False)
            prefix.add(message["role"], message.get("clear_at"), block)


def without(body: Mapping[str, Any], drops: Sequence[Mismatch]) -> dict[str, Any]:
    """Return the request as the model sees it after the mismatched blocks were dropped."""
    gone = {(drop.message, drop.block) for drop in drops}
    messages = []
    for number, message in enumerate(body["messages"]):
        kept = message
        if any(drop.message == number for drop in drops):
            blocks = [b for m, b in enumerate(message["content"]) if (number, m) not in gone]
            kept = {**message, "content": blocks}
        messages.append(kept)
    return {**body, "messages": messages}
