"""Decide conditions over all values: can they hold, together, and with which values?

Rules.  1. Values are told apart only by what conditions ask: for each path a few *points* are
enough, one in every region the constants cut out.  2. A condition has three outcomes: true, false,
and the error it raises on kinds it has no meaning for.  3. A witness is evaluated by the real
evaluator before it is shown.  4. What cannot be cut into regions (sums of paths, list functions,
`now`) is free: it may be anything, so "never" stays proven and "sometimes" becomes undecided.
5. Over 200,000 regions nothing is decided.
Not here: what is known of values (`shapes`), what is made of the answers (`guards`, `product`).
Source: verification.md section 4.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from math import prod
from typing import Any, Final, Literal, TypeAlias

import attrs

from statemachine_agents.errors import EvaluationError
from statemachine_agents.proof.atoms import ERROR, Atom, Atoms, Truth, atoms_of, said
from statemachine_agents.proof.names import Names
from statemachine_agents.proof.points import TooMany, points_of
from statemachine_agents.table.expressions import Expression, Path
from statemachine_agents.values import JSON

MAX_REGIONS: Final = 200_000
MAX_TRIES: Final = 64
"""Values asked of a schema for one outcome; the next ones would mostly be refused as well."""

_DOUBT: Final = "the values tried are ones a schema refuses; others may fit"

Condition: TypeAlias = tuple[Expression, Truth]
"""An expression and what it is asked to be: True, False, or `ERROR`."""


@attrs.frozen
class Answer:
    """Whether some conditions can hold together.

    Args:
        verdict: `yes` with a witness, `no`, or `undecided` with the reason.
        witness: first name -> value; parts no condition reads are left out, and can be added
            so that the schemas allow the whole and the conditions stay as they are.
        reason: why it is undecided.
    """

    verdict: Literal["yes", "no", "undecided"]
    witness: Mapping[str, JSON] = attrs.field(factory=dict)
    reason: str = ""


@attrs.frozen(eq=False)
class Regions:
    """Every combination of outcomes that some expressions can have.

    Args:
        expressions: those asked about.
        found: outcomes, one an expression -> a witness, or None where it is only possible.
        reason: why some outcomes are only possible, or why nothing was decided; may be empty.
        complete: whether every combination that can come is in `found`.
    """

    expressions: tuple[Expression, ...]
    found: Mapping[tuple[Truth, ...], Mapping[str, JSON] | None]
    reason: str = ""
    complete: bool = True

    def can(self, *wanted: Truth | None) -> Answer:
        """Return whether the expressions can have these outcomes; None stands for any."""
        possible = False
        for outcomes, witness in self.found.items():
            pairs = zip(outcomes, wanted, strict=False)
            if all(want is None or want is outcome for outcome, want in pairs):
                if witness is not None:
                    return Answer("yes", witness)
                possible = True
        if possible or not self.complete:
            return Answer("undecided", reason=self.reason)
        return Answer("no")


def regions(expressions: Sequence[Expression], names: Names) -> Regions:
    """Cut all values into regions and say what the expressions can be together.

    Args:
        expressions: conditions; parts that are equal are one.
        names: what is known of the values their paths read.
    """
    asked = tuple(expressions)
    atoms = atoms_of(asked, lambda path: names.shape(path).values is not None)
    try:
        cut = [_outcomes(group, atoms, names) for group in atoms.groups]
        size = prod(len(parts) for parts in cut)
    except TooMany:
        cut, size = [], MAX_REGIONS + 1
    if size > MAX_REGIONS:
        reason = f"over {MAX_REGIONS:,} regions; ask less at once, or declare an order"
        return Regions(asked, {}, reason, complete=False)
    found: dict[tuple[Truth, ...], Mapping[str, JSON] | None] = {}
    doubt = atoms.reason
    for parts in product(*cut):
        values = {index: truth for part in parts for index, truth in part.truths.items()}
        outcomes = tuple(said(skeleton, values) for skeleton in atoms.skeletons)
        if found.get(outcomes) is not None:
            continue
        scope = _merged(part.scope for part in parts)
        sure = all(part.sure for part in parts) and _really(asked, scope) == outcomes
        if not sure and not doubt:
            doubt = _DOUBT
        found[outcomes] = scope if sure else None
    return Regions(asked, found, doubt)


def satisfiable(conditions: Iterable[Condition], names: Names) -> Answer:
    """Return whether conditions can hold together.

    Args:
        conditions: (expression, outcome) pairs.
        names: what is known of the values.

    Example:
        >>> satisfiable([(parse("result.n < 3"), True)], names).witness  # doctest: +SKIP
        {'result': {'n': 2}}
    """
    pairs = list(conditions)
    return regions([each for each, _ in pairs], names).can(*(wanted for _, wanted in pairs))


def implies(
    conditions: Iterable[Condition], expression: Expression, names: Names
) -> Literal["yes", "no", "undecided"]:
    """Return whether an expression is true wherever conditions hold."""
    pairs = list(conditions)
    cut = regions([*(each for each, _ in pairs), expression], names)
    wanted = [truth for _, truth in pairs]
    others = {cut.can(*wanted, other).verdict for other in (False, ERROR)}
    if others == {"no"}:
        return "yes"
    return "no" if "yes" in others else "undecided"


@attrs.frozen(eq=False)
class _Part:
    """One outcome of all atoms of a group, with values that give it."""

    truths: Mapping[int, Truth]
    scope: Mapping[str, JSON]
    sure: bool


def _outcomes(group: tuple[int, ...], atoms: Atoms, names: Names) -> list[_Part]:
    """Return every combination of outcomes of the atoms of a group, each once."""
    free = [index for index in group if atoms.free[index]]
    if free:
        (index,) = free
        truths: tuple[Truth, ...] = (True, False, ERROR)
        return [_Part({index: truth}, {}, False) for truth in truths]
    members = [atoms.atoms[index] for index in group]
    found: dict[tuple[Truth, ...], _Part] = {}
    tries: Counter[tuple[Truth, ...]] = Counter()
    paths = tuple(dict.fromkeys(path for atom in members for path in atom.paths))
    for values, sure in points_of(paths, members, names):
        scope = _scope(paths, values)
        outcome = tuple(_truth(atom.expression, scope) for atom in members)
        known = found.get(outcome)
        if known is not None and (known.sure or tries[outcome] >= MAX_TRIES):
            continue
        tries[outcome] += 1
        really = sure and _possible(members, scope, outcome, names)
        if known is None or really:
            found[outcome] = _Part(dict(zip(group, outcome, strict=True)), scope, really)
    return list(found.values())


def _truth(expression: Expression, scope: Mapping[str, JSON]) -> Truth:
    try:
        return expression.holds(scope)
    except EvaluationError:
        return ERROR


def _possible(
    atoms: Sequence[Atom], scope: Mapping[str, JSON], outcome: tuple[Truth, ...], names: Names
) -> bool:
    """Whether schemas allow values, made whole, on which the atoms still say the same."""
    whole = names.possible(scope)
    return whole is not None and (
        whole == scope or tuple(_truth(atom.expression, whole) for atom in atoms) == outcome
    )


def _really(expressions: Iterable[Expression], scope: Mapping[str, JSON]) -> tuple[Truth, ...]:
    return tuple(_truth(expression, scope) for expression in expressions)


def _scope(paths: Sequence[Path], values: Sequence[JSON]) -> dict[str, JSON]:
    """Put values where their paths lead; deeper paths come after the ones they begin with."""
    scope: dict[str, Any] = {}
    order = sorted(range(len(paths)), key=lambda index: len(paths[index].steps))
    for index in order:
        path, value = paths[index], values[index]
        if value is None:
            continue
        steps: list[Any] = [path.root, *(_step(step) for step in path.steps)]
        inside: Any = scope
        for step in steps[:-1]:
            inside = inside.setdefault(step, {})
        inside[steps[-1]] = dict(value) if isinstance(value, dict) else value
    return scope


def _step(step: Any) -> str:
    return str(step.name)


def _merged(scopes: Iterable[Mapping[str, JSON]]) -> dict[str, JSON]:
    out: dict[str, Any] = {}
    for scope in scopes:
        _merge(out, scope)
    return out


def _merge(into: dict[str, Any], more: Mapping[str, JSON]) -> None:
    for name, value in more.items():
        known = into.get(name)
        if isinstance(known, dict) and isinstance(value, Mapping):
            _merge(known, value)
        else:
            into[name] = dict(value) if isinstance(value, Mapping) else value
