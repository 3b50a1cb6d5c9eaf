"""Where a run stands, as the fold of its records keeps it.

Rules.  1. Only `journal.fold` changes it, one record at a time; everybody else reads.
2. Nothing in it is a decision; what the run does next follows in `journal.decide`.
Not here: how records change it (`fold`), what the kernel knows (`kernel.snapshot`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal, TypeAlias

import attrs

from statemachine_agents.journal.records import Head, damaged
from statemachine_agents.journal.transcript import Transcript
from statemachine_agents.kernel.snapshot import Snapshot
from statemachine_agents.kernel.step import Event
from statemachine_agents.kernel.workflow import Workflow
from statemachine_agents.values import JSON

CallStatus: TypeAlias = Literal["approval", "approved", "open", "retry", "doubted", "unknown"]


@attrs.define(slots=True)
class OpenCall:
    """A call that has not ended.

    `status`: `approval` waits for a person, `approved` may be intended, `open` was intended and its
    result is awaited, `retry` returned an error that is tried again, `doubted` has no known
    outcome, `unknown` waits for a person to say what happened. `told` is set once the model has
    read that the outcome is unknown, so that no second result is fed for the same id.
    """

    no: int
    tool: str
    id: str
    arguments: Mapping[str, JSON]
    visit: int
    status: CallStatus
    effect: str = "manual"
    attempt: int = 0
    key: str = ""
    key_until: int | None = None
    deadline: int = 0
    not_before: int = 0
    intended_at: int = 0
    digest: str = ""
    nonce: str = ""
    question: str = ""
    expires: int | None = None
    checks: int = 0
    in_doubt_once: bool = False
    told: bool = False
    undoes: int | None = None


@attrs.frozen
class Done:
    """A completed call that can be undone."""

    no: int
    tool: str
    arguments: Mapping[str, JSON]
    value: JSON


@attrs.define(slots=True)
class Child:
    """A child run: what it runs, its input, and whether it has ended."""

    run: str
    workflow: str
    input: Mapping[str, JSON]
    visit: int
    index: int
    ended: bool = False


@attrs.define(slots=True)
class Arrival:
    """A fact that waits to be stepped: event name, its scope, and where it came from."""

    name: str
    scope: Mapping[str, JSON] = attrs.field(factory=dict)
    fact: JSON = None
    call: int | None = None
    visit: int | None = None
    resolved: bool = False


@attrs.define(slots=True)
class Batch:
    """The calls of one reply: in order, what is still to be judged, and results held back."""

    agent: str
    order: tuple[int, ...]
    proposals: deque[dict[str, Any]]
    execute: bool
    effect_admitted: bool = False
    held: dict[int, Arrival] = attrs.field(factory=dict)


@attrs.define(slots=True, eq=False)
class Standing:
    """Where a run stands, folded from its records.

    Args:
        workflow: bound or built from the run's definition.
        run: its id.
        root: the run at the top of a tree of child runs.
        head: seq and hash of the last durable record; `seq` counts the ones not saved yet too.
        at: the latest recorded time, UTC microseconds.
        context: as the run was started with.
        calls: calls that have not ended, by number.
        arrivals: facts that wait to be stepped.
        batch: the calls of the last reply.
        asked: seq of the request whose reply is awaited; by which agent, in which state and visit.
        results: tool results no transcript has told yet, by call number.
        belated: results of calls that the model was told are unknown.
        inbox: messages not taken yet; `heard` those that were, `said` our own greetings.
        nudge: the sentence the next note opens with; `complaint` is the data it speaks of.
        again: the model paused and is asked again as it stands.
        windows: how often a context window was overrun.
        stalled: the model could not be asked; nothing until a resume.
        listening: the model has spoken; nothing until the customer does.
        raised: limits that became events in this stretch.
        begun: engine's own calls begun in this visit; `answered` a person's answers in it.
        replies: queued and not delivered yet; `speech` waits to be queued.
        news: whether anything was new since the last request; `seen` what is not, in this visit.
        children: child runs by id; `ahead` results of an `each` that wait for those before them.
        completed: calls that can be undone; `undone` those that were, `undo_tried` in this visit.
        fresh: agents whose next request opens a new epoch.
    """

    workflow: Workflow
    run: str
    root: str = attrs.field(init=False, default=attrs.Factory(lambda self: self.run, True))
    head: Head = attrs.field(init=False, factory=Head)
    seq: int = attrs.field(init=False, default=0)
    at: int = attrs.field(init=False, default=0)
    context: dict[str, JSON] = attrs.field(init=False, factory=dict)
    request_id: str | None = attrs.field(init=False, default=None)
    snapshot: Snapshot | None = attrs.field(init=False, default=None)
    path: list[str] = attrs.field(init=False, factory=list)
    calls: dict[int, OpenCall] = attrs.field(init=False, factory=dict)
    next_call: int = attrs.field(init=False, default=1)
    arrivals: deque[Arrival] = attrs.field(init=False, factory=deque)
    batch: Batch | None = attrs.field(init=False, default=None)
    asked: int | None = attrs.field(init=False, default=None)
    asked_agent: str = attrs.field(init=False, default="")
    asked_state: str = attrs.field(init=False, default="")
    asked_visit: int = attrs.field(init=False, default=0)
    transcripts: dict[str, Transcript] = attrs.field(init=False, factory=dict)
    results: dict[int, dict[str, JSON]] = attrs.field(init=False, factory=dict)
    belated: list[dict[str, JSON]] = attrs.field(init=False, factory=list)
    inbox: deque[dict[str, JSON]] = attrs.field(init=False, factory=deque)
    heard: list[str] = attrs.field(init=False, factory=list)
    said: list[str] = attrs.field(init=False, factory=list)
    nudge: str = attrs.field(init=False, default="")
    complaint: str = attrs.field(init=False, default="")
    again: bool = attrs.field(init=False, default=False)
    windows: int = attrs.field(init=False, default=0)
    stalled: str = attrs.field(init=False, default="")
    listening: bool = attrs.field(init=False, default=False)
    cancel: dict[str, JSON] | None = attrs.field(init=False, default=None)
    parked: dict[str, JSON] | None = attrs.field(init=False, default=None)
    question: dict[str, JSON] | None = attrs.field(init=False, default=None)
    answered: int = attrs.field(init=False, default=0)
    timer: dict[str, JSON] | None = attrs.field(init=False, default=None)
    timer_visit: int = attrs.field(init=False, default=0)
    raised: set[str] = attrs.field(init=False, factory=set)
    last_limit: str = attrs.field(init=False, default="")
    entered_visit: int = attrs.field(init=False, default=0)
    said_visit: int = attrs.field(init=False, default=0)
    begun: int = attrs.field(init=False, default=0)
    settled_visit: int = attrs.field(init=False, default=0)
    replies: dict[str, dict[str, JSON]] = attrs.field(init=False, factory=dict)
    speech: str = attrs.field(init=False, default="")
    news: bool = attrs.field(init=False, default=True)
    seen: set[bytes] = attrs.field(init=False, factory=set)
    completed: list[Done] = attrs.field(init=False, factory=list)
    undone: set[int] = attrs.field(init=False, factory=set)
    undo_tried: set[int] = attrs.field(init=False, factory=set)
    undo_failed: list[str] = attrs.field(init=False, factory=list)
    undo_visit: int = attrs.field(init=False, default=0)
    children: dict[str, Child] = attrs.field(init=False, factory=dict)
    child_count: int = attrs.field(init=False, default=0)
    ahead: dict[int, Arrival] = attrs.field(init=False, factory=dict)
    usage: dict[str, int] = attrs.field(init=False, factory=dict)
    reason: str = attrs.field(init=False, default="")
    ended: dict[str, JSON] | None = attrs.field(init=False, default=None)
    quarantined: str = attrs.field(init=False, default="")
    last_event: str = attrs.field(init=False, default="")
    fresh: set[str] = attrs.field(init=False, factory=set)
    _second: int = attrs.field(init=False, default=-1)
    _now: str = attrs.field(init=False, default="")

    @property
    def now(self) -> str:
        """The recorded time of the last record, as guards see it."""
        second = self.at // 1_000_000
        if second != self._second:
            self._second, self._now = second, time_text(self.at)
        return self._now

    @property
    def doubts(self) -> list[OpenCall]:
        """Calls whose outcome nobody knows."""
        return [call for call in self.calls.values() if call.status in ("doubted", "unknown")]

    def transcript(self, agent: str) -> Transcript:
        """Return an agent's transcript, made on first use."""
        found = self.transcripts.get(agent)
        if found is None:
            found = self.transcripts[agent] = Transcript(agent)
        return found

    def event_of(self, arrival: Arrival) -> Event:
        """Return the kernel event of a waiting fact."""
        return Event(
            arrival.name,
            self.now if self.workflow.reads_time else "",
            arrival.scope,
            arrival.fact,
            arrival.visit,
            arrival.resolved,
            arrival.call,
        )

    def public(self) -> dict[str, JSON]:
        """Return the context without what may never reach a prompt."""
        keys = self.workflow.table.context
        context = self.snap().context
        return {
            name: value
            for name, value in context.items()
            if name not in keys or not keys[name].private
        }

    def snap(self) -> Snapshot:
        """Return the snapshot of a run that has begun."""
        if self.snapshot is None:
            raise damaged(self.run, self.seq, "a record before the run was begun")
        return self.snapshot

    def call(self, number: int) -> OpenCall:
        """Return an open call."""
        found = self.calls.get(number)
        if found is None:
            raise damaged(self.run, self.seq, f"call {number} is not open")
        return found


def stretch_begun(workflow: Workflow, snapshot: Snapshot) -> Snapshot:
    """Return the snapshot at the start of a new stretch: the world has spoken."""
    counters = attrs.evolve(snapshot.counters, iterations=0, calls=0, refusals=0, nudges=0, idle=0)
    context = snapshot.context
    for name in workflow.stretch_keys:
        default = workflow.table.context[name].default
        if context.get(name) != default:
            context = {**context, name: default}
    return attrs.evolve(snapshot, counters=counters, recent={snapshot.state: 1}, context=context)


def time_text(at: int) -> str:
    """Return UTC microseconds as `2026-11-20T19:48:00Z`, the form `now` and `ago` use."""
    return datetime.fromtimestamp(at // 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
