"""The nodes an expression is made of, and what can be read off them without running.

Rules.  1. A node is a frozen value; `start` and `end` say where it stood in the text and take no
part in equality, so two spellings of one expression are equal.  2. Numbers, booleans and texts
stay apart: `Literal(1)`, `Literal(1.0)` and `Literal(True)` are three values.  3. Trees made by
the parser are at most 32 deep and 1,000 nodes, so the recursion here ends early.
Not here: reading text (`syntax`), meaning (`evaluation`), proofs over guards (`proof.guards`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any, TypeAlias, TypeVar
from typing import Literal as OneOf

import attrs

BinaryOp: TypeAlias = OneOf["or", "and", "==", "!=", "<", "<=", ">", ">=", "in", "+", "-"]

LEVELS: Mapping[str, int] = {
    "or": 1, "and": 2,
    "==": 4, "!=": 4, "<": 4, "<=": 4, ">": 4, ">=": 4, "in": 4,
    "+": 5, "-": 5,
}  # fmt: skip
"""How tightly a binary operator binds; all lean left, those of level 4 do not chain."""

NOT_LEVEL = 3
"""`not` stands between `and` and the comparisons, as in Python."""

COMPARISON_LEVEL = 4
MINUS_LEVEL = 6
ATOM_LEVEL = 7

MAX_DEPTH = 32
"""Deepest tree, most brackets or signs inside one another, most steps of a path."""

MAX_NODES = 1_000
"""Nodes of the largest tree, definitions expanded: else ten short ones could double ten times."""

MAX_NESTING = 3
"""List functions inside one another: more would be searches of the fourth power."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ESCAPES = {"\\": "\\\\", "'": "\\'", "\n": "\\n", "\t": "\\t"}
_UNSAFE = re.compile("[\\\\'\x00-\x1f\x7f-\x9f\u2028\u2029]")


def _typed(value: Any) -> tuple[type, Any]:
    return (type(value), value)


@attrs.frozen
class Literal:
    """A constant: null, a boolean, a number (a leading minus is part of it) or a text."""

    value: bool | int | float | str | None = attrs.field(eq=_typed)
    start: int = attrs.field(default=0, kw_only=True, eq=False, repr=False)
    end: int = attrs.field(default=0, kw_only=True, eq=False, repr=False)


@attrs.frozen
class Key:
    """A step to a member by a fixed name: `.name`, also written `['name']`."""

    name: str
    start: int = attrs.field(default=0, kw_only=True, eq=False, repr=False)
    end: int = attrs.field(default=0, kw_only=True, eq=False, repr=False)


@attrs.frozen
class Index:
    """A step to a place computed by a node: `[0]`, `[args.order_id]`."""

    node: Node
    start: int = attrs.field(default=0, kw_only=True, eq=False, repr=False)
    end: int = attrs.field(default=0, kw_only=True, eq=False, repr=False)


@attrs.frozen
class Item:
    """A step to some item of a list or member of an object; which one is known only in a run.

    Only `paths_of` makes it; no text parses to it.
    """

    start: int = attrs.field(default=0, kw_only=True, eq=False, repr=False)
    end: int = attrs.field(default=0, kw_only=True, eq=False, repr=False)


@attrs.frozen
class Path:
    """A name and the steps from there: `context.orders[args.order_id].items[0].sku`."""

    root: str
    steps: tuple[Key | Index | Item, ...] = ()
    start: int = attrs.field(default=0, kw_only=True, eq=False, repr=False)
    end: int = attrs.field(default=0, kw_only=True, eq=False, repr=False)

    @property
    def member(self) -> str:
        """The first step's name, such as `orders`; empty when it has none that is known."""
        first = self.steps[0] if self.steps else None
        return first.name if isinstance(first, Key) else ""


@attrs.frozen
class ListDisplay:
    """A list written out: `[a, 1, 'x']`."""

    items: tuple[Node, ...]
    start: int = attrs.field(default=0, kw_only=True, eq=False, repr=False)
    end: int = attrs.field(default=0, kw_only=True, eq=False, repr=False)


@attrs.frozen
class ObjectDisplay:
    """An object written out: `{id: result.id, 'with space': 1}`; a bare key is a name."""

    members: tuple[tuple[str, Node], ...]
    start: int = attrs.field(default=0, kw_only=True, eq=False, repr=False)
    end: int = attrs.field(default=0, kw_only=True, eq=False, repr=False)


@attrs.frozen
class Unary:
    """`not x` or `-x`; a minus before a number is part of the `Literal`."""

    op: OneOf["not", "-"]
    operand: Node
    start: int = attrs.field(default=0, kw_only=True, eq=False, repr=False)
    end: int = attrs.field(default=0, kw_only=True, eq=False, repr=False)


@attrs.frozen
class Binary:
    """Two operands and an operator of `LEVELS`."""

    op: BinaryOp
    left: Node
    right: Node
    start: int = attrs.field(default=0, kw_only=True, eq=False, repr=False)
    end: int = attrs.field(default=0, kw_only=True, eq=False, repr=False)


@attrs.frozen
class Call:
    """`len(x) exists(x) default(x, y) lower(x) ago(x)`."""

    function: OneOf["len", "exists", "default", "lower", "ago"]
    args: tuple[Node, ...]
    start: int = attrs.field(default=0, kw_only=True, eq=False, repr=False)
    end: int = attrs.field(default=0, kw_only=True, eq=False, repr=False)


@attrs.frozen
class Quantifier:
    """`any/all/count/first(variable, items, condition)`; the variable is bound in the condition."""

    function: OneOf["any", "all", "count", "first"]
    variable: str
    items: Node
    condition: Node
    start: int = attrs.field(default=0, kw_only=True, eq=False, repr=False)
    end: int = attrs.field(default=0, kw_only=True, eq=False, repr=False)


Node: TypeAlias = Literal | Path | ListDisplay | ObjectDisplay | Unary | Binary | Call | Quantifier
_AnyNode = TypeVar("_AnyNode")


def children(node: Node) -> tuple[Node, ...]:
    """Return the nodes directly inside a node, in the order of the text."""
    match node:
        case Literal():
            return ()
        case Path():
            return tuple(step.node for step in node.steps if isinstance(step, Index))
        case ListDisplay():
            return node.items
        case ObjectDisplay():
            return tuple(value for _, value in node.members)
        case Unary():
            return (node.operand,)
        case Binary():
            return (node.left, node.right)
        case Call():
            return node.args
        case _:  # Quantifier
            return (node.items, node.condition)


def size_of(root: Node) -> int:
    """Return how many nodes a tree has."""
    size, pending = 0, [root]
    while pending:
        size += 1
        pending.extend(children(pending.pop()))
    return size


def excess(root: Node) -> tuple[Node, str] | None:
    """Return a node where a tree goes beyond its bounds, and what to do; None when it does not."""
    size, pending = 0, [(root, 0, 0)]
    while pending:
        node, depth, loops = pending.pop()
        size += 1
        loops += isinstance(node, Quantifier)
        if size > MAX_NODES:
            return node, f"over {MAX_NODES:,} parts, definitions included; simplify it"
        if loops > MAX_NESTING:
            return node, f"list functions stand at most {MAX_NESTING} deep inside one another"
        if depth > MAX_DEPTH:
            return node, (
                f"over {MAX_DEPTH} deep, where each operator in a row is one level; use "
                "`x in [...]`, or put brackets round halves of the row"
            )
        pending.extend((child, depth + 1, loops) for child in children(node))
    return None


def respan(node: _AnyNode, start: int, end: int) -> _AnyNode:
    """Return the same tree, every span replaced: an expanded definition points at its use."""

    def move(value: Any) -> Any:
        if attrs.has(type(value)):
            return respan(value, start, end)
        return tuple(move(part) for part in value) if isinstance(value, tuple) else value

    changes: dict[str, Any] = {
        field.name: move(getattr(node, field.name))
        for field in attrs.fields(type(node))  # type: ignore[arg-type]  # every node is an attrs class
    }
    return type(node)(**(changes | {"start": start, "end": end}))


def paths_of(node: Node) -> tuple[Path, ...]:
    """Return every path a tree reads, each once, in the order of the text, with static steps.

    A computed index becomes `Item` (what it reads is listed too). The variable of a list function
    is no name of its own: `any(x, context.items, x.open)` reads `context.items` and
    `context.items.<Item>.open`. `ago` reads `now`. Where the list is not a path (nor a `default`
    over one), what is read of its items is left out.
    """
    return tuple(dict.fromkeys(_reads(node, {})))


def _reads(node: Node, bound: Mapping[str, Path | None]) -> Iterator[Path]:
    match node:
        case Path():
            if (path := _resolved(node, bound)) is not None:
                yield path
        case Call(function="ago"):
            yield Path("now", start=node.start, end=node.end)
        case Quantifier():
            yield from _reads(node.items, bound)
            source = _source(node.items, bound)
            item = source and attrs.evolve(source, steps=(*source.steps, Item()))
            yield from _reads(node.condition, {**bound, node.variable: item})
            return
        case _:
            pass
    for child in children(node):
        yield from _reads(child, bound)


def _resolved(path: Path, bound: Mapping[str, Path | None]) -> Path | None:
    steps = tuple(
        Item(start=step.start, end=step.end)
        if isinstance(step, Index) and not isinstance(step.node, Literal)
        else step
        for step in path.steps
    )
    if path.root not in bound:
        return attrs.evolve(path, steps=steps)
    item = bound[path.root]
    return item and attrs.evolve(path, root=item.root, steps=(*item.steps, *steps))


def _source(node: Node, bound: Mapping[str, Path | None]) -> Path | None:
    # One source at most: following both sides of `+` or `default` would multiply at each nesting.
    if isinstance(node, Call) and node.function == "default":
        return _source(node.args[0], bound)
    return _resolved(node, bound) if isinstance(node, Path) else None


def unparse(node: Node) -> str:
    """Return the canonical text of a tree: one space round operators, no needless brackets.

    Parsing it gives an equal tree, unless it became longer than an expression may be.
    """
    match node:
        case Literal():
            return _literal(node.value)
        case Path():
            return node.root + "".join(_step(step) for step in node.steps)
        case ListDisplay():
            return f"[{', '.join(unparse(item) for item in node.items)}]"
        case ObjectDisplay():
            inner = ", ".join(f"{_key(key)}: {unparse(value)}" for key, value in node.members)
            return f"{{{inner}}}"
        case Unary(op="not"):
            return f"not {_bracketed(node.operand, NOT_LEVEL)}"
        case Unary():
            # `-5` is a literal; a minus applied to the literal 5 must not read back as one.
            literal = isinstance(node.operand, Literal) and _level(node.operand) == ATOM_LEVEL
            inner = _bracketed(node.operand, ATOM_LEVEL + 1 if literal else MINUS_LEVEL)
            return f"-{inner}"
        case Binary():
            level = LEVELS[node.op]
            left = _bracketed(node.left, level + (level == COMPARISON_LEVEL))
            return f"{left} {node.op} {_bracketed(node.right, level + 1)}"
        case Call():
            return f"{node.function}({', '.join(unparse(arg) for arg in node.args)})"
        case _:  # Quantifier
            inside = f"{node.variable}, {unparse(node.items)}, {unparse(node.condition)}"
            return f"{node.function}({inside})"


def _level(node: Node) -> int:
    match node:
        case Binary():
            return LEVELS[node.op]
        case Unary():
            return NOT_LEVEL if node.op == "not" else MINUS_LEVEL
        case Literal(value=int() | float() as number) if _literal(number).startswith("-"):
            return MINUS_LEVEL
        case _:
            return ATOM_LEVEL


def _bracketed(node: Node, floor: int) -> str:
    text = unparse(node)
    return text if _level(node) >= floor else f"({text})"


def _step(step: Key | Index | Item) -> str:
    match step:
        case Key(name=name):
            return f".{name}" if _NAME.fullmatch(name) else f"[{_quoted(name)}]"
        case Index(node=node):
            return f"[{unparse(node)}]"
        case _:  # Item
            return "[*]"


def _key(key: str) -> str:
    return key if _NAME.fullmatch(key) else _quoted(key)


def _literal(value: bool | float | str | None) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case str():
            return _quoted(value)
        case int():
            return str(value)
        case _:
            # No exponents in the language: `repr` would write 1e-07.
            digits = format(Decimal(repr(value)), "f")
            return digits if "." in digits else f"{digits}.0"


def _quoted(text: str) -> str:
    def escape(found: re.Match[str]) -> str:
        return _ESCAPES.get(found[0]) or f"\\u{ord(found[0]):04x}"

    return f"'{_UNSAFE.sub(escape, text)}'"
