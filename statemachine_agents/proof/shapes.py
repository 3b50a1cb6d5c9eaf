"""Shapes: what is known of the value at a path before a run, from types and JSON Schemas.

Rules.  1. A shape never leaves out a value that can stand there.  2. A missing member is null, so a
path is null wherever anything on its way may be absent.  3. What a shape cannot say (patterns,
multiples) makes it `loose`: values made up for it may be ones that never come.
Not here: deciding conditions over shapes (`regions`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import reduce
from typing import Any, Final, TypeAlias

import attrs

from statemachine_agents.table.events import is_engine
from statemachine_agents.table.expressions import Index, Key, Literal, Path
from statemachine_agents.table.model import Table
from statemachine_agents.table.toolspec import ToolSpec
from statemachine_agents.values import JSON

Schema: TypeAlias = Mapping[str, JSON]

KINDS: Final = ("null", "boolean", "number", "text", "list", "object")
_WORDS: Final[Mapping[str, str]] = {
    "string": "text", "integer": "number", "number": "number", "boolean": "boolean",
    "null": "null", "array": "list", "list": "list", "object": "object",
}  # fmt: skip
_LOOSE: Final = frozenset({"pattern", "format", "multipleOf", "not", "if", "allOf", "contains"})
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


def _shape(schema: Schema | None, steps: tuple[Any, ...], root: Schema | None, depth: int) -> Shape:
    if not isinstance(schema, Mapping) or not schema or depth > _DEEPEST:
        return ANY
    if isinstance(schema.get("$ref"), str):
        return _shape(_referred(root, schema["$ref"]), steps, root, depth + 1)
    for word in ("anyOf", "oneOf"):
        if isinstance(schema.get(word), list) and schema[word]:
            parts = [_shape(part, steps, root, depth + 1) for part in schema[word]]
            return reduce(either, parts)
    own = _own(schema)
    if not steps:
        return own
    step, rest = steps[0], steps[1:]
    inner, sure = _inside(schema, own, step)
    if inner is None:
        return NULL
    found = _shape(inner, rest, root, depth + 1)
    return found if sure else or_null(found)


def _inside(schema: Schema, own: Shape, step: Any) -> tuple[Schema | None, bool]:
    """Return the schema one step further, and whether something is surely there."""
    if isinstance(step, Key):
        if "object" not in own.kinds:
            return None, False
        properties = schema.get("properties")
        members = properties if isinstance(properties, Mapping) else {}
        if step.name in members:
            required = step.name in (schema.get("required") or ())
            return members[step.name], required and own.kinds == {"object"}
        extra = schema.get("additionalProperties")
        if extra is False and own.known:
            return None, False
        return (extra if isinstance(extra, Mapping) else {}), False
    if isinstance(step, Index) and isinstance(step.node, Literal):
        if isinstance(step.node.value, str):
            return _inside(schema, own, Key(step.node.value))
        items = schema.get("items")
        return (None, False) if "list" not in own.kinds else (items or {}, False)
    return {}, False


def _referred(root: Schema | None, ref: str) -> Schema | None:
    place: Any = root
    for part in ref.removeprefix("#").strip("/").split("/"):
        place = place.get(part) if isinstance(place, Mapping) else None
    return place if isinstance(place, Mapping) else None


def _own(schema: Schema) -> Shape:
    listed: tuple[JSON, ...] | None = None
    if isinstance(schema.get("enum"), list):
        listed = tuple(schema["enum"])
    elif "const" in schema:
        listed = (schema["const"],)
    words = schema.get("type")
    names = [words] if isinstance(words, str) else words
    if isinstance(names, list):
        kinds = frozenset(_WORDS.get(str(name), "object") for name in names)
    elif listed is not None:
        kinds = frozenset(kind_of(value) for value in listed)
    elif "properties" in schema:
        kinds = frozenset({"object"})
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
        int(_bound(schema, "minLength") or _bound(schema, "minItems") or 0),
        _length(schema),
        kinds != frozenset(KINDS),
        bool(_LOOSE & set(schema)) or (not whole and exclusive != (None, None)),
    )


def _bound(schema: Schema, key: str) -> float | None:
    value = schema.get(key)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _length(schema: Schema) -> int | None:
    bound = _bound(schema, "maxLength")
    bound = _bound(schema, "maxItems") if bound is None else bound
    return None if bound is None else int(bound)


# ------------------------------------------------------------------------------ names of a table

_CARRIED: Final = frozenset(
    {"result", "args", "error", "results", "message", "approval", "reply"}
)  # fmt: skip
"""First names that are null where their event does not carry them."""

_ERROR: Final[Schema] = {
    "type": "object",
    "properties": {
        "kind": {"type": "string"}, "text": {"type": "string"}, "attempts": {"type": "integer"},
    },
    "required": ["kind", "text", "attempts"],
    "additionalProperties": False,
}  # fmt: skip
_SAID: Final[Schema] = {
    "type": "object",
    "properties": {"text": {"type": "string"}},
    "required": ["text"],
}
_APPROVAL: Final[Schema] = {
    "type": "object",
    "properties": {
        "granted": {"type": "boolean"},
        "by": {"type": ["string", "null"]},
        "note": {"type": ["string", "null"]},
    },
    "required": ["granted", "by", "note"],
    "additionalProperties": False,
}


@attrs.frozen(eq=False)
class Names:
    """What the names of one place are worth: first name -> schema.

    Args:
        table: for the context and the states.
        given: first name -> schema of what the place adds; a name that is absent is null.
        everything: whether any name may stand here, as in a definition.
    """

    table: Table
    given: Mapping[str, Schema]
    everything: bool = False

    def shape(self, path: Path) -> Shape:
        """Return the shape of what a path reads here."""
        steps = path.steps
        name = steps[0].name if steps and isinstance(steps[0], Key) else ""
        match path.root:
            case "context":
                return self._context(name, steps)
            case "visits":
                if len(steps) == 1 and name in self.table.states:
                    return Shape(frozenset({"number"}), low=0, whole=True, known=True)
                return NULL if steps else Shape(frozenset({"object"}), known=True)
            case "iterations":
                whole = Shape(frozenset({"number"}), low=0, whole=True, known=True)
                return NULL if steps else whole
            case "now":
                return NULL if steps else Shape(frozenset({"text"}), known=True, loose=True)
        if path.root in self.given:
            return shape_of(self.given[path.root], steps)
        return NULL if path.root in _CARRIED and not self.everything else ANY

    def _context(self, name: str, steps: tuple[Any, ...]) -> Shape:
        if not steps:
            return Shape(frozenset({"object"}), known=True, loose=True)
        key = self.table.context.get(name)
        if key is None:
            return ANY  # a mistake that is reported where names are checked
        bare = key.type.removesuffix("?")
        if bare == "any":
            return ANY
        whole = bare == "integer"
        own = Shape(frozenset({_WORDS.get(bare, "object")}), whole=whole, known=True)
        if key.type.endswith("?"):
            own = or_null(own)
        if len(steps) == 1:
            return own
        inside = {"object": Key, "list": Index}.get(bare)
        return ANY if inside is not None and isinstance(steps[1], inside) else NULL


def names_at(
    table: Table, specs: Mapping[str, ToolSpec] | None, event: str, state: str = ""
) -> Names:
    """Return what an event's names are worth in a guard of a state.

    Args:
        table: the table.
        specs: tool specs by name; None or a missing one says nothing.
        event: the event.
        state: its state, for the schema of a reply.
    """
    head, _, outcome = event.partition(".")
    given: dict[str, Schema] = {}
    if is_engine(event):
        if head == "user":
            given["message"] = _SAID
        elif head == "approval":
            given["approval"] = _APPROVAL
            if outcome == "rejected":
                given["args"] = {}
        elif event == "model.done":
            output = table.states[state].output if state in table.states else None
            given["reply"] = _reply(output)
        elif head in ("limit", "guard", "run") or event in ("model.refused", "model.failed"):
            given["error"] = _ERROR
        elif event == "undo.error":
            given |= {"error": _ERROR, "args": {}}
        return Names(table, given)
    spec = (specs or {}).get(head)
    given["args"] = arguments_of(table, spec, head)
    if outcome in ("ok", "success"):
        waits = (table.states[state].wait or ()) if state in table.states else ()
        # What a person says about a call in doubt is bound by no schema.
        free = "resolution" in waits
        given["result"] = {} if free else result_of(table, spec, head)
    else:
        given["error"] = _ERROR
    return Names(table, given)


def arguments_of(table: Table, spec: ToolSpec | None, name: str) -> Schema:
    """Return the schema of a call's final arguments; an empty one where nobody says."""
    if name in table.signals:
        fields = table.signals[name].fields
        return {
            "type": "object",
            "properties": {field: _typed(kind) for field, kind in fields.items()},
            "required": [field for field, kind in fields.items() if not kind.endswith("?")],
            "additionalProperties": False,
        }
    return {} if spec is None else spec.arguments


def result_of(table: Table, spec: ToolSpec | None, name: str) -> Schema:
    """Return the schema of a tool's result; a signal gives back its arguments."""
    if name in table.signals:
        return arguments_of(table, spec, name)
    return {} if spec is None or spec.result is None else spec.result


def _typed(kind: str) -> Schema:
    bare = kind.removesuffix("?")
    if bare == "any":
        return {}
    word = "array" if bare == "list" else bare
    return {"type": [word, "null"] if kind.endswith("?") else word}


def _reply(output: Schema | None) -> Schema:
    properties: dict[str, JSON] = {"text": {"type": "string"}}
    required = ["text"]
    if output is not None:
        properties["output"] = output
        required.append("output")
    return {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }
