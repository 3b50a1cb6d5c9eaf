"""The runs of a store: create them, read them, each with the definition it was started with.

Rules.  1. A run keeps its definition; only the functions are today's.  2. A run of a workflow this
process does not have can be read, not advanced.  3. A run that was just created need not be folded
from the store again.
Not here: who may write a run (`dispatch`), the store itself (`stores`).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping

import attrs

from statemachine_agents.advance import deliveries, head_row
from statemachine_agents.errors import StoreError, UsageError
from statemachine_agents.journal.records import Record, blob_of, damaged, verify_chain, with_blob
from statemachine_agents.kernel.workflow import Workflow
from statemachine_agents.table.definition import Definition
from statemachine_agents.turn.ports import Clock, Lease, Store, Write
from statemachine_agents.turn.run import Run, Settings
from statemachine_agents.values import JSON, keep_all


@attrs.frozen
class Fresh:
    """A run this process has just created: nobody was told of its records yet.

    `lease` is what it was created under, `since` when (monotonic seconds); `spoken` says that
    somebody here has put something into its inbox.
    """

    run: Run
    records: list[Record]
    lease: Lease
    since: float
    spoken: bool = False


class Archive:
    """Create and read runs.

    Args:
        workflow: the driver's workflow; its children and definitions in the store are known too.
        store: where journals live.
        clock: time of first records.
        settings: what a run needs from its shell.
        owner: who new runs are leased to.
        ttl: seconds such a lease lasts without renewal.
    """

    def __init__(
        self,
        workflow: Workflow,
        store: Store,
        clock: Clock,
        settings: Settings,
        *,
        owner: str,
        ttl: float,
    ) -> None:
        self.owner = owner
        self.ttl = ttl
        self.keeping = True
        self.store = store
        self.clock = clock
        self.settings = settings
        self._given: dict[str, Workflow] = {}
        self._stored: dict[str, Workflow] = {}
        self._defined: set[str] = set()
        self._fresh: dict[str, Fresh] = {}
        self._know(workflow)

    def _know(self, workflow: Workflow) -> None:
        self._given[workflow.definition.hash] = workflow
        for child in workflow.children.values():
            self._know(child)

    @property
    def names(self) -> set[str]:
        """Names of the workflows whose runs can be advanced here."""
        return {workflow.table.name for workflow in self._given.values()}

    async def load(self, run_id: str) -> tuple[Run, list[Record]]:
        """Fold a run from its journal; return it with its records.

        Raises:
            UnknownRun: no such run.
            JournalDamaged: its journal does not verify.
        """
        records = await self.records(run_id)
        if not records:
            raise damaged(run_id, 1, "its first record is gone")
        try:
            workflow = await self.workflow(records[-1].definition)
        except StoreError:
            verify_chain(records)  # when that does not hold, the name of the definition may not
            raise
        return Run.load(workflow, run_id, records, self.settings), records

    async def records(self, run_id: str) -> list[Record]:
        """Return a run's records, large bodies read back."""
        records = await self.store.read(run_id)
        for index, record in enumerate(records):
            digest = blob_of(record)
            if digest is not None:
                records[index] = with_blob(record, await self.store.blob(digest))
        return records

    def take_new(self, run_id: str) -> Fresh | None:
        """Return a run this process has just created, once."""
        return self._fresh.pop(run_id, None)

    def spoken(self, run_id: str) -> None:
        """Note that something was put into a run's inbox, should it be new."""
        if (fresh := self._fresh.get(run_id)) is not None:
            self._fresh[run_id] = attrs.evolve(fresh, spoken=True)

    async def give_back(self) -> None:
        """Let others have the new runs that nobody here has begun, and later ones too."""
        self.keeping = False
        while self._fresh:
            _, fresh = self._fresh.popitem()
            await self._release(fresh.lease)

    async def _release(self, lease: Lease) -> None:
        with contextlib.suppress(StoreError):
            await self.store.release(lease, counted=False)

    async def create(
        self,
        workflow: Workflow,
        inputs: Mapping[str, JSON],
        *,
        request_id: str | None = None,
        run_id: str | None = None,
        parent: str | None = None,
        root: str | None = None,
    ) -> str:
        """Create a run, or return the one this `request_id` made earlier.

        A new one is ours at once, in the same commit: whoever creates a run goes on with it.

        Raises:
            UsageError: an input is undeclared, missing or of the wrong type.
        """
        # A child's inputs come from its parent's journal: they are redacted already.
        settings = self.settings
        if parent is not None:
            settings = attrs.evolve(settings, redact=keep_all)
        run = Run.start(
            workflow,
            run_id or f"r-{settings.entropy.take(8).hex()}",
            inputs,
            settings,
            at=self.clock.now(),
            request_id=request_id,
            root=root,
        )
        run.settings = self.settings
        definition = workflow.definition
        records = run.seal(0)
        write = Write(
            records=records,
            head=head_row(run.standing, "ready"),
            outbox=deliveries(records),  # a `say` of the first state is queued by these records
            blobs=tuple(data for _, data in run.take_blobs()),
        )
        lease = Lease(run.standing.run, 1, self.owner, 1)
        try:
            made, new = await self.store.create(
                write,
                workflow=workflow.table.name,
                request_id=request_id,
                parent=parent,
                definition=None if definition.hash in self._defined else definition.data,
                owner=self.owner,
                ttl=self.ttl,
            )
        except asyncio.CancelledError:
            await self._release(lease)  # it may be there by now: a lease nobody uses must not stand
            raise
        self._defined.add(definition.hash)
        if new and self.keeping:
            run.saved(records)
            self._fresh[made] = Fresh(run, records, lease, self.clock.monotonic())
        elif new:
            await self._release(lease)
        return made

    async def workflow(self, digest: str) -> Workflow:
        """Return the workflow a run was started with: its own definition, today's functions."""
        known = self._given.get(digest) or self._stored.get(digest)
        if known is not None:
            return known
        definition = Definition.from_data(await self.store.definition(digest))
        name = definition.table.name
        donor = next((w for w in self._given.values() if w.table.name == name), None)
        functions = {} if donor is None else donor.functions
        made = self._stored[digest] = Workflow.from_definition(
            definition,
            {name: functions[name] for name in definition.tools if name in functions},
            {} if donor is None else donor.children,
        )
        return made

    def insist(self, run: Run) -> None:
        """Refuse to advance a run whose tools this process does not have.

        Raises:
            UsageError: names the tools.
        """
        workflow = run.standing.workflow
        definition = workflow.definition
        missing = sorted(set(definition.tools) - set(workflow.functions))
        if not missing or definition.hash in self._given:
            return
        table = workflow.table
        msg = (
            f"run {run.standing.run} was started with {table.name}@{table.version} "
            f"({definition.hash[:12]}), and this process has no function for {', '.join(missing)}; "
            "advance it where these tools are"
        )
        raise UsageError(msg, run=run.standing.run, missing=missing)
