"""Samples: make up values for JSON Schemas, and ask whether a few values can be made whole.

Rules.  1. A made-up value is a guess; only the validator that also checks calls says it fits.
2. Completing adds what a schema requires and changes nothing that is there.  3. Nothing is fetched
for a `$ref`; a schema that cannot be compiled fits nothing.
Not here: which values tell conditions apart (`points`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from itertools import islice
from typing import Any, Final, TypeAlias

from statemachine_agents.errors import ValueRefused
from statemachine_agents.values import JSON, dumps

Schema: TypeAlias = Mapping[str, JSON]

_DEEPEST: Final = 16
_MOST: Final = 8
_LONGEST: Final = 100
_PLAIN: Final[Mapping[str, JSON]] = {
    "null": None, "boolean": False, "integer": 0, "number": 0, "string": "", "array": [],
    "object": {},
}  # fmt: skip


def fitting(schema: Schema) -> Callable[[JSON], bool]:
    """Compile a schema into a function that says whether a value fits it."""
    if not schema:
        return lambda _value: True
    try:
        return _compiled(dumps(dict(schema)))
    except ValueRefused:
        return lambda _value: False


@lru_cache(maxsize=1024)
def _compiled(schema: bytes) -> Callable[[JSON], bool]:
    # Many cells of a table read the results of one tool: a schema is compiled once for all.
    import jsonschema_rs  # 10 ms, only where a guard reads what has a schema

    try:
        validator = jsonschema_rs.validator_for(schema.decode(), retriever=_nothing)
    except ValueError:
        return lambda _value: False

    def fits(value: JSON) -> bool:
        try:
            return bool(validator.is_valid(value))
        except ValueError:
            return False

    return fits


def _nothing(uri: str) -> Any:
    msg = f"{uri}: nothing is fetched for a check"
    raise ValueError(msg)


def referred(root: Schema | None, ref: str) -> Schema | None:
    """Return the part of a schema that a local `$ref` points to."""
    place: Any = root
    for part in ref.removeprefix("#").strip("/").split("/"):
        place = place.get(part) if isinstance(place, Mapping) else None
    return place if isinstance(place, Mapping) else None


def sample(schema: Any, root: Schema | None, depth: int = 0) -> JSON:
    """Return a value that probably fits a schema.

    Args:
        schema: anything but an object says nothing, and null is returned.
        root: the schema `$ref`s point into.
        depth: of schemas around this one.
    """
    if not isinstance(schema, Mapping) or depth > _DEEPEST:
        return None
    return next(completions(_first(schema, root, depth), schema, root, depth), None)


def _nullable(schema: Any, root: Schema | None, depth: int = 0) -> bool:
    if not isinstance(schema, Mapping) or depth > _DEEPEST:
        return False
    if isinstance(schema.get("$ref"), str):
        return _nullable(referred(root, schema["$ref"]), root, depth + 1)
    listed = schema.get("enum")
    if isinstance(listed, list) or "const" in schema:
        return None in (listed if isinstance(listed, list) else [schema["const"]])
    for word in ("anyOf", "oneOf"):
        if isinstance(schema.get(word), list):
            return any(_nullable(part, root, depth + 1) for part in schema[word])
    words = schema.get("type")
    return "null" in words if isinstance(words, list) else words in (None, "null")


def _first(schema: Schema, root: Schema | None, depth: int) -> JSON:
    """Return the smallest value a schema's own words allow, its required parts left out."""
    if isinstance(schema.get("$ref"), str):
        target = referred(root, schema["$ref"])
        return None if target is None or depth > _DEEPEST else _first(target, root, depth + 1)
    listed = schema.get("enum")
    if isinstance(listed, list) and listed:
        return listed[0]
    if "const" in schema:
        return schema["const"]
    for choice in ("anyOf", "oneOf", "allOf"):
        parts = schema.get(choice)
        if "type" not in schema and isinstance(parts, list) and parts:
            return sample(parts[0], root, depth + 1)
    words = schema.get("type")
    match words[0] if isinstance(words, list) and words else words:
        case "string":
            return "x" * int(schema.get("minLength") or 0)
        case "integer" | "number":
            return _number(schema)
        case "array":
            few = min(int(schema.get("minItems") or 0), _LONGEST)
            return [sample(schema.get("items"), root, depth + 1)] * few
        case str(word):
            return _PLAIN.get(word)
    return {} if "properties" in schema else None


def _number(schema: Schema) -> JSON:
    low, high = schema.get("minimum"), schema.get("maximum")
    above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    for value in (0, low, high):
        fits = (
            value is not None
            and (low is None or value >= low)
            and (high is None or value <= high)
            and (above is None or value > above)
            and (below is None or value < below)
        )
        if fits:
            return value
    return above + 1 if above is not None else below - 1 if below is not None else 0


def completions(value: JSON, schema: Any, root: Schema | None, depth: int = 0) -> Iterator[JSON]:
    """Yield a value with what a schema requires added, a few ways where the schema has choices."""
    if not isinstance(schema, Mapping) or not isinstance(value, dict) or depth > _DEEPEST:
        yield value
        return
    if isinstance(schema.get("$ref"), str):
        yield from completions(value, referred(root, schema["$ref"]), root, depth + 1)
        return
    for word in ("anyOf", "oneOf"):
        parts = schema.get(word)
        if isinstance(parts, list) and parts:
            rest = {key: part for key, part in schema.items() if key != word}
            for part in parts[:_MOST]:
                for whole in islice(completions(value, part, root, depth + 1), _MOST):
                    yield from islice(completions(whole, rest, root, depth + 1), _MOST)
            return
    properties = schema.get("properties")
    members = properties if isinstance(properties, Mapping) else {}
    partial: list[dict[str, JSON]] = [dict(value)]
    for name, inner in members.items():
        if name in value:
            several = list(islice(completions(value[name], inner, root, depth + 1), _MOST))
        elif name in (schema.get("required") or ()):
            # What is left out was read as null, so null it stays where it can.
            several = [None if _nullable(inner, root) else sample(inner, root, depth + 1)]
        else:
            continue
        partial = [{**each, name: found} for each in partial for found in several][:_MOST]
    yield from partial
