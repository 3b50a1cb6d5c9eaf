"""The grid: wildcards, groups and patterns expanded once into cells, state x event -> rows.

Rules.  1. Table order decides, always.  2. An event that a state cannot meet is a problem under an
explicit source and skipped under `*` or a group; a result that comes late meets every note.
3. Everything that asks "which rows?" reads the grid: the machine, the pictures, all proofs.
Not here: what a row does (`kernel.step`), whether cells overlap or lack rows (`proof`).
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from statemachine_agents.errors import ExpressionError
from statemachine_agents.table import events
from statemachine_agents.table.events import Pattern, alphabet, default_of, parse_event
from statemachine_agents.table.expressions import Expression, Target, parse, parse_target
from statemachine_agents.table.model import STAY, State, Table, Transition
from statemachine_agents.table.problems import Problem, suggest
from statemachine_agents.table.toolspec import ToolSpec


@attrs.frozen(eq=False)
class Row:
    """One transition, parsed.

    Args:
        index: its place in the table, from 0.
        transition: as written.
        patterns: its events, parsed.
        guard: parsed guard, or None.
        assigns: parsed targets and expressions.
        label: its name, or `row N` counted from 1.
    """

    index: int
    transition: Transition
    patterns: tuple[Pattern, ...]
    guard: Expression | None
    assigns: tuple[tuple[Target, Expression], ...]
    label: str

    @property
    def note(self) -> bool:
        """Whether it only assigns."""
        return self.transition.target is None

    @property
    def stays(self) -> bool:
        """Whether its target is `stay`."""
        return self.transition.target == STAY


@attrs.frozen(eq=False)
class Entry:
    """A row as it stands in one cell; `needs` are the facts a conjunction waits for."""

    row: Row
    needs: tuple[str, ...] = ()


@attrs.frozen(eq=False)
class Cell:
    """One state x event: notes and moves in table order, and what happens without a move.

    `late` says that the event comes here only as the late result of a call begun elsewhere.
    """

    state: str
    event: str
    notes: tuple[Entry, ...]
    moves: tuple[Entry, ...]
    default: events.Default
    late: bool = False

    @property
    def live(self) -> tuple[Entry, ...]:
        """The moves up to the first that always fires; what stands behind it never does."""
        for number, entry in enumerate(self.moves):
            if entry.row.guard is None and not entry.needs:
                return self.moves[: number + 1]
        return self.moves

    @property
    def falls(self) -> bool:
        """Whether the default may happen: every move has a guard or waits for other facts."""
        return all(entry.row.guard is not None or entry.needs for entry in self.moves)


_NO_CELL = Cell("", "", (), (), "stays")


@attrs.frozen(eq=False)
class Grid:
    """The expanded table.

    Args:
        table: what was expanded.
        rows: every row, parsed, in order.
        cells: state -> event -> cell, for every event the state can meet, and for notes on results
            that may arrive late.
    """

    table: Table
    rows: tuple[Row, ...]
    cells: Mapping[str, Mapping[str, Cell]]

    def cell(self, state: str, event: str) -> Cell:
        """Return the cell; for an event the state cannot meet, one without rows that stays."""
        return self.cells.get(state, {}).get(event, _NO_CELL)

    def moves_from(self, state: str) -> tuple[Row, ...]:
        """Return the rows with a target that can fire in a state, each once, in table order."""
        found = {
            entry.row.index: entry.row
            for cell in self.cells.get(state, {}).values()
            for entry in cell.moves
        }
        return tuple(found[index] for index in sorted(found))


def definitions(table: Table) -> tuple[dict[str, Expression], list[Problem]]:
    """Parse `[define]`; each name may use earlier ones."""
    done: dict[str, Expression] = {}
    problems = []
    for name, text in table.define.items():
        try:
            done[name] = parse(text, done)
        except ExpressionError as error:
            problems.append(_syntax(f"define.{name}", error))
    return done, problems


def expand(table: Table, specs: Mapping[str, ToolSpec] | None = None) -> tuple[Grid, list[Problem]]:
    """Expand a table into its grid.

    Args:
        table: the table.
        specs: tool specs, where known.

    Returns:
        The grid of everything that could be read, and the problems found on the way.
    """
    known, problems = definitions(table)
    rows = []
    for index, transition in enumerate(table.transitions):
        row = _parse_row(index, transition, known, problems)
        if row is not None:
            rows.append(row)
    by_source = _sources(table, rows, problems)
    met: dict[int, set[str]] = {}
    meets = alphabets(table, specs)
    late = _late_events(table)
    cells = {
        name: _cells(state, by_source[name], meets[name], late, met)
        for name, state in table.states.items()
    }
    problems += _unmet(table, rows, met, meets)
    return Grid(table, tuple(rows), cells), problems


def _parse_row(
    index: int, transition: Transition, known: Mapping[str, Expression], problems: list[Problem]
) -> Row | None:
    where = f"transitions[{index}]"
    before = len(problems)
    patterns: list[Pattern] = []
    guard: Expression | None = None
    assigns: list[tuple[Target, Expression]] = []
    for text in transition.event:
        try:
            patterns.append(parse_event(text))
        except ExpressionError as error:
            problems.append(_syntax(f"{where}.event", error))
    if transition.guard is not None:
        try:
            guard = parse(transition.guard, known)
        except ExpressionError as error:
            problems.append(_syntax(f"{where}.guard", error))
    # By key, not as written: stored definitions sort keys, and `a` must come before `a.b` in both.
    for key, text in sorted(transition.assign.items()):
        try:
            assigns.append((parse_target(key, known), parse(text, known)))
        except ExpressionError as error:
            problems.append(_syntax(f"{where}.assign.{key}", error))
    if len(problems) > before:
        return None
    label = transition.name or f"row {index + 1}"
    return Row(index, transition, tuple(patterns), guard, tuple(assigns), label)


def _syntax(where: str, error: ExpressionError) -> Problem:
    return Problem("syntax", where, str(error), span=error.facts.get("span"))


def _sources(table: Table, rows: list[Row], problems: list[Problem]) -> dict[str, list[Row]]:
    """Return state -> the rows that have it as a source, in table order."""
    out: dict[str, list[Row]] = {name: [] for name in table.states}
    live = [name for name, state in table.states.items() if state.verb != "final"]
    for row in rows:
        source = row.transition.source
        where = f"transitions[{row.index}].source"
        if source == "*":
            members = live
        elif source in table.states:
            members = [source]
        elif source in table.groups:
            members = [name for name in table.groups[source] if name in out]
        else:
            known = (*table.states, *table.groups)
            problems.append(
                Problem(
                    "unknown-state",
                    where,
                    f"no state or group is named {source!r}",
                    next=suggest(source, known, told=len(problems)),
                )
            )
            continue
        for name in members:
            out[name].append(row)
    return out


def _cells(
    state: State,
    rows: list[Row],
    meets: Mapping[str, bool],
    late: Mapping[str, bool],
    met: dict[int, set[str]],
) -> dict[str, Cell]:
    """Return the cells of one state; `meets` and `late` map events to whether they are engine's."""
    notes: dict[str, list[Entry]] = {}
    moves: dict[str, list[Entry]] = {}
    seen: set[tuple[int, str, tuple[str, ...]]] = set()
    for row in rows:
        # Notes may also name results that arrive late, after the state that called has been left.
        later = late if row.note and state.verb != "final" else {}
        kind = notes if row.note else moves
        for pattern in row.patterns:
            needs = pattern.members if pattern.conjunction else ()
            if pattern.wild:
                found = [
                    event
                    for event, engine in {**meets, **later}.items()
                    if pattern.matches(event, engine=engine)
                ]
            elif needs:
                # A late result is no fact: all members must be able to arrive in this state.
                found = list(needs) if all(event in meets for event in needs) else []
            else:
                found = [event for event in pattern.members if event in meets or event in later]
            if found:
                met.setdefault(row.index, set()).add(pattern.text)
            for event in found:
                key = (row.index, event, needs)
                if key not in seen:
                    seen.add(key)
                    kind.setdefault(event, []).append(Entry(row, needs))
    collected = {"do": ".error", "run": ".failure"}.get(state.verb, "no such event")
    return {
        event: Cell(
            state.name,
            event,
            tuple(notes.get(event, ())),
            tuple(moves.get(event, ())),
            # A table that collects (it has a `settled` row) does not fail at the first error; a
            # guard that cannot be evaluated is a fault of the table and fails it anyway.
            "stays"
            if "settled" in moves and event.endswith(collected) and event != "guard.error"
            else default_of(state, event),
            event not in meets,
        )
        for event in (*meets, *(event for event in notes if event not in meets))
    }


def alphabets(
    table: Table, specs: Mapping[str, ToolSpec] | None = None
) -> dict[str, dict[str, bool]]:
    """Return state -> event it can meet -> whether the event is the engine's."""
    return {
        name: {event: events.is_engine(event) for event in alphabet(table, state, specs)}
        for name, state in table.states.items()
    }


def _late_events(table: Table) -> dict[str, bool]:
    """Return what may arrive after the state that began it has been left: none is the engine's."""
    out: dict[str, bool] = {}
    for state in table.states.values():
        for names, outcomes in (
            (table.tools_in(state), events.TOOL_OUTCOMES),
            (state.run or (), events.CHILD_OUTCOMES),
        ):
            out |= {f"{name}.{outcome}": False for name in names for outcome in outcomes}
    return out


def _unmet(
    table: Table,
    rows: list[Row],
    met: Mapping[int, set[str]],
    alphabets: Mapping[str, Mapping[str, bool]],
) -> list[Problem]:
    """Report events that can never reach their row: an error where the author named the state."""
    problems: list[Problem] = []
    everything = set(events.ENGINE_EVENTS).union(*alphabets.values())
    for row in rows:
        explicit = row.transition.source in table.states
        for number, pattern in enumerate(row.patterns):
            seen = met.get(row.index, set())
            if pattern.text in seen:
                continue
            place = "" if len(row.patterns) == 1 else f"[{number}]"
            where = f"transitions[{row.index}].event{place}"
            unknown = [
                member
                for member in pattern.members
                if "*" not in member and member not in everything
            ]
            if unknown:
                what = f"no tool, signal, workflow or engine event gives {unknown[0]!r}"
                advice = suggest(unknown[0], sorted(everything), told=len(problems))
                problems.append(Problem("unknown-event", where, what, next=advice))
            elif explicit:
                state = table.states[row.transition.source]
                meets = alphabets[state.name]
                problems.append(
                    Problem(
                        "event-not-met",
                        where,
                        f"state {state.name!r} can never meet {pattern.text!r}",
                        expected=f"one of {', '.join(meets) or 'none: it is final'}",
                        next="offer the tool there, or move the row to the state that meets it",
                    )
                )
            elif row.transition.source == "*" or row.transition.source in table.groups:
                problems.append(
                    Problem(
                        "event-not-met",
                        where,
                        f"no state of {row.transition.source!r} can meet {pattern.text!r}",
                        severity="warning",
                    )
                )
    return problems
