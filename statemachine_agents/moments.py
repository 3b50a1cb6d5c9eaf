"""Moments: what observers and streams are told, after it was committed.

Rules.  1. Frozen values, made from records that are already durable.  2. They tell, they do not
decide: an observer's exception is logged and breaks nothing.  3. `index` and `total` say where a
state stands in a table that is linear, else they are 0.
Not here: the journal, which is the truth; a moment is a convenience.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import attrs

from statemachine_agents.journal.outcome import Outcome
from statemachine_agents.journal.records import Record
from statemachine_agents.journal.replies import calls_of, text_of
from statemachine_agents.kernel.workflow import Workflow
from statemachine_agents.values import JSON


@attrs.frozen(kw_only=True)
class StateEntered:
    """The run is in a state now; `turn` of `limit` model requests are used in this stretch."""

    run_id: str
    seq: int
    state: str
    index: int = 0
    total: int = 0
    turn: int = 0
    limit: int = 0


@attrs.frozen(kw_only=True)
class StateLeft:
    """A state was left by a row; `seconds` since it was entered, by recorded time.

    `row` counts from 0; `label` is its name or `row N` counted from 1, `guard` its text. `verdicts`
    are what the guards asked on the way said: (row from 0, true, false or null, why it is null).
    """

    run_id: str
    seq: int
    state: str
    event: str
    row: int | None
    target: str
    seconds: float
    attempt: int
    label: str = ""
    guard: str = ""
    verdicts: tuple[tuple[int, bool | None, str], ...] = ()


@attrs.frozen(kw_only=True)
class AgentReplied:
    """The model answered; `detail` says why when it could not."""

    run_id: str
    seq: int
    state: str
    turn: int
    limit: int
    text: str
    calls: tuple[str, ...]
    stop_reason: str | None
    detail: str = ""


@attrs.frozen(kw_only=True)
class CallStarted:
    """A call's intent is durable; it is being made."""

    run_id: str
    seq: int
    call: int
    tool: str
    attempt: int


@attrs.frozen(kw_only=True)
class CallFinished:
    """A call has ended: `ok`, `error`, `refused`, or `doubted`."""

    run_id: str
    seq: int
    call: int
    tool: str
    outcome: str
    text: str = ""


@attrs.frozen(kw_only=True)
class ReplyQueued:
    """A text for the customer is on its way."""

    run_id: str
    seq: int
    reply_id: str
    text: str


@attrs.frozen(kw_only=True)
class RunParked:
    """The run waits for somebody."""

    run_id: str
    seq: int
    reason: str
    waiting: tuple[str, ...]


@attrs.frozen(kw_only=True)
class RunEnded:
    """The run has ended."""

    run_id: str
    seq: int
    outcome: Outcome


Moment: TypeAlias = (
    StateEntered
    | StateLeft
    | AgentReplied
    | CallStarted
    | CallFinished
    | ReplyQueued
    | RunParked
    | RunEnded
)
Observer: TypeAlias = Callable[[Moment], Any]


@attrs.define(slots=True)
class Streams:
    """Who listens to which run; None in a queue says that the run has come to rest."""

    queues: dict[str, list[asyncio.Queue[Moment | None]]] = attrs.field(factory=dict)

    def open(self, run_id: str) -> asyncio.Queue[Moment | None]:
        """Return a queue that gets the run's moments from now on."""
        queue: asyncio.Queue[Moment | None] = asyncio.Queue()
        self.queues.setdefault(run_id, []).append(queue)
        return queue

    def close(self, run_id: str, queue: asyncio.Queue[Moment | None]) -> None:
        """Forget a queue of `open`."""
        self.queues[run_id].remove(queue)
        if not self.queues[run_id]:
            del self.queues[run_id]

    def put(self, run_id: str, moment: Moment | None) -> None:
        """Hand a moment to whoever listens to the run."""
        for queue in self.queues.get(run_id, ()):
            queue.put_nowait(moment)

    def end(self, run_id: str) -> None:
        """Say that nobody advances the run any more."""
        self.put(run_id, None)


def linear_order(workflow: Workflow) -> dict[str, int]:
    """Return state -> index from 1 when the successful path is a line, else an empty dict."""
    order: list[str] = []
    state = workflow.table.initial
    while state not in order:
        order.append(state)
        targets = {
            str(row.transition.target)
            for row in workflow.grid.moves_from(state)
            if not row.stays
            and workflow.table.states[str(row.transition.target)].final != "failure"
        } - {state}
        if len(targets) != 1:
            break
        state = targets.pop()
    final = workflow.table.states[order[-1]].final == "success"
    return {name: index for index, name in enumerate(order, 1)} if final else {}


@attrs.define(slots=True)
class Telling:
    """Turns durable records into moments, remembering what one record alone does not say."""

    workflow: Workflow
    order: dict[str, int] = attrs.field(factory=dict)
    entered_at: int = 0
    tools: dict[int, str] = attrs.field(factory=dict)
    visits: dict[str, int] = attrs.field(factory=dict)
    turn: int = 0
    state: str = ""

    def of(self, records: Sequence[Record], outcome: Callable[[], Outcome]) -> Iterator[Moment]:
        """Yield the moments of newly committed records, in order."""
        for record in records:
            yield from self._one(record, outcome)

    def catch_up(self, records: Sequence[Record]) -> None:
        """Take in records nobody is told of (again), so that what follows is told rightly."""
        for record in records:
            match record.kind:
                case "model_asked":
                    self.turn = record.body["turn"]
                case "call_intended":
                    self.tools[record.body["no"]] = record.body["tool"]
                case "stepped" if _moved(record.body):
                    self._enter(record)

    def _enter(self, record: Record) -> None:
        self.entered_at = record.at
        self.state = record.body["to"]
        self.visits[self.state] = self.visits.get(self.state, 0) + 1

    def _one(self, record: Record, outcome: Callable[[], Outcome]) -> Iterator[Moment]:
        run, seq, body = record.run, record.seq, record.body
        limit = self.workflow.table.limits.iterations
        match record.kind:
            case "model_asked":
                self.turn = body["turn"]
            case "model_replied":
                yield AgentReplied(
                    run_id=run,
                    seq=seq,
                    state=self.state,
                    turn=self.turn,
                    limit=limit,
                    text=text_of(body["content"]),
                    calls=tuple(str(call["name"]) for call in calls_of(body)),
                    stop_reason=body.get("stop"),
                    detail=str(body.get("detail", "")),
                )
            case "call_intended":
                self.tools[body["no"]] = body["tool"]
                yield CallStarted(
                    run_id=run, seq=seq, call=body["no"], tool=body["tool"], attempt=body["attempt"]
                )
            case "call_refused":
                yield self._finished(record, body["tool"], "refused", str(body["text"]))
            case "call_returned":
                name = self.tools.get(body["no"], "")
                text = "" if body["ok"] else str(body["error"]["text"])
                yield self._finished(record, name, "ok" if body["ok"] else "error", text)
            case "call_doubted":
                name = self.tools.get(body["no"], "")
                yield self._finished(record, name, "doubted", str(body["why"]))
            case "call_resolved" if body["verdict"] == "done":
                yield self._finished(record, self.tools.get(body["no"], ""), "ok", "")
            case "call_resolved" if body["then"] == "closed":
                text = str(body.get("text", "it was not done"))
                yield self._finished(record, self.tools.get(body["no"], ""), "error", text)
            case "reply_queued":
                yield ReplyQueued(run_id=run, seq=seq, reply_id=body["id"], text=body["text"])
            case "stepped":
                yield from self._stepped(record)
            case "run_parked":
                yield RunParked(
                    run_id=run, seq=seq, reason=body["reason"], waiting=tuple(body["waiting"])
                )
            case "run_ended":
                yield RunEnded(run_id=run, seq=seq, outcome=outcome())

    def _finished(self, record: Record, tool: str, outcome: str, text: str) -> CallFinished:
        return CallFinished(
            run_id=record.run,
            seq=record.seq,
            call=record.body["no"],
            tool=tool,
            outcome=outcome,
            text=text,
        )

    def _stepped(self, record: Record) -> Iterator[Moment]:
        body = record.body
        if not _moved(body):
            return
        if body["from"]:
            row = body.get("row")
            taken = None if row is None else self.workflow.grid.rows[row]
            yield StateLeft(
                run_id=record.run,
                seq=record.seq,
                state=body["from"],
                event=body["event"],
                row=row,
                target=body["to"],
                seconds=(record.at - self.entered_at) / 1_000_000,
                attempt=self.visits.get(body["from"], 1),
                label="" if taken is None else taken.label,
                guard="" if taken is None else taken.transition.guard or "",
                verdicts=tuple(
                    (each[0], each[1], str(each[2]) if len(each) > 2 else "")
                    for each in body.get("verdicts", ())
                ),
            )
        self._enter(record)
        if not self.order:
            self.order = linear_order(self.workflow) or {"": 0}
        yield StateEntered(
            run_id=record.run,
            seq=record.seq,
            state=self.state,
            index=self.order.get(self.state, 0),
            total=len(self.order) if self.state in self.order else 0,
            turn=self.turn,
            limit=self.workflow.table.limits.iterations,
        )


def _moved(body: Mapping[str, JSON]) -> bool:
    """Tell whether a step left one state and entered another, or the same one again."""
    return body["outcome"] == "moved" or ("row" in body and body["outcome"] == "ended")
