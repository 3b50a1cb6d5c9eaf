"""Read a script of model turns from a file: what `--model scripted:FILE` takes.

JSON lines (any suffix but `.toml`; blank lines and lines that begin with `#` are skipped), one turn
a line, or TOML with one `[[turns]]` block a turn and the same keys:

    {"use": "fetch_order", "arguments": {"order_id": "A1"}}       one call; also "id", "text"
    {"calls": [{"use": "a"}, {"raw": "b", "arguments": "{oops"}]}  several calls; also "text"
    {"raw": "fetch_order", "arguments": "{oops"}                   arguments that are no JSON object
    {"say": "Done."}                                               text, and the turn ends
    {"stop": "max_tokens", "text": "I was", "calls": []}           any stop reason
    {"fail": "overloaded", "message": "busy"}                      the model cannot be asked

Rules.  1. Exactly one of the words `use calls raw say stop fail` opens a turn.  2. Unknown keys and
wrong types are refused with file and line.
Not here: what a turn does (`scripted`).
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from statemachine_agents.errors import UsageError, ValueRefused
from statemachine_agents.models.scripted import Fault, Proposed, Turn, fail
from statemachine_agents.values import JSON, ingest, parse

__all__ = ["read_script"]

_KEYS: dict[str, dict[str, type]] = {
    "use": {"use": str, "arguments": dict, "id": str, "text": str},
    "calls": {"calls": list, "text": str},
    "raw": {"raw": str, "arguments": str, "id": str, "text": str},
    "say": {"say": str},
    "stop": {"stop": str, "text": str, "calls": list},
    "fail": {"fail": str, "message": str},
}
"""The word that opens a turn -> the keys it may have and their types."""

_WORDS: dict[Any, str] = {str: "text", dict: "an object", list: "a list"}
_HEADER = re.compile(r"^[ \t]*\[\[[ \t]*turns[ \t]*\]\]", re.MULTILINE)


def read_script(path: str | Path) -> list[Turn | Fault]:
    """Return the turns of a script file.

    Raises:
        UsageError: the file cannot be read, or a line of it is not a turn.
    """
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"the script {file.name!r} cannot be read: {error}; give a UTF-8 file of JSON lines "
            "or TOML",
            path=str(file),
        ) from error
    read = _from_toml if file.suffix == ".toml" else _from_lines
    return [_turn(where, entry) for where, entry in read(file.name, text)]


def _from_lines(name: str, text: str) -> Iterator[tuple[str, JSON]]:
    # Not `splitlines`: JSON may hold U+2028 and the like inside a text.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        where = f"{name}, line {number}"
        try:
            yield where, parse(line, where=where)
        except ValueRefused as error:
            raise UsageError(f"{error}; expected one JSON object a line", line=number) from error


def _from_toml(name: str, text: str) -> Iterator[tuple[str, JSON]]:
    try:
        found = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{name}: not TOML: {error}", path=name) from error
    turns = found.pop("turns", None)
    if found or not isinstance(turns, list):
        got = ", ".join(found) or "no turns"
        raise UsageError(f"{name}: got {got}, expected [[turns]] blocks and nothing else", got=got)
    lines = [text.count("\n", 0, match.start()) + 1 for match in _HEADER.finditer(text)]
    for index, turn in enumerate(turns):
        # An inline array has no headers; then the number of the turn is the best place there is.
        place = f"line {lines[index]}" if len(lines) == len(turns) else f"turn {index + 1}"
        try:
            yield f"{name}, {place}", ingest(turn, where=f"{name}, {place}").value
        except ValueRefused as error:
            raise UsageError(str(error), path=name) from error


def _turn(where: str, entry: JSON) -> Turn | Fault:
    head = _checked(where, entry, tuple(_KEYS))
    match head:
        case "use" | "raw":
            return Turn(entry.get("text", ""), (_call(where, entry),), "tool_use")
        case "calls":
            return Turn(entry.get("text", ""), _calls(where, entry["calls"]), "tool_use")
        case "say":
            return Turn(entry["say"])
        case "stop":
            calls = _calls(where, entry.get("calls", []))
            return Turn(entry.get("text", ""), calls, entry["stop"])
        case _:
            try:
                return fail(entry["fail"], entry.get("message", f"{where}: the script says so"))
            except UsageError as error:
                raise UsageError(f"{where}: {error}", where=where) from error


def _calls(where: str, entries: list[JSON]) -> tuple[Proposed, ...]:
    calls = []
    for number, entry in enumerate(entries, start=1):
        place = f"{where}, call {number}"
        _checked(place, entry, ("use", "raw"))
        if "text" in entry:
            raise UsageError(f"{place}: the key 'text' belongs beside 'calls'", where=place)
        calls.append(_call(place, entry))
    return tuple(calls)


def _call(where: str, entry: dict[str, JSON]) -> Proposed:
    if "use" in entry:
        return Proposed(entry["use"], entry.get("arguments", {}), entry.get("id"))
    if "arguments" not in entry:
        raise UsageError(
            f"{where}: 'raw' needs 'arguments', the text that is no JSON object", where=where
        )
    return Proposed(entry["raw"], {}, entry.get("id"), entry["arguments"])


def _checked(where: str, entry: JSON, heads: tuple[str, ...]) -> str:
    if not isinstance(entry, dict):
        raise UsageError(f"{where}: got {_word(entry)}, expected an object", where=where)
    # `stop` may carry `calls`, so the rarer word wins; every other pair is a mistake.
    found = [word for word in heads if word in entry]
    if found == ["calls", "stop"]:
        found = ["stop"]
    if len(found) != 1:
        got = " and ".join(found) if found else f"the keys {', '.join(sorted(entry)) or 'none'}"
        near = difflib.get_close_matches(" ".join(entry), heads, n=1)
        hint = f"; did you mean {near[0]!r}?" if near and not found else ""
        raise UsageError(
            f"{where}: got {got}, expected exactly one of {' '.join(heads)}{hint}", where=where
        )
    keys = _KEYS[found[0]]
    for key, value in entry.items():
        if key not in keys:
            near = difflib.get_close_matches(key, keys, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise UsageError(
                f"{where}: unknown key {key!r} beside {found[0]!r}; "
                f"expected {' '.join(keys)}{hint}",
                where=where,
                key=key,
            )
        if not isinstance(value, keys[key]):
            raise UsageError(
                f"{where}: {key!r} is {_word(value)}, expected {_WORDS[keys[key]]}",
                where=where,
                key=key,
            )
    return found[0]


def _word(value: JSON) -> str:
    if value is None:
        return "null"
    return _WORDS.get(type(value), f"a {type(value).__name__}")
