"""The driver: start runs, advance them, let people speak to them.

Rules.  1. Everything from outside is written into the store's inbox first, then the run is rung.
2. `advance` is the only thing that turns a run; this file decides when it is called.  3. Whoever
waits for a result may give up; the run goes on.  4. Leaving the driver stops new turns, gives
effects under way a grace, and leaves every run resumable.
Not here: the loop itself (`advance`), what a run decides (`journal.decide`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import Any, Final, Self

from loguru import logger

from statemachine_agents.act import Shell
from statemachine_agents.advance import Busy, Done, Lost, Waiting
from statemachine_agents.archive import Archive
from statemachine_agents.dispatch import Dispatch
from statemachine_agents.errors import StoreError, UsageError, ValueRefused
from statemachine_agents.journal.outcome import Outcome, pending_of
from statemachine_agents.journal.records import Record
from statemachine_agents.kernel.workflow import Workflow
from statemachine_agents.moments import Moment, Observer
from statemachine_agents.stores.memory import MemoryStore
from statemachine_agents.system import SystemClock, SystemEntropy, name_owner
from statemachine_agents.turn.inbound import cleaned, inbound, only_approval
from statemachine_agents.turn.ports import Clock, Entropy, Model, Outbox, Signal, Store
from statemachine_agents.turn.run import Run, Settings
from statemachine_agents.values import JSON, Redactor, keep_all

TTL: Final = 30.0
"""Seconds a lease lasts without renewal."""


class Driver:
    """Run a workflow.

    Args:
        workflow: what `start` starts; runs of its child workflows and of definitions found in the
            store are advanced too.
        model: a `Model`, a Claude model id, or None for the default Claude model.
        store: where journals live; in memory when None.
        observers: called with every `Moment` after its commit.
        on_text: called with the run's id and a piece of text as the model says it, which makes a
            Claude model stream. Nothing of it is written yet, checked or redacted, and the customer
            may never be told it: for a display, not for the customer.
        outbox: hands replies to customers; None counts them as delivered once committed.
        redact: applied once to everything from outside before it is written.
        clock: time; the system's when None.
        entropy: noise; the system's when None.
        ttl: seconds a lease lasts without renewal.
        grace: seconds an effect under way gets when the driver is left.
        approval_seconds: how long after it was asked an approval can be granted; None: for ever.
            One that has expired can still be declined.

    Raises:
        UsageError: `approval_seconds` is not above 0.

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
        on_text: Callable[[str, str], Any] | None = None,
        outbox: Outbox | None = None,
        redact: Redactor = keep_all,
        clock: Clock | None = None,
        entropy: Entropy | None = None,
        ttl: float = TTL,
        grace: float = 5.0,
        approval_seconds: float | None = None,
    ) -> None:
        self.workflow = workflow
        self.store: Store = MemoryStore() if store is None else store
        self.clock: Clock = SystemClock() if clock is None else clock
        self._closes_model = model is None or isinstance(model, str)
        self.model = _model_of(model)
        noise: Entropy = SystemEntropy() if entropy is None else entropy
        if approval_seconds is not None and not approval_seconds > 0:
            msg = f"approval_seconds={approval_seconds}: expected seconds above 0, or None"
            raise UsageError(msg, got=approval_seconds)
        self._settings = Settings(
            layout=self.model.layout,
            entropy=noise,
            redact=redact,
            approval_seconds=approval_seconds,
        )
        self._shell = Shell(
            self.store,
            self.model,
            self.clock,
            outbox=outbox,
            observers=tuple(observers),
            on_text=on_text,
            grace=grace,
            ttl=ttl,
        )
        self._streams = self._shell.streams
        self._archive = Archive(
            workflow, self.store, self.clock, self._settings, owner=name_owner(), ttl=ttl
        )
        self._runs = Dispatch(self._archive, self._shell, on_quiet=self._streams.end)

    # ---------------------------------------------------------------------------------- lifetime

    async def __aenter__(self) -> Self:
        self._runs.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Stop new turns, give effects under way their grace, let go of connections.

        Whoever creates closes: a model or a store that was given is not closed.
        """
        await self._runs.aclose()
        if self._closes_model:
            await self.model.aclose()

    async def serve(self, *, every: float = 1.0) -> None:
        """Advance whatever is due in the store, until cancelled: runs of other processes too."""
        while True:
            try:
                for run_id in await self.store.due():
                    if (await self.store.row(run_id)).workflow in self._archive.names:
                        self._runs.ring(run_id)
            except StoreError as error:
                logger.bind(error=str(error)).warning("the store did not say what is due")
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
        said = None if message is None else self._cleaned("message", {"text": message})
        run_id = await self._archive.create(self.workflow, inputs or {}, request_id=request_id)
        if said is not None:
            await self._runs.signal(run_id, "first", "message", said, self.clock.now())
        self._runs.ring(run_id)
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
                try:
                    outcome: Outcome = await self.start(inputs, request_id=request_id)
                    return outcome
                finally:
                    # A model's connections belong to this loop, which ends here, whoever made it.
                    await self.model.aclose()

        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return asyncio.run(once())
        msg = "run_sync was called inside a running event loop; write `await driver.start(...)`"
        raise UsageError(msg)

    async def result(self, run_id: str, *, timeout: float | None = None) -> Outcome:
        """Wait until a run has ended or is parked.

        Raises:
            TimeoutError: neither happened in time; the run goes on.
            UnknownRun: no such run.
            Exception: whatever stopped it; it can be resumed.
        """
        async with asyncio.timeout(timeout):
            return await self._runs.quiet(run_id)

    async def resume(
        self,
        run_id: str,
        *,
        by: str = "",
        reason: str = "resumed",
        lift: bool = False,
        wait: bool = True,
    ) -> Outcome:
        """Take a run up again: after a crash, after a failed model, or to see where it stands.

        Args:
            run_id: the run.
            by: who says so.
            reason: why, for the journal.
            lift: end a quarantine: what made the run fail again and again has been mended.
            wait: whether to wait until the run ends or parks again.

        Raises:
            UnknownRun: no such run.
            UsageError: another process is advancing it right now.
        """
        run = await self.load(run_id)
        s = run.standing
        if s.ended is not None and not s.replies:
            return run.outcome
        lifted = lift and bool(s.quarantined)
        if lifted or (s.stalled and s.parked is not None):
            said = {"by": by, "reason": reason, **({"lift": True} if lifted else {})}
            body = self._cleaned("resume", said)
            await self._runs.signal(run_id, f"resume:{s.seq}", "resume", body, self.clock.now())
        self._runs.ring(run_id)
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
        signal_id = message_id or f"message:{self._settings.entropy.take(8).hex()}"
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
            UsageError: nothing waits for that approval, it has expired, or the arguments are
                others.
        """
        named = approval or only_approval((await self.load(run_id)).standing)
        body: dict[str, JSON] = {"approval": named, "granted": granted, "by": by}
        said = {"note": note, "digest": digest}
        body |= {key: value for key, value in said.items() if value is not None}
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
        signal_id = f"cancel:{self._settings.entropy.take(4).hex()}"
        body: dict[str, JSON] = {"by": by, "reason": reason}
        return await self._speak(run_id, signal_id, "cancel", body, wait=wait)

    async def pending(self, run_id: str) -> list[dict[str, JSON]]:
        """Return what a run waits for people to say: approvals and calls in doubt."""
        return pending_of((await self.load(run_id)).standing)

    async def stream(self, run_id: str) -> AsyncIterator[Moment]:
        """Yield the moments of a run from now on, until it ends or parks.

        Raises:
            UnknownRun: no such run.
            Exception: whatever stopped it, after its last moment; it can be resumed.
        """
        queue = self._streams.open(run_id)
        try:
            self._runs.ring(run_id)
            if run_id not in self._runs.tasks:
                return  # this driver is being left
            while (moment := await queue.get()) is not None:
                yield moment
        finally:
            self._streams.close(run_id, queue)
        failure = self._runs.failures.get(run_id)
        if failure is not None:
            raise failure

    async def load(self, run_id: str) -> Run:
        """Fold a run from its journal, without taking it.

        Raises:
            UnknownRun: no such run.
            JournalDamaged: its journal does not verify.
        """
        return (await self._archive.load(run_id))[0]

    async def records(self, run_id: str) -> list[Record]:
        """Return a run's records, large bodies read back."""
        return await self._archive.records(run_id)

    async def advance(self, run_id: str) -> Done | Waiting | Busy | Lost:
        """Turn one run until it ends or must wait. The only thing an engine ever calls.

        Raises:
            UnknownRun: no such run.
            JournalDamaged: its journal does not verify.
        """
        return await self._runs.advance(run_id)

    async def _speak(
        self, run_id: str, signal_id: str, name: str, body: dict[str, JSON], *, wait: bool
    ) -> Outcome:
        """Put a signal into the inbox and ring; refuse what the run would refuse."""
        run = await self.load(run_id)
        at = self.clock.now()
        clean = self._cleaned(name, body)
        refusal = inbound(run.standing, Signal(run_id, signal_id, name, clean, at))
        if isinstance(refusal, str):
            raise UsageError(refusal, run=run_id)
        await self._runs.signal(run_id, signal_id, name, clean, at)
        self._runs.ring(run_id)
        return await self.result(run_id) if wait else run.outcome

    def _cleaned(self, name: str, body: Mapping[str, JSON]) -> dict[str, JSON]:
        """Redact what a person says before it is written anywhere."""
        try:
            return cleaned(name, body, self._settings.redact)
        except ValueRefused as refused:
            raise UsageError(str(refused)) from refused


def _model_of(model: Model | str | None) -> Model:
    if model is not None and not isinstance(model, str):
        return model
    from statemachine_agents.models.claude import Claude

    return Claude() if model is None else Claude(model)
