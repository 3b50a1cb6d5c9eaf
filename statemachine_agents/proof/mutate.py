"""Mutants: tables with one mistake each, to see who would notice it.

Rules.  1. A mutant is a value: the whole table with one change, and words for the change.  2. Each
row is dropped and sent elsewhere; each guard is dropped, negated, loses a part, and has its bounds
moved by one; each binding, condition and assignment is dropped.  3. Whatever gives a table that
equals the original, or that does not read, is no mutant.
Not here: running what may notice them (`testing.mutation`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import attrs

from statemachine_agents.errors import ExpressionError
from statemachine_agents.table.expressions import Binary, Literal, Node, parse, unparse
from statemachine_agents.table.grid import definitions
from statemachine_agents.table.model import STAY, Table, Transition

_NEIGHBOUR: Final[Mapping[str, Any]] = {
    "<": "<=", "<=": "<", ">": ">=", ">=": ">", "==": "!=", "!=": "==",
}  # fmt: skip


@attrs.frozen
class Mutant:
    """One table with one mistake.

    Args:
        kind: `row`, `guard`, `binding`, `condition` or `assign`.
        where: place of the change, such as `transitions[3].guard`.
        what: the change, as a clause.
        table: the changed table.
        row: index of the row it is about, or None.
    """

    kind: str
    where: str
    what: str
    table: Table = attrs.field(repr=False)
    row: int | None = None

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


def mutants(table: Table) -> tuple[Mutant, ...]:
    """Return every mutant of a table, in the order of its text."""
    seen = {repr(table.to_dict())}
    out = []
    for mutant in (*_rows(table), *_tools(table)):
        text = repr(mutant.table.to_dict())
        if text not in seen:
            seen.add(text)
            out.append(mutant)
    return tuple(out)


def _with_row(table: Table, index: int, row: Transition | None) -> Table:
    rows: Any = list(table.transitions)
    rows[index : index + 1] = [] if row is None else [row]
    return attrs.evolve(table, transitions=rows)


def _rows(table: Table) -> Iterator[Mutant]:
    for index, row in enumerate(table.transitions):
        place = f"transitions[{index}]"
        name = f"{row.source} {' '.join(row.event)}"
        yield Mutant("row", place, f"dropped: {name}", _with_row(table, index, None), index)
        for target in _elsewhere(table, row):
            moved = attrs.evolve(row, target=target)
            what = f"goes to {target!r} instead of {row.target!r}: {name}"
            yield Mutant("row", f"{place}.target", what, _with_row(table, index, moved), index)
        if row.guard is not None:
            for what, guard in _weakened(table, row.guard):
                changed = _with_row(table, index, attrs.evolve(row, guard=guard))
                yield Mutant("guard", f"{place}.guard", what, changed, index)
        for key in row.assign:
            rest = {other: text for other, text in row.assign.items() if other != key}
            if row.target is None and not rest:
                continue  # a note that assigns nothing is a dropped row
            changed = _with_row(table, index, attrs.evolve(row, assign=rest))
            what = f"no longer assigned: {key} = {row.assign[key]}"
            yield Mutant("assign", f"{place}.assign.{key}", what, changed, index)


def _elsewhere(table: Table, row: Transition) -> tuple[str, ...]:
    """Return the targets a row is sent to: an end of the other kind, and the next other state."""
    if row.target is None:
        return ()
    states = list(table.states)
    ends = {table.states[name].final: name for name in reversed(states)}
    here = table.states.get(row.target)
    other_end = ends.get("success" if here is not None and here.final == "failure" else "failure")
    at = states.index(row.target) if row.target in states else -1
    following = states[(at + 1) % len(states)]
    back = STAY if row.target != STAY else row.source
    found = dict.fromkeys((other_end, following, back))
    known = {*table.states, STAY} - {row.target}
    return tuple(name for name in found if name is not None and name in known)


def _weakened(table: Table, guard: str) -> Iterator[tuple[str, str | None]]:
    """Yield (what, guard) of every changed guard."""
    yield f"guard dropped: {guard}", None
    yield f"guard negated: {guard}", f"not ({guard})"
    try:
        root = parse(guard, definitions(table)[0]).root
    except ExpressionError:
        return
    for what, node in _changed(root):
        yield f"guard changed, {what}: {unparse(node)} instead of {guard}", unparse(node)


def _changed(node: Node) -> Iterator[tuple[str, Node]]:
    """Yield trees with one part lost or one bound moved."""
    if not isinstance(node, Binary):
        return
    if node.op in ("and", "or"):
        yield "a part lost", node.left
        yield "a part lost", node.right
        for what, left in _changed(node.left):
            yield what, attrs.evolve(node, left=left)
        for what, right in _changed(node.right):
            yield what, attrs.evolve(node, right=right)
        return
    if node.op in _NEIGHBOUR:
        op = _NEIGHBOUR[node.op]
        yield f"`{op}` for `{node.op}`", attrs.evolve(node, op=op)
    bound = node.right
    if node.op in ("<", "<=", ">", ">=", "==") and isinstance(bound, Literal):
        value = bound.value
        if isinstance(value, int) and not isinstance(value, bool):
            moved = attrs.evolve(bound, value=value + 1)
            yield "a bound moved", attrs.evolve(node, right=moved)


def _tools(table: Table) -> Iterator[Mutant]:
    for name, use in table.tools.items():
        for argument in use.bind:
            rest = {key: text for key, text in use.bind.items() if key != argument}
            what = f"no longer bound: {argument} = {use.bind[argument]}"
            yield _tool(table, "binding", name, f"bind.{argument}", what, bind=rest)
        if use.when is not None:
            yield _tool(table, "condition", name, "when", f"dropped: {use.when}", when=None)
        if use.approve is not None:
            what = f"dropped: {use.approve}"
            yield _tool(table, "condition", name, "approve", what, approve=None)
        for key in ("when", "approve"):
            text = getattr(use, key)
            for what, changed in () if text is None else _weakened(table, text):
                if changed is not None:
                    yield _tool(table, "condition", name, key, what, **{key: changed})


def _tool(table: Table, kind: str, name: str, part: str, what: str, **changes: Any) -> Mutant:
    uses: Any = {**table.tools, name: attrs.evolve(table.tools[name], **changes)}
    return Mutant(kind, f"tools.{name}.{part}", what, attrs.evolve(table, tools=uses))
