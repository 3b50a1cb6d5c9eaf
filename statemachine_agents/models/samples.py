"""Make a value that fits a JSON Schema, taking known facts where names agree.

Rules.  1. Same schema, facts and seed: same value.  2. What the schema itself says comes first
(const, enum, default, examples), then a fact of the same name, then something of the right type
within its bounds.  3. `pattern` is not solved, and no schema makes this fail.
Not here: checking a value against a schema (`kernel.gate`), choosing a tool (`rehearsal`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import attrs

from statemachine_agents.values import JSON

__all__ = ["Sampler"]

_DEEPEST = 8
"""Where a schema that contains itself is given up; below it everything is as empty as it can be."""

_PARTS = 100
"""Most `$ref` and `allOf` parts folded into one schema."""

_LONGEST = 10_000
"""Most characters or items made because a schema asks for at least so many."""

_FORMATS = {
    "date": "2026-01-31",
    "date-time": "2026-01-31T12:00:00Z",
    "duration": "PT1H",
    "email": "customer@example.com",
    "hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "time": "12:00:00Z",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
}
_PYTHON: dict[str, Any] = {
    "array": list,
    "boolean": bool,
    "integer": int,
    "null": type(None),
    "number": (int, float),
    "object": dict,
    "string": str,
}


@attrs.frozen
class Sampler:
    """Makes values for one root schema.

    Args:
        root: the schema that `$ref`s such as `#/$defs/Line` point into.
        facts: values by name; looked up by property name, also one level inside facts that are
            objects.
        seed: which of several listed values is taken.
    """

    root: Mapping[str, JSON]
    facts: Mapping[str, JSON] = attrs.field(factory=dict)
    seed: int = 0

    def arguments(self) -> dict[str, JSON]:
        """Return an object for the root schema: what is required, and options that facts know."""
        value = self._object(self._open(self.root), 0)
        return value if isinstance(value, dict) else {}

    def value(self, schema: Any, name: str = "", depth: int = 0) -> JSON:
        """Return a value for a schema inside the root, for a property of this name."""
        schema = self._open(schema)
        if "const" in schema:
            return schema["const"]
        if _listed(schema, "enum"):
            return schema["enum"][self.seed % len(schema["enum"])]
        if "default" in schema:
            return schema["default"]
        if _listed(schema, "examples"):
            return schema["examples"][self.seed % len(schema["examples"])]
        found, fact = self._fact(schema, name)
        if found:
            return fact
        choice = next((schema[key] for key in ("anyOf", "oneOf") if _listed(schema, key)), None)
        if choice is not None:
            return self._any(choice, name, depth)
        return self._made(schema, name, depth)

    def _made(self, schema: Mapping[str, JSON], name: str, depth: int) -> JSON:
        match self._type(schema):
            case "object":
                return self._object(schema, depth)
            case "array":
                return self._array(schema, name, depth)
            case "string":
                return self._text(schema, name)
            case "integer":
                return self._number(schema, whole=True)
            case "number":
                return self._number(schema, whole=False)
            case "boolean":
                return True
            case _:
                return None

    def _open(self, schema: Any) -> dict[str, JSON]:
        """Follow `$ref` and fold `allOf`: one flat schema."""
        flat: dict[str, JSON] = {}
        todo, seen = [schema], 0
        while todo and seen < _PARTS:
            seen += 1
            part = todo.pop()
            if not isinstance(part, Mapping):
                continue
            inner = part.get("allOf")
            todo.extend(inner if isinstance(inner, list) else ())
            if isinstance(part.get("$ref"), str):
                todo.append(self._at(part["$ref"]))
            for key, value in part.items():
                if key in {"allOf", "$ref"}:
                    continue
                if key == "properties" and isinstance(value, Mapping):
                    flat[key] = {**value, **flat.get(key, {})}
                elif key == "required" and isinstance(value, list):
                    flat[key] = [*flat.get(key, []), *value]
                else:
                    flat.setdefault(key, value)
        return flat

    def _at(self, ref: str) -> Any:
        place: Any = self.root
        for step in ref.removeprefix("#").strip("/").split("/"):
            if step and isinstance(place, Mapping):
                place = place.get(step.replace("~1", "/").replace("~0", "~"))
        return place

    def _fact(self, schema: Mapping[str, JSON], name: str) -> tuple[bool, JSON]:
        inside = (fact for fact in self.facts.values() if isinstance(fact, Mapping))
        for facts in (self.facts, *inside):
            if name in facts and self._fits(schema, facts[name]):
                return True, facts[name]
        return False, None

    def _fits(self, schema: Mapping[str, JSON], value: JSON, depth: int = 0) -> bool:
        if value is None:
            return False
        for key in ("anyOf", "oneOf"):
            if _listed(schema, key):
                return depth < _DEEPEST and any(
                    self._fits(self._open(part), value, depth + 1) for part in schema[key]
                )
        if ("const" in schema and value != schema["const"]) or (
            _listed(schema, "enum") and value not in schema["enum"]
        ):
            return False
        kinds = schema.get("type", [])
        kinds = kinds if isinstance(kinds, list) else [kinds]
        kinds = [kind for kind in kinds if isinstance(kind, str) and kind in _PYTHON]
        if not kinds:
            return True
        # A bool is an int to Python and not to JSON Schema.
        if isinstance(value, bool):
            return "boolean" in kinds
        return any(isinstance(value, _PYTHON[kind]) for kind in kinds)

    def _any(self, parts: list[Any], name: str, depth: int) -> JSON:
        opened = [self._open(part) for part in parts]
        real = [part for part in opened if self._type(part) != "null"]
        # A value that may be null ends a schema that contains itself.
        if not real or depth >= (_DEEPEST // 2 if len(real) < len(opened) else 2 * _DEEPEST):
            return None
        return self.value(real[self.seed % len(real)], name, depth + 1)

    def _type(self, schema: Mapping[str, JSON]) -> str:
        kind = schema.get("type")
        if isinstance(kind, list):
            kind = next((one for one in kind if one != "null"), "null")
        if isinstance(kind, str) and kind in _PYTHON:
            return kind
        if "properties" in schema:
            return "object"
        return "array" if "items" in schema else "string"

    def _object(self, schema: Mapping[str, JSON], depth: int) -> JSON:
        properties = schema.get("properties")
        if not isinstance(properties, Mapping) or depth >= _DEEPEST:
            return {}
        required = schema["required"] if _listed(schema, "required") else []
        made = {}
        for key, inner in properties.items():
            if key in required:
                made[key] = self.value(inner, key, depth + 1)
            else:
                found, fact = self._fact(self._open(inner), key)
                if found:
                    made[key] = fact
        return made

    def _array(self, schema: Mapping[str, JSON], name: str, depth: int) -> JSON:
        if depth >= _DEEPEST:
            return []
        # One item shows more than none, unless the schema forbids it.
        least, most = _bound(schema, "minItems"), _bound(schema, "maxItems")
        count = max(int(least or 0), 1 if most is None else min(1, int(most)))
        item = self.value(schema.get("items", {}), name.removesuffix("s"), depth + 1)
        return [item] * min(count, _LONGEST)

    def _text(self, schema: Mapping[str, JSON], name: str) -> str:
        text = _FORMATS.get(str(schema.get("format")), name or "text")
        least, most = _bound(schema, "minLength"), _bound(schema, "maxLength")
        text = text.ljust(min(int(least or 0), _LONGEST), "x")
        return text if most is None else text[: int(most)]

    def _number(self, schema: Mapping[str, JSON], *, whole: bool) -> int | float:
        step = _bound(schema, "multipleOf") or 1
        beside = step if whole else step / 2
        low, high = _bound(schema, "minimum"), _bound(schema, "maximum")
        above, below = _bound(schema, "exclusiveMinimum"), _bound(schema, "exclusiveMaximum")
        if above is not None:
            low = above + beside if low is None else max(low, above + beside)
        if below is not None:
            high = below - beside if high is None else min(high, below - beside)
        number: float = 1 if low is None or low <= 1 else low
        if high is not None and number > high:
            number = high if low is None else low
        if whole or "multipleOf" in schema:
            number = math.ceil(number / step) * step
            if high is not None and number > high:
                number = math.floor(high / step) * step
        return int(number) if whole else number


def _bound(schema: Mapping[str, JSON], key: str) -> int | float | None:
    value = schema.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return value


def _listed(schema: Mapping[str, JSON], key: str) -> bool:
    return isinstance(schema.get(key), list) and bool(schema[key])
