"""The sheet the structural checks work on: a table, its grid, and the problems found so far.

Rules.  1. Everything that several checks need is derived here, once.  2. A check only reads the
table and calls `say`; it never stops at the first problem.
Not here: the checks (`naming verbs offers reads flow`), their order (`structure`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import attrs

from statemachine_agents.errors import ExpressionError
from statemachine_agents.table.events import is_engine
from statemachine_agents.table.expressions import Expression, parse
from statemachine_agents.table.grid import Grid, definitions, expand
from statemachine_agents.table.model import Table
from statemachine_agents.table.problems import Problem, Severity
from statemachine_agents.table.rule_syntax import parse_rule
from statemachine_agents.table.rules import Rule
from statemachine_agents.table.toolspec import ToolSpec


@attrs.frozen
class Offer:
    """One place where a table offers a tool or signal: `states.crediting.tools[0]`."""

    tool: str
    where: str
    states: tuple[str, ...]


@attrs.define(eq=False)
class Sheet:
    """What the checks read, and where they write.

    Args:
        table: the table.
        specs: tool name as the table writes it -> spec, aliases resolved; None when unknown.
        children: names of the child workflows; None when unknown.
        grid: the expanded table.
        define: its named expressions.
        offers: every place that offers a tool or signal.
        heard: row index -> events it stands for, over all states.
        rules: (index, rule) of every rule that parses, in order.
        problems: found so far.
    """

    table: Table
    specs: Mapping[str, ToolSpec] | None
    children: frozenset[str] | None
    grid: Grid
    define: Mapping[str, Expression]
    offers: tuple[Offer, ...]
    heard: Mapping[int, set[str]]
    rules: tuple[tuple[int, Rule], ...]
    problems: list[Problem]

    def say(
        self,
        code: str,
        where: str,
        what: str,
        *,
        expected: str = "",
        got: str = "",
        advice: str = "",
        severity: Severity = "error",
        span: tuple[int, int] | None = None,
    ) -> None:
        """Write down one finding; `advice` is its `next`, `span` its place in an expression."""
        self.problems.append(Problem(code, where, what, expected, got, advice, severity, span))

    def warn(
        self,
        code: str,
        where: str,
        what: str,
        *,
        expected: str = "",
        advice: str = "",
        span: tuple[int, int] | None = None,
    ) -> None:
        """Write down a finding that does not make the table unusable."""
        self.say(code, where, what, expected=expected, advice=advice, severity="warning", span=span)

    def remark(
        self,
        code: str,
        where: str,
        what: str,
        *,
        expected: str = "",
        advice: str = "",
        span: tuple[int, int] | None = None,
    ) -> None:
        """Write down something worth knowing that needs no mending."""
        self.say(code, where, what, expected=expected, advice=advice, severity="info", span=span)

    def quietly(self, text: str | None) -> Expression | None:
        """Read an expression whose faults are reported elsewhere; None for one that has any."""
        try:
            return None if text is None else parse(text, self.define)
        except ExpressionError:
            return None

    def parse(self, where: str, text: str) -> Expression | None:
        """Read an expression; one that does not parse is a finding."""
        try:
            return parse(text, self.define)
        except ExpressionError as error:
            self.say("syntax", where, str(error), span=error.facts.get("span"))
            return None

    @property
    def known_tools(self) -> tuple[str, ...]:
        """Names that may be offered or named: tools where known (else those in use), signals."""
        tools: Iterable[str] = self.specs or ()
        if self.specs is None:
            tools = dict.fromkeys((*self.table.tools, *(offer.tool for offer in self.offers)))
        return tuple(dict.fromkeys((*tools, *self.table.signals)))


def sheet_of(table: Table, specs: Mapping[str, ToolSpec] | None, children: Iterable[str]) -> Sheet:
    """Expand a table and derive what the checks share.

    Args:
        table: the table.
        specs: tool specs by name, or None when no functions are known.
        children: names of the child workflows; without specs and children they count as unknown.
    """
    named = frozenset(children)
    if specs is not None:
        aliases = {
            name: specs[use.use]
            for name, use in table.tools.items()
            if use.use is not None and use.use in specs and name not in specs
        }
        specs = {**specs, **aliases}
    grid, problems = expand(table, specs)
    heard: dict[int, set[str]] = {}
    for cells in grid.cells.values():
        for event, cell in cells.items():
            for entry in cell.notes:
                heard.setdefault(entry.row.index, set()).add(event)
            for entry in cell.moves:
                heard.setdefault(entry.row.index, set()).add(event)
    define = definitions(table)[0]
    return Sheet(
        table,
        specs,
        named if named or specs is not None else None,
        grid,
        define,
        _offers(table),
        heard,
        tuple(_rules(table, define)),
        problems,
    )


def _rules(table: Table, define: Mapping[str, Expression]) -> Iterator[tuple[int, Rule]]:
    for index, text in enumerate(table.rules):
        try:
            yield index, parse_rule(text, define)
        except ExpressionError:
            continue  # reported by `reads`, with its place


def _offers(table: Table) -> tuple[Offer, ...]:
    asking = tuple(name for name, state in table.states.items() if state.verb == "ask")
    out = [
        Offer(tool, f"everywhere[{index}]", asking) for index, tool in enumerate(table.everywhere)
    ]
    for name, state in table.states.items():
        if state.verb == "ask":
            key, tools = "tools", state.tools
        elif state.verb == "do" and state.do != ("undo",):
            key, tools = "do", state.do or ()
        else:
            continue
        out += [
            Offer(tool, f"states.{name}.{key}[{index}]", (name,))
            for index, tool in enumerate(tools)
        ]
    return tuple(out)


def answered(sheet: Sheet) -> frozenset[str]:
    """Return the tools and workflows with at least one row on one of their outcomes."""
    events = {event for found in sheet.heard.values() for event in found if not is_engine(event)}
    return frozenset(event.partition(".")[0] for event in events)
