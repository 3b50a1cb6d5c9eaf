"""Explore a workflow: thousands of runs against an adversary, each failure made as short as can be.

Rules.  1. Model and world do whatever they can (`world`); the workflow must hold all the same.
2. Of every run is asked: does the journal verify and replay alike, does a fresh fold stand where
the live run stands, did every call that ran pass the gate, is every rule kept, did it stay in its
limits, and whatever the caller asks besides.  3. A finding carries the shortest run that was found
to show it, as lines and as numbers that repeat it.
Not here: proofs over all runs (`proof`); this finds, it does not prove.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import attrs

from statemachine_agents.errors import UsageError
from statemachine_agents.journal.conform import conform
from statemachine_agents.journal.fold import fold
from statemachine_agents.kernel.workflow import Workflow
from statemachine_agents.models.samples import Sampler
from statemachine_agents.testing.choices import Choices, shrink
from statemachine_agents.testing.hints import Hints
from statemachine_agents.testing.world import Lived, World
from statemachine_agents.values import JSON

Check: TypeAlias = Callable[[Lived], str | None]
"""Called with each run; returns what is wrong with it, or None."""


@attrs.frozen(kw_only=True)
class Finding:
    """Something that must not happen, and the shortest run that shows it.

    Args:
        kind: `rule`, `gate`, `replay`, `fold`, `limit`, `twice`, `check` or `crash`.
        text: what is wrong.
        script: what model and world did, a line each.
        path: states visited.
        choices: numbers for `repeat`.
    """

    kind: str
    text: str
    script: tuple[str, ...]
    path: tuple[str, ...]
    choices: tuple[int, ...]

    def __str__(self) -> str:
        lines = "\n".join(f"  {number}. {line}" for number, line in enumerate(self.script, 1))
        return f"{self.kind}: {self.text}\n{lines}\n  path: {' -> '.join(self.path)}"


@attrs.frozen(kw_only=True)
class Exploration:
    """What so many runs have shown.

    Args:
        runs: how many there were.
        calls: how many calls reached a tool; `refused` how many proposals did not.
        refused: proposals the gate refused.
        ends: status -> runs that ended or were left so.
        states: state -> visits.
        rows: row index -> how often it fired.
        findings: one for each kind and text, each shrunk.
        unvisited: states no run came to.
        unfired: rows no run fired, as their labels.
    """

    runs: int
    calls: int
    refused: int
    ends: Mapping[str, int]
    states: Mapping[str, int]
    rows: Mapping[int, int]
    findings: tuple[Finding, ...]
    unvisited: tuple[str, ...]
    unfired: tuple[str, ...]

    @property
    def sound(self) -> bool:
        """Whether nothing was found."""
        return not self.findings

    def require_sound(self) -> Exploration:
        """Return self, or raise.

        Raises:
            AssertionError: with every finding and its script.
        """
        if self.findings:
            raise AssertionError("\n\n".join(str(finding) for finding in self.findings))
        return self


def explore(
    workflow: Workflow,
    inputs: Mapping[str, JSON] | None = None,
    *,
    runs: int = 200,
    seed: int = 0,
    steps: int = 80,
    check: Check | None = None,
) -> Exploration:
    """Run a workflow against the adversary; nothing outside is called.

    Args:
        workflow: bound or from a definition; its functions are never called.
        inputs: context of every run; sampled by type where it is left out.
        runs: how many.
        seed: the same seed gives the same runs.
        steps: most things that happen in one run.
        check: what else must hold of a run.

    Raises:
        UsageError: `runs` or `steps` is not positive, or an input does not fit.

    Example:
        >>> explore(refund, {"order_id": "A1"}, runs=500).require_sound()  # doctest: +SKIP
    """
    if runs < 1 or steps < 1:
        raise UsageError(f"explore: runs={runs}, steps={steps}; expected 1 or more of each")
    given = inputs_for(workflow) if inputs is None else dict(inputs)
    hints = Hints.of(workflow)
    sums = _Sums(workflow)
    found: dict[tuple[str, str], tuple[int, list[int]]] = {}
    for number in range(runs):
        choices = Choices.drawn(f"{seed}:{number}")
        world = World(workflow, given, choices, hints)
        lived, faults = _lived(world, steps, check)
        if lived is not None:
            sums.take(lived)
        for fault in faults:
            # Of all runs that show it, the shortest is the best one to make shorter.
            seen = (len(world.script), choices.taken)
            found[fault] = min(found.get(fault, seen), seen)
    return sums.close(
        runs,
        tuple(
            _shortest(workflow, given, hints, steps, check, fault, taken)
            for fault, (_, taken) in found.items()
        ),
    )


def repeat(
    workflow: Workflow,
    choices: Sequence[int],
    inputs: Mapping[str, JSON] | None = None,
    *,
    steps: int = 80,
) -> Lived:
    """Live one run again, such as that of a finding.

    Args:
        workflow: as it was explored.
        choices: `Finding.choices`, or any numbers.
        inputs: as they were.
        steps: as they were.
    """
    given = inputs_for(workflow) if inputs is None else dict(inputs)
    return World(workflow, given, Choices.written(choices), Hints.of(workflow)).live(steps)


def faults_of(lived: Lived, check: Check | None = None) -> list[tuple[str, str]]:
    """Return what is wrong with a run, as (kind, text).

    Args:
        lived: the run.
        check: what else must hold.
    """
    out: list[tuple[str, str]] = []
    workflow, run = lived.run.standing.workflow, lived.run.standing
    journal = lived.journal
    replayed = journal.replay()
    if replayed.difference is not None:
        out.append(("replay", str(replayed.difference)))
    again = fold(workflow, run.run, lived.records)
    if again.snapshot != run.snapshot:
        out.append(("fold", f"the fold stands at {again.snapshot}, the live run at {run.snapshot}"))
    out += [("twice", f"a second answer was accepted: {line}") for line in lived.twice]
    out += _ungated(lived)
    limits, counters = workflow.limits, run.snap().counters
    if counters.iterations > limits.iterations or counters.requests > limits.requests:
        out.append(("limit", f"the model was asked {counters.requests} times"))
    found = conform(journal)
    out += [("rule", f"breaks {each.text} ({each.fact})") for each in found.violations]
    said = None if check is None else check(lived)
    return [*out, ("check", said)] if said else out


def _ungated(lived: Lived) -> list[tuple[str, str]]:
    """Every call that ran must have been written down first, in a state that offers it."""
    workflow = lived.run.standing.workflow
    intended: dict[int, str] = {}
    state, out = "", []
    for record in lived.records:
        if record.kind == "stepped":
            state = record.body["to"]
        elif record.kind == "call_intended":
            intended[record.body["no"]] = record.body["tool"]
            offered = workflow.table.tools_in(workflow.state(state))
            fits = record.body["tool"] in offered or record.body.get("undoes") is not None
            if not fits and record.body["attempt"] == 1:
                out.append(("gate", f"{record.body['tool']} was called in state {state!r}"))
    for number, tool in lived.executed:
        if intended.get(number) != tool:
            out.append(("gate", f"{tool} ran without an intent"))
    return out


def inputs_for(workflow: Workflow) -> dict[str, JSON]:
    """Return values for the context keys a run must be given, sampled by type."""
    kinds = {"list": "array", "any": "string"}
    out = {}
    for name, key in workflow.table.context.items():
        if key.required:
            kind = key.type.rstrip("?")
            schema = {"type": kinds.get(kind, kind)}
            out[name] = Sampler(schema).value(schema, name)
    return out


def _lived(
    world: World, steps: int, check: Check | None
) -> tuple[Lived | None, list[tuple[str, str]]]:
    try:
        lived = world.live(steps)
        return lived, faults_of(lived, check)
    except Exception as error:  # noqa: BLE001 - whatever breaks is what is looked for
        return None, [("crash", f"{type(error).__name__}: {error}")]


def _shortest(
    workflow: Workflow,
    inputs: Mapping[str, JSON],
    hints: Hints,
    steps: int,
    check: Check | None,
    wanted: tuple[str, str],
    taken: Sequence[int],
) -> Finding:
    def size(numbers: Sequence[int]) -> int | None:
        world = World(workflow, inputs, Choices.written(numbers), hints)
        faults = _lived(world, steps, check)[1]
        return len(world.script) if wanted in faults else None

    best = shrink(taken, size)
    world = World(workflow, inputs, Choices.written(best), hints)
    try:
        world.live(steps)
    except Exception as error:  # noqa: BLE001 - a crash is shown with all that led to it
        world.script.append(f"... {type(error).__name__}")
    return Finding(
        kind=wanted[0],
        text=wanted[1],
        script=tuple(world.script),
        path=tuple(world.run.standing.path),
        choices=best,
    )


class _Sums:
    """What the runs add up to."""

    def __init__(self, workflow: Workflow) -> None:
        self.workflow = workflow
        self.calls = self.refused = 0
        self.ends: Counter[str] = Counter()
        self.states: Counter[str] = Counter()
        self.rows: Counter[int] = Counter()

    def take(self, lived: Lived) -> None:
        self.calls += len(lived.executed)
        self.ends[lived.run.outcome.status] += 1
        self.states.update(lived.path)
        for record in lived.records:
            self.refused += record.kind == "call_refused"
            if record.kind == "stepped" and "row" in record.body:
                self.rows[record.body["row"]] += 1
            if record.kind == "stepped":
                self.rows.update(record.body.get("notes", ()))

    def close(self, runs: int, findings: tuple[Finding, ...]) -> Exploration:
        table = self.workflow.table
        return Exploration(
            runs=runs,
            calls=self.calls,
            refused=self.refused,
            ends=dict(self.ends),
            states=dict(self.states),
            rows=dict(self.rows),
            findings=findings,
            unvisited=tuple(name for name in table.states if not self.states[name]),
            unfired=tuple(row.label for row in self.workflow.grid.rows if not self.rows[row.index]),
        )
