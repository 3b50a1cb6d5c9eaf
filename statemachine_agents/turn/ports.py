"""The ports of the shell: what a run needs from the world, as Protocols, and the values they carry.

Rules.  1. Everything here is data or a Protocol; nothing waits.  2. A store is the only truth, an
engine is only a doorbell.  3. Every write on a run repeats the fence of its lease.
Not here: implementations (`models`, `stores`, `engines`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, Protocol, TypeAlias, runtime_checkable

import attrs

from statemachine_agents.journal.records import Entropy, Record
from statemachine_agents.values import JSON

__all__ = [
    "Clock",
    "Delivery",
    "Engine",
    "Entropy",
    "HeadRow",
    "Layout",
    "Lease",
    "Model",
    "ModelReply",
    "ModelRequest",
    "Outbox",
    "Phase",
    "RunRow",
    "Signal",
    "Store",
    "Write",
]

Phase: TypeAlias = Literal["ready", "running", "waiting", "blocked", "ended"]
"""The queue's view of a run. `ready`: nobody holds it and it can go on; `waiting`: parked until a
signal or `wake_at`; `blocked`: quarantined, or a tool is missing; `ended`: terminal."""


# ---------------------------------------------------------------------------------------- the model


@attrs.frozen
class Layout:
    """How a model wants its prompt laid out.

    Args:
        model: the model's id, as journaled.
        note_role: where the state note goes: `system` (a mid-conversation system message after the
            tool results) or `user` (a sealed text block at the end of the user message).
        context_tokens: size of the context window, 0 when unknown.
    """

    model: str
    note_role: Literal["system", "user"] = "system"
    context_tokens: int = 0


@attrs.frozen(kw_only=True)
class ModelRequest:
    """One request, in Messages API shape. The lists are shared: a model must not change them.

    Args:
        run: run id, for correlation only.
        agent: name of the agent that speaks.
        model: id the agent asks for, or None for the driver's.
        system: text blocks; the same objects for every request of an agent.
        tools: `{"name", "description", "input_schema"}` by name; the same for every request.
        messages: the transcript; request n is a prefix of request n+1 within an epoch.
        max_tokens: cap of the reply.
        effort: `low medium high` or None.
        offered: names that are legal in the current state: a hint for models that need no prompt.
        facts: the context keys the state shows, as values: for models that need no prompt.
        turn: iteration number within the stretch, from 1.
    """

    run: str
    agent: str
    model: str | None
    system: Sequence[Mapping[str, JSON]]
    tools: Sequence[Mapping[str, JSON]]
    messages: Sequence[Mapping[str, JSON]]
    max_tokens: int = 4096
    effort: str | None = None
    offered: tuple[str, ...] = ()
    facts: Mapping[str, JSON] = attrs.field(factory=dict)
    turn: int = 1


@attrs.frozen(kw_only=True)
class ModelReply:
    """One reply, in Messages API shape.

    Args:
        content: blocks as received (`text thinking redacted_thinking tool_use`, unknown ones).
        stop_reason: as received; None when the stream ended without one.
        usage: `input_tokens output_tokens cache_creation_input_tokens cache_read_input_tokens`.
        model: id that answered.
        id: message id, may be empty.
        unreadable: tool_use id -> raw text of arguments that are not a JSON object; the block
            itself then has `input` {}.
        cut: the stream ended before the message was complete.
        detail: what a refusal or an error says, may be empty.
    """

    content: Sequence[Mapping[str, JSON]]
    stop_reason: str | None
    usage: Mapping[str, int] = attrs.field(factory=dict)
    model: str = ""
    id: str = ""
    unreadable: Mapping[str, str] = attrs.field(factory=dict)
    cut: bool = False
    detail: str = ""


@runtime_checkable
class Model(Protocol):
    """Whoever proposes. Raises `ModelError` when it cannot be asked."""

    def layout(self, model: str | None) -> Layout:
        """Return the layout for a model id; None means this model's default id."""

    async def complete(
        self, request: ModelRequest, *, on_text: Callable[[str], None] | None = None
    ) -> ModelReply:
        """Ask once. `on_text` gets pieces of text as they arrive, where the model streams."""

    async def aclose(self) -> None:
        """Let go of connections."""


# ----------------------------------------------------------------------------------- time and noise


class Clock(Protocol):
    """Time comes in here. Order in a journal is `seq`, never this."""

    def now(self) -> int:
        """Return UTC microseconds."""

    def monotonic(self) -> float:
        """Return seconds of a clock that never goes back."""

    async def sleep(self, seconds: float) -> None:
        """Wait."""


# ---------------------------------------------------------------------------------------- the store


@attrs.frozen
class Lease:
    """The right to write one run, until somebody takes a higher fence."""

    run: str
    fence: int
    owner: str
    attempts: int
    """Claims at this head without an append since, this one included; over 3 means poison."""


@attrs.frozen
class Signal:
    """Something from outside that waits in the inbox until the run takes it.

    `name` is one of `message approval resolution cancel resume timer child`; `id` makes it unique
    per run, so that sending twice is taken once.
    """

    run: str
    id: str
    name: str
    body: JSON
    at: int


@attrs.frozen(kw_only=True)
class HeadRow:
    """The columns of the run row that follow from its journal; written with every append."""

    state: str
    status: str
    phase: Phase
    wake_at: int | None = None
    reason: str = ""


@attrs.frozen(kw_only=True)
class RunRow:
    """One run as a list shows it.

    `owner` holds the lease until `lease_until` (UTC microseconds of the store's clock; None: the
    run is free). A lease that has lapsed still names its owner.
    """

    run: str
    workflow: str
    definition: str
    state: str
    status: str
    phase: Phase
    reason: str
    seq: int
    fence: int
    owner: str
    lease_until: int | None
    attempts: int
    wake_at: int | None
    request_id: str | None
    parent: str | None
    forked_at: int | None
    created_at: int
    updated_at: int


@attrs.frozen(kw_only=True)
class Delivery:
    """Something to hand out exactly as queued, at least once, under a stable id.

    `kind` is `reply`; `target` names the channel or conversation; `body` is what to deliver.
    """

    run: str
    seq: int
    n: int
    kind: str
    target: str
    body: JSON


@attrs.frozen(kw_only=True)
class Write:
    """One atomic write on a run: records, the head that follows, and what they settle.

    Args:
        records: continue the journal without a gap; may be empty.
        head: the new run-row columns.
        taken: ids of inbox signals that these records journal.
        outbox: deliveries these records queue.
        delivered: (seq, n) of deliveries these records report as sent.
        blobs: bodies too large for a record, which these records name by hash.
        leave: give the lease back with this write, unless signals wait: the last write of a run
            needs no `release` after it.
    """

    records: Sequence[Record]
    head: HeadRow
    taken: tuple[str, ...] = ()
    outbox: tuple[Delivery, ...] = ()
    delivered: tuple[tuple[int, int], ...] = ()
    blobs: tuple[bytes, ...] = ()
    leave: bool = False


class Store(Protocol):
    """The journal's home. Memory and SQLite pass one contract suite."""

    async def define(self, digest: str, data: bytes) -> None:
        """Keep a definition under its hash; keeping it twice is fine."""

    async def definition(self, digest: str) -> bytes:
        """Return a definition's bytes. Raises StoreError when unknown."""

    async def create(
        self,
        write: Write,
        *,
        workflow: str,
        request_id: str | None = None,
        parent: str | None = None,
        definition: bytes | None = None,
        owner: str | None = None,
        ttl: float = 0.0,
    ) -> tuple[str, bool]:
        """Create a run from its first records (fence 0).

        With `definition`, the definition these records name is kept with them, as by `define`.
        With `owner`, a run that is new is claimed at once, as `claim(run, owner, ttl)` would: its
        lease is `Lease(run, 1, owner, 1)`. One that was there already is left as it is.

        Returns:
            The run id, and whether it is new: a known `request_id` gives the earlier run.
        """

    async def claim(
        self, run: str, owner: str, ttl: float, *, over: int | None = None
    ) -> Lease | None:
        """Take the lease for `ttl` seconds of the store's clock, fence + 1; None when it is held.

        A lease that still stands is taken too if its fence is `over`: the caller knows that its
        owner is dead. Raises UnknownRun. An ended run can be claimed (replies may still have to go
        out).
        """

    async def renew(self, leases: Iterable[Lease], ttl: float) -> tuple[Lease, ...]:
        """Extend the leases that are still ours; return those."""

    async def release(self, lease: Lease, *, counted: bool = True) -> None:
        """Give the lease back: `running` becomes `ready`; other phases stay.

        Unless `counted`, this claim is taken off `attempts`: it ended in order.
        """

    async def append(self, lease: Lease, write: Write) -> bool:
        """Write atomically if the fence is current.

        Appending records that are already there (same `rid`s) succeeds and changes nothing.

        Returns:
            Whether signals wait in the inbox that are not taken. With `write.leave`, False says
            that the lease is given back; when True the lease stays.

        Raises:
            Fenced: somebody else holds the run, or another record stands at that seq.
        """

    async def transact(self, lease: Lease, work: Callable[[Any], Write]) -> Write:
        """Run `work(connection)` and append the write it returns in the same transaction.

        For tools of class `transactional`. Whatever `work` raises rolls everything back and is
        raised here. The memory store passes a plain dict that it keeps (and rolls back) itself.
        """

    async def park(self, lease: Lease, wake_at: int | None) -> bool:
        """Give the run up until a signal or `wake_at`; False when the inbox is not empty.

        Looking and parking are one transaction, so no wake-up is lost. When False the lease stays.
        A run that was parked has come to rest, so its `attempts` begin anew.
        """

    async def signal(self, run: str, signal_id: str, name: str, body: JSON, at: int) -> bool:
        """Put a signal into the inbox, durably; False when that id is already known."""

    async def inbox(self, run: str) -> list[Signal]:
        """Return the signals not taken yet, oldest first."""

    async def due(self, limit: int = 100) -> list[str]:
        """Return runs that somebody should advance now.

        These are: `ready`, `running` with a lapsed lease, `waiting` with `wake_at` passed or with a
        signal not taken, and any run with a delivery not done. Never `blocked`.
        """

    async def read(self, run: str, after: int = 0, upto: int | None = None) -> list[Record]:
        """Return records with `after < seq <= upto`, a fork's prefix from its parent included."""

    async def row(self, run: str) -> RunRow:
        """Return one run row. Raises UnknownRun."""

    async def runs(
        self, *, workflow: str | None = None, status: str | None = None, limit: int = 100
    ) -> list[RunRow]:
        """Return run rows, newest first."""

    async def fork(
        self, parent: str, seq: int, write: Write, *, request_id: str | None = None
    ) -> str:
        """Create a run whose journal is the parent's records up to `seq`, then `write.records`."""

    async def outbox(self, run: str) -> list[Delivery]:
        """Return deliveries not done yet, oldest first."""

    async def keep_blob(self, data: bytes) -> str:
        """Keep a large value by its SHA-256; return the hash."""

    async def blob(self, digest: str) -> bytes:
        """Return a blob. Raises StoreError when unknown."""

    async def aclose(self) -> None:
        """Finish what was accepted and let go of files."""


class Outbox(Protocol):
    """Whoever hands replies to customers."""

    async def deliver(self, delivery: Delivery) -> None:
        """Hand over one delivery; raising means: try again later."""


class Engine(Protocol):
    """A doorbell: carries a run id to somebody who calls `advance`; may lose or double it."""

    shares_transaction: bool
    keeps_timers: bool
    redelivers: bool

    async def ring(self, run: str, at: int | None = None) -> None:
        """Say that a run should be advanced, now or at `at` (UTC microseconds)."""

    async def serve(self, advance: Callable[[str], Any], *, concurrency: int = 100) -> None:
        """Call `advance(run)` for every ring until cancelled."""
