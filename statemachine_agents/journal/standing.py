"""Where a run stands, as the fold of its records keeps it.

Rules.  1. Only `journal.fold` changes it, one record at a time; everybody else reads.  2. Nothing in
it is a decision; what the run does next follows in `journal.decide`.
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
    outcome, `unknown` waits for a person to say what happened.
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
    checks: int = 0
    in_doubt_once: bool = False
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
    cause: int = 0


@attrs.define(slots=True)
class Batch:
    """The calls of one reply: in order, what is still to be judged, and results held back."""

    agent: str
    order: tuple[int, ...]
    proposals: deque[dict[str, Any]]
    execute: bool
    effect_admitted: bool = False
    held: dict[int, Arrival] = attrs.field(factory=dict)
    closed: set[int] = attrs.field(factory=set)


class Standing:
    """Where a run stands, folded from its records.

    Args:
        workflow: bound or built from the run's definition.
        run: its id.
    """

    def __init__(self, workflow: Workflow, run: str) -> None:
        self.workflow = workflow
        self.run = run
        self.root = run
        self.head = Head()
        self.seq = 0
        self.at = 0
        self.context: dict[str, JSON] = {}
        self.request_id: str | None = None
        self.snapshot: Snapshot | None = None
        self.path: list[str] = []
        self.calls: dict[int, OpenCall] = {}
        self.next_call = 1
        self.arrivals: deque[Arrival] = deque()
        self.batch: Batch | None = None
        self.asked: int | None = None
        self.asked_agent = ""
        self.asked_state = ""
        self.transcripts: dict[str, Transcript] = {}
        self.results: dict[int, dict[str, JSON]] = {}
        self.inbox: deque[dict[str, JSON]] = deque()
        self.heard: list[str] = []
        self.said: list[str] = []
        self.nudge = ""
        self.again = False
        self.window_overrun = False
        self.windows_opened = 0
        self.stalled = ""
        self.listening = False
        self.cancel: dict[str, JSON] | None = None
        self.parked: dict[str, JSON] | None = None
        self.question: dict[str, JSON] | None = None
        self.answered_visit = 0
        self.timer: dict[str, JSON] | None = None
        self.timer_visit = 0
        self.raised: set[str] = set()
        self.last_limit = ""
        self.entered_visit = 0
        self.said_visit = 0
        self.begun = 0
        self.settled_visit = 0
        self.replies: dict[str, dict[str, JSON]] = {}
        self.speech = ""
        self.news = True
        self.seen: set[bytes] = set()
        self.completed: list[Done] = []
        self.children: dict[str, Child] = {}
        self.child_count = 0
        self.undone: set[int] = set()
        self.undo_failed = ""
        self.usage: dict[str, int] = {}
        self.reason = ""
        self.ended: dict[str, JSON] | None = None
        self.quarantined = ""
        self.last_event = ""
        self.fresh: set[str] = set()

    @property
    def now(self) -> str:
        """The recorded time of the last record, as guards see it."""
        return time_text(self.at)

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
