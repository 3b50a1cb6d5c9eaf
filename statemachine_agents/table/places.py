"""Where things stand in a file: places of a table -> line, column and length.

Rules.  1. Lines and columns are counted from 1, in characters, as editors count.  2. A place that
is not in the file is shown at the nearest one around it.  3. Inside an expression the very name is
shown: escapes and quotes of the TOML string are taken into account.  4. Only asked when there is
something to show: reading a table never needs it.
Not here: what is wrong there (`problems`), drawing it (`cli.diagnostics`).
"""

from __future__ import annotations

import re
from bisect import bisect_right
from typing import Any, Final, TypeAlias

import attrs

from statemachine_agents.table.problems import Position, Problem

Steps: TypeAlias = tuple[str | int, ...]

_STEP: Final = re.compile(r'"([^"]*)"|([^.\[\]]+)|\[(\d+)\]')
_ESCAPE: Final = re.compile(
    r"\\(?:[btnfre\"\\]|u[0-9A-Fa-f]{4}|U[0-9A-Fa-f]{8}|x[0-9A-Fa-f]{2}|[ \t]*\r?\n\s*)"
)
_ON_KEY: Final = frozenset({"unknown-key", "wrong-verb", "under-header", "unused-tool"})
"""Findings whose fault is the key, not its value."""


@attrs.frozen
class _Spot:
    """Byte offsets of one place: its key and its value."""

    key: tuple[int, int]
    value: tuple[int, int]
    kind: str


class Places:
    """The places of one TOML text.

    Args:
        text: the source.
        file: the name to show.
    """

    def __init__(self, text: str, file: str) -> None:
        self.text = text
        self.file = file
        self._data = text.encode("utf-8", "surrogatepass")
        self._lines = [0, *(found.end() for found in re.finditer(rb"\n", self._data))]
        self._spots: dict[Steps, _Spot] | None = None

    def placed(self, problem: Problem) -> Problem:
        """Return a problem with its position, if the file has one for it."""
        if problem.position is not None:
            return problem
        on_key = problem.code in _ON_KEY
        position = self.position(problem.where, problem.span, on_key=on_key)
        return problem if position is None else attrs.evolve(problem, position=position)

    def position(
        self, where: str, span: tuple[int, int] | None = None, *, on_key: bool = False
    ) -> Position | None:
        """Return where a place of the table stands.

        Args:
            where: such as `transitions[3].guard`.
            span: characters of the expression that stands there.
            on_key: show the key instead of its value.
        """
        if self._spots is None:
            self._spots = _spots_of(self._data)
        steps = steps_of(where)
        for size in range(len(steps), 0, -1):
            spot = self._spots.get(steps[:size])
            if spot is None:
                continue
            exact = size == len(steps)
            if exact and span is not None and spot.kind == "string":
                return self._inside(spot.value, span)
            whole = spot.kind in ("table", "inline_table") and spot.key != spot.value
            if spot.kind == "inline_table" and not on_key and exact and not whole:
                return self._at(*self._opening(*spot.value))
            return self._at(*(spot.key if on_key or not exact or whole else spot.value))
        return None

    def _opening(self, start: int, end: int) -> tuple[int, int]:
        """Return the beginning of a row: all of it would underline the whole line."""
        comma = self._data.find(b",", start, end)
        return start, end if comma < 0 else comma

    def _at(self, start: int, end: int) -> Position:
        line = bisect_right(self._lines, start)
        before = self._data[self._lines[line - 1] : start].decode("utf-8", "surrogatepass")
        part = self._data[start:end].decode("utf-8", "surrogatepass").split("\n")[0]
        column = len(before) + 1
        return Position(self.file, line, column, max(1, len(part.rstrip("\r"))))

    def _inside(self, value: tuple[int, int], span: tuple[int, int]) -> Position:
        """Return where characters of a string's value stand in the source."""
        raw = self._data[value[0] : value[1]].decode("utf-8", "surrogatepass")
        offsets = _offsets(raw)
        first, last = span
        start = offsets[min(first, len(offsets) - 1)]
        end = offsets[min(max(last, first + 1), len(offsets) - 1)]
        head = value[0] + len(raw[:start].encode("utf-8", "surrogatepass"))
        tail = value[0] + len(raw[: max(end, start + 1)].encode("utf-8", "surrogatepass"))
        return self._at(head, tail)


def steps_of(where: str) -> Steps:
    """Return the steps of a place: `transitions[3].guard` -> ("transitions", 3, "guard")."""
    return tuple(
        int(number) if number else quoted or name for quoted, name, number in _STEP.findall(where)
    )


def _offsets(raw: str) -> list[int]:
    """Return, for each character of a TOML string's value, where it stands in the raw text."""
    literal = raw[:1] == "'"
    marks = 3 if raw[:3] in ('"""', "'''") else 1
    at, end = marks, len(raw) - marks
    if marks == 3 and raw[at : at + 1] == "\n":
        at += 1
    out = []
    while at < end:
        found = None if literal else _ESCAPE.match(raw, at)
        if found is None:
            out.append(at)
            at += 1
        elif found[0][1] in " \t\r\n":  # a line ending backslash: nothing of it is in the value
            at = found.end()
        else:
            out.append(at)
            at = found.end()
    out.append(end)
    return out


def _spots_of(data: bytes) -> dict[Steps, _Spot]:
    """Return every key, table header and array item of a TOML text."""
    import tree_sitter
    import tree_sitter_toml

    parser = tree_sitter.Parser(tree_sitter.Language(tree_sitter_toml.language()))
    root = parser.parse(data).root_node
    out: dict[Steps, _Spot] = {}
    counts: dict[Steps, int] = {}

    def keys(node: Any) -> tuple[str, ...]:
        if node.type == "dotted_key":
            return tuple(part for child in node.named_children for part in keys(child))
        raw = node.text.decode("utf-8", "replace")
        return (raw[1:-1] if raw[:1] in "\"'" else raw,)

    def value(node: Any, path: Steps) -> None:
        if node.type == "array":
            items = [child for child in node.named_children if child.type != "comment"]
            for index, child in enumerate(items):
                span = (child.start_byte, child.end_byte)
                out.setdefault((*path, index), _Spot(span, span, child.type))
                value(child, (*path, index))
        elif node.type == "inline_table":
            for child in node.named_children:
                pair(child, path)

    def pair(node: Any, path: Steps) -> None:
        if node.type != "pair" or not node.named_children:
            return
        key, inner = node.named_children[0], node.named_children[-1]
        names = keys(key)
        full = (*path, *names)
        spans = (key.start_byte, key.end_byte), (inner.start_byte, inner.end_byte)
        for size in range(1, len(names)):  # `look.bind = {}` names `look` too
            out.setdefault((*path, *names[:size]), _Spot(spans[0], spans[0], "table"))
        out.setdefault(full, _Spot(*spans, inner.type))
        value(inner, full)

    for node in root.named_children:
        if node.type == "pair":
            pair(node, ())
        elif node.type in ("table", "table_array_element") and node.named_children:
            header = node.named_children[0]
            path: Steps = keys(header)
            if node.type == "table_array_element":
                index = counts.get(path, 0)
                counts[path] = index + 1
                path = (*path, index)
            span = (header.start_byte, header.end_byte)
            out.setdefault(path, _Spot(span, span, "table"))
            for child in node.named_children[1:]:
                pair(child, path)
    return out
