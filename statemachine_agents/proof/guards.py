"""Checks on guards: can each row fire, does anything fall through, can a guard fail?

Rules.  1. Judged over every value that types and schemas allow; where nothing is declared any value
may come, and nothing is said that depends on it.  2. Every finding shows values that make it true.
3. Order decides between rows, so overlapping is worth a remark, never a warning.  4. What is
undecided is not reported as wrong.
Not here: deciding (`regions`), types of single expressions (`kinds`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import attrs

from statemachine_agents.proof.atoms import ERROR, Truth
from statemachine_agents.proof.names import Names, names_at
from statemachine_agents.proof.regions import Answer, Regions, regions
from statemachine_agents.proof.sheet import Sheet
from statemachine_agents.table.expressions import Expression, Literal
from statemachine_agents.table.grid import Cell, Entry, Row
from statemachine_agents.values import JSON, dumps

_MEANING: Final = {
    "stays": "nothing happens",
    "shown": "the model is shown it and the run stays",
    "failed": "the run fails",
    "parked": "the run parks",
    "waits": "the run waits for the customer",
    "nudged": "the model is reminded",
    "kept": "it is kept",
    "cancelled": "the run is cancelled",
}
_SHOWN: Final = 200


def check(sheet: Sheet) -> None:
    """Check every cell that holds a guard."""
    judged = _Judged(sheet)
    for cells in sheet.grid.cells.values():
        for cell in cells.values():
            if any(entry.row.guard is not None for entry in cell.moves):
                judged.cell(cell)
            else:
                judged.plain(cell)
    judged.report()


@attrs.define(eq=False)
class _Seen:
    """What was found about one row over all cells it stands in."""

    fires: bool = False
    before: dict[int, Row] = attrs.field(factory=dict)
    never: int = 0
    always: bool = True
    error: tuple[Cell, Mapping[str, JSON]] | None = None
    cells: int = 0


class _Judged:
    """Cells judged one after the other; cells with the same rows and names are judged once."""

    def __init__(self, sheet: Sheet) -> None:
        self.sheet = sheet
        self.rows: dict[int, _Seen] = {}
        self.gaps: dict[tuple[int, ...], tuple[list[Cell], Mapping[str, JSON]]] = {}
        self.overlaps: dict[tuple[int, int], tuple[Cell, Mapping[str, JSON]]] = {}
        self._cut: dict[object, Regions] = {}

    def plain(self, cell: Cell) -> None:
        """Note which rows of a cell without guards fire: the first that waits for nothing."""
        for entry in cell.moves:
            self._row(entry).fires = True
            if not entry.needs:
                break

    def cell(self, cell: Cell) -> None:
        """Judge the rows of one cell."""
        guards = [entry.row.guard for entry in cell.moves if entry.row.guard is not None]
        names = names_at(self.sheet.table, self.sheet.specs, cell.event, cell.state)
        if any(entry.needs for entry in cell.moves):
            names = attrs.evolve(names, given={**names.given, "results": {}})
        cut = self._regions(cell, tuple(guards), names)
        earlier: list[Entry] = []
        open_ = True
        for entry in cell.moves:
            if open_:
                self._entry(cell, entry, earlier, cut)
            elif entry.row.index not in self.rows:
                self._row(entry).cells += 1
            if not entry.needs:
                earlier.append(entry)
                open_ = open_ and entry.row.guard is not None
        if open_:
            self._gap(cell, earlier, cut)
        self._overlap(cell, cut)

    def _regions(self, cell: Cell, guards: tuple[Expression, ...], names: Names) -> Regions:
        rows = tuple(entry.row.index for entry in cell.moves)
        key = (rows, cell.event, "reply" in names.given and cell.state)
        if key not in self._cut:
            self._cut[key] = regions(guards, names)
        return self._cut[key]

    def _row(self, entry: Entry) -> _Seen:
        return self.rows.setdefault(entry.row.index, _Seen())

    def _entry(self, cell: Cell, entry: Entry, earlier: Sequence[Entry], cut: Regions) -> None:
        seen = self._row(entry)
        seen.cells += 1
        before: dict[Expression, Truth] = {
            each.row.guard: False for each in earlier if each.row.guard is not None
        }
        guard = entry.row.guard
        if guard is None:
            answer = _can(cut, before)
            seen.always = False
        else:
            answer = _can(cut, {**before, guard: True})
            self._guard(cell, guard, before, cut, seen)
        if guard is not None and before.get(guard) is False:
            answer = Answer("no")  # the same guard stands before it
        if answer.verdict != "no":
            seen.fires = True
        else:
            seen.before |= {each.row.index: each.row for each in earlier}

    def _guard(
        self,
        cell: Cell,
        guard: Expression,
        before: Mapping[Expression, Truth],
        cut: Regions,
        seen: _Seen,
    ) -> None:
        if _can(cut, {guard: True}).verdict == "no":
            seen.never += 1
        others = {_can(cut, {guard: truth}).verdict for truth in (False, ERROR)}
        seen.always = seen.always and others == {"no"} and not isinstance(guard.root, Literal)
        if seen.error is None and before.get(guard) is None:
            fails = _can(cut, {**before, guard: ERROR})
            if fails.verdict == "yes" and self._declared(cell, guard):
                seen.error = (cell, fails.witness)

    def _declared(self, cell: Cell, guard: Expression) -> bool:
        """Whether everything a guard reads has a declared type, so that its failing is no guess."""
        names = names_at(self.sheet.table, self.sheet.specs, cell.event, cell.state)
        return all(names.shape(path).known for path in guard.paths())

    def _gap(self, cell: Cell, earlier: Sequence[Entry], cut: Regions) -> None:
        if not earlier:
            return
        none = {each.row.guard: False for each in earlier if each.row.guard is not None}
        found = _can(cut, dict(none))
        if found.verdict == "yes":
            key = tuple(entry.row.index for entry in earlier)
            self.gaps.setdefault(key, ([], found.witness))[0].append(cell)

    def _overlap(self, cell: Cell, cut: Regions) -> None:
        guarded = [entry for entry in cell.moves if entry.row.guard is not None and not entry.needs]
        for index, one in enumerate(guarded):
            for other in guarded[index + 1 :]:
                key = (one.row.index, other.row.index)
                if key in self.overlaps or one.row.guard == other.row.guard:
                    continue
                assert one.row.guard is not None
                assert other.row.guard is not None
                both = _can(cut, {one.row.guard: True, other.row.guard: True})
                if both.verdict == "yes":
                    self.overlaps[key] = (cell, both.witness)

    # ------------------------------------------------------------------------------- reporting

    def report(self) -> None:
        """Say what was found, each once."""
        # A guard that is wrong in itself would show here once more, as a row that never fires.
        said = {problem.where.removesuffix(".guard") for problem in self.sheet.problems}
        rows = {row.index: row for row in self.sheet.grid.rows}
        for index, seen in self.rows.items():
            self._say_row(rows[index], seen, f"transitions[{index}]", said)
        for (one, other), (cell, witness) in self.overlaps.items():
            what = (
                f"overlaps {rows[one].label}, which comes first and takes `{cell.event}` "
                f"where both hold, as with {_values(witness)}"
            )
            self.sheet.remark("guard-overlap", f"transitions[{other}].guard", what)
        for key, (cells, witness) in self.gaps.items():
            self._say_gap(key, cells, witness)

    def _say_row(self, row: Row, seen: _Seen, where: str, said: set[str]) -> None:
        sheet = self.sheet
        if not seen.fires and where not in said:
            if seen.never and seen.never == seen.cells:
                what = f"can never hold: no value that may come makes `{row.transition.guard}` true"
                sheet.warn("guard-never", f"{where}.guard", what, advice="mend or drop it")
            elif seen.before:
                names = " and ".join(before.label for before in seen.before.values())
                what = f"never fires: whatever it would take, {names} takes first"
                advice = "move it up, or narrow the guards before it"
                sheet.warn("shadowed-row", where, what, advice=advice)
        if seen.fires and seen.always and seen.cells and row.guard is not None:
            what = f"holds for every value that may come: `{row.transition.guard}` decides nothing"
            sheet.remark("guard-always", f"{where}.guard", what, advice="drop it, or narrow it")
        if seen.error is not None:
            cell, witness = seen.error
            what = f"cannot be evaluated with {_values(witness)}: that is `guard.error`"
            caught = sheet.grid.cell(cell.state, "guard.error").moves
            say = sheet.remark if caught else sheet.warn
            advice = "give a missing value one with `default(...)`, or test it with `exists(...)`"
            say("guard-error", f"{where}.guard", what, advice=advice)

    def _say_gap(
        self, key: tuple[int, ...], cells: Sequence[Cell], witness: Mapping[str, JSON]
    ) -> None:
        failing = [cell for cell in cells if cell.default == "failed"]
        cell = (failing or list(cells))[0]
        what = (
            f"no row takes `{cell.event}` in {cell.state!r} with {_values(witness)}: "
            f"{_MEANING[cell.default]}"
        )
        say = self.sheet.warn if failing else self.sheet.remark
        advice = "add a row without a guard below, for all other values"
        say("guard-gap", f"transitions[{key[-1]}].guard", what, advice=advice)


def _can(cut: Regions, wanted: Mapping[Expression, Truth]) -> Answer:
    return cut.can(*(wanted.get(each) for each in cut.expressions))


def _values(witness: Mapping[str, JSON]) -> str:
    """Return values as an author reads them."""
    if not witness:
        return "nothing there (all null)"
    text = ", ".join(f"{name} = {dumps(value).decode()}" for name, value in sorted(witness.items()))
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."
