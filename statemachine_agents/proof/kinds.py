"""Checks on types: what expressions compare, assign and bind, against what is declared.

Rules.  1. A value of unknown type is never wrong.  2. A comparison that is the same for every value
is a mistake; so is a condition that is no boolean.  3. What may be null where null has another
meaning than the author's is a warning.
Not here: whether rows can fire (`guards`), names that exist nowhere (`reads`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from statemachine_agents.proof.names import Names, arguments_of, names_at
from statemachine_agents.proof.shapes import Schema, Shape, kind_of, shape_of
from statemachine_agents.proof.sheet import Sheet
from statemachine_agents.table.expressions import (
    Binary,
    Call,
    Expression,
    Key,
    ListDisplay,
    Literal,
    Node,
    ObjectDisplay,
    Path,
    Quantifier,
    Unary,
    children,
    unparse,
)
from statemachine_agents.table.problems import suggest
from statemachine_agents.table.rules import Rule

_ORDER: Final = frozenset({"<", "<=", ">", ">="})
_WORD: Final = {
    "null": "null", "boolean": "a boolean", "number": "a number", "text": "a text",
    "list": "a list", "object": "an object",
}  # fmt: skip
_TYPES: Final = {
    "string": "text", "integer": "number", "number": "number", "boolean": "boolean",
    "object": "object", "list": "list",
}  # fmt: skip


def check(sheet: Sheet) -> None:
    """Check every expression whose names have types."""
    typist = Typist(sheet)
    places = _places(sheet)
    for row in sheet.grid.rows:
        where = f"transitions[{row.index}]"
        for state, event in places.get(row.index, ()) if row.guard or row.assigns else ():
            names = names_at(sheet.table, sheet.specs, event, state)
            if row.guard is not None:
                typist.condition(f"{where}.guard", row.guard, names)
            for target, value in row.assigns:
                place = f"{where}.assign.{target.text}"
                typist.expression(place, value, names)
                if not target.steps:
                    typist.assigned(place, target.root, value, names)
    for name, use in sheet.table.tools.items():
        spec = (sheet.specs or {}).get(name)
        called = Names(sheet.table, {"args": arguments_of(sheet.table, spec, name)})
        plain = Names(sheet.table, {})
        for key, text in (("when", use.when), ("approve", use.approve)):
            expression = sheet.quietly(text)
            if expression is not None:
                typist.condition(f"tools.{name}.{key}", expression, called)
        for argument, text in use.bind.items():
            expression = sheet.quietly(text)
            if expression is not None:
                place = f"tools.{name}.bind.{argument}"
                typist.expression(place, expression, plain)
                if spec is not None:
                    typist.bound(place, argument, expression, plain, spec.arguments)
    for index, rule in sheet.rules:
        typist.rule(f"rules[{index}]", rule)


def _places(sheet: Sheet) -> dict[int, list[tuple[str, str]]]:
    """Return row index -> (state, event) it stands at, each kind of event once."""
    found: dict[int, dict[str, str]] = {}
    for state, cells in sheet.grid.cells.items():
        for event, cell in cells.items():
            for entry in (*cell.notes, *cell.moves):
                if not entry.needs:
                    found.setdefault(entry.row.index, {}).setdefault(event, state)
    return {
        index: [(state, event) for event, state in events.items()]
        for index, events in found.items()
    }


class Typist:
    """Looks at expressions, one after the other; says each thing once."""

    def __init__(self, sheet: Sheet) -> None:
        self.sheet = sheet
        self.said: set[tuple[str, str]] = set()

    def condition(self, where: str, expression: Expression, names: Names) -> None:
        """Check something that must be true or false."""
        self.expression(where, expression, names)
        kinds = self.kinds(expression.root, names)
        if kinds is not None and "boolean" not in kinds:
            what = f"is {_words(kinds)}, and a condition must be true or false"
            advice = "compare it, for instance with `==`"
            self.say("not-boolean", where, what, advice=advice, node=expression.root)
        self._nullable(where, expression.root, names)

    def expression(self, where: str, expression: Expression, names: Names) -> None:
        """Check every comparison and path of an expression."""
        pending: list[Node] = [expression.root]
        while pending:
            node = pending.pop()
            if isinstance(node, Quantifier):
                pending.append(node.items)  # the condition has a name of its own
                continue
            pending += children(node)
            if isinstance(node, Path):
                self._member(where, node, names)
            elif isinstance(node, Binary):
                self._compared(where, node, names)

    def rule(self, where: str, rule: Rule) -> None:
        """Check the conditions of a rule."""
        sheet = self.sheet
        for atom in rule.atoms():
            if atom.where is None:
                continue
            if atom.intent:
                spec = (sheet.specs or {}).get(atom.name)
                given = {"args": arguments_of(sheet.table, spec, atom.name)}
                names = Names(sheet.table, given)
            else:
                names = names_at(sheet.table, sheet.specs, atom.name)
            self.condition(where, atom.where, names)

    # ------------------------------------------------------------------------------ findings

    def say(
        self, code: str, where: str, what: str, *, advice: str = "", node: Node | None = None
    ) -> None:
        """Say something once that cannot be meant."""
        if (where, what) in self.said:
            return
        self.said.add((where, what))
        # Conditions inside a rule are read apart, so their places are not those of the rule.
        inside = node is not None and not where.startswith("rules[")
        span = (node.start, node.end) if inside and node is not None else None
        self.sheet.warn(code, where, what, advice=advice, span=span)

    def _member(self, where: str, path: Path, names: Names) -> None:
        """Report a member that a closed schema does not have."""
        schema: Any = names.given.get(path.root)
        for step in path.steps:
            if not isinstance(schema, dict) or not isinstance(step, Key):
                return
            known = schema.get("properties")
            if not isinstance(known, dict):
                return
            if step.name not in known:
                if schema.get("additionalProperties") is False:
                    what = f"`{unparse(path)}` is always null: nothing there is named {step.name!r}"
                    advice = suggest(step.name, known)
                    self.say("unknown-property", where, what, advice=advice, node=path)
                return
            schema = known[step.name]

    def _compared(self, where: str, node: Binary, names: Names) -> None:
        if node.op not in _ORDER and node.op not in ("==", "!="):
            return
        left, right = self.kinds(node.left, names), self.kinds(node.right, names)
        if left is None or right is None:
            return
        text = unparse(node)
        if node.op in _ORDER:
            fits = any({kind} <= left and {kind} <= right for kind in ("number", "text"))
            if not fits:
                what = f"`{text}` orders {_words(left)} and {_words(right)}: that always fails"
                advice = "order two numbers or two texts"
                self.say("type-mismatch", where, what, advice=advice, node=node)
        elif not left & right:
            said = "true" if node.op == "!=" else "false"
            what = f"`{text}` is always {said}: {_words(left)} is never {_words(right)}"
            self.say("type-mismatch", where, what, node=node)
        else:
            self._listed(where, node, names)

    def _listed(self, where: str, node: Binary, names: Names) -> None:
        for one, other in ((node.left, node.right), (node.right, node.left)):
            if not isinstance(one, Path) or not isinstance(other, Literal):
                continue
            shape = names.shape(one)
            if shape.values is None or other.value is None or shape.admits(other.value):
                continue
            said = "true" if node.op == "!=" else "false"
            what = f"`{unparse(node)}` is always {said}: that value never comes"
            known = [str(value) for value in shape.values]
            self.say("type-mismatch", where, what, advice=suggest(other.value, known), node=node)

    def _nullable(self, where: str, root: Node, names: Names) -> None:
        """Report `!=` over what may be null, unless the condition also asks whether it is."""
        parts = list(_walk(root))
        asked = {part.args[0] for part in parts if isinstance(part, Call)}
        asked |= {
            side
            for part in parts
            if isinstance(part, Binary) and part.op in ("==", "!=")
            for side, other in ((part.left, part.right), (part.right, part.left))
            if isinstance(other, Literal) and other.value is None
        }
        for part in parts:
            negated = _negated(part)
            if negated is None or negated in asked:
                continue
            shape = names.shape(negated)
            if shape.known and shape.nullable and shape.kinds != {"null"}:
                what = f"`{unparse(part)}` also holds when `{unparse(negated)}` is missing"
                advice = f"add `exists({unparse(negated)})` if that is not meant"
                self.say("null-negation", where, what, advice=advice, node=part)

    def assigned(self, where: str, key: str, value: Expression, names: Names) -> None:
        """Check a value against the type of the context key it is written to."""
        declared = self.sheet.table.context.get(key)
        if declared is None or declared.type.removesuffix("?") not in _TYPES:
            return
        wanted = kinds_of(declared.type)
        self._fits(where, f"context.{key}", declared.type, wanted, value, names)

    def bound(
        self, where: str, argument: str, value: Expression, names: Names, schema: Schema
    ) -> None:
        """Check a bound value against the tool's parameter."""
        properties = schema.get("properties") or {}
        if argument not in properties:
            return
        shape: Shape = shape_of(properties[argument], (), schema)
        if shape.known:
            self._fits(where, argument, _words(shape.kinds), set(shape.kinds), value, names)

    def _fits(
        self,
        where: str,
        name: str,
        expected: str,
        wanted: set[str],
        value: Expression,
        names: Names,
    ) -> None:
        kinds = self.kinds(value.root, names)
        if kinds is None or kinds <= wanted:
            return
        if not kinds & wanted:
            what = f"gives {_words(kinds)}, and `{name}` takes {expected}"
            self.say("type-mismatch", where, what)
        elif kinds - wanted == {"null"}:
            what = f"may give null, and `{name}` takes {expected}"
            advice = "give a missing value one with `default(...)`"
            if (where, what) not in self.said:
                self.said.add((where, what))
                self.sheet.remark("may-be-null", where, what, advice=advice)

    # --------------------------------------------------------------------------------- kinds

    def kinds(self, node: Node, names: Names) -> frozenset[str] | None:
        """Return the kinds a node can be, or None when nobody has said."""
        match node:
            case Literal():
                return frozenset({kind_of(node.value)})
            case Path():
                shape = names.shape(node)
                return shape.kinds if shape.known else None
            case ListDisplay():
                return frozenset({"list"})
            case ObjectDisplay():
                return frozenset({"object"})
            case Unary():
                return frozenset({"boolean" if node.op == "not" else "number"})
            case Binary(op="+"):
                left, right = self.kinds(node.left, names), self.kinds(node.right, names)
                return left if left is not None and left == right else None
            case Binary():
                return frozenset({"number" if node.op == "-" else "boolean"})
            case Call():
                return self._called(node, names)
            case _:  # Quantifier
                found = {"any": "boolean", "all": "boolean", "count": "number"}
                kind = found.get(node.function)
                return None if kind is None else frozenset({kind})

    def _called(self, node: Call, names: Names) -> frozenset[str] | None:
        match node.function:
            case "exists":
                return frozenset({"boolean"})
            case "len":
                return frozenset({"number"})
            case "default":
                first, second = (self.kinds(arg, names) for arg in node.args)
                return None if first is None or second is None else (first - {"null"}) | second
            case _:  # lower, ago
                return frozenset({"text"})


def kinds_of(declared: str) -> set[str]:
    """Return the kinds a declared context type takes; every kind for `any`."""
    own = _TYPES.get(declared.removesuffix("?"))
    if own is None:
        return set(_WORD)
    return {own, "null"} if declared.endswith("?") else {own}


def _walk(root: Node) -> Iterator[Node]:
    pending = [root]
    while pending:
        node = pending.pop()
        yield node
        if isinstance(node, Quantifier):
            pending.append(node.items)
        else:
            pending += children(node)


def _negated(node: Node) -> Path | None:
    """Return the path whose absence makes a negation true."""
    match node:
        case Binary(op="!=", left=Path() as path, right=Literal(value=value)) if value is not None:
            return path
        case Unary(op="not", operand=Binary(op="==" | "in", left=Path() as path, right=right)):
            known = isinstance(right, Literal | ListDisplay)
            return path if known and getattr(right, "value", "") is not None else None
        case _:
            return None


def _words(kinds: frozenset[str]) -> str:
    named = [_WORD[kind] for kind in _WORD if kind in kinds]
    return " or ".join(named)
