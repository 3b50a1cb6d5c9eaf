"""What a recorded step adds to a run's standing.

Rules.  1. A step consumes the fact it handled; a step for something that did not happen is damage.
2. A recorded move is checked against the grid.  3. The snapshot is rebuilt from what was recorded,
without evaluating anything; a live run hands over the one it has.
Not here: deciding the step (`kernel.step`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from statemachine_agents.journal.fold_calls import count, outside
from statemachine_agents.journal.records import damaged
from statemachine_agents.journal.standing import Arrival, Standing
from statemachine_agents.kernel.snapshot import Snapshot
from statemachine_agents.kernel.step import enter
from statemachine_agents.table.expressions import write
from statemachine_agents.values import JSON


def stepped(s: Standing, body: Mapping[str, Any], after: Snapshot | None) -> None:
    event = body["event"]
    before = s.snapshot
    fact = _consume(s, event)
    if before is not None and body["from"] != before.state:
        raise damaged(s.run, s.seq, f"a step from {body['from']!r}")
    _check_move(s, body)
    now = s.snapshot = _rebuild(s, before, body, fact) if after is None else after
    outcome = body["outcome"]
    s.listening = body.get("default") == "waits"
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
    if body.get("set"):
        s.news = True
    if before is None or now.visit != before.visit:
        _arrived_in(s, now)
    if outcome == "ended":
        s.reason = str(body.get("reason", ""))
        s.last_event = event


def _arrived_in(s: Standing, now: Snapshot) -> None:
    """A new visit: what belonged to the old one is void."""
    s.path.append(now.state)
    s.news = True
    s.seen = set()
    s.begun = 0
    s.timer = None
    s.speech = ""
    s.stalled = ""
    s.question = None
    s.parked = None
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
    elif event == "entered":
        s.entered_visit = s.snap().visit
    elif event == "settled":
        s.settled_visit = s.snap().visit
    elif event == "run.cancelled":
        s.cancel = None
    elif event == "undo.ok":
        s.settled_visit = s.snap().visit
    elif not event.startswith("limit."):
        raise damaged(s.run, s.seq, f"a step for {event!r}, which did not happen")
    return None


def _check_move(s: Standing, body: Mapping[str, Any]) -> None:
    """Check a recorded move against the grid."""
    number = body.get("row")
    if number is None:
        return
    cell = s.workflow.grid.cell(body["from"], body["event"])
    row = next((entry.row for entry in cell.moves if entry.row.index == number), None)
    target = None if row is None else (body["from"] if row.stays else row.transition.target)
    if target != body["to"]:
        why = f"row {number + 1} does not lead from {body['from']!r} to {body['to']!r}"
        raise damaged(s.run, s.seq, f"{why} on {body['event']!r}")


def _rebuild(s: Standing, before: Snapshot | None, body: Mapping[str, Any], fact: JSON) -> Snapshot:
    """Return the snapshot after a recorded step, from what it recorded."""
    workflow = s.workflow
    if before is None:
        empty = Snapshot("", s.context, rules=workflow.rules.start())
        return enter(workflow, empty, body["to"], s.context)
    before = s.snap()  # `_consume` may have begun a new stretch
    context: Mapping[str, JSON] = before.context
    for path, value in body.get("set", ()):
        context = write(context, tuple(path), value)
    rules = list(before.rules)
    for index, state in body.get("rules", ()):
        rules[index] = state
    facts = before.facts
    if not body.get("late") and body.get("default") != "guard.error":
        facts = {**facts, body["event"]: fact}
    noted = attrs.evolve(before, context=context, rules=tuple(rules), facts=facts)
    if body["outcome"] == "moved" or (body["outcome"] == "ended" and "row" in body):
        return enter(workflow, noted, body["to"], context)
    if body["outcome"] == "ended" and body.get("default") in ("failed", "cancelled"):
        return attrs.evolve(noted, status=body["default"])
    return noted
