"""What a recorded step adds to a run's standing.

Rules.  1. A step consumes the fact it handled; a step for something that did not happen is damage.
2. A recorded move is checked against the grid.  3. The snapshot is rebuilt from what was recorded,
without evaluating anything; a live run hands over the one it has.
Not here: deciding the step (`kernel.step`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from statemachine_agents.journal.fold_calls import count, outside
from statemachine_agents.journal.records import damaged
from statemachine_agents.journal.standing import Arrival, Standing
from statemachine_agents.kernel.snapshot import Snapshot
from statemachine_agents.kernel.step import enter, nowhere
from statemachine_agents.table.expressions import write
from statemachine_agents.values import JSON


def stepped(s: Standing, body: Mapping[str, Any], after: Snapshot | None) -> None:
    """One event was handled: moved, stayed, ended or unhandled."""
    event = body["event"]
    before = s.snapshot
    fact = _consume(s, event)
    if body["from"] != ("" if before is None else before.state):
        raise damaged(s.run, s.seq, f"a step from {body['from']!r}")
    if after is None:
        _check_move(s, body)
    known = s.snapshot
    now = s.snapshot = _rebuild(s, before, body, fact) if after is None else after
    outcome = body["outcome"]
    if body.get("default") == "waits":
        s.listening = True
    elif not body.get("late"):
        s.listening = False
    if event.startswith("limit."):
        s.raised.add(event)
        s.last_limit = event
    if body.get("default") == "nudged":
        s.nudge = "You ended your turn, but the procedure is not finished here: call a legal tool."
        count(s, nudges=1)
    if body.get("default") == "guard.error":
        error = {"kind": "guard", "text": body.get("reason", ""), "attempts": 0}
        s.arrivals.appendleft(Arrival("guard.error", {"error": error}, error))
    if event == "model.failed" and body.get("default") == "parked":
        s.stalled = "model.failed"
    if known is not None and not s.news:
        s.news = any(
            read(known.context, path) != read(now.context, path) for path, _ in body.get("set", ())
        )
    if before is None or now.visit != before.visit:
        _arrived_in(s, now)
    if outcome == "ended":
        s.reason = str(body.get("reason", ""))
        s.last_event = event


def _arrived_in(s: Standing, now: Snapshot) -> None:
    """A new visit: what belonged to the old one is void."""
    s.path.append(now.state)
    # Results that waited for the ones before them belong to the visit that was left: they are late.
    s.arrivals.extend(s.ahead[index] for index in sorted(s.ahead))
    s.ahead = {}
    s.news = True
    s.seen = set()
    s.begun = 0
    s.timer = None
    s.speech = ""
    s.stalled = ""
    s.question = None
    s.answered = 0
    s.parked = None
    s.undo_tried = set()
    s.undo_failed = []
    if s.workflow.state(now.state).fresh:
        agent = s.workflow.table.agent_of(s.workflow.state(now.state)).name
        s.fresh.add(agent)


def _consume(s: Standing, event: str) -> JSON:
    """Take the fact that this step handled off the queues; return what conjunctions see of it."""
    if s.arrivals and s.arrivals[0].name == event:
        return s.arrivals.popleft().fact
    if event == "user.message" and s.inbox:
        message = s.inbox.popleft()
        outside(s)
        s.heard.append(str(message.get("text", "")))
        return message
    if event == "entered":
        s.entered_visit = s.snap().visit
    elif event == "settled":
        s.settled_visit = s.snap().visit
    elif event == "run.cancelled":
        s.cancel = None
    elif event in ("undo.ok", "undo.error"):
        s.undo_visit = s.snap().visit
    elif event == "guard.error":
        pass  # of an `each`, which is evaluated outside a step
    elif not event.startswith("limit."):
        raise damaged(s.run, s.seq, f"a step for {event!r}, which did not happen")
    return None


def _check_move(s: Standing, body: Mapping[str, Any]) -> None:
    """Check what a recorded step did against the grid."""
    here, to, outcome = body["from"], body["to"], body["outcome"]
    cell = s.workflow.grid.cell(here, body["event"])
    known = {entry.row.index for entry in cell.notes}
    strange = [number for number in body.get("notes", ()) if number not in known]
    if strange:
        raise damaged(s.run, s.seq, f"row {strange[0] + 1} is no note on {body['event']!r}")
    number = body.get("row")
    if number is None:
        if s.snapshot is None:
            sound = to == s.workflow.table.initial
        else:
            sound = to == here and outcome in ("unhandled", "ended") and bool(body.get("default"))
        if not sound:
            raise damaged(s.run, s.seq, f"a step from {here!r} to {to!r} that no row made")
        return
    row = next((entry.row for entry in cell.moves if entry.row.index == number), None)
    target = None if row is None else (here if row.stays else row.transition.target)
    if row is None or target != to or body.get("late"):
        why = f"row {number + 1} does not lead from {here!r} to {to!r}"
        raise damaged(s.run, s.seq, f"{why} on {body['event']!r}")
    final = s.workflow.state(to).final is not None
    if outcome != ("stayed" if row.stays else "ended" if final else "moved"):
        raise damaged(s.run, s.seq, f"row {number + 1} does not make a step {outcome!r}")


def read(context: JSON, path: Sequence[str | int]) -> JSON:
    """Return what stands at a path, or None where it leads nowhere."""
    for part in path:
        if isinstance(part, str):
            context = context.get(part) if isinstance(context, Mapping) else None
        else:
            inside = isinstance(context, list) and part < len(context)
            context = context[part] if inside else None
    return context


def _rebuild(s: Standing, before: Snapshot | None, body: Mapping[str, Any], fact: JSON) -> Snapshot:
    """Return the snapshot after a recorded step, from what it recorded."""
    workflow = s.workflow
    if before is None:
        return enter(workflow, nowhere(workflow, s.context), body["to"], s.context)
    before = s.snap()  # `_consume` may have begun a new stretch
    context: Mapping[str, JSON] = before.context
    for path, value in body.get("set", ()):
        context = write(context, tuple(path), value)
    rules = list(before.rules)
    for index, state in body.get("rules", ()):
        rules[index] = state
    facts = before.facts
    if not (body.get("late") or before.ended) and body.get("default") != "guard.error":
        facts = {**facts, body["event"]: fact}
    noted = before.noted(context, facts, tuple(rules))
    if body["outcome"] == "moved" or (body["outcome"] == "ended" and "row" in body):
        return enter(workflow, noted, body["to"], context)
    if body["outcome"] == "ended" and body.get("default") in ("failed", "cancelled"):
        return attrs.evolve(noted, status=body["default"])
    return noted
