"""What the names of one place in a table are worth: first name -> shape.

Rules.  1. An event offers what its kind carries, and nothing else: other names are null there.
2. A tool's schemas bind its arguments and results; what a person says about a call in doubt is
bound by none.  3. Names that exist nowhere are somebody else's finding and may be anything here.
Not here: shapes of single values (`shapes`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs

from statemachine_agents.proof.samples import completions, fitting, sample
from statemachine_agents.proof.shapes import (
    ANY,
    NULL,
    WORDS,
    Schema,
    Shape,
    held_from,
    inside,
    or_null,
    own_shape,
    settled,
    shape_of,
)
from statemachine_agents.table.events import is_engine
from statemachine_agents.table.expressions import Index, Key, Literal, Path
from statemachine_agents.table.model import Table
from statemachine_agents.table.toolspec import ToolSpec
from statemachine_agents.values import JSON

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
    _fits: dict[str, Callable[[JSON], bool]] = attrs.field(factory=dict, init=False, repr=False)

    def possible(self, scope: Mapping[str, JSON]) -> Mapping[str, JSON] | None:
        """Return values made whole, so that their schemas allow them, or None if none is found."""
        out = dict(scope)
        for name, value in scope.items():
            schema = self.given.get(name)
            if not schema:
                continue
            fits = self._fits.get(name)
            if fits is None:
                fits = self._fits[name] = fitting(schema)
            whole = (each for each in completions(value, schema, schema) if fits(each))
            try:
                out[name] = next(whole)
            except StopIteration:
                return None
        return out

    def filler(self, path: Path, name: str | None = None) -> JSON:
        """Return a likely value for an item of a list, or a named member of an object."""
        schema = self.given.get(path.root)
        steps = (*path.steps, Index(Literal(0)) if name is None else Key(name))
        place: Any = schema
        for step in steps:
            place = settled(place, schema)
            place = inside(place, own_shape(place), step)[0] if isinstance(place, Mapping) else None
        return sample(place, schema)

    def held(self, path: Path) -> int:
        """Return how many steps of a path must lead somewhere for the whole path to."""
        schema = self.given.get(path.root)
        return held_from(schema, path.steps) if schema else len(path.steps)

    def shape(self, path: Path) -> Shape:
        """Return the shape of what a path reads here."""
        steps = path.steps
        name = path.member
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
        own = Shape(frozenset({WORDS.get(bare, "object")}), whole=whole, known=True)
        if key.type.endswith("?"):
            own = or_null(own)
        if len(steps) == 1:
            return own
        # An index may be a text, so it leads into objects too; a key leads into no list.
        fits = bare == "object" or (bare == "list" and isinstance(steps[1], Index))
        return ANY if fits else NULL


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
