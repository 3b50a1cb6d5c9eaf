"""How the run writes its decisions down: one function per shape of draft.

Rules.  1. What is empty is left out, so a record stays small.  2. Nothing here decides whether.
Not here: when each is written (`decide`, `verbs`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from statemachine_agents.errors import EvaluationError, ExpressionError
from statemachine_agents.journal.records import Draft
from statemachine_agents.journal.standing import OpenCall, Standing
from statemachine_agents.kernel import limits
from statemachine_agents.kernel.machine import Verdict
from statemachine_agents.kernel.step import Event, Step, step
from statemachine_agents.table import templates
from statemachine_agents.values import JSON, hash_of


def seconds_of(duration: str) -> int:
    """Return a duration such as `90s`, `1h` or `2d` in seconds."""
    return int(duration[:-1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}[duration[-1]]


def filled_in(text: str, context: Mapping[str, JSON]) -> str:
    """Return a text with its `{context...}` filled in; a hole that cannot be is said so."""
    try:
        return templates.render(text, context)
    except (EvaluationError, ExpressionError) as error:
        return f"({error})"


def takes_message(s: Standing) -> bool:
    """Whether the current state can meet `user.message` now."""
    snapshot = s.snap()
    return "user.message" in s.workflow.grid.cells.get(snapshot.state, {})


def write_step(done: Step) -> Draft:
    """Write a step down; what is empty is left out."""
    before = done.before
    assert before is not None
    body: dict[str, Any] = {
        "event": done.event.name,
        "from": before.state,
        "to": done.after.state,
        "outcome": done.outcome,
    }
    if done.event.call is not None:
        body["call"] = done.event.call
    if done.row is not None:
        body["row"] = done.row.index
    if done.default:
        body["default"] = done.default
    if done.reason:
        body["reason"] = done.reason
    if done.late:
        body["late"] = True
    if done.notes:
        body["notes"] = list(done.notes)
    if done.verdicts:
        body["verdicts"] = [_verdict(verdict) for verdict in done.verdicts]
    if done.changes:
        body["set"] = [[list(path), value] for path, value in done.changes]
    if done.rules:
        body["rules"] = [[index, state] for index, state in done.rules]
    return Draft("stepped", body, done.after)


def _verdict(verdict: Verdict) -> list[JSON]:
    out: list[JSON] = [verdict.row, verdict.value]
    if verdict.missing:
        out.append("waits for other facts")
    elif verdict.error:
        out.append(verdict.error)
    return out


def raised(s: Standing, name: str, text: str, *, kind: str = "") -> Draft:
    """Step an engine event that carries a sentence, such as `limit.iterations`."""
    error = {"kind": kind or name, "text": text, "attempts": 0}
    now = s.now if s.workflow.reads_time else ""
    return write_step(step(s.workflow, s.snap(), Event(name, now, {"error": error})))


def plain(s: Standing, name: str) -> Draft:
    """Step an engine event that carries nothing, such as `entered`."""
    now = s.now if s.workflow.reads_time else ""
    return write_step(step(s.workflow, s.snap(), Event(name, now)))


def limit(s: Standing, name: str) -> Draft:
    """Raise a limit as an event."""
    text = limits.describe(s.workflow.limits, name, s.snap().state)
    return raised(s, f"limit.{name}", f"{text}; last states: {' -> '.join(s.path[-4:])}", kind=name)


def own_return(s: Standing) -> Draft | None:
    """Return the result of a signal that was just intended: nothing is called for it."""
    for call in s.calls.values():
        if call.effect == "signal" and call.status == "open":
            body = {"no": call.no, "attempt": 1, "ok": True, "value": dict(call.arguments)}
            return Draft("call_returned", body)
    return None


def approval_of(call: OpenCall) -> Draft:
    """Ask a person about a call's final arguments."""
    body: dict[str, JSON] = {
        "no": call.no,
        "tool": call.tool,
        "id": call.id,
        "arguments": dict(call.arguments),
        "digest": hash_of([call.tool, dict(call.arguments)]),
        "visit": call.visit,
        "approval": f"a{call.no}",
        "question": f"May {call.tool} run with these arguments?",
    }
    return Draft("approval_asked", body)


def intend(s: Standing, call: OpenCall, *, attempt: int = 1) -> Draft:
    """Write down that a call is about to be made."""
    binding = s.workflow.bindings[call.tool]
    body: dict[str, JSON] = {
        "no": call.no,
        "tool": call.tool,
        "effect": "signal" if binding.signal else binding.spec.effect,
        "arguments": dict(call.arguments),
        "attempt": attempt,
        "visit": call.visit,
    }
    if call.id:
        body["id"] = call.id
    if call.undoes is not None:
        body["undoes"] = call.undoes
    return Draft("call_intended", body)


def refuse(call: OpenCall, code: str, text: str) -> Draft:
    """Refuse a call that the run itself wanted to make, or that it may not make any more."""
    body: dict[str, JSON] = {
        "no": call.no,
        "tool": call.tool,
        "id": call.id,
        "arguments": dict(call.arguments),
        "code": code,
        "text": text,
    }
    return Draft("call_refused", body)


def fail(s: Standing, event: str, reason: str) -> Draft:
    """End the run as failed without asking the table: no row may take this any more."""
    snapshot = s.snap()
    body: dict[str, JSON] = {
        "event": event,
        "from": snapshot.state,
        "to": snapshot.state,
        "outcome": "ended",
        "default": "failed",
        "reason": reason,
    }
    facts = {**snapshot.facts, event: None}
    return Draft("stepped", body, attrs.evolve(snapshot, status="failed", facts=facts))


def park(s: Standing, reason: str, *waiting: str) -> Draft | None:
    """Park the run, once; `waiting` names what it waits for."""
    if s.parked is not None:
        return None
    body: dict[str, JSON] = {"reason": reason, "waiting": list(waiting)}
    if s.timer is not None:
        body["wake_at"] = s.timer["due"]
    owed = s.workflow.rules.owed(s.snap().rules)
    if owed:
        body["owed"] = owed
    return Draft("run_parked", body)
