"""The TOML form of a table, both ways.

Rules.  1. `tomllib` reads values; tree-sitter is asked for positions only when there is a problem.
2. A top-level key that stands under a header (TOML accepts it silently as part of that header) is
refused at its line.  3. Writing uses the house order: scalars, rules, transitions, then headers;
one row a line, TOML 1.0.
Not here: what the keys mean (`table.reading`).
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from typing import Any, Final

import orjson

from statemachine_agents.errors import TableError
from statemachine_agents.table.model import TYPES, Table
from statemachine_agents.table.problems import Problem, refuse
from statemachine_agents.table.reading import (
    AGENT_KEYS,
    KEY_KEYS,
    STATE_KEYS,
    TABLE_KEYS,
    TRANSITION_KEYS,
    USE_KEYS,
    read_table,
)
from statemachine_agents.values import JSON

MAX_BYTES: Final = 1024 * 1024
"""A larger file is refused before it is parsed."""

_TOP_ONLY: Final = ("transitions", "rules", "limits", "initial", "instructions", "everywhere")
_HEADERS: Final[Mapping[str, Mapping[str, Any]]] = {
    "states": STATE_KEYS,
    "tools": USE_KEYS,
    "context": KEY_KEYS,
    "groups": {},
    "agents": AGENT_KEYS,
    "signals": {},
    "define": {},
}
_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")


def parse_toml(text: str, *, source: str) -> Table:
    """Read TOML text into a table. See `Table.from_toml`."""
    if len(text.encode("utf-8", "replace")) > MAX_BYTES:
        msg = f"{source}: over {MAX_BYTES} bytes; a table this large is refused before it is parsed"
        raise TableError(msg, source=source)
    try:
        data = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        msg = f"{source}: not TOML: {error}"
        raise TableError(msg, source=source) from error
    refuse(source, _under_headers(data, text, source))
    try:
        return read_table(data)
    except TableError as error:
        placed = tuple(
            _placed(problem, text, source) for problem in error.facts.get("problems", ())
        )
        refuse(source, placed)
        raise


def _under_headers(data: Mapping[str, Any], text: str, source: str) -> list[Problem]:
    """Find keys that belong above the first header but were written below one."""
    found = []
    places: list[tuple[str, Any, Mapping[str, Any]]]
    for header, part in data.items():
        if header == "transitions" and isinstance(part, list):
            # A key below the last `[[transitions]]` block belongs to that row.
            places = [
                (f"transitions[{index}]", row, TRANSITION_KEYS) for index, row in enumerate(part)
            ]
        elif header in _HEADERS and isinstance(part, Mapping):
            found += [
                _swallowed(f"{header}.{key}", key, header, text, source)
                for key in _TOP_ONLY
                if key in part and not _fits(header, part[key], data)
            ]
            places = [(f"{header}.{name}", inner, _HEADERS[header]) for name, inner in part.items()]
        else:
            continue
        for where, inner, known in places:
            if not isinstance(inner, Mapping):
                continue
            found += [
                _swallowed(f"{where}.{key}", key, where, text, source)
                for key in _TOP_ONLY
                if key in inner
                and key not in known
                and not (header == "signals" and isinstance(inner[key], str))
            ]
    return found


def _fits(header: str, value: Any, data: Mapping[str, Any]) -> bool:
    """Whether a value under a header can be an entry of that section, named by its author."""
    if header == "context":
        if isinstance(value, str):
            return value.removesuffix("?") in TYPES
        return isinstance(value, Mapping) and "type" in value
    if header == "groups":
        return isinstance(value, list) and all(name in data.get("states", {}) for name in value)
    if header == "define":
        return isinstance(value, str)
    # Bounds of `limits` are numbers; no entry of the other sections holds only numbers.
    return isinstance(value, Mapping) and not all(_is_number(item) for item in value.values())


def _swallowed(where: str, key: str, header: str, text: str, source: str) -> Problem:
    line = line_of(text, where)
    return Problem(
        "under-header",
        f"{source}:{line}: {where}" if line else where,
        f"{key!r} stands under the header [{header}], so TOML makes it part of that",
        next="move it above the first [header]",
    )


def _placed(problem: Problem, text: str, source: str) -> Problem:
    import attrs

    line = line_of(text, problem.where)
    return attrs.evolve(problem, where=f"{source}:{line}: {problem.where}") if line else problem


def line_of(text: str, where: str) -> int:
    """Return the line (from 1) of a place such as `transitions[3].target`, or 0 when unknown.

    Args:
        text: the TOML source.
        where: dotted place with indexes, as problems write it.
    """
    steps: list[str | int] = [
        int(number) if number else name
        for name, number in re.findall(r"([^.\[\]]+)|\[(\d+)\]", where)
    ]
    import tree_sitter
    import tree_sitter_toml

    parser = tree_sitter.Parser(tree_sitter.Language(tree_sitter_toml.language()))
    root = parser.parse(text.encode()).root_node
    best = shared = 0
    for path, line in _positions(root):
        if path[: len(steps)] == tuple(steps):
            return line
        # Else the closest place around it, such as the row of a missing key.
        if len(path) > shared and path == tuple(steps[: len(path)]):
            best, shared = line, len(path)
    return best


def _positions(root: Any) -> list[tuple[tuple[str | int, ...], int]]:
    """Return (path, line) of every key, table header and array item, outermost first."""
    out: list[tuple[tuple[str | int, ...], int]] = []
    counts: dict[tuple[str | int, ...], int] = {}

    def keys(node: Any) -> tuple[str, ...]:
        if node.type == "dotted_key":
            return tuple(part for child in node.named_children for part in keys(child))
        raw = node.text.decode()
        return (raw[1:-1] if raw[:1] in "\"'" else raw,)

    def value(node: Any, path: tuple[str | int, ...]) -> None:
        if node.type == "array":
            items = [child for child in node.named_children if child.type != "comment"]
            for index, child in enumerate(items):
                out.append(((*path, index), child.start_point[0] + 1))
                value(child, (*path, index))
        elif node.type == "inline_table":
            for child in node.named_children:
                pair(child, path)

    def pair(node: Any, path: tuple[str | int, ...]) -> None:
        if node.type == "pair" and node.named_children:
            full = (*path, *keys(node.named_children[0]))
            out.append((full, node.start_point[0] + 1))
            value(node.named_children[-1], full)

    for node in root.named_children:
        if node.type == "pair":
            pair(node, ())
        elif node.type in ("table", "table_array_element") and node.named_children:
            path: tuple[str | int, ...] = keys(node.named_children[0])
            if node.type == "table_array_element":
                index = counts.get(path, 0)
                counts[path] = index + 1
                path = (*path, index)
            out.append((path, node.start_point[0] + 1))
            for child in node.named_children[1:]:
                pair(child, path)
    return out


def write_toml(data: Mapping[str, JSON]) -> str:
    """Write the plain form of a table as TOML in the house order."""
    lines: list[str] = []
    for key in ("name", "version", "initial", "instructions", "everywhere", "limits"):
        if key in data:
            lines += [f"{key} = {_inline(data[key])}"]
    for key in ("rules", "transitions"):
        if data.get(key):
            lines.append(f"{key} = [")
            lines += [f"  {_inline(item)}," for item in data[key]]
            lines.append("]")
    for header in ("states", "tools", "context", "groups", "define"):
        if data.get(header):
            lines += ["", f"[{header}]"]
            lines += [f"{_key(key)} = {_inline(value)}" for key, value in data[header].items()]
    for header in ("agents", "signals"):
        for name, part in data.get(header, {}).items():
            lines += ["", f"[{header}.{_key(name)}]"]
            lines += [f"{_key(key)} = {_inline(value)}" for key, value in part.items()]
    return "\n".join(lines) + "\n"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _text(name)


def _text(value: str) -> str:
    # JSON escapes are TOML escapes, except DEL, which TOML wants escaped too.
    return orjson.dumps(value).decode().replace("\x7f", "\\u007f")


def _inline(value: JSON) -> str:
    """Write one value on one line; TOML has no null, so a null key is left out by the caller."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, Mapping):
        inner = ", ".join(f"{_key(key)} = {_inline(item)}" for key, item in value.items())
        return f"{{ {inner} }}" if inner else "{}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(_inline(item) for item in value)}]"
    msg = "TOML has no null; leave the key out"
    raise TableError(msg)


assert set(_TOP_ONLY) <= set(TABLE_KEYS)
