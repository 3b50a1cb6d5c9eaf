"""The driver: start runs, advance them, let people speak to them.

Rules.  1. Everything from outside is written into the store's inbox first, then the run is rung.
2. `advance` is the only thing that turns a run; this file decides when it is called.  3. Whoever
waits for a result may give up; the run goes on.  4. Leaving the driver stops new turns, gives
effects under way a grace, and leaves every run resumable.
Not here: the loop itself (`advance`), what a run decides (`journal.decide`).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Coroutine, Iterable, Mapping
from typing import Any, Final

from loguru import logger

from statemachine_agents.advance import (
    Advance,
    Busy,
    Done,
    Lost,
    Shell,
    Waiting,
    head_row,
)
from statemachine_agents.errors import Fenced, StoreError, UsageError
from statemachine_agents.journal.outcome import Outcome
from statemachine_agents.journal.records import Record, blob_of, with_blob
from statemachine_agents.kernel.workflow import Workflow
from statemachine_agents.moments import Moment, Observer, Telling
from statemachine_agents.stores.memory import MemoryStore
from statemachine_agents.system import SystemClock, SystemEntropy
from statemachine_agents.table.definition import Definition
from statemachine_agents.turn import effects as fx
from statemachine_agents.turn.ports import (
    Clock,
    Entropy,
    Layout,
    Lease,
    Model,
    Outbox,
    RunRow,
    Signal,
    Store,
    Write,
)
from statemachine_agents.turn.run import Run, Settings
from statemachine_agents.values import JSON, Redactor, keep_all

TTL: Final = 30.0
"""Seconds a lease lasts without renewal."""

POISON: Final = 3
"""Claims at one head without an append after which a run is quarantined."""


class Driver:
    """Run a workflow.

    Args:
        workflow: what `start` starts; runs of its child workflows and of definitions found in the
            store are advanced too.
        model: a `Model`, a Claude model id, or None for the default Claude model.
        store: where journals live; in memory when None.
        observers: called with every `Moment` after its commit.
        outbox: hands replies to customers; None counts them as delivered once committed.
        redact: applied to everything from outside before it is written.
        clock: time; the system's when None.
        entropy: noise; the system's when None.
        ttl: seconds a lease lasts without renewal.
        grace: seconds an effect under way gets when the driver is left.

    Example:
        >>> async def main(workflow):  # doctest: +SKIP
        ...     async with Driver(workflow, model="claude-sonnet-5-5") as driver:
        ...         outcome = await driver.start({"order_id": "A1"})
    """

    def __init__(
        self,
        workflow: Workflow,
        *,
        model: Model | str | None = None,
        store: Store | None = None,
        observers: Iterable[Observer] = (),
        outbox: Outbox | None = None,
        redact: Redactor = keep_all,
        clock: Clock | None = None,
        entropy: Entropy | None = None,
        ttl: float = TTL,
        grace: float = 5.0,
    ) -> None:
        self.workflow = workflow
        self.store: Store = MemoryStore() if store is None else store
        self.clock: Clock = SystemClock() if clock is None else clock
        self._owns_store = store is None
        self.model = _model_of(model)
        self.ttl = ttl
        self.owner = f"{socket.gethostname()}:{os.getpid()}:{os.urandom(4).hex()}"
        self._entropy: Entropy = SystemEntropy() if entropy is None else entropy
        self._settings = Settings(
            layout=self._layout, entropy=self._entropy, redact=redact, model=None
        )
        self._shell = Shell(
            self.store,
            self.model,
            self.clock,
            {},
            outbox,
            (self._stream_out, *observers),
            grace,
        )
        self._workflows: dict[str, Workflow] = {}
        self._know(workflow)
        self._defined: set[str] = set()
        self._tasks: dict[str, asyncio.Task[Any]] = {}
        self._rung: set[str] = set()
        self._leases: dict[str, Lease] = {}
        self._fresh: dict[str, Run] = {}
        self._changed: dict[str, asyncio.Event] = {}
        self._last: dict[str, Outcome] = {}
        self._failures: dict[str, BaseException] = {}
        self._streams: dict[str, list[asyncio.Queue[Moment | None]]] = {}
        self._background: list[asyncio.Task[Any]] = []
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._closing = False

    # ---------------------------------------------------------------------------------- lifetime

    async def __aenter__(self) -> Driver:
        self._closing = False
        self._background = [asyncio.ensure_future(self._heartbeat())]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Stop new turns, give effects under way their grace, close what this driver made."""
        self._closing = True
        for handle in self._timers.values():
            handle.cancel()
        self._timers.clear()
        running = [*self._tasks.values()]
        for task in (*running, *self._background):
            task.cancel()
        if running or self._background:
            await asyncio.wait([*running, *self._background])
        self._background = []
        await self.model.aclose()
        if self._owns_store:
            await self.store.aclose()

    async def serve(self, *, every: float = 1.0) -> None:
        """Advance whatever is due in the store, until cancelled: runs of other processes too."""
        while True:
            for run_id in await self.store.due():
                self._ring(run_id)
            await asyncio.sleep(every)

    # ------------------------------------------------------------------------------------- doors

    async def start(
        self,
        inputs: Mapping[str, JSON] | None = None,
        *,
        request_id: str | None = None,
        message: str | None = None,
        wait: bool = True,
        timeout: float | None = None,
    ) -> Any:
        """Start a run.

        Args:
            inputs: values for declared context keys.
            request_id: the same id gives the same run, however often it is sent.
            message: a first customer message.
            wait: whether to wait until the run ends or parks.
            timeout: seconds to wait at most; the run goes on.

        Returns:
            The `Outcome`, or the run id when `wait` is False.

        Raises:
            UsageError: an input is undeclared, missing or of the wrong type.
            TimeoutError: it was neither ended nor parked in time.
        """
        run_id = await self._create(self.workflow, inputs or {}, request_id=request_id)
        if message is not None:
            await self.store.signal(run_id, "first", "message", {"text": message}, self.clock.now())
        self._ring(run_id)
        return await self.result(run_id, timeout=timeout) if wait else run_id

    def run_sync(
        self, inputs: Mapping[str, JSON] | None = None, *, request_id: str | None = None
    ) -> Outcome:
        """Start a run and wait for it, from code without an event loop.

        Raises:
            UsageError: called inside a running event loop.
        """

        async def once() -> Outcome:
            async with self:
                outcome: Outcome = await self.start(inputs, request_id=request_id)
                return outcome

        return self._sync(once())

    def _sync(self, work: Coroutine[Any, Any, Outcome]) -> Outcome:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return asyncio.run(work)
        work.close()
        msg = "run_sync was called inside a running event loop; write `await driver.start(...)`"
        raise UsageError(msg)

    async def result(self, run_id: str, *, timeout: float | None = None) -> Outcome:
        """Wait until a run has ended or is parked.

        Raises:
            TimeoutError: neither happened in time; the run goes on.
            UnknownRun: no such run.
        """
        async with asyncio.timeout(timeout):
            while (task := self._tasks.get(run_id)) is not None:
                await asyncio.wait([task])
        failure = self._failures.pop(run_id, None)
        if failure is not None:
            raise failure
        last = self._last.get(run_id)
        return last if last is not None else (await self.load(run_id)).outcome

    async def resume(
        self, run_id: str, *, by: str = "", reason: str = "resumed", wait: bool = True
    ) -> Outcome:
        """Take a run up again: after a crash, after a failed model, or to see where it stands.

        Raises:
            UnknownRun: no such run.
            UsageError: another process is advancing it right now.
        """
        run = await self.load(run_id)
        s = run.standing
        if s.ended is not None and not s.replies:
            return run.outcome
        if s.stalled and s.parked is not None:
            body = {"by": by, "reason": reason}
            await self.store.signal(run_id, f"resume:{s.seq}", "resume", body, self.clock.now())
        self._ring(run_id)
        return await self.result(run_id) if wait else run.outcome

    async def send(
        self,
        run_id: str,
        text: str,
        *,
        message_id: str | None = None,
        sender: str | None = None,
        attributes: Mapping[str, JSON] | None = None,
        wait: bool = True,
    ) -> Outcome:
        """Give a run a customer's message.

        Args:
            run_id: the run.
            text: what the customer wrote; data, never instructions.
            message_id: the channel's id; the same id is taken once.
            sender: who wrote it.
            attributes: more facts for guards, as `message.<name>`.
            wait: whether to wait until the run ends or parks again.
        """
        body: dict[str, JSON] = {**(attributes or {}), "text": text}
        if sender is not None:
            body["sender"] = sender
        signal_id = message_id or f"message:{os.urandom(8).hex()}"
        return await self._speak(run_id, signal_id, "message", body, wait=wait)

    async def approve(
        self,
        run_id: str,
        approval: str | None = None,
        *,
        granted: bool = True,
        by: str = "",
        note: str | None = None,
        digest: str | None = None,
        wait: bool = True,
    ) -> Outcome:
        """Answer an approval: yes to these very arguments, or no.

        Args:
            run_id: the run.
            approval: which one, as `pending` lists it; the only open one when None.
            granted: yes or no.
            by: who decided.
            note: why.
            digest: of the arguments that were shown; refused when they are others.
            wait: whether to wait until the run ends or parks again.

        Raises:
            UsageError: nothing waits for that approval, or the arguments are others.
        """
        body: dict[str, JSON] = {"approval": approval, "granted": granted, "by": by}
        if note is not None:
            body["note"] = note
        if digest is not None:
            body["digest"] = digest
        named = approval or await self._only_approval(run_id)
        body["approval"] = named
        return await self._speak(run_id, f"approval:{named}", "approval", body, wait=wait)

    async def resolve(
        self,
        run_id: str,
        call: int | None = None,
        *,
        done: JSON = None,
        not_done: bool = False,
        by: str = "",
        wait: bool = True,
    ) -> Outcome:
        """Say what really happened to a call in doubt.

        Args:
            run_id: the run.
            call: number of the call; the only one in doubt when None.
            done: the value it would have returned.
            not_done: it did not happen.
            by: who found out.
            wait: whether to wait until the run ends or parks again.

        Raises:
            UsageError: no such call is in doubt.
        """
        body: dict[str, JSON] = {"call": call, "by": by}
        body |= {"not_done": True} if not_done else {"done": done}
        seq = (await self.store.row(run_id)).seq
        return await self._speak(run_id, f"resolution:{call}:{seq}", "resolution", body, wait=wait)

    async def cancel(
        self, run_id: str, *, by: str = "", reason: str = "", wait: bool = True
    ) -> Outcome:
        """Ask a run to stop; it does at the next state boundary, unless a row says otherwise."""
        signal_id = f"cancel:{os.urandom(4).hex()}"
        body: dict[str, JSON] = {"by": by, "reason": reason}
        return await self._speak(run_id, signal_id, "cancel", body, wait=wait)

    async def pending(self, run_id: str) -> list[dict[str, JSON]]:
        """Return what a run waits for people to say: approvals and calls in doubt."""
        s = (await self.load(run_id)).standing
        out: list[dict[str, JSON]] = []
        if s.question is not None:
            shows = {name: s.snap().context.get(name) for name in s.question.get("shows", ())}
            out.append(
                {
                    "approval": s.question["approval"],
                    "question": s.question["question"],
                    "shows": shows,
                }
            )
        out += [
            {
                "approval": f"a{call.no}",
                "question": call.question,
                "tool": call.tool,
                "arguments": dict(call.arguments),
                "digest": call.digest,
            }
            for call in s.calls.values()
            if call.status == "approval"
        ]
        out += [
            {"call": call.no, "tool": call.tool, "arguments": dict(call.arguments)}
            for call in s.doubts
        ]
        return out

    async def stream(self, run_id: str) -> AsyncIterator[Moment]:
        """Yield the moments of a run from now on, until it ends or parks."""
        queue: asyncio.Queue[Moment | None] = asyncio.Queue()
        self._streams.setdefault(run_id, []).append(queue)
        self._ring(run_id)
        try:
            while (moment := await queue.get()) is not None:
                yield moment
        finally:
            self._streams[run_id].remove(queue)

    async def load(self, run_id: str) -> Run:
        """Fold a run from its journal, without taking it.

        Raises:
            UnknownRun: no such run.
            JournalDamaged: its journal does not verify.
        """
        row = await self.store.row(run_id)
        workflow = await self._workflow(row)
        records = await self.records(run_id)
        return Run.load(workflow, run_id, records, self._settings)

    async def records(self, run_id: str) -> list[Record]:
        """Return a run's records, large bodies read back."""
        records = await self.store.read(run_id)
        for index, record in enumerate(records):
            digest = blob_of(record)
            if digest is not None:
                records[index] = with_blob(record, await self.store.blob(digest))
        return records

    # ----------------------------------------------------------------------------------- advance

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
            run = await self._at_head(run_id)
            advance = Advance(run, lease, self._shell, Telling(run.standing.workflow))
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

    async def _at_head(self, run_id: str) -> Run:
        """Return the run this process has just created, or fold it from the store."""
        fresh = self._fresh.pop(run_id, None)
        if fresh is not None and (await self.store.row(run_id)).seq == fresh.standing.head.seq:
            return fresh
        return await self.load(run_id)

    async def _quarantine(self, advance: Advance) -> None:
        from statemachine_agents.journal.records import Draft

        reason = f"{POISON} attempts at seq {advance.run.standing.seq} ended without a record"
        logger.bind(run_id=advance.lease.run).error("a run was quarantined")
        advance.run.note(Draft("run_quarantined", {"reason": reason}), self.clock.now())
        await advance.save()

    def _ring(self, run_id: str) -> None:
        if self._closing:
            return
        if run_id in self._tasks:
            self._rung.add(run_id)
            return
        task = asyncio.ensure_future(self._advance_until_quiet(run_id))
        self._tasks[run_id] = task
        task.add_done_callback(lambda done: self._finished(run_id, done))

    def _finished(self, run_id: str, task: asyncio.Task[Any]) -> None:
        self._tasks.pop(run_id, None)
        if not task.cancelled() and task.exception() is not None:
            self._failures[run_id] = task.exception()  # type: ignore[assignment]  # checked above
            logger.bind(run_id=run_id).opt(exception=task.exception()).debug("a run stopped")
        for queue in self._streams.get(run_id, ()):
            queue.put_nowait(None)
        if run_id in self._rung and not task.cancelled():
            self._rung.discard(run_id)
            self._ring(run_id)

    async def _advance_until_quiet(self, run_id: str) -> None:
        while True:
            self._rung.discard(run_id)
            result = await self.advance(run_id)
            match result:
                case Done(outcome):
                    self._last[run_id] = outcome
                    await self._tell_parent(run_id, outcome)
                case Waiting(outcome, until, children):
                    self._last[run_id] = outcome
                    if until is not None:
                        self._ring_at(run_id, until)
                    for child in children:
                        await self._start_child(run_id, child)
                    if children:
                        await self._children(run_id)
                case Busy():
                    self._last.pop(run_id, None)
                    msg = (
                        f"run {run_id} is being advanced by another process; "
                        "what was sent to it is in its inbox"
                    )
                    raise UsageError(msg, run=run_id, busy=True)
                case Lost():
                    msg = f"run {run_id} was taken over by another process; nothing was lost"
                    raise UsageError(msg, run=run_id, busy=True)
            if run_id not in self._rung:
                return

    def _ring_at(self, run_id: str, at: int) -> None:
        delay = max(0.0, (at - self.clock.now()) / 1_000_000)
        old = self._timers.pop(run_id, None)
        if old is not None:
            old.cancel()
        loop = asyncio.get_running_loop()
        self._timers[run_id] = loop.call_later(delay, self._ring, run_id)

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
                    task = self._tasks.get(lease.run)
                    if task is not None:
                        task.cancel()

    # ---------------------------------------------------------------------------------- children

    async def _start_child(self, parent: str, effect: fx.StartChild) -> None:
        workflow = self.workflow.children.get(effect.workflow)
        row = await self.store.row(parent)
        mother = await self._workflow(row)
        workflow = mother.children.get(effect.workflow)
        if workflow is None:
            msg = f"run {parent}: no workflow {effect.workflow!r} was given to its parent"
            raise UsageError(msg)
        try:
            await self._create(
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
            self._rung.add(parent)
            return
        self._ring(effect.child)

    async def _children(self, parent: str) -> None:
        """Wait until a child has something to say; its end is a signal in the parent's inbox."""
        children = [
            task for run_id, task in self._tasks.items() if run_id.startswith(f"{parent}-c")
        ]
        if children and parent not in self._rung:
            await asyncio.wait(children, return_when=asyncio.FIRST_COMPLETED)
        if await self.store.inbox(parent):
            self._rung.add(parent)

    async def _tell_parent(self, run_id: str, outcome: Outcome) -> None:
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
        self._ring(row.parent)

    # ---------------------------------------------------------------------------------- plumbing

    async def _create(
        self,
        workflow: Workflow,
        inputs: Mapping[str, JSON],
        *,
        request_id: str | None,
        run_id: str | None = None,
        parent: str | None = None,
    ) -> str:
        await self._define(workflow)
        at = self.clock.now()
        new_id = run_id or f"r-{self._entropy.take(8).hex()}"
        run = Run.start(
            workflow,
            new_id,
            inputs,
            self._settings,
            at=at,
            request_id=request_id,
            root=None if parent is None else parent.split("-c")[0],
        )
        records = run.seal(0)
        for digest, data in run.take_blobs():
            await self.store.keep_blob(data)
            del digest
        write = Write(records=records, head=head_row(run, "ready"))
        made, new = await self.store.create(
            write, workflow=workflow.table.name, request_id=request_id, parent=parent
        )
        if new:
            run.saved(records)
            self._fresh[made] = run
        return made

    async def _define(self, workflow: Workflow) -> None:
        digest = workflow.definition.hash
        if digest not in self._defined:
            await self.store.define(digest, workflow.definition.data)
            self._defined.add(digest)

    def _know(self, workflow: Workflow) -> None:
        self._workflows[workflow.definition.hash] = workflow
        for child in workflow.children.values():
            self._know(child)

    async def _workflow(self, row: RunRow) -> Workflow:
        """Return the workflow a run was started with: its own definition, today's functions."""
        known = self._workflows.get(row.definition)
        if known is not None:
            return known
        definition = Definition.from_data(await self.store.definition(row.definition))
        donor = next(
            (flow for flow in self._workflows.values() if flow.table.name == row.workflow),
            self.workflow,
        )
        functions = {
            name: donor.functions[name] for name in definition.tools if name in donor.functions
        }
        made = Workflow.from_definition(definition, functions, donor.children)
        self._workflows[row.definition] = made
        return made

    async def _speak(
        self, run_id: str, signal_id: str, name: str, body: dict[str, JSON], *, wait: bool
    ) -> Outcome:
        """Put a signal into the inbox and ring; refuse what the run would refuse."""
        from statemachine_agents.turn.inbound import inbound

        run = await self.load(run_id)
        at = self.clock.now()
        refusal = inbound(run.standing, Signal(run_id, signal_id, name, body, at), keep_all)
        if isinstance(refusal, str):
            raise UsageError(refusal, run=run_id)
        await self.store.signal(run_id, signal_id, name, body, at)
        self._last.pop(run_id, None)
        self._ring(run_id)
        return await self.result(run_id) if wait else run.outcome

    async def _only_approval(self, run_id: str) -> str:
        waiting = [
            str(each["approval"]) for each in await self.pending(run_id) if "approval" in each
        ]
        if len(waiting) == 1:
            return waiting[0]
        if not waiting:
            raise UsageError(f"run {run_id}: nothing waits for an approval", run=run_id)
        msg = f"run {run_id}: several approvals wait, name one of {', '.join(waiting)}"
        raise UsageError(msg, run=run_id, approvals=waiting)

    def _layout(self, model: str | None) -> Layout:
        return self.model.layout(model)

    def _stream_out(self, moment: Moment) -> None:
        for queue in self._streams.get(moment.run_id, ()):
            queue.put_nowait(moment)


def _model_of(model: Model | str | None) -> Model:
    if model is not None and not isinstance(model, str):
        return model
    from statemachine_agents.models.claude import Claude

    return Claude() if model is None else Claude(model)
