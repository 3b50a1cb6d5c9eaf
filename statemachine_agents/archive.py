"""The runs of a store: create them, read them, each with the definition it was started with.

Rules.  1. A run keeps its definition; only the functions are today's.  2. A run of a workflow this
process does not have can be read, not advanced.  3. A run that was just created need not be folded
from the store again.
Not here: who may write a run (`dispatch`), the store itself (`stores`).
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from statemachine_agents.advance import deliveries, head_row
from statemachine_agents.errors import UsageError
from statemachine_agents.journal.records import Record, blob_of, with_blob
from statemachine_agents.kernel.workflow import Workflow
from statemachine_agents.table.definition import Definition
from statemachine_agents.turn.ports import Clock, RunRow, Store, Write
from statemachine_agents.turn.run import Run, Settings
from statemachine_agents.values import JSON, keep_all


class Archive:
    """Create and read runs.

    Args:
        workflow: the driver's workflow; its children and definitions in the store are known too.
        store: where journals live.
        clock: time of first records.
        settings: what a run needs from its shell.
    """

    def __init__(self, workflow: Workflow, store: Store, clock: Clock, settings: Settings) -> None:
        self.store = store
        self.clock = clock
        self.settings = settings
        self._given: dict[str, Workflow] = {}
        self._stored: dict[str, Workflow] = {}
        self._defined: set[str] = set()
        self._fresh: dict[str, tuple[Run, list[Record]]] = {}
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
        workflow = await self.workflow(await self.store.row(run_id))
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

    def take_new(self, run_id: str) -> tuple[Run, list[Record]] | None:
        """Return a run this process has just created, once: nobody was told of its records yet."""
        return self._fresh.pop(run_id, None)

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
        digest = workflow.definition.hash
        if digest not in self._defined:
            await self.store.define(digest, workflow.definition.data)
            self._defined.add(digest)
        records = run.seal(0)
        write = Write(
            records=records,
            head=head_row(run.standing, "ready"),
            outbox=deliveries(records),  # a `say` of the first state is queued by these records
            blobs=tuple(data for _, data in run.take_blobs()),
        )
        made, new = await self.store.create(
            write, workflow=workflow.table.name, request_id=request_id, parent=parent
        )
        if new:
            run.saved(records)
            self._fresh[made] = (run, records)
        return made

    async def workflow(self, row: RunRow) -> Workflow:
        """Return the workflow a run was started with: its own definition, today's functions."""
        known = self._given.get(row.definition) or self._stored.get(row.definition)
        if known is not None:
            return known
        definition = Definition.from_data(await self.store.definition(row.definition))
        donor = next((w for w in self._given.values() if w.table.name == row.workflow), None)
        functions = {} if donor is None else donor.functions
        made = self._stored[row.definition] = Workflow.from_definition(
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
