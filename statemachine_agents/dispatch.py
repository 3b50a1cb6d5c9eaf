"""Dispatch: which run is advanced when, and under whose lease.

Rules.  1. `advance` is the only thing that turns a run.  2. A ring may be lost or doubled; inbox
and sweep cover that.  3. Child runs are runs of their own; their end is a signal in the parent's
inbox.  4. A lease is taken from its owner only when it has lapsed or its process is certainly dead.
Not here: what outsiders call (`driver`), the loop of one run (`advance`), definitions (`archive`).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from typing import Final

from loguru import logger

from statemachine_agents.act import Shell
from statemachine_agents.advance import Advance, Busy, Done, Lost, Waiting
from statemachine_agents.archive import Archive, Fresh
from statemachine_agents.errors import Fenced, JournalDamaged, StoreError, UsageError
from statemachine_agents.journal.outcome import Outcome
from statemachine_agents.journal.records import Draft
from statemachine_agents.journal.standing import time_text
from statemachine_agents.moments import Telling
from statemachine_agents.system import has_died
from statemachine_agents.turn import effects as fx
from statemachine_agents.turn.ports import HeadRow, Lease, Write
from statemachine_agents.values import JSON

POISON: Final = 3
"""Claims at one head without an append after which a run is quarantined."""

PATIENCE: Final = 60.0
"""Most seconds between two attempts to deliver a reply; the first wait is one second."""

REMEMBERED: Final = 1000
"""Failures kept for somebody who asks later."""


class Dispatch:
    """Advance runs when they are rung.

    Args:
        archive: the runs.
        shell: what a run acts with.
        on_quiet: called when nobody advances a run any more.
    """

    def __init__(self, archive: Archive, shell: Shell, *, on_quiet: Callable[[str], None]) -> None:
        self.archive = archive
        self.shell = shell
        self.store = shell.store
        self.clock = shell.clock
        self.on_quiet = on_quiet
        self.closing = False
        self.tasks: dict[str, asyncio.Task[Outcome]] = {}
        self.failures: dict[str, BaseException] = {}
        self.rung: set[str] = set()
        self.timers: dict[str, asyncio.TimerHandle] = {}
        self._refusals: dict[str, int] = {}
        self._leases: dict[str, Lease] = {}
        self._advances: dict[str, Advance] = {}
        self._taken: set[str] = set()
        self._pulse: asyncio.Task[None] | None = None

    def open(self) -> None:
        """Start renewing leases; call inside the event loop."""
        self.closing = False
        self.archive.keeping = True
        if self._pulse is None or self._pulse.done():
            self._pulse = asyncio.ensure_future(self._heartbeat())

    async def aclose(self) -> None:
        """Stop new turns; effects under way get the shell's grace."""
        self.closing = True
        for handle in self.timers.values():
            handle.cancel()
        self.timers.clear()
        running = [*self.tasks.values()]
        for task in running:
            task.cancel()
        try:
            if running:
                await asyncio.wait(running)
        finally:
            await self.archive.give_back()
            # Until here the leases of effects under way were renewed.
            pulse, self._pulse = self._pulse, None
            if pulse is not None:
                pulse.cancel()
                await asyncio.wait([pulse])

    # ----------------------------------------------------------------------------------- advance

    async def advance(self, run_id: str) -> Done | Waiting | Busy | Lost:
        """Turn one run until it ends or must wait. The only thing an engine ever calls.

        Raises:
            UnknownRun: no such run.
            UsageError: this process does not have the run's tools.
            JournalDamaged: its journal does not verify; it is blocked.
        """
        new = self.archive.take_new(run_id)
        over: int | None = None
        if new is not None and self.clock.monotonic() - new.since > self.shell.ttl / 3:
            over, new = new.lease.fence, None  # it was not renewed, so others may have it by now
        lease = await self._claim(run_id, over) if new is None else new.lease
        if isinstance(lease, Busy):
            return lease
        self._leases[run_id] = lease
        counted = True
        advance: Advance | None = None
        try:
            if new is not None:
                await asyncio.sleep(0)  # whoever started it may listen before it is told of
            advance = self._advances[run_id] = await self._begin(lease, new)
            result = await advance.loop()
            counted = False
        except Fenced:
            return Lost(run_id)
        except JournalDamaged as error:
            await self._block(lease, error)
            raise
        except UsageError:
            counted = False
            raise
        except asyncio.CancelledError:
            counted = False
            task = asyncio.current_task()
            if run_id in self._taken and task is not None and task.uncancel() == 0:
                return Lost(run_id)
            raise
        finally:
            self._leases.pop(run_id, None)
            self._advances.pop(run_id, None)
            self._taken.discard(run_id)
            if advance is None or not advance.left:
                with contextlib.suppress(StoreError):
                    await asyncio.shield(self.store.release(lease, counted=counted))
        if isinstance(result, Done) and advance.run.standing.root != run_id:
            await self._tell_parent(run_id, result.outcome)
        return result

    async def _claim(self, run_id: str, over: int | None) -> Lease | Busy:
        """Take the run's lease; over one that has the fence `over`, or whose owner is dead."""
        died = False
        for _ in range(3):
            claiming = asyncio.ensure_future(
                self.store.claim(run_id, self.archive.owner, self.shell.ttl, over=over)
            )
            try:
                lease = await asyncio.shield(claiming)
            except asyncio.CancelledError:
                # The store may have given it by now: a lease nobody uses must not stand.
                given = await claiming
                if given is not None:
                    await self.store.release(given, counted=False)
                raise
            if lease is not None:
                if died:
                    logger.bind(run_id=run_id).info("took over the lease of a process that died")
                return lease
            row = await self.store.row(run_id)
            if row.lease_until is not None:  # else it was given back between the two calls
                if not has_died(row.owner):
                    break
                over, died = row.fence, True
        return Busy(run_id, row.owner, row.lease_until)

    async def _begin(self, lease: Lease, new: Fresh | None) -> Advance:
        """Return the run at its head, ready to go on; a poisoned one is quarantined here."""
        if new is not None:
            run, records = new.run, new.records
        else:
            run, records = await self.archive.load(lease.run)
            self.archive.insist(run)
        advance = Advance(run, lease, self.shell, Telling(run.standing.workflow))
        if new is None:
            advance.telling.catch_up(records)
        else:
            # Its inbox was empty when it was created, and every append says whether it still is.
            advance.signalled = new.spoken
            advance.tell(records)
        over = run.standing.ended is not None or run.standing.quarantined
        if lease.attempts > POISON and not over:
            reason = f"{POISON} attempts at seq {run.standing.seq} ended without a record"
            logger.bind(run_id=lease.run).error("a run was quarantined")
            run.note(Draft("run_quarantined", {"reason": reason}), self.clock.now())
            await advance.save()
        run.go_on(self.clock.now())
        return advance

    async def _block(self, lease: Lease, error: JournalDamaged) -> None:
        """Keep a damaged run out of the queue; its journal stays as it is."""
        logger.bind(run_id=lease.run, seq=error.facts.get("seq")).error("a journal is damaged")
        with contextlib.suppress(StoreError):
            row = await self.store.row(lease.run)
            head = HeadRow(
                state=row.state, status="quarantined", phase="blocked", reason=str(error)
            )
            await self.store.append(lease, Write(records=(), head=head))

    # ------------------------------------------------------------------------------------- rings

    def ring(self, run_id: str) -> None:
        """Advance a run soon; a run that is being advanced is looked at again afterwards."""
        if self.closing:
            return
        if run_id in self.tasks:
            self.rung.add(run_id)
            if run_id in self._advances:
                self._advances[run_id].signalled = True
            return
        self.open()
        self.failures.pop(run_id, None)
        task = asyncio.ensure_future(self._advance_until_quiet(run_id))
        self.tasks[run_id] = task
        task.add_done_callback(lambda done: self._finished(run_id, done))

    async def quiet(self, run_id: str) -> Outcome:
        """Wait until nobody advances a run here; return how it stands then.

        Raises:
            Exception: whatever stopped the last attempt to advance it.
        """
        task: asyncio.Task[Outcome] | None = None
        while (found := self.tasks.get(run_id)) is not None:
            task = found
            await asyncio.wait([task])
        failure = self.failures.pop(run_id, None)
        if task is not None and not task.cancelled():
            return task.result()
        if failure is not None:
            raise failure
        return (await self.archive.load(run_id))[0].outcome

    def _finished(self, run_id: str, task: asyncio.Task[Outcome]) -> None:
        del self.tasks[run_id]
        if not task.cancelled() and (error := task.exception()) is not None:
            self.failures[run_id] = error
            if len(self.failures) > REMEMBERED:
                del self.failures[next(iter(self.failures))]
            told = logger.bind(run_id=run_id, error=type(error).__name__)
            told.debug("a run stopped")
            told.opt(exception=error).trace("why a run stopped")
        if run_id in self.rung and not self.closing:
            self.rung.discard(run_id)
            self.ring(run_id)
            return
        self.on_quiet(run_id)

    async def _advance_until_quiet(self, run_id: str) -> Outcome:
        while True:
            self.rung.discard(run_id)
            result = await self.advance(run_id)
            match result:
                case Done(outcome, undelivered):
                    self._later(run_id, None, undelivered=undelivered)
                case Waiting(outcome, until, children, undelivered):
                    self._later(run_id, until, undelivered=undelivered)
                    if children:
                        await self._children(run_id, children)
                case Busy(owner=owner, until=until):
                    when = "" if until is None else f" until {time_text(until)}"
                    msg = (
                        f"run {run_id} is being advanced by {owner or 'another process'}{when}; "
                        "what was sent to it is in its inbox, try again then"
                    )
                    raise UsageError(msg, run=run_id, busy=True, owner=owner, until=until)
                case Lost():
                    msg = f"run {run_id} was taken over by another process; nothing was lost"
                    raise UsageError(msg, run=run_id, busy=True)
            if run_id not in self.rung:
                return outcome

    def _later(self, run_id: str, until: int | None, *, undelivered: bool) -> None:
        """Ring when the run's timer is over, or when it is time to try its replies again."""
        at = until
        if undelivered:
            tries = self._refusals[run_id] = self._refusals.get(run_id, 0) + 1
            wait = min(PATIENCE, 2.0 ** min(tries - 1, 10))
            again = self.clock.now() + int(wait * 1_000_000)
            at = again if at is None else min(at, again)
        else:
            self._refusals.pop(run_id, None)
        old = self.timers.pop(run_id, None)
        if old is not None:
            old.cancel()
        if at is not None and not self.closing:
            delay = max(0.0, (at - self.clock.now()) / 1_000_000)
            loop = asyncio.get_running_loop()
            self.timers[run_id] = loop.call_later(delay, self._timer_over, run_id)

    def _timer_over(self, run_id: str) -> None:
        del self.timers[run_id]
        self.ring(run_id)

    async def _heartbeat(self) -> None:
        while True:
            await asyncio.sleep(self.shell.ttl / 3)
            held = list(self._leases.values())
            if not held:
                continue
            try:
                kept = {lease.run for lease in await self.store.renew(held, self.shell.ttl)}
            except StoreError:
                logger.warning("leases could not be renewed")
                continue
            for lease in held:
                advance = self._advances.get(lease.run)
                if advance is not None and advance.left:
                    continue  # it gave the lease back itself
                if lease.run not in kept and self._leases.get(lease.run) is lease:
                    logger.bind(run_id=lease.run).warning("a lease was lost")
                    task = self.tasks.get(lease.run)
                    if task is not None:
                        self._taken.add(lease.run)
                        task.cancel()

    # ---------------------------------------------------------------------------------- children

    async def _children(self, parent: str, children: Iterable[fx.StartChild]) -> None:
        """Advance children until one has something to say, or none gets on without others.

        Raises:
            Exception: what stopped a child, when no other child is under way any more.
        """
        for child in children:
            await self._start_child(parent, child)
        failure: BaseException | None = None
        names = [child.child for child in children]
        while parent not in self.rung:
            tasks = [self.tasks[name] for name in names if name in self.tasks]
            if not tasks:
                break
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                if not task.cancelled() and task.exception() is not None:
                    failure = task.exception()
        if parent in self.rung or await self.store.inbox(parent):
            self.rung.add(parent)
        elif failure is not None:
            raise failure

    async def _start_child(self, parent: str, effect: fx.StartChild) -> None:
        mother = await self.archive.workflow((await self.store.row(parent)).definition)
        workflow = mother.children.get(effect.workflow)
        if workflow is None:
            msg = f"run {parent}: no workflow {effect.workflow!r} was given to its parent"
            raise UsageError(msg, run=parent, workflow=effect.workflow)
        name = effect.child
        try:
            await self.archive.create(
                workflow,
                effect.input,
                request_id=name,
                run_id=name,
                parent=parent,
                root=effect.root,
            )
        except UsageError as error:
            body: dict[str, JSON] = {"child": name, "outcome": "failure", "reason": str(error)}
            await self.signal(parent, f"child:{name}", "child", body, self.clock.now())
            self.rung.add(parent)
            return
        if effect.over:
            body = {"by": parent, "reason": "its parent has ended"}
            await self.signal(name, f"cancel:{parent}", "cancel", body, self.clock.now())
        self.ring(name)

    async def _tell_parent(self, run_id: str, outcome: Outcome) -> None:
        """Put a child's end into its parent's inbox."""
        row = await self.store.row(run_id)
        if row.parent is None or row.forked_at is not None:
            return
        ended = {"succeeded": "success", "cancelled": "cancelled"}.get(outcome.status, "failure")
        body: dict[str, JSON] = {
            "child": run_id,
            "outcome": ended,
            "value": outcome.value,
            "reason": outcome.reason,
        }
        await self.signal(row.parent, f"child:{run_id}", "child", body, self.clock.now())
        self.ring(row.parent)

    async def signal(self, run_id: str, signal_id: str, name: str, body: JSON, at: int) -> None:
        """Put something into a run's inbox, once for an id."""
        await self.store.signal(run_id, signal_id, name, body, at)
        self.archive.spoken(run_id)
