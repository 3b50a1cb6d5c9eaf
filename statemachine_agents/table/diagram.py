"""Pictures of a table as text: Mermaid, Graphviz, and a table of transitions in Markdown.

Rules.  1. All three show the same rows (`picture`); long guards are cut in pictures, never in
Markdown.  2. Whatever an author writes is data: every character with a meaning in the target
language is escaped, so a guard can neither break a picture nor draw one.
Not here: what is drawn (`picture`), pixels (`rendering`), numbers on the edges (`journal.stats`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from statemachine_agents.table.model import Table, Transition
from statemachine_agents.table.picture import (
    Arrow,
    Box,
    Cluster,
    Picture,
    picture,
    step_lines,
    wrapped,
)

_SAFE_ID: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_KEYWORDS: Final = frozenset(
    {"end", "graph", "flowchart", "subgraph", "style", "linkstyle", "classdef", "class", "click",
     "call", "href", "default", "interpolate", "direction", "acctitle", "accdescr", "start",
     "tb", "td", "bt", "rl", "lr", "br"}
)  # fmt: skip
"""Words that some release of Mermaid takes for something else than the name of a state."""

_MERMAID_PLAIN: Final = re.compile(r"[^A-Za-z0-9 _.,()=+*/'!?|\[\]-]")
_DIRECTION: Final = re.compile("direction ", re.IGNORECASE)
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]")
_MARKDOWN_CODE: Final = re.compile("[^`|\\\\]+")
_FILLS: Final = {
    "ask": "#dbeafe", "do": "#fef3c7", "wait": "#ede9fe", "run": "#cffafe",
    "success": "#dcfce7", "failure": "#fee2e2", "default": "#f3f4f6",
}  # fmt: skip
_STROKES: Final = {"success": "#15803d", "failure": "#b91c1c"}
_INK: Final = "#1f2937"
_LINE: Final = "#6b7280"
_TAKEN: Final = "#b45309"


def mermaid(table: Table, path: Sequence[str] = (), *, defaults: bool = False) -> str:
    """Draw a table as a Mermaid flowchart.

    A flowchart and not a `stateDiagram`: only there can the steps of a run be marked and groups be
    drawn around states (`docs/decisions/006`).

    Args:
        table: the table; it need not be free of problems.
        path: states of one run in order; they and the moves between them are highlighted, the last
            one most, and each move says which step of the run it was.
        defaults: also show which events end or park a run where no row takes them.

    Example:
        >>> from statemachine_agents.table.model import State, Table
        >>> print(mermaid(Table(name="t", initial="a", states=[State("a", final="success")])))
        flowchart TD
            %% t 1
            start(( ))
            a(["a<br>success"])
            start --> a
            classDef start fill:#1f2937,stroke:#1f2937
            class start start
            classDef success fill:#dcfce7,stroke:#15803d,stroke-width:2px,color:#1f2937
            class a success
        <BLANKLINE>
    """
    drawn = picture(table, path, defaults=defaults)
    ids = _ids(drawn)
    lines = ["flowchart TD", f"    %% {_for_mermaid(f'{table.name} {table.version}')}"]
    boxes = {box.name: [f"{ids[box.name]}{_mermaid_box(box)}"] for box in drawn.boxes}
    if drawn.initial:
        # Beside its state, so that the first arrow crosses no title of a group.
        boxes[drawn.initial].insert(0, "start(( ))")
    groups: list[str] = []
    for cluster in drawn.clusters:
        lines += _mermaid_cluster(cluster, boxes, {*ids.values(), *table.states}, groups, "    ")
    inside = {name for cluster in _all(drawn.clusters) for name in cluster.boxes}
    lines += [f"    {text}" for name in boxes if name not in inside for text in boxes[name]]
    if drawn.initial:
        lines.append(f"    start --> {ids[drawn.initial]}")
    lines += [f"    {_mermaid_arrow(arrow, ids)}" for arrow in drawn.arrows]
    lines += _mermaid_styles(drawn, ids, groups)
    return "\n".join(lines) + "\n"


def dot(table: Table, path: Sequence[str] = (), *, defaults: bool = False) -> str:
    """Draw a table in Graphviz' DOT language; groups are clusters.

    Args:
        table: the table; it need not be free of problems.
        path: states of one run in order; they and the moves between them are highlighted.
        defaults: also show which events end or park a run where no row takes them.
    """
    drawn = picture(table, path, defaults=defaults)
    lines = [
        f"digraph {_for_dot(table.name)} {{",
        '  rankdir=TB; labeljust=l; fontname="Helvetica";',
        f'  node [shape=box, style="rounded,filled", fontname="Helvetica", fontcolor="{_INK}"];',
        f'  edge [fontname="Helvetica", fontsize=10, fontcolor="{_INK}", color="{_LINE}"];',
    ]
    boxes = {box.name: f"{_for_dot(box.name)} [{_dot_box(box)}];" for box in drawn.boxes}
    for cluster in drawn.clusters:
        lines += _dot_cluster(cluster, boxes, "  ")
    inside = {name for cluster in _all(drawn.clusters) for name in cluster.boxes}
    lines += [f"  {text}" for name, text in boxes.items() if name not in inside]
    if drawn.initial:
        lines.append(f'  "" [shape=point, width=0.15, color="{_INK}"];')
        lines.append(f'  "" -> {_for_dot(drawn.initial)};')
    lines += [f"  {_dot_arrow(arrow)}" for arrow in drawn.arrows]
    lines.append("}")
    return "\n".join(lines) + "\n"


def markdown(table: Table, path: Sequence[str] = (), *, defaults: bool = False) -> str:
    """Write the transitions as a Markdown table, one row a line, in table order.

    A row without a target is a note and says so; its guard and assigns stand as written.

    Args:
        table: the table; it need not be free of problems.
        path: states of one run in order; a line below the table lists them.
        defaults: also list, state by state, which events end or park a run without a row.
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
    if defaults:
        drawn = picture(table, defaults=True)
        lines += ["", "| state | without a row |", "|---|---|"]
        for arrow in drawn.arrows:
            if arrow.default:
                what = f"{arrow.target.strip()} on {_code(', '.join(arrow.lines))}"
                lines.append(f"| {_code(arrow.source)} | {what} |")
        for box in drawn.boxes:
            lines += [
                f"| {_code(box.name)} | parks on {_code(line.removeprefix('parks on '))} |"
                for line in box.lines
                if line.startswith("parks on ")
            ]
    if path:
        lines += ["", f"Path of the run: {' → '.join(_code(name) for name in path)}"]
    return "\n".join(lines) + "\n"


def written(table: Table, form: str) -> str:
    """Return what `format(table, form)` gives: `mermaid`, `dot`, `md`, or TOML for no form.

    Raises:
        ValueError: another form; the built-in `format` speaks so.
    """
    match form:
        case "":
            return str(table)
        case "mermaid":
            return mermaid(table)
        case "dot":
            return dot(table)
        case "md" | "markdown":
            return markdown(table)
        case _:
            msg = f"a table has no form {form!r}; expected mermaid, dot, md, or nothing for TOML"
            raise ValueError(msg)


# ----------------------------------------------------------------------------------------- mermaid


def _ids(drawn: Picture) -> dict[str, str]:
    """Return box -> Mermaid id: the name itself where that is safe, and no two alike."""
    ids: dict[str, str] = {}
    for index, box in enumerate(drawn.boxes):
        name = box.name
        safe = _SAFE_ID.fullmatch(name) and not name.lower().startswith(tuple(_KEYWORDS))
        if box.kind == "default":
            ids[name] = box.title.replace(" ", "_")
        else:
            ids[name] = name if safe else f"state_{index}"
        while ids[name] != name and ids[name] in drawn.table.states:
            ids[name] += "_"
    return ids


def _mermaid_box(box: Box) -> str:
    label = "<br>".join(_for_mermaid(line) for line in (box.title, *wrapped(box.lines)))
    if box.kind in ("success", "failure", "default"):
        return f'(["{label}"])'
    return f'("{label}")'


def _mermaid_cluster(
    cluster: Cluster, boxes: dict[str, list[str]], taken: set[str], groups: list[str], depth: str
) -> list[str]:
    """Return the lines of a subgraph; its id, and those of the ones in it, join `groups`."""
    id_ = f"group_{len(groups) + 1}"
    while id_ in taken:
        id_ += "_"
    groups.append(id_)
    lines = [f'{depth}subgraph {id_}["{_for_mermaid(cluster.name)}"]']
    for inner in cluster.inner:
        lines += _mermaid_cluster(inner, boxes, taken, groups, f"{depth}    ")
    lines += [f"{depth}    {text}" for name in cluster.boxes for text in boxes[name]]
    lines.append(f"{depth}end")
    return lines


def _all(clusters: Iterable[Cluster]) -> Iterator[Cluster]:
    for cluster in clusters:
        yield cluster
        yield from _all(cluster.inner)


def _mermaid_arrow(arrow: Arrow, ids: dict[str, str]) -> str:
    label = "<br>".join(_for_mermaid(line) for line in step_lines(arrow))
    line = "-.->" if arrow.default else "-->"
    return f'{ids[arrow.source]} {line}|"{label}"| {ids[arrow.target]}'


def _mermaid_styles(drawn: Picture, ids: dict[str, str], groups: list[str]) -> list[str]:
    lines = []
    if drawn.initial:
        lines += [f"classDef start fill:{_INK},stroke:{_INK}", "class start start"]
    kinds: dict[str, list[str]] = {}
    for box in drawn.boxes:
        kinds.setdefault(box.kind, []).append(ids[box.name])
    for kind, members in kinds.items():
        word = "byDefault" if kind == "default" else kind
        stroke = _STROKES.get(kind, _LINE)
        width = ",stroke-width:2px" if kind in _STROKES else ""
        dashes = ",stroke-dasharray:4 3" if kind == "default" else ""
        lines.append(
            f"classDef {word} fill:{_FILLS[kind]},stroke:{stroke}{width}{dashes},color:{_INK}"
        )
        lines.append(f"class {','.join(members)} {word}")
    if groups:
        style = f"fill:#f9fafb,stroke:{_LINE},stroke-dasharray:4 3,color:{_INK}"
        lines += [f"classDef group {style}", f"class {','.join(groups)} group"]
    visited = [ids[box.name] for box in drawn.boxes if box.visited]
    if visited:
        lines.append(f"classDef visited stroke:{_TAKEN},stroke-width:3px")
        lines.append(f"class {','.join(visited)} visited")
    current = [ids[box.name] for box in drawn.boxes if box.current]
    if current:
        lines.append(f"classDef current stroke:{_TAKEN},stroke-width:6px,font-weight:bold")
        lines.append(f"class {current[0]} current")
    first = 1 if drawn.initial else 0
    taken = [str(first + number) for number, arrow in enumerate(drawn.arrows) if arrow.steps]
    if taken:
        lines.append(f"linkStyle {','.join(taken)} stroke:{_TAKEN},stroke-width:3px")
    return [f"    {line}" for line in lines]


# --------------------------------------------------------------------------------------------- dot


def _dot_box(box: Box) -> str:
    attributes = [
        f"label={_for_dot(box.title, *wrapped(box.lines))}",
        f'fillcolor="{_FILLS[box.kind]}"',
    ]
    if box.kind in ("success", "failure"):
        attributes.append("peripheries=2")
    if box.kind == "default":
        attributes.append('style="rounded,filled,dashed"')
    if box.visited:
        width = 5 if box.current else 3
        attributes.append(f'color="{_TAKEN}", penwidth={width}')
    elif box.kind in _STROKES:
        attributes.append(f'color="{_STROKES[box.kind]}"')
    else:
        attributes.append(f'color="{_LINE}"')
    return ", ".join(attributes)


def _dot_cluster(cluster: Cluster, boxes: dict[str, str], depth: str) -> list[str]:
    lines = [f"{depth}subgraph {_for_dot(f'cluster_{cluster.name}')} {{"]
    lines.append(f'{depth}  label={_for_dot(cluster.name)}; color="{_LINE}"; style="dashed";')
    for inner in cluster.inner:
        lines += _dot_cluster(inner, boxes, f"{depth}  ")
    lines += [f"{depth}  {boxes[name]}" for name in cluster.boxes]
    lines.append(f"{depth}}}")
    return lines


def _dot_arrow(arrow: Arrow) -> str:
    more = f', color="{_TAKEN}", penwidth=3' if arrow.steps else ""
    more += ", style=dashed" if arrow.default else ""
    between = f"{_for_dot(arrow.source)} -> {_for_dot(arrow.target)}"
    return f"{between} [label={_for_dot(*step_lines(arrow))}{more}];"


# ----------------------------------------------------------------------------------------- escapes


def _assigns(row: Transition) -> list[str]:
    return [f"{key} = {text}" for key, text in row.assign.items()]


def _for_mermaid(text: str) -> str:
    """Write every character that Mermaid, Markdown or HTML could read as its own as a code."""
    plain = _CONTROL.sub(" ", text)
    coded = _MERMAID_PLAIN.sub(lambda found: f"#{ord(found[0])};", plain)
    # `direction LR` is a command wherever in a line it stands, in quotes too.
    coded = _DIRECTION.sub(lambda found: f"{found[0].rstrip()}#32;", coded)
    # An empty label is a syntax error; a blank one is not.
    return coded if coded.strip() else "#160;"


def _for_dot(*lines: str) -> str:
    """Write a quoted DOT string, one line under the other.

    Graphviz decodes HTML entities in labels, so a `&` of the author's is written as one. All else
    is UTF-8 as it is: Graphviz 2.43 spoils entities beyond U+FFFF.
    """
    coded = (_CONTROL.sub(" ", line).replace("&", "&#38;") for line in lines)
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
