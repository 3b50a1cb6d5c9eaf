"""Events: the facts rows fire on, which states can meet which, and what happens without a row.

Rules.  1. First words of engine events are reserved; no tool may carry one.  2. A pattern holds at
most one `*`; a leading `*` ranges over tools and workflows only, engine events go by their head
(`limit.*`).  3. `a.ok & b.ok` is a conjunction of exact events.  4. Every event a state can meet
has a default, named here; no cell of the grid is silent.
Not here: which rows take which event (`table.grid`), what a default does (`kernel.step`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, Literal, TypeAlias

import attrs

from statemachine_agents.errors import ExpressionError
from statemachine_agents.table.model import State, Table
from statemachine_agents.table.toolspec import ToolSpec

TOOL_OUTCOMES: Final = ("ok", "error", "unknown")
CHILD_OUTCOMES: Final = ("success", "failure")
LIMITS: Final = (
    "iterations",
    "calls",
    "visits",
    "refusals",
    "nudges",
    "idle",
    "requests",
    "tokens",
    "cost_usd",
    "seconds",
)
ENGINE_EVENTS: Final = (
    "entered",
    "settled",
    "model.done",
    "model.refused",
    "model.failed",
    "user.message",
    "approval.granted",
    "approval.rejected",
    "timer.fired",
    "undo.ok",
    "undo.error",
    *(f"limit.{name}" for name in LIMITS),
    "run.cancelled",
    "guard.error",
)
OUTSIDE: Final = ("user.message", "approval.granted", "approval.rejected", "timer.fired")
"""Events that begin a new stretch wherever they arrive."""

RESERVED: Final = frozenset(event.split(".")[0] for event in ENGINE_EVENTS)

Default: TypeAlias = Literal[
    "stays", "shown", "failed", "parked", "waits", "nudged", "kept", "cancelled"
]
"""What an event does without a row. `stays`: nothing. `shown`: the model sees it and the run stays.
`parked`: waits for a resolution or a resume. `waits`: for the customer. `nudged`: the model is
reminded. `kept`: stays in the inbox."""


@attrs.frozen
class Pattern:
    """One event text of a row, parsed: `members` are exact events or one pattern with a `*`."""

    text: str
    members: tuple[str, ...]

    @property
    def conjunction(self) -> bool:
        """Whether several facts must have arrived."""
        return len(self.members) > 1

    @property
    def wild(self) -> bool:
        """Whether it holds a `*`."""
        return "*" in self.text

    def matches(self, event: str, *, engine: bool) -> bool:
        """Whether an event fits; `engine` says that it is not a tool's or a workflow's."""
        if self.conjunction:
            return event in self.members
        head, star, tail = self.members[0].partition("*")
        if not star:
            return event == head
        if not head and engine:
            return False
        fits = event.startswith(head) and event.endswith(tail)
        return fits and len(event) >= len(head) + len(tail)


_NAME: Final = r"[A-Za-z0-9_-]+"
_EXACT: Final = re.compile(rf"{_NAME}(\.{_NAME})?")
_WILD: Final = re.compile(r"[A-Za-z0-9_.-]*\*[A-Za-z0-9_.-]*")


def parse_event(text: str) -> Pattern:
    """Parse one event text.

    Raises:
        ExpressionError: not an event, more than one `*`, or a `*` inside a conjunction.
    """
    members = tuple(part.strip() for part in text.split("&"))
    for member in members:
        if _EXACT.fullmatch(member):
            continue
        if len(members) == 1 and _WILD.fullmatch(member):
            continue
        advice = (
            "a conjunction joins exact events only"
            if "*" in member and len(members) > 1
            else "write `tool.ok`, one `*` per pattern (`fetch_*.ok`, `limit.*`), or `a.ok & b.ok`"
        )
        msg = f"{text!r} is not an event: {advice}"
        raise ExpressionError(msg, text=text, span=(0, len(text)))
    return Pattern(text, members)


def is_engine(event: str) -> bool:
    """Whether an event comes from the engine rather than from a tool or child workflow."""
    return event.split(".", 1)[0] in RESERVED


def from_outside(state: State, event: str) -> bool:
    """Whether an event begins a new stretch in a state: somebody spoke, or time ran out.

    In a state that waits for a resolution, results are what a person or a verifier said.
    """
    waits = state.wait or ()
    return event in OUTSIDE or ("resolution" in waits and event.endswith((".ok", ".error")))


def effect_of(table: Table, specs: Mapping[str, ToolSpec] | None, tool: str) -> str:
    """Return a tool's effect class; signals are `signal`, unknown tools count as `manual`."""
    if tool in table.signals:
        return "signal"
    if specs is None or tool not in specs:
        return "manual"
    return specs[tool].effect


def alphabet(
    table: Table, state: State, specs: Mapping[str, ToolSpec] | None = None
) -> tuple[str, ...]:
    """Return every event a state can meet, in a stable order.

    Args:
        table: the whole table.
        state: one of its states.
        specs: tool specs where known; without them every tool counts as `manual`.
    """
    verb = state.verb
    if verb == "final":
        return ()
    out: list[str] = ["entered"]
    tools = table.tools_in(state)
    for tool in tools:
        effect = effect_of(table, specs, tool)
        if effect == "signal":
            out.append(f"{tool}.ok")
        elif effect in ("read", "transactional"):
            out += (f"{tool}.ok", f"{tool}.error")
        else:
            out += (f"{tool}.{outcome}" for outcome in TOOL_OUTCOMES)
    if verb == "wait" and "resolution" in (state.wait or ()):
        # A call in doubt, started elsewhere, arrives in the current visit once it is resolved.
        for tool in _all_tools(table):
            if effect_of(table, specs, tool) not in ("signal", "read"):
                out += (f"{tool}.ok", f"{tool}.error")
    if verb == "run":
        out += (f"{child}.{outcome}" for child in state.run or () for outcome in CHILD_OUTCOMES)
    if verb in ("do", "run"):
        out.append("settled")
    if state.do == ("undo",):
        out += ("undo.ok", "undo.error")
    if verb == "ask":
        out += ("model.done", "model.refused", "model.failed")
    if state.talk or "message" in (state.wait or ()):
        out.append("user.message")
    if "approval" in (state.wait or ()):
        out += ("approval.granted", "approval.rejected")
    elif any(tool in table.tools and table.tools[tool].approve for tool in tools):
        out.append("approval.rejected")
    if state.after is not None:
        out.append("timer.fired")
    if verb == "ask":
        out += (f"limit.{name}" for name in LIMITS)
    else:
        out += ("limit.calls",) if verb == "do" else ()
        out.append("limit.visits")
    out += ("run.cancelled", "guard.error")
    return tuple(dict.fromkeys(out))


def _all_tools(table: Table) -> tuple[str, ...]:
    names: list[str] = []
    for state in table.states.values():
        names += table.tools_in(state)
    return tuple(dict.fromkeys(names))


def default_of(state: State, event: str) -> Default:
    """Return what an event does in a state when no row takes it. Source: design.md section 3.2."""
    head, _, outcome = event.partition(".")
    verb = state.verb
    if verb == "final":
        return "stays"
    if head == "model":
        if outcome == "done":
            return "waits" if state.talk else "nudged"
        return "parked" if outcome == "failed" else "failed"
    if head in ("limit", "guard"):
        return "failed"
    if event == "run.cancelled":
        return "cancelled"
    if event == "user.message":
        return "stays" if state.talk else "kept"
    if event == "approval.rejected":
        return "shown" if verb == "ask" else "failed"
    if event == "entered":
        return "failed" if state.do == () else "stays"
    if event == "settled":
        return "failed"
    if head in RESERVED:
        return "failed" if event == "undo.error" else "stays"
    if outcome == "unknown":
        return "parked"
    if outcome == "failure":
        return "failed"
    if outcome == "error":
        return {"ask": "shown", "do": "failed"}.get(verb, "stays")  # type: ignore[return-value]
    return "stays"
