"""What a difference between two tables is made of: the values, and one side expanded.

Rules.  1. A change is a value that says what it is about, what was and what is; its sentence is
part of it, so every reader says the same.
Not here: finding changes (`diff`, `terms`), printing them (`cli.comparing`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import attrs

from statemachine_agents.errors import ExpressionError
from statemachine_agents.proof.walks import Walk, reached
from statemachine_agents.table.definition import Definition
from statemachine_agents.table.expressions import Expression, parse, unparse
from statemachine_agents.table.grid import Grid, definitions, expand
from statemachine_agents.table.model import Table
from statemachine_agents.values import JSON

Sense: TypeAlias = Literal["possible", "impossible", "changed"]


@attrs.frozen(kw_only=True)
class Change:
    """One thing that differs.

    Args:
        sense: whether it became possible, impossible, or is merely otherwise.
        kind: `start state end renamed verb acts offer call outcome order bind when approve tool
            effect limit rule context wording`.
        place: state, tool, limit, context key or rule it is about.
        text: the difference as a sentence without its subject.
        before: what was, as text or JSON; None for nothing.
        after: what is.
        events: for cells, the events that differ in the same way.
        states: states of the first table in which a run notices; empty for everywhere.
    """

    sense: Sense
    kind: str
    place: str
    text: str
    before: JSON = None
    after: JSON = None
    events: tuple[str, ...] = ()
    states: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, JSON]:
        """Return the change as plain JSON."""
        return {**attrs.asdict(self), "events": list(self.events), "states": list(self.states)}


@attrs.frozen(kw_only=True)
class Difference:
    """Everything that differs between two tables.

    Args:
        before: name and version of the first.
        after: of the second.
        changes: in the order start, states, cells, tools, rules, limits, context, words.
        gained: shortest runs that only the second allows.
        lost: shortest runs that only the first allows.
        complete: False when there were too many pairs of states to walk; then `gained` and `lost`
            may lack some.
    """

    before: str
    after: str
    changes: tuple[Change, ...]
    gained: tuple[Walk, ...]
    lost: tuple[Walk, ...]
    complete: bool = True

    @property
    def same(self) -> bool:
        """Whether nothing a run could notice differs."""
        return not (self.changes or self.gained or self.lost)

    @property
    def touched(self) -> Mapping[str, tuple[str, ...]]:
        """State of the first table -> what changed there; states where nothing did are absent."""
        out: dict[str, list[str]] = {}
        for change in self.changes:
            for state in change.states:
                place = "" if change.place == state else f"{change.place} "
                out.setdefault(state, []).append(f"{place}{change.text}")
        return {state: tuple(dict.fromkeys(texts)) for state, texts in out.items()}

    def to_dict(self) -> dict[str, JSON]:
        """Return the difference as plain JSON."""
        return {
            "before": self.before,
            "after": self.after,
            "same": self.same,
            "complete": self.complete,
            "changes": [change.to_dict() for change in self.changes],
            "gained": [walk.to_dict() for walk in self.gained],
            "lost": [walk.to_dict() for walk in self.lost],
        }


@attrs.frozen(eq=False)
class Side:
    """One of the two, expanded.

    Args:
        definition: the table, with its tools where known.
        grid: its cells.
        near: the states a run can reach.
        define: its named expressions.
    """

    definition: Definition
    grid: Grid
    near: tuple[str, ...]
    define: Mapping[str, Expression]

    @classmethod
    def of(cls, definition: Definition, *, known: bool) -> Side:
        """Expand a definition; with the specs of its tools only where both sides know them."""
        grid, _ = expand(definition.table, definition.tools if known else None)
        return cls(definition, grid, reached(grid), definitions(definition.table)[0])

    @property
    def table(self) -> Table:
        """The table."""
        return self.definition.table

    def normal(self, text: str | None) -> str | None:
        """Return an expression in normal form; as it stands where it does not parse."""
        if text is None:
            return None
        try:
            return unparse(parse(text, self.define).root)
        except ExpressionError:
            return text

    def offering(self, tool: str) -> tuple[str, ...]:
        """Return the states a run can reach in which a tool may be called."""
        table = self.table
        return tuple(name for name in self.near if tool in table.tools_in(table.states[name]))


def changed(
    kind: str, place: str, text: str, before: Any, after: Any, states: tuple[str, ...] = ()
) -> Change:
    """Return a change that is neither possible nor impossible, merely otherwise."""
    return Change(
        sense="changed", kind=kind, place=place, text=text, before=_plain(before),
        after=_plain(after), states=states,
    )  # fmt: skip


def _plain(value: Any) -> JSON:
    return list(value) if isinstance(value, tuple) else value
