"""What the run itself adds next: one decision at a time, from where it stands.

Rules.  1. `decide` is pure; it returns the next record the run owes, or None when the world must
speak first.  2. The live run appends what it returns; `replay` compares what it returns with what
was recorded.  There is no other place where a run decides.  3. Whatever needs noise, wording or
another workflow (keys, nonces, deadlines, prompt texts, inputs of children) is left out here and
filled in by `turn.filling`; `FILLED` names these fields and replay does not compare them.
Order: end, facts, proposals, children, cancel, entry, speech, messages, limits, the state's verb.
Not here: effects (`turn.run`), what is done about a doubt (`turn.recovery`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from statemachine_agents.journal.drafts import (
    approval_of,
    fail,
    filled_in,
    intend,
    limit,
    own_return,
    plain,
    raised,
    refuse,
    seconds_of,
    takes_message,
    write_step,
)
from statemachine_agents.journal.outcome import conclude
from statemachine_agents.journal.records import Draft
from statemachine_agents.journal.standing import (
    Arrival,
    Batch,
    OpenCall,
    Standing,
    stretch_begun,
)
from statemachine_agents.journal.verbs import act, beginning
from statemachine_agents.kernel import limits
from statemachine_agents.kernel.gate import Proposal, judge
from statemachine_agents.kernel.step import STARTED, begin, step
from statemachine_agents.values import JSON, hash_of

FILLED: Final[Mapping[str, frozenset[str]]] = {
    "model_asked": frozenset({"blocks", "prompt", "epoch", "model", "shown", "reserved"}),
    "call_intended": frozenset({"key", "key_until", "deadline", "not_before"}),
    "approval_asked": frozenset({"nonce", "expires"}),
    "child_started": frozenset({"input"}),
}
"""Record kind -> body fields that `turn.filling` fills in and replay does not compare."""

INPUTS: Final = frozenset(
    {
        "run_started",
        "run_forked",
        "message_received",
        "model_replied",
        "call_returned",
        "call_doubted",
        "call_resolved",
        "approval_decided",
        "timer_fired",
        "child_ended",
        "reply_sent",
        "cancel_asked",
        "run_resumed",
        "run_migrated",
        "run_quarantined",
    }
)
"""Kinds that come from the world. `call_returned` of a signal is the run's own: `own_return`."""


def decide(s: Standing) -> Draft | None:
    """Return the next record the run adds by itself, or None when it must wait for the world.

    Args:
        s: where the run stands.
    """
    if s.ended is not None or s.quarantined:
        return None
    if s.snapshot is None:
        return _first(s) if s.arrivals else None
    if s.asked is not None:
        return None
    snapshot = s.snapshot
    if s.speech and not snapshot.ended:
        return Draft("reply_queued", {"id": f"{s.run}-{s.seq}", "text": s.speech})
    own = own_return(s)
    if own is not None:
        return own
    if s.arrivals:
        return write_step(step(s.workflow, snapshot, s.event_of(s.arrivals[0])))
    if s.batch is not None and s.batch.proposals:
        return _judged(s, s.batch)
    for call in s.calls.values():
        draft = _goes_on(s, call)
        if draft is not None:
            return draft
    state = s.workflow.state(snapshot.state)
    unsaid = state.say is not None and s.said_visit != snapshot.visit
    if snapshot.ended:
        return _said(s) if unsaid and state.final is not None else conclude(s)
    if any(call.status in ("open", "doubted") for call in s.calls.values()):
        return act(s) if beginning(s, state) else None
    if s.cancel is not None and not s.doubts:
        return _cancelled(s)
    if s.entered_visit != snapshot.visit:
        draft = _entered(s)
        if draft is not None:
            return draft
    if unsaid:
        return _said(s)
    if state.after is not None and s.timer_visit != snapshot.visit:
        due = s.at + seconds_of(state.after) * 1_000_000
        return Draft("timer_set", {"due": due, "visit": snapshot.visit})
    if s.inbox and not s.calls and takes_message(s):
        return _heard(s)
    return act(s)


def _first(s: Standing) -> Draft:
    started = begin(s.workflow, s.context, at=s.now)
    body: dict[str, JSON] = {
        "event": STARTED,
        "from": "",
        "to": started.after.state,
        "outcome": started.outcome,
    }
    return Draft("stepped", body, started.after)


def _judged(s: Standing, batch: Batch) -> Draft:
    """Judge the next proposal of a reply."""
    proposal = batch.proposals[0]
    number, tool = proposal["no"], proposal["name"]
    base = {"no": number, "tool": tool, "id": proposal["id"], "arguments": proposal["input"]}
    if not batch.execute:
        return Draft(
            "call_refused",
            {**base, "code": "not_executed", "text": "the reply could not be used as a whole"},
        )
    snapshot = s.snap()
    state = s.workflow.state(snapshot.state)
    admission = judge(s.workflow, snapshot, Proposal(tool, proposal["input"]), now=s.now)
    if not admission.admitted:
        body: dict[str, JSON] = {
            **base,
            "code": admission.code,
            "text": admission.text,
            "counted": True,
            "state": snapshot.state,
            "legal": list(s.workflow.table.tools_in(state)),
        }
        if admission.rule is not None:
            body["rule"] = admission.rule
        return Draft("call_refused", body)
    binding = s.workflow.bindings[tool]
    if batch.effect_admitted and not binding.reads and not state.parallel:
        text = "another call of this reply changes something; call one at a time"
        return Draft("call_refused", {**base, "code": "one_at_a_time", "text": text})
    visit = snapshot.visit
    call = OpenCall(number, tool, proposal["id"], admission.arguments, visit, "approved")
    if admission.code == "approve":
        return approval_of(call)
    return intend(s, call)


def _goes_on(s: Standing, call: OpenCall) -> Draft | None:
    """Return what a call that waits for the run itself does next."""
    ended = s.snap().ended
    if call.status == "retry" and (call.in_doubt_once or not ended):
        return intend(s, call, attempt=call.attempt + 1)
    if ended and call.status in ("retry", "approval", "approved"):
        return refuse(call, "ended", "the run has ended")
    gone = call.visit != s.snap().visit
    if call.status in ("approval", "approved") and gone:
        return refuse(call, "left", "the state was left before the call could be made")
    if call.status != "approved":
        return None
    given = _given(s, call)
    admission = judge(s.workflow, s.snap(), Proposal(call.tool, given), now=s.now, approved=True)
    if not admission.admitted:
        return refuse(call, admission.code, admission.text)
    if hash_of([call.tool, dict(admission.arguments)]) != call.digest:
        return refuse(call, "changed", "the arguments changed after a person had approved them")
    return intend(s, call)


def _given(s: Standing, call: OpenCall) -> dict[str, JSON]:
    """Return the part of a call's arguments that was not bound."""
    bound = {name for name, _ in s.workflow.bindings[call.tool].bind}
    return {name: value for name, value in call.arguments.items() if name not in bound}


def _cancelled(s: Standing) -> Draft:
    assert s.cancel is not None
    by = s.cancel.get("by") or "somebody"
    why = s.cancel.get("reason") or "no reason given"
    return raised(s, "run.cancelled", f"cancelled by {by}: {why}", kind="cancelled")


def _entered(s: Standing) -> Draft | None:
    """Step `entered` where a row or a default takes it; elsewhere it changes nothing."""
    snapshot = s.snap()
    name = limits.on_entry(s.workflow.limits, snapshot)
    # A row may have taken the limit in this very visit and stayed; anywhere else, going round
    # again after it was raised would never end.
    if name is not None and f"limit.{name}" not in snapshot.facts:
        if f"limit.{name}" not in s.raised:
            return limit(s, name)
        text = limits.describe(s.workflow.limits, name, snapshot.state)
        return fail(s, f"limit.{name}", f"{text}, after that limit was routed")
    cell = s.workflow.grid.cell(snapshot.state, "entered")
    if cell.moves or cell.notes or cell.default == "failed":
        return plain(s, "entered")
    return None


def _said(s: Standing) -> Draft:
    snapshot = s.snap()
    # A greeting is told to the model too (`you_said`), so private keys stay out of it.
    text = filled_in(str(s.workflow.state(snapshot.state).say), s.public())
    return Draft("reply_queued", {"id": f"{s.run}-{s.seq}", "text": text, "entry": True})


def _heard(s: Standing) -> Draft:
    message = dict(s.inbox[0])
    arrival = Arrival("user.message", {"message": message}, message)
    before = stretch_begun(s.workflow, s.snap())
    return write_step(step(s.workflow, before, s.event_of(arrival)))
