"""Dispatch: which run is advanced when, under whose lease, with which definition.

Rules.  1. `advance` is the only thing that turns a run.  2. A ring may be lost or doubled; inbox
and sweep cover that.  3. A run keeps the definition it started with; only the functions are
today's.  4. Child runs are runs of their own; their end is a signal in the parent's inbox.
Not here: what outsiders call (`driver`), the loop of one run (`advance`).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable, Mapping
from typing import Any, Final

from loguru import logger

from statemachine_agents.advance import (
    Advance,
    Busy,
    Done,
    Lost,
    Shell,
    Waiting,
    deliveries,
    head_row,
)
from statemachine_agents.errors import Fenced, StoreError, UsageError
from statemachine_agents.journal.outcome import Outcome
from statemachine_agents.journal.records import Draft, Record, blob_of, with_blob
from statemachine_agents.kernel.workflow import Workflow
from statemachine_agents.moments import Telling
from statemachine_agents.table.definition import Definition
from statemachine_agents.turn import effects as fx
from statemachine_agents.turn.ports import Lease, RunRow, Write
from statemachine_agents.turn.run import Run, Settings
from statemachine_agents.values import JSON

TTL: Final = 30.0
"""Seconds a lease lasts without renewal."""

POISON: Final = 3
"""Claims at one head without an append after which a run is quarantined."""


class Dispatch:
    """Advance runs when they are rung.

    Args:
        workflow: the driver's workflow; its children and definitions in the store are known too.
        shell: what a run acts with.
        settings: what a run needs from its shell.
        ttl: seconds a lease lasts without renewal.
        on_quiet: called when nobody advances a run any more.
    """

    def __init__(
        self,
        workflow: Workflow,
        shell: Shell,
        settings: Settings,
        *,
        ttl: float,
        on_quiet: Callable[[str], None],
    ) -> None:
        self.first = workflow
        self.shell = shell
        self.store = shell.store
        self.clock = shell.clock
        self.settings = settings
        self.ttl = ttl
        self.on_quiet = on_quiet
        self.owner = f"{socket.gethostname()}:{os.getpid()}:{os.urandom(4).hex()}"
        self.closing = False
        self.tasks: dict[str, asyncio.Task[Any]] = {}
        self.last: dict[str, Outcome] = {}
        self.failures: dict[str, BaseException] = {}
        self.rung: set[str] = set()
        self.timers: dict[str, asyncio.TimerHandle] = {}
        self._workflows: dict[str, Workflow] = {}
        self._defined: set[str] = set()
        self._leases: dict[str, Lease] = {}
        self._fresh: dict[str, tuple[Run, list[Record]]] = {}
        self._pulse: asyncio.Task[None] | None = None
        self.know(workflow)

    def open(self) -> None:
        """Start renewing leases; call inside the event loop."""
        self.closing = False
        self._pulse = asyncio.ensure_future(self._heartbeat())

    async def aclose(self) -> None:
        """Stop new turns; effects under way get the shell's grace."""
        self.closing = True
        for handle in self.timers.values():
            handle.cancel()
        self.timers.clear()
        running = [*self.tasks.values(), *([self._pulse] if self._pulse is not None else [])]
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running)
        self._pulse = None

    async def load(self, run_id: str) -> Run:
        """Fold a run from its journal, without taking it.

        Raises:
            UnknownRun: no such run.
            JournalDamaged: its journal does not verify.
        """
        return (await self._loaded(run_id))[0]

    async def _loaded(self, run_id: str) -> tuple[Run, list[Record]]:
        row = await self.store.row(run_id)
        workflow = await self._workflow(row)
        records = await self.records(run_id)
        return Run.load(workflow, run_id, records, self.settings), records

    async def records(self, run_id: str) -> list[Record]:
        """Return a run's records, large bodies read back."""
        records = await self.store.read(run_id)
        for index, record in enumerate(records):
            digest = blob_of(record)
            if digest is not None:
                records[index] = with_blob(record, await self.store.blob(digest))
        return records

    async def advance(self, run_id: str) -> Done | Waiting | Busy | Lost:
        """Turn one run until it ends or must wait. The only thing an engine ever calls.

        Raises:
            UnknownRun: no such run.
            JournalDamaged: its journal does not verify; it is quarantined.
        """
        lease = await self.store.claim(run_id, self.owner, self.ttl)
        if lease is None:
            return Busy(run_id)
        self._leases[run_id] = lease
        try:
            run, records, fresh = await self._at_head(run_id)
            advance = Advance(run, lease, self.shell, Telling(run.standing.workflow))
            if fresh:
                advance.tell(records)
            else:
                advance.telling.catch_up(records)
            if lease.attempts > POISON:
                await self._quarantine(advance)
            ended = await advance.loop()
        except Fenced:
            return Lost(run_id)
        finally:
            self._leases.pop(run_id, None)
            with contextlib.suppress(StoreError):
                await asyncio.shield(self.store.release(lease))
        return ended

    async def _at_head(self, run_id: str) -> tuple[Run, list[Record], bool]:
        """Return the run with its records, and whether this process has just created it.

        A new run need not be folded, and nobody has been told of its first records yet.
        """
        fresh = self._fresh.pop(run_id, None)
        if fresh is not None and (await self.store.row(run_id)).seq == fresh[1][-1].seq:
            return *fresh, True
        return *(await self._loaded(run_id)), False

    async def _quarantine(self, advance: Advance) -> None:
        reason = f"{POISON} attempts at seq {advance.run.standing.seq} ended without a record"
        logger.bind(run_id=advance.lease.run).error("a run was quarantined")
        advance.run.note(Draft("run_quarantined", {"reason": reason}), self.clock.now())
        await advance.save()

    # ------------------------------------------------------------------------------------- rings

    def ring(self, run_id: str) -> None:
        """Advance a run soon; a run that is being advanced is looked at again afterwards."""
        if self.closing:
            return
        if run_id in self.tasks:
            self.rung.add(run_id)
            return
        task = asyncio.ensure_future(self._advance_until_quiet(run_id))
        self.tasks[run_id] = task
        task.add_done_callback(lambda done: self._finished(run_id, done))

    def _finished(self, run_id: str, task: asyncio.Task[Any]) -> None:
        self.tasks.pop(run_id, None)
        if not task.cancelled() and task.exception() is not None:
            self.failures[run_id] = task.exception()  # type: ignore[assignment]  # checked above
            logger.bind(run_id=run_id).opt(exception=task.exception()).debug("a run stopped")
        self.on_quiet(run_id)
        if run_id in self.rung and not task.cancelled():
            self.rung.discard(run_id)
            self.ring(run_id)

    async def _advance_until_quiet(self, run_id: str) -> None:
        while True:
            self.rung.discard(run_id)
            result = await self.advance(run_id)
            match result:
                case Done(outcome):
                    self.last[run_id] = outcome
                    await self.tell_parent(run_id, outcome)
                case Waiting(outcome, until, children):
                    self.last[run_id] = outcome
                    if until is not None:
                        self.ring_at(run_id, until)
                    for child in children:
                        await self._start_child(run_id, child)
                    if children:
                        await self._children(run_id)
                case Busy():
                    self.last.pop(run_id, None)
                    msg = (
                        f"run {run_id} is being advanced by another process; "
                        "what was sent to it is in its inbox"
                    )
                    raise UsageError(msg, run=run_id, busy=True)
                case Lost():
                    msg = f"run {run_id} was taken over by another process; nothing was lost"
                    raise UsageError(msg, run=run_id, busy=True)
            if run_id not in self.rung:
                return

    def ring_at(self, run_id: str, at: int) -> None:
        """Ring at a time, UTC microseconds."""
        delay = max(0.0, (at - self.clock.now()) / 1_000_000)
        old = self.timers.pop(run_id, None)
        if old is not None:
            old.cancel()
        loop = asyncio.get_running_loop()
        self.timers[run_id] = loop.call_later(delay, self.ring, run_id)

    async def _heartbeat(self) -> None:
        while True:
            await asyncio.sleep(self.ttl / 3)
            held = list(self._leases.values())
            if not held:
                continue
            kept = {lease.run for lease in await self.store.renew(held, self.ttl)}
            for lease in held:
                if lease.run not in kept and self._leases.get(lease.run) is lease:
                    logger.bind(run_id=lease.run).warning("a lease was lost")
                    task = self.tasks.get(lease.run)
                    if task is not None:
                        task.cancel()

    async def _start_child(self, parent: str, effect: fx.StartChild) -> None:
        row = await self.store.row(parent)
        mother = await self._workflow(row)
        workflow = mother.children.get(effect.workflow)
        if workflow is None:
            msg = f"run {parent}: no workflow {effect.workflow!r} was given to its parent"
            raise UsageError(msg)
        try:
            await self.create(
                workflow, effect.input, request_id=effect.child, run_id=effect.child, parent=parent
            )
        except UsageError as error:
            body: dict[str, JSON] = {
                "child": effect.child,
                "outcome": "failure",
                "reason": str(error),
            }
            await self.store.signal(
                parent, f"child:{effect.child}", "child", body, self.clock.now()
            )
            self.rung.add(parent)
            return
        self.ring(effect.child)

    async def _children(self, parent: str) -> None:
        """Wait until a child has something to say; its end is a signal in the parent's inbox."""
        children = [task for run_id, task in self.tasks.items() if run_id.startswith(f"{parent}-c")]
        if children and parent not in self.rung:
            await asyncio.wait(children, return_when=asyncio.FIRST_COMPLETED)
        if await self.store.inbox(parent):
            self.rung.add(parent)

    async def tell_parent(self, run_id: str, outcome: Outcome) -> None:
        """Put a child's end into its parent's inbox."""
        row = await self.store.row(run_id)
        if row.parent is None:
            return
        ended = {"succeeded": "success", "cancelled": "cancelled"}.get(outcome.status, "failure")
        body: dict[str, JSON] = {
            "child": run_id,
            "outcome": ended,
            "value": outcome.value,
            "reason": outcome.reason,
        }
        await self.store.signal(row.parent, f"child:{run_id}", "child", body, self.clock.now())
        self.ring(row.parent)

    async def create(
        self,
        workflow: Workflow,
        inputs: Mapping[str, JSON],
        *,
        request_id: str | None,
        run_id: str | None = None,
        parent: str | None = None,
    ) -> str:
        """Create a run, or return the one this `request_id` made earlier."""
        await self._define(workflow)
        at = self.clock.now()
        new_id = run_id or f"r-{self.settings.entropy.take(8).hex()}"
        run = Run.start(
            workflow,
            new_id,
            inputs,
            self.settings,
            at=at,
            request_id=request_id,
            root=None if parent is None else parent.split("-c")[0],
        )
        records = run.seal(0)
        for digest, data in run.take_blobs():
            await self.store.keep_blob(data)
            del digest
        # A `say` of the first state is queued by these very records.
        write = Write(records=records, head=head_row(run, "ready"), outbox=deliveries(records))
        made, new = await self.store.create(
            write, workflow=workflow.table.name, request_id=request_id, parent=parent
        )
        if new:
            run.saved(records)
            self._fresh[made] = (run, records)
        return made

    async def _define(self, workflow: Workflow) -> None:
        digest = workflow.definition.hash
        if digest not in self._defined:
            await self.store.define(digest, workflow.definition.data)
            self._defined.add(digest)

    def know(self, workflow: Workflow) -> None:
        """Remember a workflow and its children by definition."""
        self._workflows[workflow.definition.hash] = workflow
        for child in workflow.children.values():
            self.know(child)

    async def _workflow(self, row: RunRow) -> Workflow:
        """Return the workflow a run was started with: its own definition, today's functions."""
        known = self._workflows.get(row.definition)
        if known is not None:
            return known
        definition = Definition.from_data(await self.store.definition(row.definition))
        donor = next(
            (flow for flow in self._workflows.values() if flow.table.name == row.workflow),
            self.first,
        )
        functions = {
            name: donor.functions[name] for name in definition.tools if name in donor.functions
        }
        made = Workflow.from_definition(definition, functions, donor.children)
        self._workflows[row.definition] = made
        return made
