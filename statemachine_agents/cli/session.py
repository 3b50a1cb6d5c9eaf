"""One command that drives a run: the store, the driver, the view, and leaving in order.

Rules.  1. Ctrl-C leaves the driver in order and names the command that goes on.  2. A run that
another process advances is left to it: who only wanted to say something waits for what comes of it,
who wanted to advance it is told who does.
Not here: what each command says to the run (`driving`), where things are found (`finding`).
"""

from __future__ import annotations

import asyncio
import getpass
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, Final, TypeAlias

import attrs

from statemachine_agents.cli.ending import tell, waits_for
from statemachine_agents.cli.failures import Interrupted, code_of
from statemachine_agents.cli.finding import existing_store, find_run, model_of, workflow_of
from statemachine_agents.cli.holding import Holder, holder_of
from statemachine_agents.cli.live import Live
from statemachine_agents.cli.options import STORE
from statemachine_agents.cli.paper import Paper
from statemachine_agents.cli.text import clock_of, command
from statemachine_agents.driver import Driver
from statemachine_agents.errors import TableError, UsageError
from statemachine_agents.journal.outcome import Outcome
from statemachine_agents.kernel.workflow import Workflow
from statemachine_agents.stores.sqlite import SQLiteStore
from statemachine_agents.system import has_died
from statemachine_agents.turn.recovery import recover_at

Speak: TypeAlias = Callable[[Driver], Awaitable[str]]
"""Starts a run or says something to one, without waiting; returns the run's id."""

_PATIENCE: Final = 0.2
"""Seconds between two looks at a run that another process advances."""


@attrs.define(slots=True)
class Session:
    """What the driving commands share.

    Args:
        paper: where to write.
        path: of the store.
        model: as `--model` names it, or None.
        base_url: as `--base-url` names it, or None.
        named: how the workflow is named where it will not be found by its name, or None.
        run_id: the run that is driven, once there is one.
    """

    paper: Paper
    path: Path = STORE
    model: str | None = None
    base_url: str | None = None
    named: str | None = None
    run_id: str = ""

    def start(self, workflow: Workflow, speak: Speak) -> int:
        """Drive a run that `speak` creates; return the exit code."""

        async def whole() -> int:
            store = SQLiteStore(self.path)
            try:
                return await self._drive(store, workflow, speak, follow=False)
            finally:
                await store.aclose()

        return self._sync(whole())

    def go_on(
        self, text: str, speak: Callable[[Driver, str], Awaitable[Any]], *, follow: bool
    ) -> int:
        """Drive a run that exists.

        Args:
            text: how the run is named.
            speak: says something to the run, given its id, without waiting.
            follow: wait for a process that advances it already, rather than say so and fail.
        """

        async def spoken(driver: Driver) -> str:
            await self._say_delay(driver)
            await speak(driver, self.run_id)
            return self.run_id

        async def whole() -> int:
            store = existing_store(self.path)
            try:
                row = await find_run(store, text)
                self.run_id = row.run
                holder = holder_of(row)
                if holder is not None and not follow:
                    raise _held(row.run, holder)
                workflow = await workflow_of(store, row, self.named)
                if row.lease_until is not None and has_died(row.owner):
                    self.paper.note(f"the process that had run {row.run} is gone; taking it over")
                return await self._drive(store, workflow, spoken, follow=follow)
            finally:
                await store.aclose()

        return self._sync(whole())

    @property
    def options(self) -> tuple[str, ...]:
        """What the next command needs so that it means the same run, workflow and model."""
        out: list[str] = []
        if self.path != STORE:
            out += ["--store", str(self.path)]
        if self.named is not None:
            out += ["--workflow", self.named]
        # A script begins at its first turn again, so it cannot go on where it was.
        if self.model is not None and not self.model.startswith("scripted:"):
            out += ["--model", self.model]
        if self.base_url is not None:
            out += ["--base-url", self.base_url]
        return tuple(out)

    def _sync(self, work: Coroutine[Any, Any, int]) -> int:
        try:
            return asyncio.run(work)
        except KeyboardInterrupt:
            line = command("resume", self.run_id, *self.options) if self.run_id else ""
            raise Interrupted(self.run_id, line) from None
        except Exception as error:
            if self.run_id and not isinstance(error, UsageError | TableError):
                line = command("resume", self.run_id, *self.options)
                error.add_note(f"the run can go on: {line}")
            raise

    async def _drive(
        self, store: SQLiteStore, workflow: Workflow, speak: Speak, *, follow: bool
    ) -> int:
        model, label = model_of(self.model, self.base_url)
        live = Live(self.paper, rehearsed=label == "rehearsal")
        try:
            async with Driver(workflow, model=model, store=store, observers=[live]) as driver:
                live.run_id = self.run_id = await speak(driver)
                self._open(workflow, label)
                try:
                    outcome = await self._result(driver, store, follow=follow)
                    await _parents(driver, store, self.run_id)
                except asyncio.CancelledError:
                    live.close()
                    self.paper.note("stopping in order; Ctrl-C again leaves at once")
                    raise
                live.close()
                pending, lines = await waits_for(driver, outcome, self.options)
                records = await driver.records(self.run_id)
        finally:
            live.close()
            await model.aclose()
        tell(self.paper, outcome, records, pending, lines)
        return code_of(outcome.status, outcome.limit)

    def _open(self, workflow: Workflow, label: str) -> None:
        table = workflow.table
        name = f"{table.name}@{table.version}"
        self.paper.line(("run ", "dim"), (self.run_id, "bold"), f"  {name}", (f"  {label}", "dim"))
        self.paper.object({"event": "run", "run_id": self.run_id, "workflow": name, "model": label})

    async def _say_delay(self, driver: Driver) -> None:
        """Say that a dead process's call is looked into only after its deadline."""
        standing = (await driver.load(self.run_id)).standing
        now = driver.clock.now()
        for call in standing.calls.values():
            until = recover_at(call)
            if call.status == "open" and until > now:
                self.paper.note(
                    f"{call.tool} was under way when its process ended; it may still happen, so "
                    f"it is looked into at {clock_of(until)} UTC"
                )

    async def _result(self, driver: Driver, store: SQLiteStore, *, follow: bool) -> Outcome:
        while True:
            try:
                return await driver.result(self.run_id)
            except UsageError as error:
                if not error.facts.get("busy"):
                    raise
                await self._leave_it(store, follow=follow)
                await driver.resume(self.run_id, wait=False)

    async def _leave_it(self, store: SQLiteStore, *, follow: bool) -> None:
        """Return when nobody advances the run any more.

        Raises:
            UsageError: somebody does, and we are not to wait for it.
        """
        holder = holder_of(await store.row(self.run_id))
        if holder is None:
            return
        if not follow:
            raise _held(self.run_id, holder)
        self.paper.note(f"sent; {holder} advances run {self.run_id}, waiting for it")
        # The other process tells us nothing but what it writes, so this can only look again.
        while holder_of(await store.row(self.run_id)) is not None:  # noqa: ASYNC110 - see above
            await asyncio.sleep(_PATIENCE)


async def _parents(driver: Driver, store: SQLiteStore, run: str) -> None:
    """Wait for what the end of a child leads to in the runs above it; the driver rang them."""
    while (parent := (await store.row(run)).parent) is not None:
        await driver.result(parent)
        run = parent


def _held(run: str, holder: Holder) -> UsageError:
    msg = f"run {run} is being advanced by {holder}; let it, or stop it first"
    return UsageError(msg, run=run, owner=holder.owner)


def somebody(by: str | None) -> str:
    """Return who says so: the name given, else the user's."""
    if by is not None:
        return by
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "somebody"
