"""What records of calls add to a run's standing.

Rules.  1. A call ends exactly once: refused, returned, or resolved after a doubt.  2. Events of one
reply's calls wait until all of them have ended, then arrive in call order.  3. The first intent of
a call moves rules and counters; a retry does not.
Not here: which way out of a doubt is taken (`turn.recovery` writes it into the record).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from statemachine_agents.journal.standing import Arrival, Done, OpenCall, Standing, stretch_begun
from statemachine_agents.journal.transcript import as_text, result_block
from statemachine_agents.kernel.gate import gate_scope
from statemachine_agents.values import JSON, dumps


def count(s: Standing, **more: int) -> None:
    """Add to counters."""
    snapshot = s.snap()
    s.snapshot = snapshot.counted(snapshot.counters.plus(**more))


def outside(s: Standing) -> None:
    """Begin a new stretch: the world has spoken."""
    s.snapshot = stretch_begun(s.workflow, s.snap())
    s.raised = set()
    s.seen = set()
    s.news = True
    s.parked = None
    s.listening = False
    s.nudge = s.complaint = ""


def begun(s: Standing, number: int) -> None:
    """Take a proposal off the batch once it was judged."""
    batch = s.batch
    if batch is not None and batch.proposals and batch.proposals[0]["no"] == number:
        batch.proposals.popleft()


def call_intended(s: Standing, body: Mapping[str, Any]) -> None:
    """A call is about to be made: open from here on, counted the first time."""
    number = body["no"]
    call = s.calls.get(number)
    new = call is None
    first = call is None or call.attempt == 0
    if call is None:
        call = s.calls[number] = OpenCall(
            number, body["tool"], body.get("id", ""), body["arguments"], body["visit"], "open"
        )
        s.next_call = max(s.next_call, number + 1)
    call.arguments = body["arguments"]
    call.status = "open"
    call.effect = body["effect"]
    call.attempt = body["attempt"]
    call.key = body.get("key", "")
    call.key_until = body.get("key_until")
    call.deadline = body.get("deadline", 0)
    call.not_before = body.get("not_before", 0)
    call.intended_at = s.seq
    call.undoes = body.get("undoes")
    if call.undoes is not None:
        s.undo_tried.add(call.undoes)
    if not first:
        return
    begun(s, number)
    snapshot = s.snap()
    rules = s.workflow.rules.observe(
        snapshot.rules, call.tool, gate_scope(snapshot, call.arguments, s.now), number
    )
    s.snapshot = snapshot.counted(snapshot.counters.plus(calls=1), rules)
    batch = s.batch
    if batch is not None and number in batch.order:
        if call.effect not in ("read", "signal"):
            batch.effect_admitted = True
    else:
        s.begun += new and call.undoes is None


def call_refused(s: Standing, body: Mapping[str, Any]) -> None:
    """A call will not be made: its result says why."""
    number = body["no"]
    s.next_call = max(s.next_call, number + 1)
    begun(s, number)
    if body.get("counted"):
        count(s, refusals=1)
    waiting = s.calls.get(number)
    call = waiting or OpenCall(
        number, body["tool"], body.get("id", ""), body.get("arguments", {}),
        s.snap().visit, "open",
    )  # fmt: skip
    told: dict[str, JSON] = {"error": body["code"], "why": body["text"]}
    if "legal" in body:
        told["state"] = body["state"]
        told["legal_tools"] = body["legal"]
    close(s, call, dumps(told).decode(), error=True)
    if s.batch is not None and number in s.batch.order:
        _release(s)
        return
    # The engine's own call, in a `do` state: to the table this is an error like any other.
    s.begun += waiting is None
    error = {"kind": "refused", "text": body["text"], "attempts": 0}
    scope = {"error": error, "args": call.arguments}
    s.arrivals.append(Arrival(f"{call.tool}.error", scope, error, number, call.visit))


def call_returned(s: Standing, body: Mapping[str, Any]) -> None:
    """A call came back, with a value or with an error that may be tried again."""
    call = s.call(body["no"])
    if body.get("again"):
        call.status = "retry"
        return
    news(s, call, body.get("value") if body["ok"] else body["error"])
    _returned(s, call, body, resolved=call.in_doubt_once)


def _returned(s: Standing, call: OpenCall, body: Mapping[str, Any], *, resolved: bool) -> None:
    """Close a call whose outcome is known and queue its event."""
    if body["ok"]:
        value = body.get("value")
        close(s, call, as_text(value), error=False)
        if s.workflow.bindings[call.tool].undo is not None and call.undoes is None:
            s.completed.append(Done(call.no, call.tool, call.arguments, value))
        scope: dict[str, JSON] = {"result": value, "args": call.arguments}
        name, fact = f"{call.tool}.ok", value
    else:
        error = {**body["error"], "attempts": call.attempt}
        shown = {"error": error["kind"], "text": error["text"]}
        close(s, call, dumps(shown).decode(), error=True)
        scope = {"error": error, "args": call.arguments}
        name, fact = f"{call.tool}.error", error
    if call.undoes is not None:
        _undo_returned(s, call, body)
        return
    arrive(s, call, Arrival(name, scope, fact, call.no, call.visit, resolved))


def _undo_returned(s: Standing, call: OpenCall, body: Mapping[str, Any]) -> None:
    """Note how one undo went; `undo.ok` or `undo.error` follows when all were tried."""
    assert call.undoes is not None
    if body["ok"]:
        s.undone.add(call.undoes)
    else:
        s.undo_failed.append(f"{call.tool}: {body['error']['text']}")


def call_doubted(s: Standing, body: Mapping[str, Any]) -> None:
    """Nobody knows whether a call had its effect; the record says what is done about it."""
    call = s.call(body["no"])
    call.in_doubt_once = True
    _doubt_goes_on(s, call, body["then"])


def call_resolved(s: Standing, body: Mapping[str, Any]) -> None:
    """A verifier or a person says what became of a call in doubt."""
    call = s.call(body["no"])
    if body["by"] == "person":
        outside(s)
    if body["verdict"] == "done":
        news(s, call, body.get("value"))
        _returned(s, call, {"ok": True, "value": body.get("value")}, resolved=True)
    elif body["then"] == "closed":
        error = {"kind": "not_done", "text": str(body.get("text", "it was not done"))}
        _returned(s, call, {"ok": False, "error": error}, resolved=True)
    else:
        call.checks += 1
        _doubt_goes_on(s, call, body["then"])


def _doubt_goes_on(s: Standing, call: OpenCall, then: str) -> None:
    """Take the next way out of a doubt: `retry`, `verify` or `person`."""
    if then == "retry":
        call.status = "retry"
    elif then == "verify":
        call.status = "doubted"
    else:
        call.status = "unknown"
        error = {"kind": "unknown", "text": f"the outcome of {call.tool} is not known"}
        if call.id:
            # A row may lead to a state that asks the model before this is resolved: it needs an
            # answer to its call. A resolution that comes earlier takes the place of this one.
            told = {"error": "unknown", "text": error["text"]}
            s.results[call.no] = result_block(call.id, dumps(told).decode(), error=True)
        scope = {"error": {**error, "attempts": call.attempt}, "args": call.arguments}
        name = f"{call.tool}.unknown"
        arrive(s, call, Arrival(name, scope, scope["error"], call.no, call.visit))


def close(s: Standing, call: OpenCall, text: str, *, error: bool) -> None:
    """End a call; `text` is what the model reads as its result."""
    s.calls.pop(call.no, None)
    if call.told:
        s.belated.append({"tool": call.tool, "arguments": dict(call.arguments), "result": text})
    elif call.id:
        s.results[call.no] = result_block(call.id, text, error=error)


def arrive(s: Standing, call: OpenCall, arrival: Arrival) -> None:
    """Queue a call's event; those of one reply wait until all its calls have ended."""
    batch = s.batch
    if batch is None or call.no not in batch.order:
        s.arrivals.append(arrival)
        return
    batch.held[call.no] = arrival
    _release(s)


def _release(s: Standing) -> None:
    batch = s.batch
    if batch is None or batch.proposals:
        return
    open_here = [no for no in batch.order if no in s.calls and s.calls[no].status != "unknown"]
    if open_here:
        return
    for no in batch.order:
        arrival = batch.held.pop(no, None)
        if arrival is not None:
            s.arrivals.append(arrival)


def news(s: Standing, call: OpenCall, outcome: JSON) -> None:
    """Remember (call, arguments, result) of this visit; a repetition is nothing new."""
    mark = dumps([call.tool, call.arguments, outcome])
    if mark not in s.seen:
        s.seen.add(mark)
        s.news = True
