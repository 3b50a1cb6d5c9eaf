"""Points: enough values for some paths to see everything their conditions can tell apart.

Rules.  1. One point in every region that constants cut out of numbers, texts and lengths, one of
every kind of value, null where a value may be missing.  2. Where two paths are compared, every
region has several points, so that they can be equal or not.  3. Points of one path that no
condition can tell apart are one.
Not here: what conditions make of them (`regions`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import combinations, pairwise, product
from math import ceil, floor
from typing import Any, Final, TypeAlias

from statemachine_agents.errors import EvaluationError
from statemachine_agents.proof.atoms import ERROR, Atom, Truth
from statemachine_agents.proof.names import Names
from statemachine_agents.proof.shapes import KINDS, Shape
from statemachine_agents.proof.texts import Asked, around, texts
from statemachine_agents.table.expressions import Key, Path
from statemachine_agents.values import JSON, MAX_INT

Choice: TypeAlias = tuple[tuple[JSON, ...], bool]
"""A value for each path, and whether such values surely can come."""

MAX_POINTS: Final = 400_000


def points_of(paths: tuple[Path, ...], atoms: Sequence[Atom], names: Names) -> Iterator[Choice]:
    """Yield values for the paths of a group of conditions.

    Args:
        paths: everything the conditions read.
        atoms: the conditions.
        names: what is known of the values.
    """
    shapes = [names.shape(path) for path in paths]
    linked = {path for atom in atoms if len(atom.paths) > 1 for path in atom.paths}
    within = [_parent(index, paths) for index in range(len(paths))]
    whole = {index for index in within if index is not None}
    # What is compared with another path meets the constants and the bounds of that path too.
    shared = [*_constants(atoms), *_edges(names.shape(path) for path in linked)]
    options: list[list[JSON]] = []
    for index, path in enumerate(paths):
        mine = [atom for atom in atoms if path in atom.paths]
        near, several = (shared, len(linked)) if path in linked else (_constants(mine), 1)
        values = _values(names, shapes[index], path, mine, near, several)
        if path not in linked and index not in whole and within[index] is None:
            values = _told_apart(values, path, mine, names if shapes[index].loose else None)
        options.append(values)
    size = 1
    for values in options:
        size *= len(values)
    if size > MAX_POINTS:
        raise TooMany
    # What a schema says is asked of the schema; nothing else can be asked about the rest.
    loose = [
        shape.loose and path.root not in names.given
        for path, shape in zip(paths, shapes, strict=True)
    ]
    bound = _bound(paths, names)
    for chosen in product(*options):
        if any(
            parent is not None and chosen[index] is not None and chosen[parent] != {}
            for index, parent in enumerate(within)
        ):
            continue
        if any(
            chosen[index] is None and any(chosen[other] is not None for other in others)
            for index, others in bound
        ):
            continue
        sure = not any(
            loose[index] and value is not None and not _listed(shapes[index], value)
            for index, value in enumerate(chosen)
        )
        yield chosen, sure


class TooMany(Exception):
    """There are more points than can be looked at."""


def _listed(shape: Shape, value: JSON) -> bool:
    return shape.values is not None and shape.admits(value)


def _parent(index: int, paths: Sequence[Path]) -> int | None:
    """Return the path that a path is a part of, the nearest one."""
    path, best = paths[index], None
    for other, candidate in enumerate(paths):
        size = len(candidate.steps)
        inside = (
            candidate.root == path.root
            and size < len(path.steps)
            and path.steps[:size] == candidate.steps
        )
        if inside and (best is None or size > len(paths[best].steps)):
            best = other
    return best


def _bound(paths: Sequence[Path], names: Names) -> list[tuple[int, tuple[int, ...]]]:
    """Return, for paths that are there whenever something around them is, what shows that."""
    out = []
    for index, path in enumerate(paths):
        held = names.held(path)
        if held == len(path.steps):
            continue
        others = tuple(
            other
            for other, candidate in enumerate(paths)
            if other != index
            and candidate.root == path.root
            and candidate.steps[:held] == path.steps[:held]
        )
        if others:
            out.append((index, others))
    return out


def _told_apart(
    values: list[JSON], path: Path, atoms: Sequence[Atom], names: Names | None
) -> list[JSON]:
    """Keep one of the values on which all conditions say the same; one the schema allows first.

    Null is kept apart: it may be what another path's being there rules out.
    """
    found: dict[tuple[Truth, ...], tuple[bool, JSON]] = {}
    for value in values:
        scope = _alone(path, value)
        said = [_truth(atom, scope) for atom in atoms]
        outcome: tuple[Truth, ...] = (value is None, *said)
        if outcome in found and found[outcome][0]:
            continue
        sure = names is None or names.possible(scope) is not None
        if sure or outcome not in found:
            found[outcome] = sure, value
    return [value for _, value in found.values()]


def _truth(atom: Atom, scope: dict[str, JSON]) -> Truth:
    try:
        return atom.expression.holds(scope)
    except EvaluationError:
        return ERROR


def _alone(path: Path, value: JSON) -> dict[str, Any]:
    inside: Any = value
    for step in reversed(path.steps):
        assert isinstance(step, Key)
        inside = {} if inside is None else {step.name: inside}
    return {path.root: inside}


def _constants(atoms: Sequence[Atom]) -> list[JSON]:
    return [value for atom in atoms for value in _flat(atom.constants)]


def _edges(shapes: Iterable[Shape]) -> Iterator[JSON]:
    for shape in shapes:
        yield from (edge for edge in (shape.low, shape.high) if edge is not None)
        yield from shape.values or ()


def _values(
    names: Names,
    shape: Shape,
    path: Path,
    atoms: Sequence[Atom],
    constants: Sequence[JSON],
    several: int,
) -> list[JSON]:
    """Return the points of one path."""
    if shape.values is not None:
        listed = [value for value in shape.values if shape.admits(value)]
        return [*listed, *([None] if shape.nullable and None not in listed else [])]
    asked = Asked(
        constants,
        sorted({n for atom in atoms for n in atom.lengths.get(path, ())}),
        [value for atom in atoms for value in atom.members.get(path, ())],
        several,
        any(atom.lowered for atom in atoms),
    )
    found: dict[str, JSON] = {}
    makers: Mapping[str, Callable[[], list[JSON]]] = {
        "null": lambda: [None],
        "boolean": lambda: [True, False],
        "number": lambda: _numbers(shape, constants, several),
        "text": lambda: texts(shape, asked),
        "list": lambda: _lists(shape, asked, names.filler(path)),
        "object": lambda: _objects(asked, lambda name: names.filler(path, name)),
    }
    for kind in KINDS:
        for value in makers[kind]() if kind in shape.kinds else ():
            if shape.admits(value):
                found.setdefault(f"{type(value).__name__}:{value!r}", value)
    return list(found.values())


def _flat(values: Sequence[JSON]) -> Iterator[JSON]:
    for value in values:
        yield value
        if isinstance(value, list):
            yield from _flat(value)


def _numbers(shape: Shape, constants: Sequence[JSON], several: int) -> list[JSON]:
    edges = [value for value in (shape.low, shape.high) if value is not None]
    cuts = sorted(
        {value for value in (*constants, *edges) if isinstance(value, int | float)
         and not isinstance(value, bool)}
    )  # fmt: skip
    if not cuts:
        return [7 + index for index in range(several)]
    out: list[JSON] = list(cuts)
    # An integer lies beside a broken cut, never on it or a whole step away.
    first, last = ceil(cuts[0]), floor(cuts[-1])
    for index in range(1, several + 1):
        out += [first - index, last + index]
    for low, high in pairwise(cuts):
        whole = [floor(low) + index for index in range(1, several + 1)]
        between: list[JSON] = [value for value in whole if low < value < high]
        if len(between) < several and not shape.whole:
            part = (high - low) / (several + 1)
            between += [low + part * index for index in range(1, several + 1)]
        out += between
    return [value for value in out if abs(value) <= MAX_INT]


def _lists(shape: Shape, asked: Asked, item: JSON) -> list[JSON]:
    fixed: list[JSON] = [value for value in asked.constants if isinstance(value, list)]
    # So many that one is none of the constants, and as many more as must differ.
    fresh = [f"item {index}" for index in range(len(fixed) + asked.several)]
    out: list[JSON] = [*fixed, *([each] for each in fresh), []]
    for length in {*around(asked.lengths), 1, shape.shortest}:
        out.append([item] * length)
        out += [[each, *[None] * (length - 1)] for each in fresh if length]
    for chosen in _subsets(asked.members):
        few = max(shape.shortest - len(chosen), 0)
        out += [[*chosen, *[item] * few], [*chosen, *[None] * few]]
        out += [[*chosen, *[None] * (few - 1), each] for each in fresh]
    return out


def _objects(asked: Asked, member: Callable[[str], JSON]) -> list[JSON]:
    fixed = [value for value in asked.constants if isinstance(value, dict)]
    fresh = range(len(fixed) + 1)
    out: list[JSON] = [{}, *fixed]
    for length in around(asked.lengths):
        out += [{f"k{each}{index}": None for index in range(length)} for each in fresh]
    words = [name for name in asked.members if isinstance(name, str)]
    for chosen in _subsets(words):
        out.append({name: member(name) for name in chosen})
        out += [{**dict.fromkeys(chosen), f"other {each}": True} for each in fresh if fixed]
    if not asked.members and not asked.lengths:
        out += [{f"other {each}": True} for each in fresh]
    return out


def _subsets(members: Sequence[JSON]) -> Iterator[tuple[JSON, ...]]:
    unique = list({repr(member): member for member in members}.values())
    for size in range(len(unique) + 1):
        yield from combinations(unique, size)
