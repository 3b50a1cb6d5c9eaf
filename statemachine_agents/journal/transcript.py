"""The transcript of one agent, read from records, never written anew.

Rules.  1. Append only: request n is a prefix of request n+1 within an epoch.  2. Texts of ours are
taken from `model_asked` as they were journaled; replies and tool results by reference, so a new
wording in a later release cannot change a running run.  3. Every call of a reply gets exactly one
result, and all results of a reply stand together in one user message, before any text.
4. A system message follows a user message and is followed by an assistant turn or nothing.
Not here: what the texts say (`turn.prompt`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

import attrs

from statemachine_agents.values import JSON, dumps

NO_REPLY: Final = "(no usable reply)"
"""Stands for a reply that could not be echoed, where the next turn needs an assistant turn."""

NO_TEXT: Final = "(an empty message)"
"""Stands for a customer message without words: the API takes no blank text."""


@attrs.define(slots=True)
class Transcript:
    """What one agent has been told and has said, in Messages API shape.

    Args:
        agent: whose it is.
        epoch: number of the prompt epoch, from 1; 0 before the first request.
        messages: the messages of this epoch; shared with requests, so only ever appended to.
        prompt: running hash over the epoch's messages.
        model: id of the model of this epoch.
        owed: calls of the last usable reply that still need a result: (call number, id).
        heard: how many customer messages this agent has seen.
        said: how many of our greetings it was told about.
        shown: context key -> value as last shown.
        ids: tool_use ids of this epoch, to keep them unique.
    """

    agent: str
    epoch: int = 0
    messages: list[dict[str, JSON]] = attrs.field(factory=list)
    prompt: str = ""
    model: str = ""
    owed: list[tuple[int, str]] = attrs.field(factory=list)
    heard: int = 0
    said: int = 0
    shown: dict[str, JSON] = attrs.field(factory=dict)
    ids: set[str] = attrs.field(factory=set)

    @property
    def last_role(self) -> str:
        """The role of the last message, or an empty text."""
        return str(self.messages[-1]["role"]) if self.messages else ""

    def open_epoch(self, epoch: int, model: str) -> None:
        """Start over with an empty prompt; what was owed is told as text, not as results."""
        self.epoch = epoch
        self.model = model
        self.messages = []
        self.prompt = ""
        self.owed = []
        self.shown = {}
        self.ids = set()

    def ask(
        self,
        results: Sequence[Mapping[str, JSON]],
        texts: Sequence[str],
        blocks: Sequence[Mapping[str, Any]],
    ) -> None:
        """Append what one request adds.

        Args:
            results: tool_result blocks, in call order.
            texts: customer messages, oldest first.
            blocks: our own texts, `{"role": "user" | "system", "text": ...}`.
        """
        content: list[dict[str, JSON]] = [dict(result) for result in results]
        content += [{"type": "text", "text": text if text.strip() else NO_TEXT} for text in texts]
        content += [
            {"type": "text", "text": block["text"]} for block in blocks if block["role"] == "user"
        ]
        system = [
            {"type": "text", "text": block["text"]} for block in blocks if block["role"] == "system"
        ]
        if content:
            if self.last_role == "system":
                self._add("assistant", [{"type": "text", "text": NO_REPLY}])
            self._add("user", content)
        if system:
            self._add("system", system)
        self.owed = []

    def reply(self, content: Sequence[Mapping[str, JSON]]) -> None:
        """Append a usable reply, whole and in order."""
        self._add("assistant", [dict(block) for block in content])

    def _add(self, role: str, content: list[dict[str, JSON]]) -> None:
        message: dict[str, JSON] = {"role": role, "content": content}
        self.messages.append(message)
        self.prompt = hashlib.sha256(self.prompt.encode() + dumps(message)).hexdigest()


def result_block(call_id: str, text: str, *, error: bool = False) -> dict[str, JSON]:
    """Return a tool_result block."""
    block: dict[str, JSON] = {"type": "tool_result", "tool_use_id": call_id, "content": text}
    if error:
        block["is_error"] = True
    return block


def as_text(value: JSON) -> str:
    """Return a tool's value as the model sees it: texts as they are, all else as canonical JSON."""
    return value if isinstance(value, str) and value else dumps(value).decode()
