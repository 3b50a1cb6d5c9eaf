"""Shapes: what is known of the value at a path before a run, from types and JSON Schemas.

Rules.  1. A shape never leaves out a value that can stand there.  2. A missing member is null, so a
path is null wherever anything on its way may be absent.  3. What a shape cannot say (patterns,
multiples, parts that go together) the schema itself is asked for: `Names.possible`.
Not here: which names have which shape (`names`), deciding conditions over shapes (`regions`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import reduce
from typing import Any, Final, TypeAlias

import attrs

from statemachine_agents.proof.samples import referred
from statemachine_agents.table.expressions import Index, Key, Literal
from statemachine_agents.values import JSON

Schema: TypeAlias = Mapping[str, JSON]

KINDS: Final = ("null", "boolean", "number", "text", "list", "object")
WORDS: Final[Mapping[str, str]] = {
    "string": "text", "integer": "number", "number": "number", "boolean": "boolean",
    "null": "null", "array": "list", "list": "list", "object": "object",
}  # fmt: skip
_LOOSE: Final = frozenset(
    {"pattern", "format", "multipleOf", "not", "if", "allOf", "contains", "items", "uniqueItems"}
)
_DEEPEST: Final = 16


@attrs.frozen
class Shape:
    """What may stand at a path.

    Args:
        kinds: of `KINDS`.
        values: all values, where they are listed; None otherwise.
        low: least number, inclusive; None without a bound.
        high: greatest number, inclusive.
        whole: numbers are integers.
        shortest: least length of a text or list.
        longest: greatest length; None without a bound.
        known: whether anybody said what stands here; an unknown value may be anything.
        loose: whether there are conditions a shape cannot say.
    """

    kinds: frozenset[str] = frozenset(KINDS)
    values: tuple[JSON, ...] | None = None
    low: float | None = None
    high: float | None = None
    whole: bool = False
    shortest: int = 0
    longest: int | None = None
    known: bool = False
    loose: bool = False

    @property
    def nullable(self) -> bool:
        """Whether null may stand here."""
        return "null" in self.kinds

    def admits(self, value: JSON) -> bool:
        """Whether a value may stand here, as far as the shape can say."""
        kind = kind_of(value)
        if kind not in self.kinds:
            return False
        if kind == "null":
            return True
        if self.values is not None:
            return any(type(each) is type(value) and each == value for each in self.values)
        if kind == "number":
            above = self.low is None or value >= self.low
            below = self.high is None or value <= self.high
            return above and below and not (self.whole and isinstance(value, float))
        if kind in ("text", "list"):
            return self.shortest <= len(value) and (
                self.longest is None or len(value) <= self.longest
            )
        return True


ANY: Final = Shape()
NULL: Final = Shape(frozenset({"null"}), known=True)


def kind_of(value: JSON) -> str:
    """Return a value's kind, one of `KINDS`."""
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int() | float():
            return "number"
        case str():
            return "text"
        case list():
            return "list"
    return "object"


def or_null(shape: Shape) -> Shape:
    """Return the shape of what may also be missing."""
    return attrs.evolve(shape, kinds=shape.kinds | {"null"})


def either(one: Shape, other: Shape) -> Shape:
    """Return a shape that admits what either admits."""
    for shape, null in ((one, other), (other, one)):
        if null.kinds == {"null"}:
            return or_null(shape)
    if one.values is not None and other.values is not None:
        loose = one.loose or other.loose
        return Shape(one.kinds | other.kinds, (*one.values, *other.values), known=True, loose=loose)
    measured = [shape for shape in (one, other) if {"text", "list"} & shape.kinds]
    numeric = [shape for shape in (one, other) if "number" in shape.kinds]
    lows = [shape.low for shape in numeric]
    highs = [shape.high for shape in numeric]
    longest = [shape.longest for shape in measured]
    return Shape(
        one.kinds | other.kinds,
        None,
        None if None in lows else min((low for low in lows if low is not None), default=None),
        None if None in highs else max((high for high in highs if high is not None), default=None),
        bool(numeric) and all(shape.whole for shape in numeric),
        min((shape.shortest for shape in measured), default=0),
        None if None in longest else max((n for n in longest if n is not None), default=None),
        one.known and other.known,
        # Bounds or a list of one side bind that side alone, which this shape cannot say.
        one.loose or other.loose or len(numeric) > 1 or len(measured) > 1
        or one.values is not None or other.values is not None,
    )  # fmt: skip


def shape_of(schema: Schema | None, steps: Iterable[Any] = (), root: Schema | None = None) -> Shape:
    """Return the shape of what stands at steps inside a value of a JSON Schema.

    Args:
        schema: None or an empty schema says nothing.
        steps: `Key` and literal `Index` steps; anything else leads anywhere.
        root: the schema `$ref`s point into; the schema itself by default.
    """
    return _shape(schema, tuple(steps), schema if root is None else root, 0)


def held_from(schema: Schema, steps: tuple[Any, ...]) -> int:
    """Return how many steps must lead somewhere for all of them to; all when never sure."""
    for there in range(len(steps)):
        if not _shape(schema, steps, schema, 0, there).nullable:
            return there
    return len(steps)


def _shape(
    schema: Schema | None, steps: tuple[Any, ...], root: Schema | None, depth: int, there: int = -1
) -> Shape:
    """Return the shape at steps, given that what the first `there` of them lead to is no null."""
    if not isinstance(schema, Mapping) or not schema or depth > _DEEPEST:
        return ANY
    if isinstance(schema.get("$ref"), str):
        return _shape(referred(root, schema["$ref"]), steps, root, depth + 1, there)
    for word in ("anyOf", "oneOf"):
        if isinstance(schema.get(word), list) and schema[word]:
            parts = [
                _shape(part, steps, root, depth + 1, there)
                for part in schema[word]
                # What is somewhere further on is no null here.
                if not (steps and there >= 0 and _is_null(part, root))
            ]
            return reduce(either, parts) if parts else NULL
    own = own_shape(schema)
    if not steps:
        return own
    step, rest = steps[0], steps[1:]
    if there >= 0:
        own = attrs.evolve(own, kinds=own.kinds - {"null"})
    inner, sure = inside(schema, own, step)
    if inner is None:
        return NULL
    found = _shape(inner, rest, root, depth + 1, max(there - 1, -1))
    return found if sure or there > 0 else or_null(found)


def _is_null(schema: Any, root: Schema | None) -> bool:
    return _shape(schema, (), root, 0).kinds == {"null"}


def inside(schema: Schema, own: Shape, step: Any) -> tuple[Schema | None, bool]:
    """Return the schema one step further, and whether something is surely there."""
    if isinstance(step, Key):
        if "object" not in own.kinds:
            return None, False
        properties = schema.get("properties")
        members = properties if isinstance(properties, Mapping) else {}
        if step.name in members:
            required = step.name in (schema.get("required") or ())
            return members[step.name], required and own.kinds == {"object"}
        if schema.get("patternProperties"):
            return {}, False
        extra = schema.get("additionalProperties")
        if extra is False and own.known:
            return None, False
        return (extra if isinstance(extra, Mapping) else {}), False
    if isinstance(step, Index) and isinstance(step.node, Literal):
        if isinstance(step.node.value, str):
            return inside(schema, own, Key(step.node.value))
        items = schema.get("items")
        return (None, False) if "list" not in own.kinds else (items or {}, False)
    return {}, False


def settled(place: Any, root: Schema | None) -> Any:
    """Return the first choice of a schema that is not null, for making up values."""
    for _ in range(_DEEPEST):
        if not isinstance(place, Mapping):
            return None
        parts = place.get("anyOf") or place.get("oneOf")
        if isinstance(place.get("$ref"), str):
            place = referred(root, place["$ref"])
        elif isinstance(parts, list):
            place = next((part for part in parts if not _is_null(part, root)), None)
        else:
            return place
    return None


def own_shape(schema: Schema) -> Shape:
    """Return what a schema says of its value itself, its choices and references apart."""
    listed: tuple[JSON, ...] | None = None
    if isinstance(schema.get("enum"), list):
        listed = tuple(schema["enum"])
    elif "const" in schema:
        listed = (schema["const"],)
    words = schema.get("type")
    names = [words] if isinstance(words, str) else words
    if isinstance(names, list):
        kinds = frozenset(WORDS.get(str(name), "object") for name in names)
    elif listed is not None:
        kinds = frozenset(kind_of(value) for value in listed)
    else:
        kinds = frozenset(KINDS)
    if listed is not None:
        kinds &= {kind_of(value) for value in listed}
    low, high = _bound(schema, "minimum"), _bound(schema, "maximum")
    exclusive = _bound(schema, "exclusiveMinimum"), _bound(schema, "exclusiveMaximum")
    whole = isinstance(names, list) and "integer" in names and "number" not in names
    if whole and exclusive[0] is not None:
        low = exclusive[0] + 1
    if whole and exclusive[1] is not None:
        high = exclusive[1] - 1
    return Shape(
        kinds,
        listed,
        low,
        high,
        whole,
        *_lengths(schema, kinds),
        kinds != frozenset(KINDS),
        bool(_LOOSE & set(schema)) or (not whole and exclusive != (None, None)),
    )


def _bound(schema: Schema, key: str) -> float | None:
    value = schema.get(key)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _lengths(schema: Schema, kinds: frozenset[str]) -> tuple[int, int | None]:
    """Return the bounds on a length; where texts and lists may come, neither binds the other."""
    if {"text", "list"} <= kinds:
        return 0, None
    what = "Items" if "list" in kinds else "Length"
    least, most = _bound(schema, f"min{what}"), _bound(schema, f"max{what}")
    return int(least or 0), None if most is None else int(most)
