"""The fold: what the records of a run add up to.

Rules.  1. `apply` takes one record after the other and never decides; what it needs to know is in
the record or in the definition.  2. Every recorded move is checked against the grid.  3. It costs
the same at record 5,000 as at record 100.  4. The live run and every reader use this same code.
Records of calls are applied in `fold_calls`, steps in `fold_steps`.
Not here: decisions (`decide`), effects (`turn.run`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import attrs

from statemachine_agents.errors import EvaluationError
from statemachine_agents.journal.fold_calls import (
    arrive,
    begun,
    call_doubted,
    call_intended,
    call_refused,
    call_resolved,
    call_returned,
    close,
    count,
    outside,
)
from statemachine_agents.journal.fold_steps import stepped
from statemachine_agents.journal.records import Head, Record, damaged, verify
from statemachine_agents.journal.replies import calls_of, meaning_of, text_of, why_nudged
from statemachine_agents.journal.standing import Arrival, Batch, Child, OpenCall, Standing
from statemachine_agents.kernel.step import STARTED
from statemachine_agents.kernel.workflow import Workflow
from statemachine_agents.table.model import State
from statemachine_agents.table.rules import TURN
from statemachine_agents.values import JSON, dumps

_TIMELESS: Final = frozenset({"stepped", "run_resumed"})
"""Records whose time is not working time: a step takes none, and before a resume nobody worked."""


def fold(workflow: Workflow, run: str, records: Iterable[Record]) -> Standing:
    """Fold a whole journal, checking its chain.

    Args:
        workflow: built from the run's definition.
        run: run id.
        records: from seq 1.

    Raises:
        JournalDamaged: the chain or a move does not verify, or a body was erased.
    """
    standing = Standing(workflow, run)
    for record in records:
        verify(record, standing.head.hash)
        take(standing, record)
    return standing


def take(s: Standing, record: Record, after: Any = None) -> None:
    """Apply a verified record that continues the journal.

    Args:
        s: where the run stands.
        record: the next one.
        after: the snapshot of the same decision made again, if one was.

    Raises:
        JournalDamaged: it cannot follow what stands before it.
    """
    if record.seq != s.head.seq + 1:
        raise damaged(record.run, record.seq, f"expected seq {s.head.seq + 1}")
    if record.erased:
        raise damaged(record.run, record.seq, "its body was erased, so nothing after it is known")
    s.run = record.run  # a fork begins with its parent's records
    try:
        apply(s, record.kind, record.body, record.at, after)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, EvaluationError) as error:
        why = f"{record.kind} cannot follow what stands before it ({type(error).__name__}: {error})"
        raise damaged(record.run, record.seq, why) from error
    s.head = Head(record.seq, record.hash)


def apply(s: Standing, kind: str, body: Mapping[str, Any], at: int, after: Any = None) -> None:
    """Apply one record's kind and body.

    Args:
        s: where the run stands.
        kind: record kind.
        body: record body.
        at: UTC microseconds of the record.
        after: the snapshot its decision already computed, for `stepped` of a live run.
    """
    s.seq += 1
    if at > s.at and s.snapshot is not None and s.parked is None and kind not in _TIMELESS:
        count(s, worked=at - s.at)
    s.at = max(s.at, at)
    if kind == "stepped":
        stepped(s, body, after)
    else:
        APPLY[kind](s, body)


# The run itself


def _run_started(s: Standing, body: Mapping[str, Any]) -> None:
    s.context = dict(body["context"])
    s.request_id = body.get("request_id")
    s.root = body.get("root", s.run)
    s.arrivals.append(Arrival(STARTED))


def _run_forked(s: Standing, body: Mapping[str, Any]) -> None:
    changes = body.get("set") or {}
    if changes:
        snapshot = s.snap()
        s.snapshot = attrs.evolve(snapshot, context={**snapshot.context, **changes})
    s.parked = None
    _prompts_anew(s)


def _run_parked(s: Standing, body: Mapping[str, Any]) -> None:
    s.parked = dict(body)


def _run_resumed(s: Standing, body: Mapping[str, Any]) -> None:
    s.parked = None
    s.stalled = ""
    if body.get("lift"):  # an operator has looked at what went wrong
        s.quarantined = ""
        s.snapshot = attrs.evolve(s.snap(), status="running")


def _run_migrated(s: Standing, _body: Mapping[str, Any]) -> None:
    _prompts_anew(s)


def _prompts_anew(s: Standing) -> None:
    """Let each agent's next request open an epoch; what is owed until then is told by it."""
    for transcript in s.transcripts.values():
        transcript.model = ""


def _run_quarantined(s: Standing, body: Mapping[str, Any]) -> None:
    s.quarantined = str(body.get("reason", "quarantined"))
    s.snapshot = attrs.evolve(s.snap(), status="quarantined")


def _run_ended(s: Standing, body: Mapping[str, Any]) -> None:
    s.ended = dict(body)
    s.parked = None


# What the world says


def _message_received(s: Standing, body: Mapping[str, Any]) -> None:
    s.inbox.append(dict(body))
    s.parked = None


def _cancel_asked(s: Standing, body: Mapping[str, Any]) -> None:
    s.cancel = dict(body)
    s.parked = None


def _timer_set(s: Standing, body: Mapping[str, Any]) -> None:
    s.timer = dict(body)
    s.timer_visit = body["visit"]


def _timer_fired(s: Standing, body: Mapping[str, Any]) -> None:
    s.timer = None
    outside(s)
    s.arrivals.append(Arrival("timer.fired", visit=body["visit"]))


def _approval_asked(s: Standing, body: Mapping[str, Any]) -> None:
    s.parked = None
    if body.get("no") is None:
        s.question = dict(body)
        return
    s.next_call = max(s.next_call, body["no"] + 1)
    s.calls[body["no"]] = OpenCall(
        body["no"],
        body["tool"],
        body.get("id", ""),
        body["arguments"],
        body["visit"],
        "approval",
        digest=body["digest"],
        nonce=body.get("nonce", ""),
        question=body.get("question", ""),
        expires=body.get("expires"),
    )
    begun(s, body["no"])
    if s.batch is None or body["no"] not in s.batch.order:
        s.begun += 1
    elif not s.workflow.bindings[body["tool"]].reads:
        s.batch.effect_admitted = True  # it is the one other call of this reply


def _approval_decided(s: Standing, body: Mapping[str, Any]) -> None:
    outside(s)
    scope = {"approval": {key: body.get(key) for key in ("granted", "by", "note")}}
    number = body.get("no")
    if number is None:
        s.question = None
        s.answered += 1
        name = "approval.granted" if body["granted"] else "approval.rejected"
        s.arrivals.append(Arrival(name, scope, scope["approval"]))
        return
    call = s.call(number)
    if body["granted"]:
        call.status = "approved"
        return
    text = dumps({"error": "not_approved", "why": "a person declined this call"}).decode()
    close(s, call, text, error=True)
    arrive(
        s, call, Arrival("approval.rejected", {**scope, "args": call.arguments}, visit=call.visit)
    )


# The model


def _model_asked(s: Standing, body: Mapping[str, Any]) -> None:
    transcript = s.transcript(body["agent"])
    results = [s.results.pop(no) for no in body.get("results", ()) if no in s.results]
    for number in body.get("results", ()):
        if number in s.calls:  # in doubt, and told so: what becomes of it is told another way
            s.calls[number].told = True
    s.belated = []
    if body["epoch"] != transcript.epoch or body["model"] != transcript.model:
        transcript.open_epoch(body["epoch"], body["model"])
        results = []  # their calls are not in this epoch; the opening block tells them as text
    start = transcript.heard
    transcript.said = len(s.said)
    texts = s.heard[start : start + body.get("heard", 0)]
    transcript.heard = start + len(texts)
    transcript.ask(results, texts, body.get("blocks", ()))
    context = s.snap().context
    transcript.shown.update({name: context.get(name) for name in body.get("shown", ())})
    s.fresh.discard(body["agent"])
    snapshot = s.snap()
    idle = 0 if s.news else snapshot.counters.idle + 1
    rules = s.workflow.rules.observe(snapshot.rules, TURN, {"context": context})
    s.snapshot = snapshot.counted(snapshot.counters.asked(idle=idle), rules)
    s.news = False
    s.asked = s.seq
    s.asked_agent = body["agent"]
    s.asked_state = s.snap().state
    s.asked_visit = s.snap().visit
    s.nudge = s.complaint = ""
    s.again = s.again and not (results or texts or body.get("blocks"))
    s.batch = None


def _model_replied(s: Standing, body: Mapping[str, Any]) -> None:
    s.asked = None
    usage = body.get("usage", {})
    for name, amount in usage.items():
        s.usage[name] = s.usage.get(name, 0) + amount
    spent = sum(amount for name, amount in usage.items() if name.endswith("_tokens"))
    count(s, tokens=spent, cost=usage.get("cost_micro_usd", 0))
    transcript = s.transcript(s.asked_agent)
    calls = calls_of(body)
    if body["usable"]:
        transcript.reply(body["content"])
        transcript.ids.update(call["id"] for call in calls)
        transcript.owed = [(call["no"], call["id"]) for call in calls]
    if calls:
        s.next_call = calls[-1]["no"] + 1
    meaning = meaning_of(body)
    if body["usable"] or meaning != "failed":
        s.again = False  # a paused turn stays the last word while nobody answers
    if calls and body["usable"]:
        order = tuple(call["no"] for call in calls)
        s.batch = Batch(s.asked_agent, order, deque(calls), meaning == "calls")
    _understand(s, meaning, body)


def _understand(s: Standing, meaning: str, body: Mapping[str, Any]) -> None:
    """Queue what a reply means besides its calls; it belongs to the visit that asked."""
    visit = s.asked_visit
    detail = {"kind": str(body.get("stop")), "text": str(body.get("detail", ""))}
    if meaning == "done":
        text = text_of(body["content"])
        reply: dict[str, JSON] = {"text": text}
        if "output" in body:
            reply["output"] = body["output"]
        if body.get("output_faults"):
            s.nudge = "Your reply does not fit the schema of this state; `faults` says where."
            s.complaint = str(body["output_faults"])
            count(s, nudges=1)
            return
        if s.workflow.state(s.snap().state).talk:
            s.speech = text
        s.arrivals.append(Arrival("model.done", {"reply": reply}, reply, visit=visit))
    elif meaning == "nudge":
        s.nudge = why_nudged(body)
        count(s, nudges=1)
    elif meaning == "refused":
        s.arrivals.append(Arrival("model.refused", {"error": detail}, detail, visit=visit))
    elif meaning == "again":
        s.again = True
    elif meaning == "window" and not s.windows:
        s.windows += 1
        s.fresh.add(s.asked_agent)
    elif meaning in ("failed", "window"):
        s.arrivals.append(Arrival("model.failed", {"error": detail}, detail, visit=visit))


# Children and replies


def _child_started(s: Standing, body: Mapping[str, Any]) -> None:
    visit = s.snap().visit
    index = int(body["index"])
    child = Child(body["child"], body["workflow"], body["input"], visit, index)
    s.children[child.run] = child
    s.child_count += 1


def _child_ended(s: Standing, body: Mapping[str, Any]) -> None:
    child = s.children[body["child"]]
    child.ended = True
    s.parked = None
    s.news = True
    value = body.get("value")
    if body["outcome"] == "success":
        scope: dict[str, JSON] = {"result": value, "args": child.input}
        fact, name = value, f"{child.workflow}.success"
    else:
        error = {"kind": body["outcome"], "text": str(body.get("reason", "")), "attempts": 1}
        scope, fact = {"error": error, "args": child.input}, error
        name = f"{child.workflow}.failure"
    arrival = Arrival(name, scope, fact, None, child.visit)
    state = s.workflow.state(s.snap().state)
    if body["outcome"] != "success" or not _ordered(s, child, state):
        s.arrivals.append(arrival)  # a failure is told at once
        return
    s.ahead[child.index] = arrival
    for other in sorted(
        (each for each in s.children.values() if each.visit == child.visit),
        key=lambda each: each.index,
    ):
        if not other.ended:
            break
        if other.index in s.ahead:
            s.arrivals.append(s.ahead.pop(other.index))


def _ordered(s: Standing, child: Child, state: State) -> bool:
    """Whether results arrive in the order of the items: all of an `each` are waited for."""
    here = child.visit == s.snap().visit
    return here and state.each is not None and state.join in (None, "all")


def _reply_queued(s: Standing, body: Mapping[str, Any]) -> None:
    s.replies[body["id"]] = {**body, "seq": s.seq}
    if body.get("entry"):
        s.said_visit = s.snap().visit
        s.said.append(body["text"])
    else:
        s.speech = ""


def _reply_sent(s: Standing, body: Mapping[str, Any]) -> None:
    s.replies.pop(body["id"], None)


APPLY: Final[Mapping[str, Callable[[Standing, Mapping[str, Any]], None]]] = {
    "run_started": _run_started,
    "run_forked": _run_forked,
    "run_parked": _run_parked,
    "run_resumed": _run_resumed,
    "run_migrated": _run_migrated,
    "run_quarantined": _run_quarantined,
    "run_ended": _run_ended,
    "message_received": _message_received,
    "cancel_asked": _cancel_asked,
    "timer_set": _timer_set,
    "timer_fired": _timer_fired,
    "approval_asked": _approval_asked,
    "approval_decided": _approval_decided,
    "model_asked": _model_asked,
    "model_replied": _model_replied,
    "call_intended": call_intended,
    "call_refused": call_refused,
    "call_returned": call_returned,
    "call_doubted": call_doubted,
    "call_resolved": call_resolved,
    "child_started": _child_started,
    "child_ended": _child_ended,
    "reply_queued": _reply_queued,
    "reply_sent": _reply_sent,
}
