"""A model that says what a script says: no key, no network, a microsecond or two a reply.

Rules.  1. Turns are used in order, one a request; the order of requests is the order of use.
2. A request is kept as it was asked (its messages up to their length then) without a copy, because
the transcript only grows.  3. A used-up script is an error that names what could be said next.
Not here: reading a script from a file (`script_file`), choosing turns by itself (`rehearsal`).

Example:
    >>> import asyncio
    >>> model = ScriptedModel([use("fetch_order", order_id="A1"), say("Done.")])
    >>> request = ModelRequest(run="r", agent="a", model=None, system=[], tools=[], messages=[])
    >>> asyncio.run(model.complete(request)).content[0]["name"]
    'fetch_order'
    >>> model.unused
    (Turn(text='Done.', calls=(), stop_reason='end_turn'),)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal, TypeAlias

import attrs

from statemachine_agents.errors import ModelError, UsageError, WorkflowError
from statemachine_agents.models.faults import KINDS
from statemachine_agents.turn.ports import Layout, ModelReply, ModelRequest
from statemachine_agents.values import JSON

__all__ = [
    "Fault",
    "Proposed",
    "ScriptExhausted",
    "ScriptedModel",
    "Turn",
    "fail",
    "raw",
    "say",
    "stop",
    "use",
    "use_all",
]


class ScriptExhausted(WorkflowError, AssertionError):
    """A run asked more often than its script has turns: the script is wrong, or the table is.

    `facts` holds `turns` (how many there were), `agent`, `turn` and `offered`.
    """


@attrs.frozen
class Proposed:
    """One tool call as a script proposes it.

    Args:
        name: tool name; any text, legal or not.
        arguments: the call's input.
        id: tool_use id; None takes the next of `call_1 call_2 ...`.
        raw: text of arguments that are no JSON object; the block's input is then {}.
    """

    name: str
    arguments: dict[str, JSON] = attrs.field(factory=dict)
    id: str | None = None
    raw: str | None = None


@attrs.frozen
class Turn:
    """One scripted reply: text, calls, and the stop reason they end with."""

    text: str = ""
    calls: tuple[Proposed, ...] = ()
    stop_reason: str = "end_turn"


@attrs.frozen
class Fault:
    """One scripted failure: the model cannot be asked this time."""

    kind: str
    message: str


Step: TypeAlias = Turn | Fault | ModelReply | Callable[[ModelRequest], "Turn | Fault | ModelReply"]
"""What a script is made of."""


def use(name: str, /, **arguments: JSON) -> Turn:
    """Propose one tool call; the keywords are its arguments."""
    return Turn(calls=(Proposed(name, arguments),), stop_reason="tool_use")


def use_all(*turns: Turn, text: str = "") -> Turn:
    """Propose the calls of several turns in one reply, with text beside them if wanted."""
    calls = tuple(call for turn in turns for call in turn.calls)
    return Turn(text=text, calls=calls, stop_reason="tool_use")


def say(text: str) -> Turn:
    """Say something and end the turn."""
    return Turn(text=text)


def raw(name: str, text: str) -> Turn:
    """Propose a call whose arguments are not a JSON object but this text."""
    return Turn(calls=(Proposed(name, raw=text),), stop_reason="tool_use")


def stop(reason: str, text: str = "", *turns: Turn) -> Turn:
    """End with any stop reason, known or not, after this text and the calls of these turns."""
    calls = tuple(call for turn in turns for call in turn.calls)
    return Turn(text=text, calls=calls, stop_reason=reason)


def fail(kind: str, message: str = "the script says that the model cannot be asked") -> Fault:
    """Raise `ModelError` of this kind instead of replying.

    Raises:
        UsageError: the kind is none of `statemachine_agents.models.faults.KINDS`.
    """
    if kind not in KINDS:
        raise UsageError(
            f"a script cannot fail with kind {kind!r}; expected one of {' '.join(sorted(KINDS))}",
            kind=kind,
        )
    return Fault(kind, message)


class ScriptedModel:
    """A `Model` that replies from a list.

    Args:
        turns: what to reply: values of `use use_all say raw stop fail`, whole `ModelReply`s, or
            functions of the request that return one of these.
        strict: raise `ScriptExhausted` when the list is used up; otherwise every further request
            gets one closing sentence and `end_turn`.
        note_role: where prompts for this model put the state note (see `Layout`).
    """

    __slots__ = ("_asked", "_calls", "_layout", "_next", "_turns", "strict")

    def __init__(
        self,
        turns: Iterable[Step],
        *,
        strict: bool = True,
        note_role: Literal["system", "user"] = "system",
    ) -> None:
        self._turns: tuple[Step, ...] = tuple(turns)
        self._next = 0
        self._calls = 0
        self._asked: list[tuple[ModelRequest, int]] = []
        self._layout = Layout("scripted", note_role)
        self.strict = strict

    @classmethod
    def from_file(cls, path: str | Path, *, strict: bool = True) -> ScriptedModel:
        """Read the script of `--model scripted:FILE`; `script_file` documents the format.

        Raises:
            UsageError: says which line is wrong, what stands there and what may stand there.
        """
        from statemachine_agents.models.script_file import read_script

        return cls(read_script(path), strict=strict)

    def __repr__(self) -> str:
        return f"ScriptedModel({self._next} of {len(self._turns)} turns used)"

    @property
    def asked(self) -> int:
        """How many requests there were."""
        return len(self._asked)

    @property
    def requests(self) -> tuple[ModelRequest, ...]:
        """Every request as it was when asked: `messages` holds what was there then."""
        return tuple(
            attrs.evolve(request, messages=request.messages[:length])
            for request, length in self._asked
        )

    @property
    def unused(self) -> tuple[Step, ...]:
        """The turns nobody asked for yet."""
        return self._turns[self._next :]

    def layout(self, model: str | None) -> Layout:
        """Return the layout given to the constructor, under the id asked for."""
        return self._layout if model is None else attrs.evolve(self._layout, model=model)

    async def complete(
        self, request: ModelRequest, *, on_text: Callable[[str], None] | None = None
    ) -> ModelReply:
        """Reply with the next turn.

        Raises:
            ModelError: the turn is a `fail`.
            ScriptExhausted: no turn is left and the script is strict.
        """
        self._asked.append((request, len(request.messages)))
        step = self._take(request)
        if callable(step):
            step = step(request)
        if isinstance(step, Fault):
            raise ModelError(step.message, kind=step.kind)
        reply = step if isinstance(step, ModelReply) else self._reply(step, request)
        if on_text is not None:
            for block in reply.content:
                if block.get("type") == "text":
                    on_text(block["text"])
        return reply

    async def aclose(self) -> None:
        """Do nothing: there is nothing to let go of."""

    def _take(self, request: ModelRequest) -> Step:
        if self._next < len(self._turns):
            self._next += 1
            return self._turns[self._next - 1]
        if not self.strict:
            return Turn(text="The script has ended.")
        offered = ", ".join(request.offered) or "nothing"
        example = f"use({request.offered[0]!r}, ...)" if request.offered else "say('...')"
        raise ScriptExhausted(
            f"all {len(self._turns)} turns of the script are used, and agent {request.agent!r} of "
            f"run {request.run!r} is asked once more (iteration {request.turn}); offered here: "
            f"{offered}. Add a turn such as {example}, or see why the run did not end.",
            turns=len(self._turns),
            agent=request.agent,
            turn=request.turn,
            offered=list(request.offered),
        )

    def _reply(self, turn: Turn, request: ModelRequest) -> ModelReply:
        content: list[dict[str, JSON]] = []
        unreadable: dict[str, str] = {}
        if turn.text:
            content.append({"type": "text", "text": turn.text})
        for call in turn.calls:
            call_id = call.id
            if call_id is None:
                self._calls += 1
                call_id = f"call_{self._calls}"
            if call.raw is not None:
                unreadable[call_id] = call.raw
            content.append(
                {"type": "tool_use", "id": call_id, "name": call.name, "input": call.arguments}
            )
        return ModelReply(
            content=content,
            stop_reason=turn.stop_reason,
            usage=_NO_USAGE,
            model=request.model or "scripted",
            unreadable=unreadable,
        )


_NO_USAGE = {
    "input_tokens": 0,
    "output_tokens": 0,
    "cache_creation_input_tokens": 0,
    "cache_read_input_tokens": 0,
}
