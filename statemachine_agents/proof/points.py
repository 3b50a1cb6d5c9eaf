"""Points: enough values for some paths to see everything their conditions can tell apart.

Rules.  1. One point in every region that constants cut out of numbers, texts and lengths, one of
every kind of value, null where a value may be missing.  2. Where two paths are compared, every
region has several points, so that they can be equal or not.  3. Points of one path that no
condition can tell apart are one.
Not here: what conditions make of them (`regions`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations, pairwise, product
from typing import Any, Final, TypeAlias

from statemachine_agents.errors import EvaluationError
from statemachine_agents.proof.atoms import ERROR, Atom, Truth
from statemachine_agents.proof.names import Names
from statemachine_agents.proof.shapes import KINDS, Shape
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
    options: list[list[JSON]] = []
    for index, path in enumerate(paths):
        mine = [atom for atom in atoms if path in atom.paths]
        # What is compared with another path meets the constants of that path too.
        near = atoms if path in linked else mine
        several = len(linked) if path in linked else 1
        values = _values(shapes[index], path, mine, _constants(near), several)
        if path not in linked and index not in whole and within[index] is None:
            values = _told_apart(values, path, mine)
        options.append(values)
    size = 1
    for values in options:
        size *= len(values)
    if size > MAX_POINTS:
        raise TooMany
    loose = [shape.loose for shape in shapes]
    required = _together(paths, names)
    for chosen in product(*options):
        if any(
            parent is not None and chosen[index] is not None and chosen[parent] != {}
            for index, parent in enumerate(within)
        ):
            continue
        sure = not any(
            loose[index] and value is not None and not _listed(shapes[index], value)
            for index, value in enumerate(chosen)
        )
        for group in required:
            present = {chosen[index] is not None for index in group}
            sure = sure and len(present) == 1
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


def _together(paths: Sequence[Path], names: Names) -> list[tuple[int, ...]]:
    """Return paths that are all there or all missing: required parts of what may be null."""
    groups: dict[Path, list[int]] = {}
    for index, path in enumerate(paths):
        if not path.steps:
            continue
        above = Path(path.root, path.steps[:-1])
        shape = names.shape(above)
        if shape.known and shape.nullable and "object" in shape.kinds:
            groups.setdefault(above, []).append(index)
    return [tuple(group) for group in groups.values() if len(group) > 1]


def _told_apart(values: list[JSON], path: Path, atoms: Sequence[Atom]) -> list[JSON]:
    """Keep one of the values on which all conditions say the same."""
    found: dict[tuple[Truth, ...], JSON] = {}
    for value in values:
        scope = _alone(path, value)
        outcome = tuple(_truth(atom, scope) for atom in atoms)
        found.setdefault(outcome, value)
    return list(found.values())


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


def _values(
    shape: Shape, path: Path, atoms: Sequence[Atom], constants: Sequence[JSON], several: int
) -> list[JSON]:
    """Return the points of one path."""
    if shape.values is not None:
        listed = [value for value in shape.values if shape.admits(value)]
        return [*listed, *([None] if shape.nullable and None not in listed else [])]
    lengths = sorted({n for atom in atoms for n in atom.lengths.get(path, ())})
    members = [value for atom in atoms for value in atom.members.get(path, ())]
    found: dict[str, JSON] = {}
    makers: Mapping[str, Callable[[], list[JSON]]] = {
        "null": lambda: [None],
        "boolean": lambda: [True, False],
        "number": lambda: _numbers(shape, constants, several),
        "text": lambda: _texts(constants, lengths, members, several),
        "list": lambda: _lists(constants, lengths, members, several),
        "object": lambda: _objects(constants, lengths, members),
    }
    for kind in KINDS:
        for value in makers[kind]() if kind in shape.kinds else ():
            if shape.admits(value):
                found.setdefault(f"{type(value).__name__}:{value!r}", value)
    if not any(shape.admits(value) and value is not None for value in found.values()):
        for value in _bounds(shape):
            found.setdefault(repr(value), value)
    return list(found.values())


def _bounds(shape: Shape) -> list[JSON]:
    """Return a value at the edge of a shape whose usual points all lie outside."""
    out: list[JSON] = []
    if "text" in shape.kinds:
        out.append("x" * shape.shortest)
    if "list" in shape.kinds:
        out.append([None] * shape.shortest)
    return out


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
    for index in range(1, several + 1):
        out += [cuts[0] - index, cuts[-1] + index]
    for low, high in pairwise(cuts):
        whole = [int(low) + index for index in range(1, several + 1)]
        between: list[JSON] = [value for value in whole if low < value < high]
        if len(between) < several and not shape.whole:
            part = (high - low) / (several + 1)
            between += [low + part * index for index in range(1, several + 1)]
        out += between
    return [value for value in out if abs(value) <= MAX_INT]


def _texts(
    constants: Sequence[JSON], lengths: Sequence[int], members: Sequence[JSON], several: int
) -> list[JSON]:
    words = sorted({value for value in constants if isinstance(value, str)})
    out: list[JSON] = list(words)
    out += [f"other{'' if index == 0 else index + 1}" for index in range(several)]
    out.append("")
    if words and words[0]:  # texts before the first constant
        head, last = words[0][:-1], words[0][-1]
        out += [head, head + chr(ord(last) - 1)] if last > "!" else [head]
        out += ["\x00" * index for index in range(1, several)]
    for word in words:  # the next texts in order: between this constant and the one after it
        out += [word + "\x00" * index for index in range(1, several + 1)]
        out += [word.lower(), word.upper()]
    out += ["x" * length for length in _around(lengths)]
    for chosen in _subsets([member for member in members if isinstance(member, str)]):
        out.append(" ".join(chosen))
    return out


def _lists(
    constants: Sequence[JSON], lengths: Sequence[int], members: Sequence[JSON], several: int
) -> list[JSON]:
    out: list[JSON] = [value for value in constants if isinstance(value, list)]
    out += [[f"item {index}"] for index in range(several)]
    out.append([])
    out += [[None] * length for length in _around(lengths)]
    out += [list(chosen) for chosen in _subsets(members)]
    return out


def _objects(
    constants: Sequence[JSON], lengths: Sequence[int], members: Sequence[JSON]
) -> list[JSON]:
    out: list[JSON] = [{}]
    out += [value for value in constants if isinstance(value, dict)]
    out += [{f"k{index}": None for index in range(length)} for length in _around(lengths)]
    words = [member for member in members if isinstance(member, str)]
    out += [dict.fromkeys(chosen) for chosen in _subsets(words)]
    if not members and not lengths:
        out.append({"other": True})
    return out


def _around(lengths: Sequence[int]) -> list[int]:
    return sorted({near for n in lengths for near in (n - 1, n, n + 1) if near >= 0})


def _subsets(members: Sequence[JSON]) -> Iterator[tuple[JSON, ...]]:
    unique = list({repr(member): member for member in members}.values())
    for size in range(len(unique) + 1):
        yield from combinations(unique, size)
