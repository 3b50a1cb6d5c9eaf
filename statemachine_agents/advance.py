"""Advance one run: append, act, receive, until it ends or must wait.

Rules.  1. Nothing happens in the world before its intent is durable.  2. Everything written repeats
the fence of the lease; whoever lost it stops.  3. A cancelled task re-raises, but a result that has
arrived is saved first, and an effect under way gets a bounded grace.
Not here: whose turn it is (`driver`), what comes next (`turn.run`).
"""

from __future__ import annotations

import asyncio
from typing import Any

import attrs
from loguru import logger

from statemachine_agents.errors import ModelError, StoreError
from statemachine_agents.journal.outcome import Outcome
from statemachine_agents.journal.records import Record
from statemachine_agents.moments import Moment, Observer, Telling
from statemachine_agents.tools.decorator import Call
from statemachine_agents.tools.toolbox import Doubted, Failed, Result, Returned, Toolbox
from statemachine_agents.turn import effects as fx
from statemachine_agents.turn.ports import (
    Clock,
    Delivery,
    HeadRow,
    Lease,
    Model,
    Outbox,
    Signal,
    Store,
    Write,
)
from statemachine_agents.turn.run import Run


@attrs.frozen
class Done:
    """The run has ended."""

    outcome: Outcome


@attrs.frozen
class Waiting:
    """The run is parked; `until` (UTC microseconds) is its next timer, `children` must run."""

    outcome: Outcome
    until: int | None = None
    children: tuple[fx.StartChild, ...] = ()


@attrs.frozen
class Busy:
    """Somebody else holds the run."""

    run_id: str


@attrs.frozen
class Lost:
    """Somebody else took the run over while we worked on it; what we had not saved is void."""

    run_id: str


class _RolledBack(Exception):
    def __init__(self, result: Result) -> None:
        super().__init__()
        self.result = result


@attrs.define(slots=True)
class Shell:
    """What the loop acts with. One per driver, shared by its runs."""

    store: Store
    model: Model
    clock: Clock
    toolboxes: dict[int, Toolbox]
    outbox: Outbox | None = None
    observers: tuple[Observer, ...] = ()
    grace: float = 5.0

    def toolbox(self, run: Run) -> Toolbox:
        """Return the toolbox of a run's workflow, made once."""
        workflow = run.standing.workflow
        found = self.toolboxes.get(id(workflow))
        if found is None:
            found = self.toolboxes[id(workflow)] = Toolbox(workflow.functions, clock=self.clock)
        return found


def head_row(run: Run, phase: str) -> HeadRow:
    """Return the run-row columns that follow from where a run stands."""
    outcome_status = run.outcome.status
    s = run.standing
    shown: Any = phase
    if s.quarantined:
        shown = "blocked"
    elif s.ended is not None:
        shown = "ended"
    return HeadRow(
        state=s.snap().state,
        status=outcome_status,
        phase=shown,
        wake_at=None if s.timer is None else s.timer["due"],
        reason="" if s.ended is None else str(s.ended["reason"]),
    )


@attrs.define(slots=True)
class Advance:
    """One run under one lease."""

    run: Run
    lease: Lease
    shell: Shell
    telling: Telling
    signalled: bool = True
    started: set[str] = attrs.field(factory=set)
    tasks: dict[asyncio.Task[Any], fx.Effect] = attrs.field(factory=dict)

    async def loop(self) -> Done | Waiting:
        """Run until the end or until the run must wait.

        Raises:
            Fenced: somebody else holds the run now.
        """
        children: list[fx.StartChild] = []
        try:
            while True:
                await self.save()
                if self.signalled:
                    await self._take_signals()
                    if self.run.unsaved:
                        continue
                effect = self.run.next_effect(self.started)
                if effect is None or isinstance(effect, fx.Wait | fx.End):
                    if self.tasks:
                        await self._one_task()
                        continue
                    if isinstance(effect, fx.End):
                        return Done(effect.outcome)
                    until = getattr(effect, "until", None)
                    if await self.shell.store.park(self.lease, until):
                        return Waiting(self.run.outcome, until, tuple(children))
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
            head=head_row(run, "running"),
            taken=taken,
            outbox=deliveries(records),
            delivered=delivered,
        )
        for digest, data in run.take_blobs():
            kept = await self.shell.store.keep_blob(data)
            if kept != digest:
                raise StoreError(f"the store kept a blob under {kept}, expected {digest}")
        self.signalled = await self.shell.store.append(self.lease, write) or self.signalled
        run.saved(records)
        self.tell(records)

    def tell(self, records: list[Record]) -> None:
        """Hand the moments of committed records to the observers."""
        if not self.shell.observers:
            return
        for moment in self.telling.of(records, lambda: self.run.outcome):
            for observer in self.shell.observers:
                _notify(observer, moment)

    async def _take_signals(self) -> None:
        """Journal what waits in the inbox, in one commit."""
        self.signalled = False
        taken = []
        s = self.run.standing
        now = self.shell.clock.now()
        if s.timer is not None and s.timer["due"] <= now and not s.calls and s.asked is None:
            timer = Signal(s.run, f"timer:{s.timer['visit']}", "timer", {}, now)
            self.run.receive(timer, now)
        for signal in await self.shell.store.inbox(s.run):
            refusal = self.run.receive(signal, self.shell.clock.now())
            taken.append(signal.id)
            if refusal:
                logger.bind(run_id=s.run, signal=signal.name).info("signal not accepted")
        if taken:
            await self.save(tuple(taken))

    # ------------------------------------------------------------------------------------- acting

    async def _start(self, effect: fx.Effect) -> None:
        """Act on an effect: right here when it is alone, else beside the others."""
        self.started.add(effect.id)
        alone = not self.tasks and self._no_other(effect)
        if alone and not _guarded(effect):
            await self._receive(effect, await self._act(effect))
            return
        self.tasks[asyncio.ensure_future(self._act(effect))] = effect
        if alone:
            await self._one_task()

    def _no_other(self, effect: fx.Effect) -> bool:
        following = self.run.next_effect(self.started)
        return following is None or isinstance(following, fx.Wait | fx.End)

    async def _one_task(self) -> None:
        done, _ = await asyncio.wait(self.tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in [task for task in self.tasks if task in done]:
            await self._receive(self.tasks.pop(task), task.result())

    async def _receive(self, effect: fx.Effect, fact: fx.Fact | None) -> None:
        if fact is None:
            return
        self.run.receive(fact, self.shell.clock.now())
        self.started.discard(effect.id)
        if isinstance(effect, fx.Say):
            await asyncio.shield(self.save(delivered=((effect.seq, 0),)))
        elif isinstance(effect, fx.CallTool | fx.VerifyCall):
            await asyncio.shield(self.save())

    async def _abandon(self) -> None:
        """Leave in order: results that come within the grace are saved, the rest is recovery's."""
        if not self.tasks:
            return
        pending = dict(self.tasks)
        self.tasks = {}
        for task, effect in pending.items():
            if not _guarded(effect):
                task.cancel()
        await asyncio.wait(pending, timeout=self.shell.grace)
        for task, effect in pending.items():
            if not task.done():
                task.cancel()
            elif not task.cancelled() and task.exception() is None and not self.run.unsaved:
                try:
                    await self._receive(effect, task.result())
                    await self.save()
                except StoreError:
                    logger.bind(run_id=self.lease.run).warning("a late result was not saved")

    async def _act(self, effect: fx.Effect) -> fx.Fact | None:
        match effect:
            case fx.AskModel():
                return await self._ask(effect)
            case fx.CallTool():
                return await self._call(effect)
            case fx.VerifyCall():
                return await self._verify(effect)
            case fx.Recover():
                await self._until(effect.not_before)
                return fx.Doubted(effect.no, "crash", "its process ended before a result was saved")
            case fx.Say():
                return await self._say(effect)
        raise TypeError(effect)

    async def _until(self, at: int) -> None:
        wait = (at - self.shell.clock.now()) / 1_000_000
        if wait > 0:
            await self.shell.clock.sleep(wait)

    async def _ask(self, effect: fx.AskModel) -> fx.Fact:
        try:
            return fx.Replied(await self.shell.model.complete(effect.request))
        except ModelError as error:
            kind = str(error.facts.get("kind", "unknown"))
            logger.bind(run_id=self.lease.run, kind=kind).warning("the model could not be asked")
            return fx.AskFailed(kind, str(error))

    async def _call(self, effect: fx.CallTool) -> fx.Fact | None:
        await self._until(effect.not_before)
        if effect.spec.effect == "transactional":
            return await self._transact(effect)
        result = await self.shell.toolbox(self.run).call(
            effect.tool, dict(effect.arguments), self._for(effect), spec=effect.spec
        )
        return _fact(effect.no, result)

    async def _transact(self, effect: fx.CallTool) -> fx.Fact | None:
        """Run a transactional tool and commit its effect together with its records."""
        records: list[Record] = []

        def work(connection: Any) -> Write:
            call = self._for(effect, connection)
            toolbox = self.shell.toolbox(self.run)
            result = toolbox.call_sync(effect.tool, dict(effect.arguments), call, spec=effect.spec)
            if not isinstance(result, Returned):
                raise _RolledBack(result)
            self.run.receive(fx.Returned(effect.no, result.value), self.shell.clock.now())
            records.extend(self.run.seal(self.lease.fence))
            return Write(
                records=records,
                head=head_row(self.run, "running"),
                outbox=deliveries(records),
            )

        try:
            await asyncio.shield(self.shell.store.transact(self.lease, work))
        except _RolledBack as back:
            return _fact(effect.no, back.result)
        self.run.saved(records)
        self.started.discard(effect.id)
        self.tell(records)
        return None

    def _for(self, effect: fx.CallTool | fx.VerifyCall, connection: Any = None) -> Call:
        return Call(
            run_id=self.lease.run,
            call_id=effect.no,
            key=effect.key,
            attempt=effect.attempt,
            deadline=effect.deadline,
            connection=connection,
        )

    async def _verify(self, effect: fx.VerifyCall) -> fx.Fact:
        found = await self.shell.toolbox(self.run).verify(
            effect.tool, dict(effect.arguments), self._for(effect), spec=effect.spec
        )
        return fx.Checked(effect.no, found.answer, found.value, found.detail)

    async def _say(self, effect: fx.Say) -> fx.Fact | None:
        if self.shell.outbox is not None:
            delivery = Delivery(
                run=self.lease.run,
                seq=effect.seq,
                n=0,
                kind="reply",
                target="",
                body={"id": effect.reply_id, "text": effect.text},
            )
            try:
                await self.shell.outbox.deliver(delivery)
            except Exception:  # noqa: BLE001 - any failure to deliver means: later again
                logger.bind(run_id=self.lease.run).warning("a reply could not be delivered yet")
                return None
        return fx.Sent(effect.reply_id)


def _guarded(effect: fx.Effect) -> bool:
    """Whether an effect must not be torn down by a cancelled task: it may change the world."""
    return isinstance(effect, fx.CallTool) and effect.spec.effect != "read"


def _fact(no: int, result: Result) -> fx.Fact:
    match result:
        case Returned(value):
            return fx.Returned(no, value)
        case Failed(kind, text, detail):
            return fx.Failed(no, kind, text, detail)
        case Doubted(why, detail, _):
            return fx.Doubted(no, why, detail)


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
    except Exception:  # noqa: BLE001 - an observer must not break a run
        logger.bind(run_id=moment.run_id).exception("an observer failed")
