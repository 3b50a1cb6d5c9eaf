"""Turn one event into one step.

Rules.
1. Nothing here waits, reads a clock or logs; same arguments, same result; inputs stay untouched.
2. `step` is total: an event nobody takes, or a run that has ended, is an outcome, no exception.
3. Notes first, in order, each reading what the one before left; then the first row with a target
   whose guard holds moves, reading the noted context.  `assign` reads the context before its row.
4. A late result (its call began in an earlier visit) runs notes only, never moves and is no fact.
5. A guard or assign that cannot be evaluated changes nothing: the step is `unhandled` with default
   `guard.error`, and the caller steps that event next.
6. Entering a state is a new visit: counted, facts cleared.  `stay` is none.
Everything a table can do is visible in this file or in `machine`.
Not here: limits across turns (`limits`), whether a call is legal (`gate`), wording for the model
(`turn.prompt`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal, TypeAlias

import attrs

from statemachine_agents.errors import EvaluationError
from statemachine_agents.kernel.machine import Cursor, Verdict, results_of
from statemachine_agents.kernel.snapshot import Snapshot, Status
from statemachine_agents.kernel.workflow import Workflow
from statemachine_agents.table.expressions import Expression, Target, write
from statemachine_agents.table.grid import Row
from statemachine_agents.table.nodes import Path
from statemachine_agents.values import JSON, MAX_BODY, MAX_DEPTH, ROOM, dumps

Outcome: TypeAlias = Literal["moved", "stayed", "ended", "unhandled"]
Change: TypeAlias = tuple[tuple[str | int, ...], JSON]

STARTED: Final = "run.started"
"""The event of a run's first step."""


@attrs.frozen
class Event:
    """One fact.

    Args:
        name: `fetch_order.ok` and the like.
        now: recorded time, text as `2026-11-20T19:48:00Z`; guards see it as `now`.
        scope: the names this event adds for guards: `result args error message approval reply`.
        fact: what a conjunction sees of it as `results.<name>`.
        visit: visit in which its call or timer began; None for events without one.
        resolved: a call in doubt was resolved, so the event counts in the current visit.
        call: number of the call, for rules.
    """

    name: str
    now: str = ""
    scope: Mapping[str, JSON] = attrs.field(factory=dict)
    fact: JSON = None
    visit: int | None = None
    resolved: bool = False
    call: int | None = None


@attrs.frozen
class Step:
    """One event handled to completion.

    Args:
        before: the snapshot it began with.
        event: the event.
        notes: indexes of the notes that ran.
        row: the row that took it, or None.
        outcome: `moved`, `stayed` (a row without a new visit), `ended`, or `unhandled`.
        default: what happens instead of a row; empty when a row took it.
        verdicts: what every guard that was asked said.
        changes: assignments, in order, as (path, value).
        rules: (rule index, automaton state) of the rules that moved.
        after: the snapshot it ended with.
        late: the event's call began in an earlier visit.
        reason: why the run ended without a row, or why a guard could not be evaluated.
    """

    before: Snapshot | None
    event: Event
    notes: tuple[int, ...]
    row: Row | None
    outcome: Outcome
    default: str
    verdicts: tuple[Verdict, ...]
    changes: tuple[Change, ...]
    rules: tuple[tuple[int, Any], ...]
    after: Snapshot
    late: bool = False
    reason: str = ""


def begin(workflow: Workflow, context: Mapping[str, JSON], *, at: str = "") -> Step:
    """Enter the initial state.

    Args:
        workflow: the workflow.
        context: every declared key with its value (`Workflow.bind_context` makes it).
        at: recorded time, as text.
    """
    after = enter(workflow, nowhere(workflow, context), workflow.table.initial, context)
    event = Event(STARTED, at)
    outcome: Outcome = "ended" if after.ended else "moved"
    return Step(None, event, (), None, outcome, "", (), (), (), after)


def nowhere(workflow: Workflow, context: Mapping[str, JSON]) -> Snapshot:
    """Return the snapshot before the first state: every state has been visited no time yet."""
    visits = dict.fromkeys(workflow.table.states, 0)
    return Snapshot("", context, visits=visits, rules=workflow.rules.start())


def enter(
    workflow: Workflow, snapshot: Snapshot, state: str, context: Mapping[str, JSON]
) -> Snapshot:
    """Return the snapshot after entering a state: a new visit without facts."""
    visits, recent = snapshot.visits, snapshot.recent
    return Snapshot(
        state,
        context,
        _status(workflow, snapshot, state),
        snapshot.visit + 1,
        {**visits, state: visits.get(state, 0) + 1},
        {**recent, state: recent.get(state, 0) + 1},
        snapshot.counters,
        {},
        snapshot.rules,
    )


def _status(workflow: Workflow, snapshot: Snapshot, state: str) -> Status:
    """Return the status on entering a state; a success that a rule does not allow is a failure."""
    final = workflow.table.states[state].final
    if final is None:
        return "running"
    if final == "failure" or workflow.rules.unmet(snapshot.rules):
        return "failed"
    return "succeeded"


def step(workflow: Workflow, snapshot: Snapshot, event: Event) -> Step:
    """Handle one event to completion.

    Args:
        workflow: the workflow.
        snapshot: where the run stands.
        event: what happened.

    Returns:
        The step; its `after` is where the run stands then.
    """
    late = event.visit is not None and event.visit != snapshot.visit and not event.resolved
    if snapshot.ended:
        return _untaken(snapshot, event, snapshot, "stays", late=late)
    cell = workflow.grid.cell(snapshot.state, event.name)
    facts = snapshot.facts if late else {**snapshot.facts, event.name: event.fact}
    scope = scope_of(workflow, snapshot, event)
    rules = workflow.rules.observe(snapshot.rules, event.name, scope, event.call)
    verdicts: list[Verdict] = []
    changes: list[Change] = []
    notes: list[int] = []
    context = snapshot.context
    row: Row | None = None
    try:
        for entry in cell.notes:
            if any(fact not in facts for fact in entry.needs):
                continue
            seen = {**scope, "results": results_of(entry.needs, facts)} if entry.needs else scope
            if entry.row.guard is not None:
                held = _ask(entry.row, seen, verdicts)
                if not held:
                    continue
            notes.append(entry.row.index)
            context = _assign(workflow, entry.row, seen, context, changes)
            scope = {**scope, "context": context}
        if cell.moves and not late:
            cursor = Cursor(snapshot.state, scope, facts, verdicts)
            taken = workflow.machine.decide(cursor, event.name)
            if taken is not None:
                row, needs = taken.row, taken.needs
                seen = {**scope, "results": results_of(needs, facts)} if needs else scope
                context = _assign(workflow, row, seen, context, changes)
    except EvaluationError as error:
        return _undone(snapshot, event, verdicts, rules, error, late=late)
    moved = rules_moved(snapshot.rules, rules)
    noted = snapshot.noted(context, facts, rules)
    if row is None:
        default = "stays" if late else cell.default
        return _untaken(
            snapshot, event, noted, default, late, tuple(notes), verdicts, changes, moved
        )
    if row.stays:
        return Step(
            snapshot, event, tuple(notes), row, "stayed", "", tuple(verdicts), tuple(changes),
            moved, noted,
        )  # fmt: skip
    after = enter(workflow, noted, str(row.transition.target), context)
    return Step(
        snapshot,
        event,
        tuple(notes),
        row,
        "ended" if after.ended else "moved",
        "",
        tuple(verdicts),
        tuple(changes),
        moved,
        after,
        reason=_refused_end(workflow, after),
    )


def _refused_end(workflow: Workflow, after: Snapshot) -> str:
    """Return why a run that reached a successful end has failed all the same, or nothing."""
    if after.status != "failed" or workflow.table.states[after.state].final != "success":
        return ""
    rule = workflow.rules.unmet(after.rules)
    return f"the rule {rule} was not met, so {after.state!r} is no success"


def scope_of(workflow: Workflow, snapshot: Snapshot, event: Event) -> dict[str, JSON]:
    """Return the names a guard may read on an event."""
    scope = {
        "context": snapshot.context,
        "visits": snapshot.visits,
        "iterations": snapshot.counters.iterations,
        **event.scope,
    }
    if workflow.reads_time:
        scope["now"] = event.now
    return scope


def rules_moved(
    before: tuple[Mapping[str, Any], ...], after: tuple[Mapping[str, Any], ...]
) -> tuple[tuple[int, Any], ...]:
    """Return (index, state) of the automata that moved."""
    if before is after:
        return ()
    pairs = zip(before, after, strict=True)
    return tuple((index, new) for index, (old, new) in enumerate(pairs) if old is not new)


def _untaken(
    snapshot: Snapshot,
    event: Event,
    noted: Snapshot,
    default: str,
    late: bool = False,
    notes: tuple[int, ...] = (),
    verdicts: list[Verdict] | tuple[()] = (),
    changes: list[Change] | tuple[()] = (),
    moved: tuple[tuple[int, Any], ...] = (),
) -> Step:
    """Build the step of an event that no row took: its default."""
    outcome: Outcome = "unhandled"
    reason = ""
    after = noted
    if default == "failed":
        outcome, after = "ended", attrs.evolve(noted, status="failed")
        reason = _why(snapshot, event)
    elif default == "cancelled":
        outcome, after = "ended", attrs.evolve(noted, status="cancelled")
        reason = f"cancelled in state {snapshot.state!r}"
    return Step(
        snapshot,
        event,
        notes,
        None,
        outcome,
        default,
        tuple(verdicts),
        tuple(changes),
        moved,
        after,
        late,
        reason,
    )


def _why(snapshot: Snapshot, event: Event) -> str:
    error = event.scope.get("error")
    text = error.get("text") if isinstance(error, Mapping) else None
    tail = f": {text}" if text else ""
    return f"state {snapshot.state!r} has no row that takes {event.name!r}{tail}"


def _undone(
    snapshot: Snapshot,
    event: Event,
    verdicts: list[Verdict],
    rules: tuple[Mapping[str, Any], ...],
    error: EvaluationError,
    *,
    late: bool,
) -> Step:
    """Build the step of an event whose guard or assign could not be evaluated."""
    reason = f"state {snapshot.state!r}, event {event.name!r}: {error}"
    moved = rules_moved(snapshot.rules, rules)
    kept = attrs.evolve(snapshot, rules=rules)
    if event.name == "guard.error":
        facts = {**snapshot.facts, event.name: event.fact}
        return Step(
            snapshot,
            event,
            (),
            None,
            "ended",
            "failed",
            tuple(verdicts),
            (),
            moved,
            attrs.evolve(kept, status="failed", facts=facts),
            late,
            reason,
        )
    return Step(
        snapshot, event, (), None, "unhandled", "guard.error", tuple(verdicts), (), moved, kept,
        late, reason,
    )  # fmt: skip


def _ask(row: Row, scope: Mapping[str, JSON], verdicts: list[Verdict]) -> bool:
    assert row.guard is not None
    try:
        held = row.guard.holds(scope)
    except EvaluationError as error:
        verdicts.append(Verdict(row.index, None, str(error)))
        raise
    verdicts.append(Verdict(row.index, held))
    return held


def _assign(
    workflow: Workflow,
    row: Row,
    scope: Mapping[str, JSON],
    context: Mapping[str, JSON],
    changes: list[Change],
) -> Mapping[str, JSON]:
    """Return the context after a row's assigns; every expression reads the context before them."""
    if not row.assigns:
        return context
    values = [
        (target, target.resolve(scope), expression.evaluate(scope), expression)
        for target, expression in row.assigns
    ]
    for target, path, value, expression in values:
        if len(path) > 1 or not _arrived_whole(expression):
            _bounded(target, expression, value, len(path))
        context = write(context, path, value)
        changes.append((path, value))
        wrong = workflow.wrong_type(target.root, context[target.root])
        if wrong:
            msg = f"{row.label} assigns {target.text!r}: {wrong}"
            raise EvaluationError(msg, row=row.index, target=target.text)
    return context


def _arrived_whole(expression: Expression) -> bool:
    """Whether a value is part of one that was bounded before; the context as a whole could grow."""
    root = expression.root
    return isinstance(root, Path) and (root.root != "context" or bool(root.steps))


def _bounded(target: Target, expression: Expression, value: JSON, used: int) -> None:
    """Refuse a value that is nested deeper, or written longer, than a journal body may be."""
    if len(dumps(value)) > MAX_BODY:
        msg = f"{target.text} = {expression.text}: over {MAX_BODY} bytes"
        raise EvaluationError(msg, text=expression.text)
    left = MAX_DEPTH - ROOM - used
    layer = [value]
    while True:
        inside = [item for item in layer if isinstance(item, dict | list)]
        if not inside:
            return
        if left <= 0:
            msg = f"{target.text} = {expression.text}: nested over {MAX_DEPTH - ROOM} levels"
            raise EvaluationError(msg, text=expression.text)
        left -= 1
        layer = [
            inner
            for item in inside
            for inner in (item.values() if isinstance(item, dict) else item)
        ]
