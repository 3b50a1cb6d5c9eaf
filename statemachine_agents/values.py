"""Canonical JSON: the only kind of value that enters a journal.

Rules.  1. Same value, same bytes: UTF-8, sorted keys, no spaces.  2. Whatever cannot be written
so that it reads back equal is refused *before* anything acts on it: NaN and infinities, integers
beyond 2**53, keys that are not text, depth over 64, bodies over the size cap, duplicate keys.
3. Lone surrogates are replaced by U+FFFD once, where text enters (`ingest`), never later.

orjson alone does not do this: it turns NaN into null, rounds big integers, keeps the last of two
equal keys and loads deeper than it can save. Hence a gate in front of it.
Not here: what a record is (`journal.records`), what a value means (`table`).
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import attrs
import orjson

from statemachine_agents.errors import ValueRefused

JSON: TypeAlias = Any
"""A JSON value: None, bool, int, float, str, list of JSON, dict from str to JSON."""

Redactor: TypeAlias = Callable[[str, JSON], JSON]
"""Called as `redact(kind, value)` before anything from outside is written; returns what to keep.

`kind` is one of `context message reply arguments result error resolution`. What it returns is what
the journal, the guards and the model see: decisions are made on what was written.
"""

MAX_DEPTH = 64
"""Deepest nesting of a journaled body."""

ROOM = 8
"""Levels a record body adds around a foreign value, so foreign values may be MAX_DEPTH - ROOM."""

MAX_INT = 2**53
"""Largest absolute integer; larger ones (and money) travel as text or as minor units."""

MAX_BODY = 256 * 1024
"""Bytes of a body kept inside a record; larger values become blobs by hash."""

MAX_BLOB = 16 * 1024 * 1024
"""Bytes of the largest value accepted at all."""

_LOOSE = (
    orjson.OPT_SORT_KEYS
    | orjson.OPT_PASSTHROUGH_DATACLASS
    | orjson.OPT_PASSTHROUGH_DATETIME
    | orjson.OPT_PASSTHROUGH_SUBCLASS
)
_OPTIONS = _LOOSE | orjson.OPT_STRICT_INTEGER
"""orjson's strict integers end at 2**53 - 1; `dumps` lets the two of exactly 2**53 pass."""


@attrs.frozen
class Ingested:
    """A foreign value made canonical: the value, and whether any text had to be repaired."""

    value: JSON
    repaired: bool


def dumps(value: JSON) -> bytes:
    """Return the canonical bytes of a value that is already plain (see `ingest`).

    Args:
        value: plain JSON; floats must be finite (an `ingest`ed or evaluated value is).

    Returns:
        UTF-8 JSON with sorted keys. Equal values give equal bytes.

    Raises:
        ValueRefused: the value is not JSON, or holds an integer beyond 2**53 or a lone surrogate.
    """
    try:
        return orjson.dumps(value, option=_OPTIONS)
    except (TypeError, ValueError, RecursionError) as error:
        if "53-bit" in str(error) and _bounded(value):
            return orjson.dumps(value, option=_LOOSE)
        msg = f"not a canonical JSON value: {error}; pass foreign values through `ingest` first"
        raise ValueRefused(msg, where="value") from error


def _bounded(value: JSON) -> bool:
    """Whether every integer inside lies within 2**53, that one included."""
    todo = [value]
    while todo:
        item = todo.pop()
        if isinstance(item, int) and not -MAX_INT <= item <= MAX_INT:
            return False
        if isinstance(item, dict | list | tuple):
            todo += item.values() if isinstance(item, dict) else item
    return True


def loads(data: bytes) -> JSON:
    """Read canonical bytes back; refuse bytes that are JSON but not canonical.

    Raises:
        ValueRefused: not JSON, or not the canonical form (unsorted or duplicate keys, spaces...).
    """
    try:
        value = orjson.loads(data)
    except (ValueError, RecursionError) as error:
        raise ValueRefused(f"not JSON: {error}", where="bytes") from error
    if dumps(value) != data:
        raise ValueRefused(
            "JSON, but not in canonical form (keys sorted, none twice, no spaces, finite numbers); "
            "the bytes were not written by this package or were changed since",
            where="bytes",
        )
    return value


def parse(text: str | bytes, *, where: str = "text") -> JSON:
    """Parse JSON that somebody else wrote, refusing what would change silently.

    Duplicate keys, NaN, infinities, big integers and deep nesting are refused with their place.

    Raises:
        ValueRefused: says what was found.
    """

    def pairs(items: list[tuple[str, JSON]]) -> dict[str, JSON]:
        found = dict(items)
        if len(found) != len(items):
            seen: set[str] = set()
            twice = next(key for key, _ in items if key in seen or seen.add(key))  # type: ignore[func-returns-value]
            raise ValueRefused(f"{where}: the key {twice!r} stands twice", where=where, key=twice)
        return found

    def constant(word: str) -> JSON:
        raise ValueRefused(f"{where}: {word} is not JSON", where=where)

    try:
        value = json.loads(text, object_pairs_hook=pairs, parse_constant=constant)
    except (ValueError, RecursionError) as error:
        raise ValueRefused(f"{where}: not JSON: {error}", where=where) from error
    return ingest(value, where=where).value


def ingest(value: Any, *, where: str = "value", depth: int = MAX_DEPTH - ROOM) -> Ingested:
    """Make a value from outside canonical, or refuse it with the place of the fault.

    Tuples become lists, mappings become dicts, lone surrogates become U+FFFD; no value changes
    otherwise. Keys are put in the order of the canonical bytes: what a live run works on and what a
    resumed or replayed run reads back are then alike even where order shows (prompts, messages).

    Args:
        value: anything; only JSON-like values are accepted.
        where: the name the error message uses for the whole value.
        depth: deepest nesting allowed, counted from 1.

    Returns:
        The plain copy, and whether text was repaired.

    Raises:
        ValueRefused: says where inside the value, what was found, what is expected.
    """
    fast = _fast(value, depth)
    if fast is not None:
        return fast
    repaired = False

    def walk(item: Any, path: tuple[str | int, ...], left: int) -> JSON:
        nonlocal repaired
        kind = type(item)
        if kind is str:
            try:
                item.encode()
            except UnicodeEncodeError:
                repaired = True
                return item.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
            return item
        if item is None or kind is bool:
            return item
        if kind is int:
            if -MAX_INT <= item <= MAX_INT:
                return item
            _refuse(where, path, "an integer beyond 2**53", "a smaller one, or text")
        if kind is float:
            if math.isfinite(item):
                return item
            _refuse(where, path, repr(item), "a finite number")
        if isinstance(item, Mapping):
            if left <= 0:
                _refuse(where, path, f"nesting over {depth} levels", "a flatter value")
            out: dict[str, JSON] = {}
            for key, inner in item.items():
                if not isinstance(key, str):
                    _refuse(where, path, f"the key {key!r}", "keys that are text")
                clean = walk(key, path, left)
                if clean in out:
                    _refuse(where, path, f"the key {clean!r} twice", "each key once")
                out[clean] = walk(inner, (*path, clean), left - 1)
            return dict(sorted(out.items()))
        if isinstance(item, list | tuple):
            if left <= 0:
                _refuse(where, path, f"nesting over {depth} levels", "a flatter value")
            return [walk(inner, (*path, index), left - 1) for index, inner in enumerate(item)]
        if isinstance(item, str):  # a subclass, such as a member of an enumeration
            return walk("".join(item), path, left)
        _refuse(where, path, f"a {kind.__name__}", "null, a boolean, number, text, list or object")
        raise AssertionError  # pragma: no cover - _refuse always raises

    plain = walk(value, (), depth)
    return Ingested(plain, repaired)


def _fast(value: Any, depth: int) -> Ingested | None:
    """Copy a value through orjson, ten times as fast as the walk; None when that could differ.

    orjson refuses what is no JSON; what it would change silently shows in the bytes: NaN as null,
    deep nesting as many brackets. Then, and for every refusal with its place, the walk decides.
    """
    try:
        data = orjson.dumps(value, option=_OPTIONS)
    except (TypeError, ValueError, RecursionError):
        return None
    if b"null" in data or data.count(b"[") + data.count(b"{") > depth:
        return None
    return Ingested(orjson.loads(data), False)


def _refuse(where: str, path: tuple[str | int, ...], got: str, expected: str) -> None:
    place = where + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    raise ValueRefused(f"{place}: got {got}, expected {expected}", where=place, got=got)


def sha256(data: bytes) -> str:
    """Return the SHA-256 of the bytes as 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def hash_of(value: JSON) -> str:
    """Return the SHA-256 of a value's canonical bytes: equal values, equal hash."""
    return sha256(dumps(value))


def keep_all(_kind: str, value: JSON) -> JSON:
    """Redact nothing: the default `Redactor`."""
    return value
