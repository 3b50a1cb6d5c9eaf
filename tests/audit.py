"""What holds of every run, whatever happened to it.

Rules.  1. Asked of the journal and of the requests that were sent, not of the code that made them.
2. A run that fails any of it is a fault of ours, never of its table or its model.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import attrs

from statemachine_agents.journal.decide import decide
from statemachine_agents.journal.fold import take
from statemachine_agents.journal.journal import Journal
from statemachine_agents.journal.records import Draft, Head, Record, seal, verify
from statemachine_agents.journal.standing import Standing
from statemachine_agents.kernel.workflow import Workflow
from statemachine_agents.system import SeededEntropy
from statemachine_agents.turn.ports import ModelRequest
from statemachine_agents.turn.run import Run
from tests.api_rules import faults

Sent: TypeAlias = tuple[ModelRequest, list[Any], bool]
"""A request, its messages as they were then, and whether an assistant turn may stand last."""


def audit(
    workflow: Workflow, run: Run, records: Sequence[Record], requests: Sequence[Sent]
) -> None:
    """Insist on a sound chain, valid requests, an equal fold and the same replay.

    Args:
        workflow: what ran.
        run: the live run, everything saved.
        records: its journal.
        requests: what was sent to its model, in order.
    """
    data = Journal(workflow.definition.data, records).dumps()
    journal = Journal.loads(data).verify()
    assert journal.dumps() == data
    _valid_requests(records, requests)
    live = lockstep(workflow, run.standing.run, journal.records)
    same(live, run.standing)
    assert decide(live) is None
    replayed = journal.replay()
    assert replayed.same, str(replayed.difference)
    assert replayed.records == len(records)
    _each_call_ends_once(run, records)
    _no_request_after_a_limit(records)


def _each_call_ends_once(run: Run, records: Sequence[Record]) -> None:
    ended: dict[int, int] = {}
    attempts: set[tuple[int, int]] = set()
    for record in records:
        body = record.body
        number = body.get("no")
        if record.kind == "call_intended":
            assert (number, body["attempt"]) not in attempts
            attempts.add((number, body["attempt"]))
            assert body["effect"] != "manual" or body["attempt"] == 1
            assert number not in ended
        closes = (
            record.kind == "call_refused"
            or (record.kind == "call_returned" and not body.get("again"))
            or (record.kind == "call_resolved" and body["then"] == "closed")
            or (record.kind == "approval_decided" and number and not body["granted"])
        )
        if closes:
            ended[number] = ended.get(number, 0) + 1
    assert set(ended.values()) <= {1}
    if run.standing.ended is not None:
        assert {number for number, _ in attempts} <= set(ended)


def _no_request_after_a_limit(records: Sequence[Record]) -> None:
    raised = False
    for record in records:
        body = record.body
        if record.kind in ("approval_decided", "timer_fired") or (
            record.kind == "call_resolved" and body["by"] == "person"
        ):
            raised = False
        if record.kind == "stepped":
            raised = body["event"] != "user.message" and (
                raised or body["event"].startswith("limit.")
            )
        assert not (raised and record.kind == "model_asked")


def _valid_requests(records: Sequence[Record], requests: Sequence[Sent]) -> None:
    asked = [record.body for record in records if record.kind == "model_asked"]
    last: dict[str, tuple[int, list[Any], Any]] = {}
    for body, (request, messages, paused) in zip(asked, requests, strict=False):
        wrong = faults(messages, paused=paused)
        assert not wrong, (wrong, messages)
        epoch, before, head = last.get(body["agent"], (0, [], None))
        if epoch == body["epoch"]:
            assert messages[: len(before)] == before
        assert head in (None, (request.system, request.tools))
        last[body["agent"]] = (body["epoch"], messages, (request.system, request.tools))


def resealed(
    records: Sequence[Record], index: int, body: dict[str, Any], kind: str | None = None
) -> list[Record]:
    """Return the records with one body changed and the chain made good again behind it."""
    out, head = [], Head()
    for number, record in enumerate(records):
        draft = Draft(record.kind, record.body)
        if number == index:
            draft = Draft(kind or record.kind, body)
        out += seal(
            [draft],
            run=record.run,
            definition=record.definition,
            fence=record.fence,
            head=head,
            at=record.at,
            entropy=SeededEntropy(number),
        )
        head = Head(out[-1].seq, out[-1].hash)
    return out


def lockstep(workflow: Workflow, run: str, records: tuple[Record, ...]) -> Standing:
    """Fold records twice, as a reader and as a live run does; both must agree at every prefix.

    A reader rebuilds each snapshot from what was recorded; a live run keeps the one it decided.
    """
    reader, live = Standing(workflow, run), Standing(workflow, run)
    for record in records:
        decided = decide(live)
        verify(record, live.head.hash)
        take(reader, record)
        take(live, record, None if decided is None else decided.after)
        same(reader, live)
    return live


def same(one: Standing, other: Standing) -> None:
    """Insist that two standings are equal, part by part."""
    for field in attrs.fields(Standing):
        if field.name.startswith("_"):
            continue  # remembered for speed; follows from the rest
        mine, theirs = getattr(one, field.name), getattr(other, field.name)
        assert mine == theirs, f"seq {one.seq}, {field.name}: {mine!r} != {theirs!r}"
