"""Advance one run: append, act, receive, until it ends or must wait.

Rules.  1. Nothing happens in the world before its intent is durable.  2. Everything written repeats
the fence of the lease; whoever lost it stops.  3. A cancelled task re-raises, but a write that was
begun is finished, and an effect under way gets a bounded grace.
Not here: whose turn it is (`dispatch`), what comes next (`turn.run`), carrying it out (`act`).
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, Final

import attrs
from loguru import logger

from statemachine_agents.act import Acting, Shell, fact_of, guarded
from statemachine_agents.errors import StoreError
from statemachine_agents.journal.outcome import Outcome
from statemachine_agents.journal.records import Record
from statemachine_agents.journal.standing import Standing
from statemachine_agents.moments import Moment, Observer, Telling
from statemachine_agents.tools.toolbox import Result, Returned
from statemachine_agents.turn import effects as fx
from statemachine_agents.turn.ports import Delivery, HeadRow, Lease, Phase, Signal, Write
from statemachine_agents.turn.run import Run

_REST: Final = (fx.Wait, fx.End)  # `Wait | End` would be made anew for every effect

UNWIND: Final = 1.0
"""Seconds an effect gets to end once it was cancelled, after its grace."""


@attrs.frozen
class Done:
    """The run has ended; `undelivered` says that replies still have to go out."""

    outcome: Outcome
    undelivered: bool = False


@attrs.frozen
class Waiting:
    """The run is parked; `until` (UTC microseconds) is its next timer, `children` must run."""

    outcome: Outcome
    until: int | None = None
    children: tuple[fx.StartChild, ...] = ()
    undelivered: bool = False


@attrs.frozen
class Busy:
    """`owner` holds the run, at least until `until` (UTC microseconds, None when not known)."""

    run_id: str
    owner: str = ""
    until: int | None = None


@attrs.frozen
class Lost:
    """Somebody else took the run over while we worked on it; what we had not saved is void."""

    run_id: str


class _RolledBack(Exception):
    def __init__(self, result: Result) -> None:
        super().__init__()
        self.result = result


@attrs.define(slots=True)
class Advance:
    """One run under one lease.

    `signalled` says that something may wait in the inbox; `left`, that the lease is given back.
    """

    run: Run
    lease: Lease
    shell: Shell
    telling: Telling
    signalled: bool = True
    left: bool = False
    started: set[str] = attrs.field(factory=set)
    tasks: dict[asyncio.Task[Any], fx.Effect] = attrs.field(factory=dict)
    acting: Acting = attrs.field(
        default=attrs.Factory(lambda self: Acting(self.run, self.lease, self.shell), True)
    )

    async def loop(self) -> Done | Waiting:
        """Run until the end or until the run must wait.

        Raises:
            Fenced: somebody else holds the run now.
        """
        children: list[fx.StartChild] = []
        try:
            while True:
                read = self._lone_read()
                if read is not None:
                    await self._read_ahead(read)
                await self.save()
                if self.signalled or self._timer_due():
                    await self._take_signals()
                    if self.run.unsaved:
                        continue
                effect = self.run.next_effect(self.started)
                if effect is None or isinstance(effect, _REST):
                    if self.tasks:
                        await self._one_task()
                        continue
                    undelivered = bool(self.run.standing.replies)
                    if isinstance(effect, fx.End):
                        return Done(effect.outcome, undelivered)
                    until = None if effect is None else effect.until
                    if await self.shell.store.park(self.lease, until):
                        self.left = True
                        return Waiting(self.run.outcome, until, tuple(children), undelivered)
                    self.signalled = True
                    continue
                if isinstance(effect, fx.StartChild):
                    # A child is a run of its own: the driver advances it while its parent waits.
                    self.started.add(effect.id)
                    children.append(effect)
                    continue
                await self._start(effect)
        finally:
            await self._abandon()

    # ------------------------------------------------------------------------------------- saving

    async def save(
        self, taken: tuple[str, ...] = (), delivered: tuple[tuple[int, int], ...] = ()
    ) -> None:
        """Make the unsaved drafts durable, then tell the observers."""
        run = self.run
        if not run.unsaved and not taken:
            return
        records = run.seal(self.lease.fence)
        write = Write(
            records=records,
            head=head_row(run.standing, "running"),
            taken=taken,
            outbox=deliveries(records),
            delivered=delivered,
            blobs=tuple(data for _, data in run.take_blobs()),
            leave=run.done and not self.tasks,
        )
        try:
            waiting = await self.shell.store.append(self.lease, write)
        except asyncio.CancelledError:
            if records:
                # Appending the same records again is harmless, and only then do we know that they
                # are there: what was decided must not be half remembered.
                with contextlib.suppress(StoreError):
                    await self.shell.store.append(self.lease, write)
                    self._saved(records)
            raise
        self.signalled = self.signalled or waiting
        self.left = write.leave and not waiting
        self._saved(records)

    def _saved(self, records: list[Record]) -> None:
        self.run.saved(records)
        self.tell(records)

    def tell(self, records: list[Record]) -> None:
        """Hand the moments of committed records to whoever listens."""
        shell, run_id = self.shell, self.lease.run
        if not shell.observers and run_id not in shell.streams.queues:
            self.telling.catch_up(records)  # somebody may listen later
            return
        for moment in self.telling.of(records, lambda: self.run.outcome):
            shell.streams.put(run_id, moment)
            for observer in shell.observers:
                _notify(observer, moment)

    async def _take_signals(self) -> None:
        """Journal what waits in the inbox, in one commit."""
        taken = await self._hear()
        if taken:
            await self.save(taken)

    async def _hear(self) -> tuple[str, ...]:
        """Let the run hear what waits in the inbox; return the ids, to be saved as taken."""
        self.signalled = False
        s = self.run.standing
        if self._timer_due():
            now = self.shell.clock.now()
            assert s.timer is not None
            self.run.receive(Signal(s.run, f"timer:{s.timer['visit']}", "timer", {}, now), now)
        signals = await self.shell.store.inbox(s.run)
        for signal in signals:
            if self.run.receive(signal, self.shell.clock.now()):
                logger.bind(run_id=s.run, signal=signal.name).info("signal not accepted")
        return tuple(signal.id for signal in signals)

    def _timer_due(self) -> bool:
        """Tell whether a timer is over and no call is under way: its result comes first.

        While the model is asked a timer is only noted; its step comes before the reply's calls.
        """
        s = self.run.standing
        if s.timer is None or s.quarantined or s.ended is not None:
            return False
        waits_for_people = all(call.status in ("approval", "unknown") for call in s.calls.values())
        return waits_for_people and bool(s.timer["due"] <= self.shell.clock.now())

    # ------------------------------------------------------------------------------------- acting

    async def _start(self, effect: fx.Effect) -> None:
        """Act on an effect: right here when it is alone, else beside the others."""
        self.started.add(effect.id)
        if isinstance(effect, fx.CallTool) and effect.spec.effect == "transactional":
            await self._transact(effect)
            return
        # Nothing runs beside a model request, so it need not be looked for.
        alone = not self.tasks and (isinstance(effect, fx.AskModel) or self._no_other())
        if alone and not guarded(effect):
            await self._receive(effect, await self.acting.act(effect))
            return
        self.tasks[asyncio.ensure_future(self.acting.act(effect))] = effect
        if alone:
            await self._one_task()

    def _no_other(self) -> bool:
        following = self.run.next_effect(self.started)
        return following is None or isinstance(following, _REST)

    async def _one_task(self) -> None:
        done, _ = await asyncio.wait(self.tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in [task for task in self.tasks if task in done]:
            await self._receive(self.tasks.pop(task), task.result())

    async def _receive(
        self, effect: fx.Effect, fact: fx.Fact | None, *, leaving: bool = False
    ) -> None:
        if fact is None:
            return
        taken: tuple[str, ...] = ()
        cancelled: asyncio.CancelledError | None = None
        if self.signalled and not leaving:
            # What was said while this was under way comes first: a cancel stops what would follow.
            try:
                taken = await self._hear()
            except asyncio.CancelledError as error:
                cancelled = error  # but what came of the effect is written down
        self.run.receive(fact, self.shell.clock.now(), leaving=leaving)
        self.started.discard(effect.id)
        if taken or cancelled is not None or self._lone_read() is None:
            await self.save(taken, ((effect.seq, 0),) if isinstance(effect, fx.Say) else ())
        if cancelled is not None:
            raise cancelled

    def _lone_read(self) -> fx.CallTool | None:
        return None if self.tasks or self.signalled else self.run.lone_read()

    async def _read_ahead(self, effect: fx.CallTool) -> None:
        """Make a read before its intent is durable: one commit a turn instead of two."""
        try:
            fact = await self.acting.act(effect)
        except asyncio.CancelledError:
            with contextlib.suppress(StoreError):
                await self.save()  # the model's reply is worth keeping
            raise
        if fact is not None:
            self.run.receive(fact, self.shell.clock.now())

    async def _abandon(self) -> None:
        """Leave in order: results that come within the grace are saved, the rest is recovery's."""
        pending, self.tasks = self.tasks, {}
        if not pending:
            return
        for task, effect in pending.items():
            if effect.id not in self.acting.begun:
                task.cancel()
        try:
            await asyncio.wait(pending, timeout=self.shell.grace)
        finally:
            late = [task for task in pending if not task.done()]
            for task in late:
                task.cancel()
        if late:
            await asyncio.wait(late, timeout=UNWIND)
        for task, effect in pending.items():
            failed = not task.done() or task.cancelled() or task.exception() is not None
            if failed or self.run.unsaved:
                continue
            try:
                await self._receive(effect, task.result(), leaving=True)
                await self.save()
            except StoreError:
                logger.bind(run_id=self.lease.run).warning("a late result was not saved")

    # ------------------------------------------------------------------------------- transactions

    async def _transact(self, effect: fx.CallTool) -> None:
        """Run a transactional tool; its effect and its records are one commit.

        Nothing else may be under way: its thread decides what the run records next.
        """
        while self.tasks:
            await self._one_task()
        await self.acting.until(effect.not_before)
        task = asyncio.ensure_future(self._commit(effect))
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            if not task.done():
                await asyncio.wait([task])
            if not task.cancelled() and task.exception() is not None:
                logger.bind(run_id=self.lease.run).warning("a late result was not saved")
            raise

    async def _commit(self, effect: fx.CallTool) -> None:
        records: list[Record] = []

        def work(connection: Any) -> Write:
            call = self.acting.call_for(effect, connection)
            toolbox = self.shell.toolbox(self.run)
            result = toolbox.call_sync(effect.tool, dict(effect.arguments), call, spec=effect.spec)
            if not isinstance(result, Returned):
                raise _RolledBack(result)
            self.run.receive(fx.Returned(effect.no, result.value), self.shell.clock.now())
            records.extend(self.run.seal(self.lease.fence))
            return Write(
                records=records,
                head=head_row(self.run.standing, "running"),
                outbox=deliveries(records),
                blobs=tuple(data for _, data in self.run.take_blobs()),
            )

        try:
            await self.shell.store.transact(self.lease, work)
        except _RolledBack as back:
            await self._receive(effect, fact_of(effect.no, back.result))
            return
        self.started.discard(effect.id)
        self.signalled = True  # a transaction does not say whether somebody spoke meanwhile
        self._saved(records)


def head_row(s: Standing, phase: Phase) -> HeadRow:
    """Return the run-row columns that follow from where a run stands."""
    snapshot = s.snap()
    if s.ended is not None:
        status, reason = s.ended["status"], s.ended["reason"]
    elif s.quarantined:
        status, reason = "quarantined", s.quarantined
    elif s.parked is not None:
        status, reason = "waiting", s.parked.get("reason", "")
    else:
        status, reason = snapshot.status, ""
    shown: Phase = "blocked" if s.quarantined else phase
    return HeadRow(
        state=snapshot.state,
        status=str(status),
        phase=shown if s.ended is None else "ended",
        wake_at=None if s.timer is None else s.timer["due"],
        reason=str(reason),
    )


def deliveries(records: list[Record]) -> tuple[Delivery, ...]:
    """Return what records queue for customers."""
    return tuple(
        Delivery(
            run=record.run,
            seq=record.seq,
            n=0,
            kind="reply",
            target=str(record.body.get("target", "")),
            body={"id": record.body["id"], "text": record.body["text"]},
        )
        for record in records
        if record.kind == "reply_queued"
    )


def _notify(observer: Observer, moment: Moment) -> None:
    try:
        observer(moment)
    except Exception as error:  # noqa: BLE001 - an observer must not break a run
        told = logger.bind(run_id=moment.run_id, error=type(error).__name__)
        told.error("an observer failed")
        # The traceback of a sink that diagnoses would show the moment, which holds people's words.
        told.opt(exception=error).trace("how an observer failed")
