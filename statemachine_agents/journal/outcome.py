"""How a run ends: its outcome, as a record and as a value.

Rules.  1. A run with a call in doubt, or with an open call, does not end.  2. Every failure carries
a reason.  3. What rules still ask for is broken at the end, owed while parked or once cancelled.
Not here: exit codes (`cli`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from statemachine_agents.errors import EvaluationError
from statemachine_agents.journal.drafts import park
from statemachine_agents.journal.records import Draft
from statemachine_agents.journal.standing import Standing
from statemachine_agents.kernel.step import Event, scope_of
from statemachine_agents.values import JSON


@attrs.frozen(kw_only=True)
class Outcome:
    """How a run stands: ended, or parked.

    Args:
        run_id: the run.
        status: `succeeded failed cancelled`, `waiting` when parked, `quarantined`.
        state: where it stands.
        path: states visited, in order.
        value: what the final state `returns`, else None.
        reason: why it failed, was cancelled or is parked; may be empty on success.
        iterations: model requests of the run.
        usage: token sums by field.
        waiting: what a parked run waits for.
        limit: name of the limit whose event ended the run, or an empty text.
        context: the run's data at that point.
        broken: rules that were broken, or not met at the end, and for which value.
        owed: what rules still ask for in a parked or cancelled run.
    """

    run_id: str
    status: str
    state: str
    path: tuple[str, ...] = ()
    value: JSON = None
    reason: str = ""
    iterations: int = 0
    usage: Mapping[str, int] = attrs.field(factory=dict)
    waiting: tuple[str, ...] = ()
    limit: str = ""
    context: Mapping[str, JSON] = attrs.field(factory=dict, repr=False)
    broken: tuple[Mapping[str, JSON], ...] = ()
    owed: tuple[Mapping[str, JSON], ...] = ()

    @property
    def ok(self) -> bool:
        """Whether the run reached a successful end."""
        return self.status == "succeeded"

    def to_dict(self) -> dict[str, JSON]:
        """Return the outcome as plain JSON, without the context."""
        out: dict[str, Any] = attrs.asdict(self, recurse=False)
        del out["context"]
        for key in ("path", "waiting", "broken", "owed"):
            out[key] = list(out[key])
        out["usage"] = dict(self.usage)
        return out


def conclude(s: Standing) -> Draft | None:
    """Return `run_ended`, or what keeps an ended run open."""
    if any(call.status == "open" for call in s.calls.values()):
        return None
    if s.doubts:
        names = ", ".join(sorted({call.tool for call in s.doubts}))
        return park(s, f"ended, but the outcome of {names} is not known", "resolution")
    if any(not child.ended for child in s.children.values()):
        return park(s, "ended, but a child workflow still runs", "child")
    snapshot = s.snap()
    value, reason = _value(s)
    body: dict[str, JSON] = {
        "status": snapshot.status,
        "state": snapshot.state,
        "value": value,
        "reason": reason,
        "path": list(s.path),
        "iterations": snapshot.counters.requests,
        "usage": dict(s.usage),
    }
    if s.last_event.startswith("limit."):
        body["limit"] = s.last_event.partition(".")[2]
    rules = s.workflow.rules
    broken, owed = rules.broken(snapshot.rules), rules.owed(snapshot.rules)
    if snapshot.status == "cancelled":  # nobody let the run finish: what it owed stays owed
        if owed:
            body["owed"] = owed
    else:
        broken += owed
    if broken:
        body["broken"] = broken
    return Draft("run_ended", body)


def _value(s: Standing) -> tuple[JSON, str]:
    """Return a final state's value and the reason of a failure."""
    snapshot = s.snap()
    expression = s.workflow.returns.get(snapshot.state)
    value: JSON = None
    reason = s.reason
    if expression is not None and s.workflow.state(snapshot.state).final is not None:
        try:
            value = expression.evaluate(scope_of(s.workflow, snapshot, Event("", s.now)))
        except EvaluationError as error:
            reason = reason or f"the value of {snapshot.state!r} cannot be evaluated: {error}"
    if snapshot.status == "succeeded":
        return value, ""
    if isinstance(value, str) and not reason:
        reason = value
    return value, reason or f"ended in state {snapshot.state!r} on {s.last_event}"


def outcome_of(s: Standing) -> Outcome:
    """Return the outcome of a run that has ended or is parked."""
    snapshot = s.snap()
    if s.ended is not None:
        body = s.ended
        return Outcome(
            run_id=s.run,
            status=body["status"],
            state=body["state"],
            path=tuple(body["path"]),
            value=body["value"],
            reason=body["reason"],
            iterations=body["iterations"],
            usage=body["usage"],
            limit=body.get("limit", ""),
            context=snapshot.context,
            broken=tuple(body.get("broken", ())),
            owed=tuple(body.get("owed", ())),
        )
    parked = s.parked or {}
    return Outcome(
        run_id=s.run,
        status="quarantined" if s.quarantined else ("waiting" if s.parked else snapshot.status),
        state=snapshot.state,
        path=tuple(s.path),
        reason=s.quarantined or str(parked.get("reason", "")),
        iterations=snapshot.counters.requests,
        usage=dict(s.usage),
        waiting=tuple(parked.get("waiting", ())),
        context=snapshot.context,
        broken=tuple(s.workflow.rules.broken(snapshot.rules)),
        owed=tuple(parked.get("owed", ())),
    )


def pending_of(s: Standing) -> list[dict[str, JSON]]:
    """Return what a run waits for people to say: approvals, then calls in doubt."""
    out: list[dict[str, JSON]] = []
    if s.question is not None:
        shows = {name: s.snap().context.get(name) for name in s.question.get("shows", ())}
        asked = {"approval": s.question["approval"], "question": s.question["question"]}
        out.append({**asked, "shows": shows, **_expiry(s.question.get("expires"))})
    out += [
        {
            "approval": f"a{call.no}",
            "question": call.question,
            "tool": call.tool,
            "arguments": dict(call.arguments),
            "digest": call.digest,
            **_expiry(call.expires),
        }
        for call in s.calls.values()
        if call.status == "approval"
    ]
    out += [
        {"call": call.no, "tool": call.tool, "arguments": dict(call.arguments)} for call in s.doubts
    ]
    return out


def _expiry(expires: JSON) -> dict[str, JSON]:
    return {} if expires is None else {"expires": expires}
