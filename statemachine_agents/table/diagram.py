"""Pictures of a table as text: Mermaid, Graphviz, and a table of transitions in Markdown.

Rules.  1. Edges are read from the grid, so a picture shows where rows really stand; it cannot
drift.  2. Whatever an author writes is data: every character with a meaning in the target language
is escaped, so a guard can neither break a picture nor draw one.  3. Rows that only assign are kept
apart from rows that move.
Not here: drawing (a browser or Graphviz does it), numbers on the edges (`journal.stats`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Final

import attrs

from statemachine_agents.table.grid import Row, expand
from statemachine_agents.table.model import State, Table, Transition

_SAFE_ID: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_KEYWORDS: Final = frozenset(
    {"end", "state", "note", "class", "classdef", "style", "direction", "as", "right", "left", "of",
     "default", "click", "href", "root", "scale", "hide", "accdescr", "acctitle",
     "statediagram", "title",
     "graph", "digraph", "subgraph", "node", "edge", "strict"}
)  # fmt: skip
"""Words that Mermaid or DOT could take for something else than the name of a state."""

_MERMAID_PLAIN: Final = re.compile(r"[^A-Za-z0-9 _.,()=+*/'&!?|\[\]-]")
_COMMANDS: Final = re.compile("(end|direction) ", re.IGNORECASE)
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_NOT_DOT: Final = re.compile("[^ -%'-~]")
_MARKDOWN_CODE: Final = re.compile("[^`|\\\\]+")
_FILLS: Final = {
    "ask": "#dbeafe", "do": "#fef3c7", "wait": "#ede9fe", "run": "#cffafe",
    "success": "#dcfce7", "failure": "#fee2e2",
}  # fmt: skip
_VISITED: Final = "#b45309"


@attrs.frozen
class Edge:
    """One row as it stands in one state.

    Args:
        source: the state.
        target: where it leads; the source itself for notes and rows that stay.
        row: the row.
    """

    source: str
    target: str
    row: Row

    @property
    def label(self) -> str:
        """Events, guard and name on one line."""
        row = self.row
        text = " or ".join(row.transition.event)
        if row.guard is not None:
            text += f" [{row.transition.guard}]"
        if row.stays:
            text += " (stay)"
        return f"{row.transition.name}: {text}" if row.transition.name else text


def edges(table: Table) -> tuple[tuple[Edge, ...], tuple[Edge, ...]]:
    """Return the rows that take an event, and the notes, each once per state where it stands."""
    grid, _ = expand(table)
    moves: list[Edge] = []
    notes: list[Edge] = []
    for name, cells in grid.cells.items():
        seen: dict[int, Row] = {}
        for cell in cells.values():
            seen |= {entry.row.index: entry.row for entry in (*cell.notes, *cell.moves)}
        for index in sorted(seen):
            row = seen[index]
            target = name if row.note or row.stays else str(row.transition.target)
            if target in table.states:
                (notes if row.note else moves).append(Edge(name, target, row))
    return tuple(moves), tuple(notes)


def mermaid(table: Table, path: Sequence[str] = ()) -> str:
    """Draw a table as a Mermaid `stateDiagram-v2`.

    Args:
        table: the table; it need not be free of problems.
        path: states of one run in order; they are highlighted, the last one most.

    Example:
        >>> from statemachine_agents.table.model import State, Table
        >>> print(mermaid(Table(name="t", initial="a", states=[State("a", final="success")])))
        stateDiagram-v2
            %% t 1
            [*] --> a
            a --> [*]
            classDef success fill:#dcfce7
            class a success
        <BLANKLINE>
    """
    ids = _ids(table)
    moves, notes = edges(table)
    lines = ["stateDiagram-v2", f"    %% {_for_mermaid(f'{table.name} {table.version}')}"]
    for name, members in table.groups.items():
        listed = _for_mermaid(", ".join(members))
        lines.append(f"    %% group {_for_mermaid(name)}: {listed}")
    lines += [
        f'    state "{_for_mermaid(name)}" as {id_}' for name, id_ in ids.items() if name != id_
    ]
    if table.initial in ids:
        lines.append(f"    [*] --> {ids[table.initial]}")
    lines += [
        f"    {ids[edge.source]} --> {ids[edge.target]} : {_for_mermaid(edge.label)}"
        for edge in moves
    ]
    lines += [f"    {ids[name]} --> [*]" for name in _finals(table)]
    for name, found in _by_source(notes).items():
        lines.append(f"    note right of {ids[name]}")
        lines += [f"        {_for_mermaid(_note(edge))}" for edge in found]
        lines.append("    end note")
    for kind, names in _by_kind(table).items():
        marked = ",".join(ids[name] for name in names)
        lines += [f"    classDef {kind} fill:{_FILLS[kind]}", f"    class {marked} {kind}"]
    walked = [ids[name] for name in dict.fromkeys(path) if name in ids]
    if walked:
        lines.append(f"    classDef visited stroke:{_VISITED},stroke-width:2px")
        lines.append(f"    class {','.join(walked)} visited")
    if path and path[-1] in ids:
        lines.append(f"    classDef current stroke:{_VISITED},stroke-width:4px,font-weight:bold")
        lines.append(f"    class {ids[path[-1]]} current")
    return "\n".join(lines) + "\n"


def dot(table: Table, path: Sequence[str] = ()) -> str:
    """Draw a table in Graphviz' DOT language; notes are dashed loops, groups are clusters.

    Args:
        table: the table; it need not be free of problems.
        path: states of one run in order; they and the steps between them are highlighted.
    """
    moves, notes = edges(table)
    walked = set(path)
    steps = set(pairwise(path))
    lines = [
        f"digraph {_for_dot(table.name)} {{",
        "  rankdir=LR;",
        '  node [shape=box, style="rounded,filled", fontname="Helvetica"];',
        '  edge [fontname="Helvetica", fontsize=10];',
        '  "" [shape=point];',
    ]
    grouped: set[str] = set()
    for name, members in table.groups.items():
        # A node can live in one cluster only: its first.
        own = [state for state in members if state in table.states and state not in grouped]
        grouped.update(own)
        lines.append(f"  subgraph {_for_dot(f'cluster_{name}')} {{")
        lines.append(f"    label={_for_dot(name)};")
        lines += [f"    {_for_dot(state)};" for state in own]
        lines.append("  }")
    for state in table.states.values():
        lines.append(f"  {_for_dot(state.name)} [{_node(state, state.name in walked)}];")
    if table.initial in table.states:
        lines.append(f'  "" -> {_for_dot(table.initial)};')
    for edge in moves:
        ends = f"{_for_dot(edge.source)} -> {_for_dot(edge.target)}"
        more = f', color="{_VISITED}", penwidth=2' if _stepped(edge, steps) else ""
        lines.append(f"  {ends} [label={_for_dot(edge.label)}{more}];")
    for edge in notes:
        ends = f"{_for_dot(edge.source)} -> {_for_dot(edge.source)}"
        lines.append(f"  {ends} [label={_for_dot(_note(edge))}, style=dashed];")
    lines.append("}")
    return "\n".join(lines) + "\n"


def markdown(table: Table) -> str:
    """Write the transitions as a Markdown table, one row a line, in table order.

    A row without a target is a note and says so; its guard and assigns stand as written.
    """
    lines = ["| from | event | guard | to | assign |", "|---|---|---|---|---|"]
    for row in table.transitions:
        cells = (
            _code(row.source),
            "<br>".join(_code(event) for event in row.event),
            _code(row.guard) if row.guard else "",
            "*(note)*" if row.target is None else _code(row.target),
            "<br>".join(_code(text) for text in _assigns(row)),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _ids(table: Table) -> dict[str, str]:
    """Return state -> Mermaid id: the name itself where that is safe."""
    ids = {}
    for index, name in enumerate(table.states):
        safe = _SAFE_ID.fullmatch(name) and name.lower() not in _KEYWORDS
        ids[name] = name if safe else f"state_{index}"
        while ids[name] != name and ids[name] in table.states:
            ids[name] += "_"
    return ids


def _finals(table: Table) -> list[str]:
    return [name for name, state in table.states.items() if state.final is not None]


def _by_source(found: Iterable[Edge]) -> dict[str, list[Edge]]:
    out: dict[str, list[Edge]] = {}
    for edge in found:
        out.setdefault(edge.source, []).append(edge)
    return out


def _kind(state: State) -> str:
    kind = state.final if state.verb == "final" and state.final else state.verb
    return kind if kind in _FILLS else "failure"


def _by_kind(table: Table) -> Mapping[str, list[str]]:
    out: dict[str, list[str]] = {}
    for name, state in table.states.items():
        out.setdefault(_kind(state), []).append(name)
    return out


def _assigns(row: Transition) -> list[str]:
    return [f"{key} = {text}" for key, text in row.assign.items()]


def _note(edge: Edge) -> str:
    assigns = "; ".join(_assigns(edge.row.transition))
    return f"{edge.label} / {assigns}"


def _stepped(edge: Edge, steps: set[tuple[str, str]]) -> bool:
    return not edge.row.stays and (edge.source, edge.target) in steps


def _node(state: State, walked: bool) -> str:
    verb = state.final if state.verb == "final" else state.verb
    attributes = [
        f"label={_for_dot(state.name, str(verb))}",
        f'fillcolor="{_FILLS[_kind(state)]}"',
    ]
    if state.verb == "final":
        attributes.append("peripheries=2")
    if walked:
        attributes.append(f'color="{_VISITED}", penwidth=3')
    return ", ".join(attributes)


def _for_mermaid(text: str) -> str:
    """Write every character that Mermaid or HTML could read as its own as an entity code."""
    plain = _CONTROL.sub(" ", text)
    coded = _MERMAID_PLAIN.sub(lambda found: f"#{ord(found[0])};", plain)
    # `end note` closes a note, and `direction LR` is a command, wherever in a line they stand.
    return _COMMANDS.sub(lambda found: f"{found[1]}#32;", coded)


def _for_dot(*lines: str) -> str:
    """Write a quoted DOT string in ASCII, one line under the other.

    Graphviz decodes HTML entities in labels, so a `&` of the author's is written as one.
    """
    plain = (_CONTROL.sub(" ", line) for line in lines)
    coded = (_NOT_DOT.sub(lambda found: f"&#{ord(found[0])};", line) for line in plain)
    escaped = (line.replace("\\", "\\\\").replace('"', '\\"') for line in coded)
    joined = "\\n".join(escaped)
    return f'"{joined}"'


def _code(text: str) -> str:
    """Write a code span; with a backtick, bar or backslash in it, as entities instead."""
    flat = _CONTROL.sub(" ", text)
    if flat.strip() and _MARKDOWN_CODE.fullmatch(flat):
        return f"`{flat.strip()}`"
    inner = re.sub(r"[^A-Za-z0-9 ]", lambda found: f"&#{ord(found[0])};", flat)
    return f"<code>{inner}</code>"
