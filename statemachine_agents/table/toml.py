"""The TOML form of a table, both ways.

Rules.  1. `tomllib` reads values; positions (`places`) are asked for only when there is a problem.
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
from statemachine_agents.table.keys import (
    AGENT_KEYS,
    KEY_KEYS,
    STATE_KEYS,
    TABLE_KEYS,
    TRANSITION_KEYS,
    USE_KEYS,
)
from statemachine_agents.table.model import TYPES, Table
from statemachine_agents.table.places import Places
from statemachine_agents.table.problems import Position, Problem, refuse
from statemachine_agents.table.reading import read_table
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
_AT: Final = re.compile(r"\s*\(at line (\d+), column (\d+)\)")
_MOST_PARTS: Final = 64
_DEEP: Final = re.compile(
    r"""(?<![\w-])(?:(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+)"""
    f"{{{_MOST_PARTS}}}"
)
_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")


def parse_toml(text: str, *, source: str) -> Table:
    """Read TOML text into a table. See `Table.from_toml`."""
    if len(text.encode("utf-8", "replace")) > MAX_BYTES:
        msg = f"{source}: over {MAX_BYTES} bytes; a table this large is refused before it is parsed"
        raise TableError(msg, source=source)
    _refuse_depth(text, source)
    try:
        data = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        problem = _syntax(error, text, source)
        msg = f"{problem.position}: {problem.what}"
        raise TableError(msg, source=source, problems=(problem,)) from error
    places = Places(text, source)
    swallowed = _under_headers(data)
    refuse(source, [places.placed(problem) for problem in swallowed])
    try:
        return read_table(data)
    except TableError as error:
        raise _refused(error, places, source) from error


def _refuse_depth(text: str, source: str) -> None:
    """Refuse keys of very many parts: `tomllib` needs the square of their number in memory."""
    found = _DEEP.search(text)
    if found is None:
        return
    line = text.count("\n", 0, found.start()) + 1
    column = found.start() - text.rfind("\n", 0, found.start())
    position = Position(source, line, column, 1)
    what = f"a key has over {_MOST_PARTS} parts"
    refuse(source, [Problem("too-large", "table", what, position=position)])


def _under_headers(data: Mapping[str, Any]) -> list[Problem]:
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
                _swallowed(f"{header}.{key}", key, header)
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
                _swallowed(f"{where}.{key}", key, where)
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
        states = data.get("states")
        if not isinstance(value, list) or not isinstance(states, Mapping):
            return False
        return all(isinstance(name, str) and name in states for name in value)
    if header == "define":
        return isinstance(value, str)
    # Bounds of `limits` are numbers; no entry of the other sections holds only numbers.
    return isinstance(value, Mapping) and not all(_is_number(item) for item in value.values())


def _swallowed(where: str, key: str, header: str) -> Problem:
    return Problem(
        "under-header",
        where,
        f"{key!r} stands under the header [{header}], so TOML makes it part of that",
        next="move it above the first [header]",
    )


def _refused(error: TableError, places: Places, source: str) -> TableError:
    """Return the same error with positions."""
    placed = tuple(places.placed(problem) for problem in error.facts.get("problems", ()))
    try:
        refuse(source, placed)
    except TableError as told:
        return told
    return error


def _syntax(error: Exception, text: str, source: str) -> Problem:
    """Return what is wrong with a text that is not TOML, at its place."""
    said = str(error)
    found = _AT.search(said)
    lines = text.split("\n")
    if found:
        line, column = int(found[1]), int(found[2])
    else:  # at the end of the document, or nested too deep
        line = len(lines)
        while line > 1 and not lines[line - 1].strip():
            line -= 1
        column = len(lines[line - 1]) + 1
    what = _AT.sub("", said).strip() or type(error).__name__
    position = Position(source, line, max(1, column), 1)
    return Problem("not-toml", "", f"not TOML: {what}", position=position)


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
    if "check" in data:
        lines += ["", "[check]", "allow = ["]
        lines += [f"  {_inline(item)}," for item in data["check"]["allow"]]
        lines.append("]")
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
