"""Signals from outside, checked and turned into records.

Rules.  1. A signal that does not fit (an approval nobody asked for, altered arguments, a call that
is not in doubt) is answered with the reason and leaves no record.  2. What a person writes is data:
redacted, made canonical, bounded.
Not here: waking the run (`driver`), what the record leads to (`journal`).
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from typing import Any

from statemachine_agents.errors import ValueRefused
from statemachine_agents.journal.records import Draft
from statemachine_agents.journal.standing import Standing
from statemachine_agents.turn.ports import Signal
from statemachine_agents.values import JSON, MAX_BODY, Redactor, dumps, ingest


def inbound(s: Standing, signal: Signal, redact: Redactor) -> Draft | str:
    """Return the record a signal leads to, or why it is not accepted.

    Args:
        s: where the run stands.
        signal: name and body.
        redact: applied to texts of people.
    """
    body = signal.body if isinstance(signal.body, Mapping) else {}
    if s.ended is not None:
        return f"run {s.run} has ended"
    try:
        match signal.name:
            case "message":
                return _message(signal, body, redact)
            case "approval":
                return _approval(s, body, redact)
            case "resolution":
                return _resolution(s, body, redact)
            case "cancel":
                return Draft("cancel_asked", _said(body, redact, "by", "reason"))
            case "resume":
                return Draft("run_resumed", _said(body, redact, "by", "reason"))
            case "timer":
                return _timer(s)
            case "child":
                return _child(s, body, redact)
    except ValueRefused as refused:
        return str(refused)
    return f"run {s.run}: no signal is named {signal.name!r}"


def _said(body: Mapping[str, Any], redact: Redactor, *names: str) -> dict[str, JSON]:
    out: dict[str, JSON] = {}
    for name in names:
        if body.get(name) is not None:
            out[name] = ingest(redact("message", str(body[name])[:4000]), where=name).value
    return out


def _message(signal: Signal, body: Mapping[str, Any], redact: Redactor) -> Draft | str:
    clean = ingest(redact("message", dict(body)), where="message").value
    if not isinstance(clean.get("text"), str):
        return "a message needs a text"
    if len(dumps(clean)) > MAX_BODY:
        return f"a message may have {MAX_BODY} bytes"
    return Draft("message_received", {**clean, "id": signal.id})


def _approval(s: Standing, body: Mapping[str, Any], redact: Redactor) -> Draft | str:
    wanted = body.get("approval")
    granted = body.get("granted")
    if not isinstance(granted, bool):
        return "an approval is granted: true or false"
    note = {"by": str(body.get("by") or ""), **_said(body, redact, "note")}
    question = s.question
    if question is not None and wanted in (None, question["approval"]):
        record = {"approval": question["approval"], "no": None, "granted": granted, **note}
        return Draft("approval_decided", record)
    waiting = [call for call in s.calls.values() if call.status == "approval"]
    for call in waiting:
        if wanted not in (None, f"a{call.no}"):
            continue
        digest = body.get("digest")
        if digest is not None and not hmac.compare_digest(str(digest), call.digest):
            return f"the arguments of call {call.no} are not the ones that were shown"
        return Draft(
            "approval_decided",
            {
                "approval": f"a{call.no}",
                "no": call.no,
                "granted": granted,
                "digest": call.digest,
                **note,
            },
        )
    return f"run {s.run}: nothing waits for the approval {wanted or ''}".rstrip()


def _resolution(s: Standing, body: Mapping[str, Any], redact: Redactor) -> Draft | str:
    wanted = body.get("call")
    doubts = [call for call in s.doubts if wanted in (None, call.no)]
    if not doubts:
        return f"run {s.run}: no call {wanted or ''} is in doubt".replace("  ", " ")
    call = doubts[0]
    record: dict[str, JSON] = {"no": call.no, "then": "closed", "who": str(body.get("by") or "")}
    if body.get("not_done"):
        text = str(body.get("text") or "a person found that it was not done")
        record |= {"by": "person", "verdict": "not_done", "text": text[:4000]}
    else:
        value = ingest(redact("resolution", body.get("done")), where="done").value
        record |= {"by": "person", "verdict": "done", "value": value}
    return Draft("call_resolved", record)


def _timer(s: Standing) -> Draft | str:
    if s.timer is None:
        return f"run {s.run}: no timer is set"
    return Draft("timer_fired", {"visit": s.timer["visit"], "due": s.timer["due"]})


def _child(s: Standing, body: Mapping[str, Any], redact: Redactor) -> Draft | str:
    child = s.children.get(str(body.get("child")))
    if child is None or child.ended:
        return f"run {s.run}: no child {body.get('child')!r} is running"
    value = ingest(redact("result", body.get("value")), where="value").value
    return Draft(
        "child_ended",
        {
            "child": child.run,
            "outcome": str(body.get("outcome")),
            "value": value,
            "reason": str(body.get("reason") or ""),
        },
    )
