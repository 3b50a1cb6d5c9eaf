"""Take conditions apart: atoms under `and`, `or`, `not`, and which of them share values.

Rules.  1. An atom is a part of a condition that no connective joins; equal atoms are one.  2. An
atom is decidable when its outcome depends only on where each path's value lies among constants;
any other is free: true, false or an error, as if at random.  3. Atoms that read the same value, or
values inside one another, stand in one group; groups know nothing of each other.
Not here: values (`points`), putting outcomes together (`regions`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal, TypeAlias

import attrs

from statemachine_agents.table.expressions import (
    Binary,
    Call,
    Expression,
    Key,
    ListDisplay,
    Node,
    ObjectDisplay,
    Path,
    Quantifier,
    Unary,
    children,
    unparse,
)
from statemachine_agents.table.expressions import Literal as Constant
from statemachine_agents.values import JSON

ERROR: Final = "error"
Truth: TypeAlias = bool | Literal["error"]

_ORDER: Final = frozenset({"<", "<=", ">", ">="})
MAX_LENGTH: Final = 1_000
MAX_MEMBERS: Final = 3


@attrs.frozen
class And:
    """Both sides; the right one is looked at only if the left one holds."""

    left: Skeleton
    right: Skeleton


@attrs.frozen
class Or:
    """Either side; the right one is looked at only if the left one does not hold."""

    left: Skeleton
    right: Skeleton


@attrs.frozen
class Not:
    """The opposite."""

    inside: Skeleton


Skeleton: TypeAlias = And | Or | Not | int
"""A condition with numbers for its atoms."""


@attrs.frozen
class Atom:
    """One part of conditions that no connective joins.

    Args:
        expression: the part, to be evaluated by itself.
        paths: what it reads.
        constants: what it compares with.
        lengths: numbers that lengths are compared with, by path.
        members: constants asked to be `in` a path's value, by path.
        ordered: whether `<` and the like look at a value itself.
        lowered: whether a text is looked at in lower case.
    """

    expression: Expression
    paths: tuple[Path, ...]
    constants: tuple[JSON, ...]
    lengths: Mapping[Path, tuple[int, ...]]
    members: Mapping[Path, tuple[JSON, ...]]
    ordered: bool
    lowered: bool


@attrs.frozen(eq=False)
class Atoms:
    """Conditions taken apart.

    Args:
        skeletons: one a condition.
        atoms: each once.
        free: for each atom, whether it is free.
        groups: indexes of atoms that share values.
        reason: which atoms are free; empty when none is.
    """

    skeletons: tuple[Skeleton, ...]
    atoms: tuple[Atom, ...]
    free: tuple[bool, ...]
    groups: tuple[tuple[int, ...], ...]
    reason: str


def said(skeleton: Skeleton, truths: Mapping[int, Truth]) -> Truth:
    """Return the outcome of a condition from the outcomes of its atoms, as the evaluator would."""
    match skeleton:
        case int():
            return truths[skeleton]
        case Not():
            inside = said(skeleton.inside, truths)
            return ERROR if inside == ERROR else not inside
        case And() | Or():
            decides = isinstance(skeleton, Or)
            left = said(skeleton.left, truths)
            return left if left is decides or left == ERROR else said(skeleton.right, truths)


def atoms_of(conditions: Sequence[Expression], listed: Callable[[Path], bool]) -> Atoms:
    """Take conditions apart.

    Args:
        conditions: parsed.
        listed: whether all values of a path are known one by one; then nothing is too much.
    """
    nodes: dict[Node, int] = {}

    def take(node: Node) -> Skeleton:
        match node:
            case Binary(op="and"):
                return And(take(node.left), take(node.right))
            case Binary(op="or"):
                return Or(take(node.left), take(node.right))
            case Unary(op="not"):
                return Not(take(node.operand))
            case _:
                return nodes.setdefault(node, len(nodes))

    skeletons = tuple(take(condition.root) for condition in conditions)
    atoms = tuple(_atom(node) for node in nodes)
    why = [_free(node, atom) for node, atom in zip(nodes, atoms, strict=True)]
    _nested(list(nodes), atoms, why)
    _crowded(atoms, why, listed)
    reasons = dict.fromkeys(reason for reason in why if reason)
    return Atoms(
        skeletons,
        atoms,
        tuple(bool(reason) for reason in why),
        _groups(atoms, why),
        "; ".join(reasons),
    )


def _atom(node: Node) -> Atom:
    paths: dict[Path, None] = {}
    constants: dict[str, JSON] = {}
    lengths: dict[Path, tuple[int, ...]] = {}
    members: dict[Path, tuple[JSON, ...]] = {}
    ordered = lowered = False
    pending = [node]
    while pending:
        part = pending.pop()
        pending += children(part)
        match part:
            case Path():
                paths[part] = None
            case Call(function="lower"):
                lowered = True
            case Constant():
                constants[repr(part.value)] = part.value
            case ListDisplay() | ObjectDisplay():
                known, value = constant(part)
                if known:
                    constants[repr(value)] = value
            case Binary(op="in", right=Path() as right):
                known, value = constant(part.left)
                if known:
                    members[right] = (*members.get(right, ()), value)
            case Binary() if part.op in _ORDER:
                for one, other in ((part.left, part.right), (part.right, part.left)):
                    measured = _measured(one)
                    known, value = constant(other)
                    if measured is not None and known and type(value) is int:
                        lengths[measured] = (*lengths.get(measured, ()), value)
                    elif measured is None and not known:
                        ordered = True
            case Binary(op="==" | "!="):
                for one, other in ((part.left, part.right), (part.right, part.left)):
                    measured = _measured(one)
                    known, value = constant(other)
                    if measured is not None and known and type(value) is int:
                        lengths[measured] = (*lengths.get(measured, ()), value)
    expression = Expression(unparse(node), node)
    return Atom(
        expression, tuple(paths), tuple(constants.values()), lengths, members, ordered, lowered
    )


def _measured(node: Node) -> Path | None:
    if isinstance(node, Call) and node.function == "len" and isinstance(node.args[0], Path):
        return node.args[0]
    return None


def constant(node: Node) -> tuple[bool, JSON]:
    """Return whether a node is a constant, and which."""
    match node:
        case Constant():
            return True, node.value
        case ListDisplay():
            items = [constant(item) for item in node.items]
            return all(known for known, _ in items), [value for _, value in items]
        case ObjectDisplay():
            members = [(key, constant(item)) for key, item in node.members]
            known = all(found for _, (found, _) in members)
            return known, {key: value for key, (_, value) in members}
        case _:
            return False, None


def _free(node: Node, atom: Atom) -> str:
    """Return why an atom cannot be decided by regions, or an empty text."""
    for path in atom.paths:
        if not all(isinstance(step, Key) for step in path.steps):
            return f"`{unparse(path)}` has a computed place"
        if path.root == "now":
            return "`now` is known only in a run"
    pending = [node]
    while pending:
        part = pending.pop()
        pending += children(part)
        match part:
            case Quantifier():
                return f"`{unparse(part)}` looks at the items of a list"
            case Call(function="ago"):
                return "`ago` depends on when it is asked"
            case Binary(op="+" | "-") | Unary(op="-"):
                return f"`{unparse(part)}` computes with values"
            case Binary(op="in"):
                if not _simple_in(part):
                    return f"`{unparse(part)}` looks inside a value that is not written out"
            case Binary() if part.op in _ORDER and (_is_lower(part.left) or _is_lower(part.right)):
                return f"`{unparse(part)}` orders texts in lower case"
            case Call(function="len"):
                if _measured(part) is None or _measured(part) not in atom.lengths:
                    return f"`{unparse(part)}` is compared with more than a number"
            case ListDisplay() | ObjectDisplay():
                if not constant(part)[0]:
                    return f"`{unparse(part)}` is built from values"
    if any(not 0 <= n <= MAX_LENGTH for found in atom.lengths.values() for n in found):
        return f"a length beyond {MAX_LENGTH:,} is asked for"
    return ""


def _simple_in(part: Binary) -> bool:
    if isinstance(part.right, Path):
        return isinstance(part.left, Constant) and isinstance(part.left.value, str)
    known, value = constant(part.right)
    return known and isinstance(value, list)


def _is_lower(node: Node) -> bool:
    return isinstance(node, Call) and node.function == "lower"


def _nested(nodes: Sequence[Node], atoms: Sequence[Atom], why: list[str]) -> None:
    """Free atoms that look at a whole object whose parts others look at, but for `exists`."""
    inner = {path for atom in atoms for path in atom.paths}
    whole = {path for path in inner if any(_begins(path, other) for other in inner)}
    for index, atom in enumerate(atoms):
        touched = whole.intersection(atom.paths)
        if touched and not why[index] and not _asks_existence(nodes[index]):
            path = unparse(next(iter(touched)))
            why[index] = (
                f"`{unparse(nodes[index])}` looks at all of `{path}` and others at its parts"
            )


def _begins(path: Path, other: Path) -> bool:
    size = len(path.steps)
    return path.root == other.root and size < len(other.steps) and other.steps[:size] == path.steps


def _asks_existence(node: Node) -> bool:
    match node:
        case Call(function="exists"):
            return True
        case Binary(op="==" | "!="):
            sides = (node.left, node.right)
            return any(isinstance(side, Constant) and side.value is None for side in sides)
        case Path():
            return True  # a whole object is no boolean: an error, whatever is in it
        case _:
            return False


def _crowded(atoms: Sequence[Atom], why: list[str], listed: Callable[[Path], bool]) -> None:
    """Free what asks a value for too many things at once: points would not be enough."""
    by_path: dict[Path, list[int]] = {}
    for index, atom in enumerate(atoms):
        for path in atom.paths:
            by_path.setdefault(path, []).append(index)
    for path, indexes in by_path.items():
        members = {repr(m) for i in indexes for m in atoms[i].members.get(path, ())}
        measured = any(path in atoms[index].lengths for index in indexes)
        ordered = any(
            atoms[index].ordered and any(isinstance(c, str) for c in atoms[index].constants)
            for index in indexes
        )
        linked = any(len(atoms[index].paths) > 1 for index in indexes)
        lowered = any(atoms[index].lowered for index in indexes)
        crowded = len(members) > MAX_MEMBERS or (
            sum((bool(members), measured, ordered or linked, lowered)) > 1
        )
        for index in indexes if crowded and not listed(path) else ():
            why[index] = why[index] or f"too much is asked of `{unparse(path)}` at once"


def _groups(atoms: Sequence[Atom], why: Sequence[str]) -> tuple[tuple[int, ...], ...]:
    """Put atoms that share a value, or parts of one, into one group; free ones stand alone."""
    leader = list(range(len(atoms)))

    def find(index: int) -> int:
        while leader[index] != index:
            leader[index] = leader[leader[index]]
            index = leader[index]
        return index

    owner: dict[Any, int] = {}
    for index, atom in enumerate(atoms):
        for path in () if why[index] else atom.paths:
            tree = _tree(path)
            if tree in owner:
                leader[find(index)] = find(owner[tree])
            owner[tree] = index
    groups: dict[int, list[int]] = {}
    for index in range(len(atoms)):
        groups.setdefault(find(index), []).append(index)
    return tuple(tuple(group) for group in groups.values())


def _tree(path: Path) -> Any:
    """Return what a path is a part of: a first name, or one key of the context."""
    if path.root in ("context", "results", "visits") and path.steps:
        return path.root, path.steps[0]
    return path.root
