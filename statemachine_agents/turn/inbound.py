"""Signals from outside, checked and turned into records.

Rules.  1. A signal that does not fit (an approval nobody asked for, altered arguments, a call that
is not in doubt) is answered with the reason and leaves no record.  2. What a person writes is data:
redacted and made canonical once, by `cleaned`, before it is put into the inbox; bounded here.
Not here: waking the run (`driver`), what the record leads to (`journal`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from statemachine_agents.errors import UsageError, ValueRefused
from statemachine_agents.journal.outcome import pending_of
from statemachine_agents.journal.records import Draft
from statemachine_agents.journal.standing import Standing, time_text
from statemachine_agents.turn.ports import Signal
from statemachine_agents.values import JSON, MAX_BLOB, MAX_BODY, Redactor, dumps, ingest

MAX_NOTE: Final = 4000
"""Characters of what a person notes beside an answer."""

_PERSONAL: Final[Mapping[str, str]] = {
    "by": "message",
    "reason": "message",
    "note": "message",
    "text": "message",
    "done": "resolution",
}
"""Field of a signal's body that a person fills -> kind it is redacted as."""


def cleaned(name: str, body: Mapping[str, Any], redact: Redactor) -> dict[str, JSON]:
    """Return a signal's body as it may be written into the inbox.

    Args:
        name: of the signal.
        body: what a person gave.
        redact: applied to a message as a whole, else to every text and value of a person.

    Raises:
        ValueRefused: says what cannot be written.
    """
    if name == "message":
        whole = ingest(redact("message", dict(body)), where="message").value
        said: dict[str, JSON] = whole if isinstance(whole, dict) else {"text": whole}
        if refusal := _no_message(said):
            raise ValueRefused(refusal, where="message")
        return said
    out: dict[str, JSON] = {}
    for field, value in body.items():
        kind = _PERSONAL.get(field)
        out[field] = ingest(value if kind is None else redact(kind, value), where=field).value
    return out


def inbound(s: Standing, signal: Signal) -> Draft | str:
    """Return the record a signal leads to, or why it is not accepted.

    Args:
        s: where the run stands.
        signal: name and body, see `cleaned`.
    """
    body = signal.body if isinstance(signal.body, Mapping) else {}
    if s.ended is not None:
        return f"run {s.run} has ended"
    try:
        match signal.name:
            case "message":
                return _message(signal, body)
            case "approval":
                return _approval(s, body, signal.at)
            case "resolution":
                return _resolution(s, body)
            case "cancel" if s.cancel is not None:
                return f"run {s.run} is being cancelled already"
            case "cancel":
                return Draft("cancel_asked", _said(body, "by", "reason"))
            case "resume":
                said = _said(body, "by", "reason")
                lifted = bool(body.get("lift")) and bool(s.quarantined)
                return Draft("run_resumed", {**said, "lift": True} if lifted else said)
            case "timer":
                return _timer(s)
            case "child":
                return _child(s, body)
    except ValueRefused as refused:
        return str(refused)
    return f"run {s.run}: no signal is named {signal.name!r}"


def only_approval(s: Standing) -> str:
    """Return the approval a run waits for.

    Raises:
        UsageError: there is none, or more than one.
    """
    waiting = [str(each["approval"]) for each in pending_of(s) if "approval" in each]
    if len(waiting) == 1:
        return waiting[0]
    if not waiting:
        raise UsageError(f"run {s.run}: nothing waits for an approval", run=s.run)
    msg = f"run {s.run}: several approvals wait, name one of {', '.join(waiting)}"
    raise UsageError(msg, run=s.run, approvals=waiting)


def _said(body: Mapping[str, Any], *names: str) -> dict[str, JSON]:
    return {
        name: ingest(str(body[name])[:MAX_NOTE], where=name).value
        for name in names
        if body.get(name) is not None
    }


def _message(signal: Signal, body: Mapping[str, Any]) -> Draft | str:
    clean = ingest(body, where="message").value
    if refusal := _no_message(clean):
        return refusal
    number = ingest(signal.id, where="message id").value
    return Draft("message_received", {**clean, "id": number})


def _no_message(body: Mapping[str, Any]) -> str:
    if not isinstance(body.get("text"), str):
        return "a message needs a text"
    if len(dumps(body)) > MAX_BODY:
        return f"a message may have {MAX_BODY} bytes"
    return ""


def _approval(s: Standing, body: Mapping[str, Any], at: int) -> Draft | str:
    wanted = body.get("approval")
    granted = body.get("granted")
    if not isinstance(granted, bool):
        return "an approval is granted: true or false"
    note = {"by": "", **_said(body, "by", "note")}
    question = s.question
    if question is not None and wanted in (None, question["approval"]):
        if granted and (refusal := _expired(s, question["approval"], question.get("expires"), at)):
            return refusal
        record = {"approval": question["approval"], "no": None, "granted": granted, **note}
        return Draft("approval_decided", record)
    waiting = [call for call in s.calls.values() if call.status == "approval"]
    for call in waiting:
        if wanted not in (None, f"a{call.no}"):
            continue
        digest = body.get("digest")
        if digest is not None and str(digest) != call.digest:
            return f"the arguments of call {call.no} are not the ones that were shown"
        if granted and (refusal := _expired(s, f"a{call.no}", call.expires, at)):
            return refusal
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


def _expired(s: Standing, approval: JSON, expires: Any, at: int) -> str:
    """Say why it is too late for a yes, or return an empty text. A no is never too late."""
    if expires is None or at <= expires:
        return ""
    return (
        f"run {s.run}: the approval {approval} expired at {time_text(expires)}, this yes came at "
        f"{time_text(at)}; decline it, and what is still wanted is asked again with today's facts"
    )


def _resolution(s: Standing, body: Mapping[str, Any]) -> Draft | str:
    wanted = body.get("call")
    doubts = [call for call in s.doubts if wanted in (None, call.no)]
    if not doubts:
        return f"run {s.run}: no call {wanted or ''} is in doubt".replace("  ", " ")
    if len(doubts) > 1:
        found = ", ".join(f"{call.no} ({call.tool})" for call in doubts)
        return f"run {s.run}: several calls are in doubt, name one of {found}"
    call = doubts[0]
    said = _said(body, "by", "text")
    record: dict[str, JSON] = {"no": call.no, "then": "closed", "who": said.get("by", "")}
    if body.get("not_done"):
        text = said.get("text") or "a person found that it was not done"
        record |= {"by": "person", "verdict": "not_done", "text": text}
    else:
        value = ingest(body.get("done"), where="done").value
        if len(dumps(value)) > MAX_BLOB - MAX_BODY:
            return f"a value may have {MAX_BLOB - MAX_BODY} bytes"
        record |= {"by": "person", "verdict": "done", "value": value}
    return Draft("call_resolved", record)


def _timer(s: Standing) -> Draft | str:
    if s.timer is None:
        return f"run {s.run}: no timer is set"
    return Draft("timer_fired", {"visit": s.timer["visit"], "due": s.timer["due"]})


def _child(s: Standing, body: Mapping[str, Any]) -> Draft | str:
    child = s.children.get(str(body.get("child")))
    if child is None or child.ended:
        return f"run {s.run}: no child {body.get('child')!r} is running"
    value = ingest(body.get("value"), where="value").value
    said = {"outcome": "", "reason": "", **_said(body, "outcome", "reason")}
    return Draft("child_ended", {"child": child.run, "value": value, **said})
