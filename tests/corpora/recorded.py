"""Recorded support runs as one neutral value: what customers wrote, what models replied.

Rules.  1. The data stays outside of the repository: `$SMA_DATA`, else `../shared/data` beside the
checkout.  2. A corpus that is absent is skipped by name, never silently.  3. What was recorded is
returned as it is, also where it is wrong: ids used twice, arguments that are no JSON.
Not here: driving the runs (`test_recorded_runs`).
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
import pytest

from statemachine_agents.models.scripted import Proposed, Turn


@attrs.frozen
class RecordedCall:
    """One call of a recorded reply.

    Args:
        name: tool.
        id: as recorded; None where the recording has none.
        arguments: None when they are no JSON object; then `raw` is their text.
        raw: text of malformed arguments.
        result: what the tool answered then.
        failed: whether that was an error.
    """

    name: str
    id: str | None
    arguments: Mapping[str, Any] | None
    raw: str | None
    result: str
    failed: bool = False


@attrs.frozen
class RecordedReply:
    """One reply: text, calls, or both."""

    text: str
    calls: tuple[RecordedCall, ...] = ()

    def turn(self) -> Turn:
        """Return it for the scripted model."""
        calls = tuple(
            Proposed(call.name, dict(call.arguments or {}), call.id, call.raw)
            for call in self.calls
        )
        return Turn(self.text, calls, "tool_use" if calls else "end_turn")


@attrs.frozen
class RecordedRun:
    """One run: `greeting` stands before the first customer message."""

    id: str
    greeting: str
    messages: tuple[str, ...]
    replies: tuple[RecordedReply, ...]

    @property
    def calls(self) -> tuple[RecordedCall, ...]:
        """Every call, in order."""
        return tuple(call for reply in self.replies for call in reply.calls)


@attrs.frozen
class Corpus:
    """The runs of one file, with the tools of its desk."""

    name: str
    runs: tuple[RecordedRun, ...]
    tools: Mapping[str, str]
    """Tool name -> description."""


@attrs.define
class _Reading:
    """A run while its turns are read."""

    id: str
    greeting: str = ""
    messages: list[str] = attrs.field(factory=list)
    replies: list[RecordedReply] = attrs.field(factory=list)

    def hear(self, text: str) -> None:
        self.messages.append(text)

    def reply(self, text: str | None, calls: Iterable[RecordedCall] = ()) -> None:
        if not self.messages:
            self.greeting = text or ""
        else:
            self.replies.append(RecordedReply(text or "", tuple(calls)))

    def done(self) -> RecordedRun:
        return RecordedRun(self.id, self.greeting, tuple(self.messages), tuple(self.replies))


def _of_messages(row: Mapping[str, Any]) -> RecordedRun:
    """Read a run in Messages API form."""
    run = _Reading(row["id"])
    results = {
        block["tool_use_id"]: block
        for message in row["messages"]
        for block in message["content"]
        if block["type"] == "tool_result"
    }
    for message in row["messages"]:
        text = "\n".join(block["text"] for block in message["content"] if block["type"] == "text")
        if message["role"] == "assistant":
            used = [block for block in message["content"] if block["type"] == "tool_use"]
            run.reply(text, [_call(block, results[block["id"]]) for block in used])
        elif text:
            run.hear(text)
    return run.done()


def _call(use: Mapping[str, Any], result: Mapping[str, Any]) -> RecordedCall:
    failed = bool(result.get("is_error"))
    return RecordedCall(use["name"], use["id"], use["input"], None, result["content"], failed)


def _of_turns(row: Mapping[str, Any]) -> RecordedRun:
    """Read a run whose arguments were kept as text; a tool turn follows each call."""
    run = _Reading(row["id"])
    answers = iter([turn for turn in row["turns"] if turn["role"] == "tool"])
    for turn in row["turns"]:
        if turn["role"] == "user":
            run.hear(turn["text"])
        elif turn["role"] == "assistant":
            used = turn.get("calls", ())
            calls = [
                RecordedCall(
                    call["name"],
                    call["id"],
                    call.get("arguments"),
                    call.get("raw"),
                    next(answers)["result"],
                )
                for call in used
            ]
            run.reply(turn["text"], calls)
    return run.done()


def _of_events(row: Mapping[str, Any]) -> RecordedRun:
    """Read a run in event form; words right before a call were said in the same reply."""
    run = _Reading(row["id"])
    said = None
    for event in row["events"]:
        if event["ev"] == "call":
            error = event["tool_error"]
            call = RecordedCall(
                event["name"], event["id"], event["arguments"], None, event["result"], error
            )
            run.reply(said, [call])
            said = None
            continue
        if said is not None:
            run.reply(said)
            said = None
        if event["ev"] == "user":
            run.hear(event["text"])
        else:
            said = event["text"]
    if said is not None:
        run.reply(said)
    return run.done()


READERS: Mapping[str, Callable[[Mapping[str, Any]], RecordedRun]] = {
    "tau_retail/anthropic_messages_free": _of_messages,
    "tau_retail/anthropic_messages_parallel": _of_messages,
    "tau_retail/malformed_args": _of_turns,
    "tau_airline/runs_gpt4o": _of_events,
}
"""Corpus -> how its lines are read."""


def data_directory() -> Path:
    """Return where the recorded data is, or would be."""
    named = os.environ.get("SMA_DATA")
    checkout = Path(__file__).resolve().parents[2]
    return Path(named) if named else checkout.parent / "shared" / "data"


def load(name: str) -> Corpus:
    """Read a corpus, or skip the test that asks for it, naming the corpus."""
    folder = data_directory()
    path = folder / f"{name}.jsonl"
    if not path.is_file():
        pytest.skip(f"the corpus {name} is absent; set SMA_DATA to the folder of recorded data")
    runs = tuple(READERS[name](row) for row in _lines(path))
    declared = json.loads((path.parent / "tools.json").read_text(encoding="utf-8"))
    return Corpus(name, runs, {tool["name"]: tool["description"] for tool in declared})


def lines(folder: str, name: str) -> Iterator[dict[str, Any]]:
    """Yield the rows of a file as they are; the test is skipped by name where it is absent."""
    path = data_directory() / folder / f"{name}.jsonl"
    if not path.is_file():
        pytest.skip(f"the corpus {folder}/{name} is absent; set SMA_DATA to the recorded data")
    yield from _lines(path)


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)
