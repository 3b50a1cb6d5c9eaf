"""Recorded support runs shown to the gate of a desk: call by call, what it says and what it should.

Rules.  1. A call is judged before its result is known, against what was recorded up to there.
2. What was recorded counts whatever the gate said: the run went on as it did.  3. A customer's yes
is an attribute of the message, `message.confirms`.
Not here: what the counts must be (`test_desks`).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attrs

from statemachine_agents.kernel.gate import Admission, Proposal, gate_scope, judge
from statemachine_agents.kernel.snapshot import Snapshot
from statemachine_agents.kernel.step import Event, begin, step
from statemachine_agents.kernel.workflow import Workflow
from tests.corpora.recorded import lines


@attrs.frozen
class Judged:
    """One recorded call, and what the gate says of it.

    Args:
        run: id of the run.
        at: place of the call among the run's events.
        tool: what was called.
        allow: whether the policy allows it, as labelled.
        why: the broken rules, as labelled.
        said: the gate's verdict.
    """

    run: str
    at: int
    tool: str
    allow: bool
    why: tuple[str, ...]
    said: Admission

    @property
    def agrees(self) -> bool:
        """Whether gate and label say the same."""
        return self.said.admitted is self.allow


def judged(workflow: Workflow, corpus: str, name: str, *, now: str = "") -> Iterator[Judged]:
    """Yield every call of every run of a file.

    Args:
        workflow: the desk.
        corpus: folder of the recorded data.
        name: file in it, in event form.
        now: what the clock of the desk says, as text.
    """
    for run in lines(corpus, name):
        yield from _of_run(workflow, run, now)


def _of_run(workflow: Workflow, run: Mapping[str, Any], now: str) -> Iterator[Judged]:
    snapshot = begin(workflow, workflow.bind_context({}), at=now).after
    calls = 0
    for at, event in enumerate(run["events"]):
        if event["ev"] == "user":
            message = {"text": event["text"], "confirms": event["confirms"]}
            said = Event("user.message", now, {"message": message}, message)
            snapshot = step(workflow, snapshot, said).after
        elif event["ev"] == "call":
            arguments = event.get("arguments") or {}
            said_of_it = judge(workflow, snapshot, Proposal(event["name"], arguments), now=now)
            yield Judged(
                run["id"], at, event["name"], event["expect"] == "allow", tuple(event["why"]),
                said_of_it,
            )  # fmt: skip
            calls += 1
            snapshot = _made(workflow, snapshot, event, arguments, calls, now)


def _made(
    workflow: Workflow,
    snapshot: Snapshot,
    event: Mapping[str, Any],
    arguments: Mapping[str, Any],
    call: int,
    now: str,
) -> Snapshot:
    """Return the snapshot after a call was made and had its recorded result."""
    name = event["name"]
    if name not in workflow.bindings:
        return snapshot
    rules = workflow.rules.observe(snapshot.rules, name, gate_scope(snapshot, arguments, now), call)
    scope: dict[str, Any] = {"args": arguments}
    if event["tool_error"]:
        outcome, fact = "error", {"kind": "recorded", "text": str(event["result"]), "attempts": 1}
        scope["error"] = fact
    else:
        outcome, fact = "ok", _decoded(event["result"])
        scope["result"] = fact
    fired = Event(f"{name}.{outcome}", now, scope, fact, call=call)
    return step(workflow, attrs.evolve(snapshot, rules=rules), fired).after


def _decoded(result: Any) -> Any:
    try:
        return json.loads(result)
    except (TypeError, ValueError):
        return result


def told(found: Sequence[Judged]) -> str:
    """Return a table: for each broken rule, and for right calls, what the gate said."""
    rows = Counter(
        (why, "refused" if not each.said.admitted else "let through")
        for each in found
        for why in (each.why or ("(allowed)",))
    )
    names = sorted({why for why, _ in rows})
    body = [
        f"{name:<22}{rows[name, 'refused']:>9}{rows[name, 'let through']:>13}" for name in names
    ]
    return "\n".join([f"{'rule':<22}{'refused':>9}{'let through':>13}", *body])
