"""Who notices a mistake in a table: its checks, its rules, its golden journals, its tests?

Rules.  1. A mutant is noticed by checks that find something new, by a rule whose verdict becomes
worse, by a golden journal that is decided otherwise, by tests that fail.  2. What nobody notices
survives; for each survivor a run is looked for in which it shows, worth keeping as a golden
journal.  3. Tests run on a copy of the workflow's folder; nothing of the original is touched.
Not here: which mutants there are (`proof.mutate`).
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import attrs

from statemachine_agents.errors import JournalDamaged, TableError, UsageError
from statemachine_agents.journal.journal import Journal
from statemachine_agents.journal.replay import replay
from statemachine_agents.kernel.workflow import Workflow
from statemachine_agents.proof.mutate import Mutant, mutants
from statemachine_agents.proof.product import prove
from statemachine_agents.proof.structure import check
from statemachine_agents.table.definition import Definition
from statemachine_agents.table.model import Table
from statemachine_agents.testing.choices import Choices, shrink
from statemachine_agents.testing.explore import inputs_for
from statemachine_agents.testing.hints import Hints
from statemachine_agents.testing.world import Lived, World
from statemachine_agents.values import JSON

WHO: Final = ("checks", "rules", "goldens", "tests")
"""Who may notice a mutant, in the order in which they are asked."""

_STEPS: Final = 40
_SKIPPED: Final = shutil.ignore_patterns(".venv", ".git", "__pycache__", "*.db", "*.db-*")


@attrs.frozen
class Verdict:
    """What became of one mutant.

    Args:
        mutant: the mutant.
        noticed: who noticed it: `checks`, `rules`, `goldens`, `tests`; empty for a survivor.
        lived: for a survivor, a run in which it shows, or None when none was found.
    """

    mutant: Mutant
    noticed: tuple[str, ...]
    lived: Lived | None = attrs.field(default=None, repr=False)

    @property
    def survived(self) -> bool:
        """Whether nobody noticed."""
        return not self.noticed


@attrs.frozen
class Score:
    """All mutants of a table.

    Args:
        verdicts: in the order of the table's text.
    """

    verdicts: tuple[Verdict, ...]

    @property
    def survivors(self) -> tuple[Verdict, ...]:
        """Mutants nobody noticed."""
        return tuple(verdict for verdict in self.verdicts if verdict.survived)

    def count(self, who: str) -> int:
        """Return how many mutants somebody noticed."""
        return sum(who in verdict.noticed for verdict in self.verdicts)


def score(
    workflow: Workflow,
    goldens: Sequence[Journal] = (),
    *,
    folder: Path | None = None,
    tests: Sequence[str] = (),
    runs: int = 0,
    inputs: Mapping[str, JSON] | None = None,
) -> Score:
    """Make every mutant of a workflow's table and see who notices it.

    Args:
        workflow: the workflow; its functions are never called here.
        goldens: recorded runs of it.
        folder: the workflow's folder, copied for `tests`.
        tests: a command that fails when the workflow is wrong, run in the copy; mutants that
            others noticed are not tested.
        runs: how many explored runs to look at for each set of survivors; 0 looks at none.
        inputs: context of explored runs.

    Raises:
        UsageError: a golden journal is not decided alike by the table as it is, or the tests fail
            without any mutant.
    """
    if tests and folder is None:
        raise UsageError("mutation: tests need the workflow's folder, which they run in a copy of")
    before = _Before(_known(workflow.table, workflow), _kept(workflow.table, workflow))
    for golden in goldens:
        if _differs(workflow, golden):
            msg = f"the golden journal of run {golden.run_id} is not decided alike by this table"
            raise UsageError(f"{msg}; record it anew first", run=golden.run_id)
    if tests and folder is not None and not _passes(folder, None, tests):
        raise UsageError(f"the tests fail without any mutant: {' '.join(tests)}")
    verdicts = []
    for mutant in mutants(workflow.table):
        noticed = _noticed(workflow, mutant, before, goldens)
        if not noticed and tests and folder is not None and not _passes(folder, mutant, tests):
            noticed = ("tests",)
        verdicts.append(Verdict(mutant, noticed))
    if runs:
        verdicts = _told_apart(workflow, verdicts, runs, inputs)
    return Score(tuple(verdicts))


def _known(table: Table, workflow: Workflow) -> frozenset[tuple[str, str]]:
    definition = workflow.definition
    found = check(table, definition.tools, children=tuple(definition.children))
    return frozenset((problem.code, problem.what) for problem in found)


def _kept(table: Table, workflow: Workflow) -> frozenset[str]:
    """Return the rules that the rows of a table keep and that speak of something."""
    definition = workflow.definition
    found = prove(table, definition.tools, children=tuple(definition.children))
    if found.contradiction:
        return frozenset()
    return frozenset(
        proof.rule.text for proof in found.proofs if proof.verdict == "proven" and not proof.vacuous
    )


@attrs.frozen
class _Before:
    """What is known of the table without a mistake: findings, and rules that its rows keep."""

    findings: frozenset[tuple[str, str]]
    kept: frozenset[str]


def _noticed(
    workflow: Workflow,
    mutant: Mutant,
    before: _Before,
    goldens: Sequence[Journal],
) -> tuple[str, ...]:
    who = []
    if _known(mutant.table, workflow) - before.findings:
        who.append("checks")
    if before.kept - _kept(mutant.table, workflow):
        who.append("rules")
    changed = _workflow(workflow, mutant.table)
    if changed is None:
        return tuple(who) or ("checks",)
    if any(_differs(changed, golden) for golden in goldens):
        who.append("goldens")
    return tuple(who)


def _workflow(workflow: Workflow, table: Table) -> Workflow | None:
    """Return the workflow with another table; None when it is refused."""
    definition = workflow.definition
    changed = Definition(table, definition.tools, definition.children)
    try:
        return Workflow.from_definition(changed, {}, workflow.children)
    except TableError:
        return None


def _differs(workflow: Workflow, journal: Journal) -> bool:
    """Whether a journal is decided otherwise by a workflow, or cannot be followed by it."""
    try:
        return not replay(workflow, journal.run_id, journal.records).same
    except JournalDamaged:
        return True


def _passes(folder: Path, mutant: Mutant | None, tests: Sequence[str]) -> bool:
    with tempfile.TemporaryDirectory(prefix="sma-mutant-") as place:
        copy = Path(place, folder.name)
        shutil.copytree(folder, copy, ignore=_SKIPPED)
        if mutant is not None:
            text = mutant.table.to_toml()
            Path(copy, "table.toml").write_text(text, encoding="utf-8")
        try:
            done = subprocess.run(tests, cwd=copy, capture_output=True, check=False)  # noqa: S603 - the operator's own command
        except OSError as error:
            msg = f"the tests cannot be run: {' '.join(tests)}: {error.strerror}"
            raise UsageError(msg, tests=tuple(tests)) from error
        return done.returncode == 0


def _told_apart(
    workflow: Workflow,
    verdicts: list[Verdict],
    runs: int,
    inputs: Mapping[str, JSON] | None,
) -> list[Verdict]:
    """Look for a run in which each survivor shows, and make it short."""
    given = inputs_for(workflow) if inputs is None else dict(inputs)
    hints = Hints.of(workflow)
    open_ = {
        index: changed
        for index, verdict in enumerate(verdicts)
        if verdict.survived and (changed := _workflow(workflow, verdict.mutant.table)) is not None
    }
    out = list(verdicts)
    for number in range(runs):
        if not open_:
            break
        world = World(workflow, given, Choices.drawn(f"mutant:{number}"), hints)
        lived = world.live(_STEPS)
        for index, changed in list(open_.items()):
            if index in open_ and _differs(changed, lived.journal):
                short = _shortest(workflow, changed, given, hints, lived)
                # The same run may show others: few runs that show much are worth more.
                for other, table in list(open_.items()):
                    if other == index or _differs(table, short.journal):
                        out[other] = attrs.evolve(out[other], lived=short)
                        del open_[other]
    return out


def _shortest(
    workflow: Workflow, changed: Workflow, inputs: Mapping[str, JSON], hints: Hints, lived: Lived
) -> Lived:
    def live(numbers: Sequence[int]) -> Lived:
        return World(workflow, inputs, Choices.written(numbers), hints).live(_STEPS)

    def size(numbers: Sequence[int]) -> int | None:
        found = live(numbers)
        return len(found.script) if _differs(changed, found.journal) else None

    return live(shrink(lived.choices, size, tries=120))
