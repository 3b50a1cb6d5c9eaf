"""What one fact can do in one state: which row it fires, and what it is to each rule.

Rules.  1. Guards and the `where` of rules are decided together, so a row that fires on
`result.eligible` and a rule that asks for it agree.  2. Whatever cannot be decided is possible.
3. A rule with `per=` is followed for one value at a time, in a *world* each: one for every value
that some facts always have (a bound argument that never changes, null where an event carries
nothing), and one for any other value. What a fact is about may be known, or left open.
4. A cell whose conditions are too many to decide together is `Unsearchable`.
Not here: which facts can come when (`moves`), the search (`product`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product
from typing import Any, Final, TypeAlias

import attrs

from statemachine_agents.proof.atoms import ERROR, Truth
from statemachine_agents.proof.cycles import Cycles
from statemachine_agents.proof.kinds import Typist, kinds_of
from statemachine_agents.proof.names import Names, arguments_of, names_at
from statemachine_agents.proof.regions import regions
from statemachine_agents.proof.shapes import ANY, shape_of
from statemachine_agents.proof.sheet import Sheet
from statemachine_agents.table.automata import ORDER, Role
from statemachine_agents.table.expressions import (
    Binary,
    Call,
    Expression,
    Node,
    Path,
    Quantifier,
    Unary,
    children,
    unparse,
)
from statemachine_agents.table.grid import Cell, Entry, Row
from statemachine_agents.table.rules import Atom, Rule, is_call
from statemachine_agents.values import JSON

Roles: TypeAlias = tuple[tuple[Role, ...], ...]
"""What a fact is to each rule, in the order of the rules."""

ANY_OTHER: Final = "any other value"
"""The world of values that no fact always has."""

_GUESSED: Final = 6
"""Conditions that are too many to decide, but few enough to try every outcome of."""

_ENDS: Final = frozenset({"failed", "cancelled"})


class Unsearchable(Exception):
    """Conditions that cannot be decided together, so what a fact can do is not known."""


@attrs.frozen
class Branch:
    """One thing a fact can do.

    Args:
        row: the row that takes it, or None for the default.
        target: the next state; empty where the run stays.
        end: `failed` or `cancelled` where the default ends the run.
        error: a guard or assign cannot be evaluated, so `guard.error` comes next.
        roles: what the fact is to each rule.
        scope: values with which this happens, as far as conditions read them.
    """

    row: Row | None
    target: str
    end: str
    error: bool
    roles: Roles
    scope: Mapping[str, JSON] = attrs.field(factory=dict, eq=False)


class Branches:
    """Every branch of a table's cells and calls for some rules, worked out when first asked for."""

    def __init__(
        self,
        sheet: Sheet,
        rules: tuple[Rule, ...],
        plain: Branches | None = None,
        world: str | None = None,
    ) -> None:
        self.sheet = sheet
        self.rules = rules
        self.table = sheet.table
        self.plain = plain
        self.typist: Typist = Typist(sheet) if plain is None else plain.typist
        self.fixed: frozenset[str] = _fixed(sheet) if plain is None else plain.fixed
        self.cycles: Cycles = Cycles(self) if plain is None else plain.cycles
        self.world = world
        self._cells: dict[tuple[str, str, tuple[int, ...]], tuple[Branch, ...]] = {}
        self._calls: dict[str, tuple[Branch, ...]] = {}
        self._heard = [_pairs(rule) for rule in rules]

    def speaks_of(self, name: str) -> bool:
        """Whether a rule can tell a fact from others."""
        return any(name in heard for heard in self._heard)

    def at(self, state: str, event: str, facts: frozenset[str] = frozenset()) -> tuple[Branch, ...]:
        """Return what an event can do in a state, once these facts of the visit have come."""
        cell = self.sheet.grid.cell(state, event)
        entries = (*cell.notes, *cell.moves)
        live = tuple(
            index for index, entry in enumerate(entries) if set(entry.needs) <= facts | {event}
        )
        key = (state, event, live)
        found = self._cells.get(key)
        if found is None:
            if self.plain is not None and not self.speaks_of(event):
                nothing = ((),) * len(self.rules)
                found = tuple(
                    attrs.evolve(branch, roles=nothing)
                    for branch in self.plain.at(state, event, facts)
                )
            else:
                found = tuple(self._cell(cell, [entries[index] for index in live], state, event))
            self._cells[key] = found
        return found

    def call(self, tool: str) -> tuple[Branch, ...]:
        """Return what the intent of a tool can be to the rules."""
        found = self._calls.get(tool)
        if found is None:
            found = self._calls[tool] = tuple(self._call(tool))
        return found

    # --------------------------------------------------------------------------- working out

    def _cell(
        self, cell: Cell, entries: Sequence[Entry], state: str, event: str
    ) -> Iterator[Branch]:
        names = names_at(self.table, self.sheet.specs, event, state)
        if any(entry.needs for entry in entries):
            names = attrs.evolve(names, given={**names.given, "results": {}})
        guards = [entry.row.guard for entry in entries if entry.row.guard is not None]
        atoms = list(self._named(event))
        wheres = [atom.where for _, _, atom in atoms if atom.where is not None]
        seen: dict[tuple[Any, ...], Branch] = {}
        for truths, scope in _outcomes((*guards, *wheres), names):
            given = iter(truths[: len(guards)])
            held = [True if entry.row.guard is None else next(given) for entry in entries]
            roles = self._roles(event, atoms, truths[len(guards) :])
            for branch in self._taken(cell, entries, held, names):
                for each in self._variants(event, roles):
                    made = attrs.evolve(branch, roles=each, scope=scope or {})
                    key = (branch.row and branch.row.index, branch.error, each)
                    known = seen.get(key)
                    if known is None or (scope is not None and not known.scope):
                        seen[key] = made
        yield from seen.values()

    def _taken(
        self, cell: Cell, entries: Sequence[Entry], held: Sequence[Truth], names: Names
    ) -> Iterator[Branch]:
        """Return what happens when guards hold so, with and without an assign that fails."""
        fails = Branch(None, "", "", True, ())
        for entry, truth in zip(entries, held, strict=True):
            if truth is ERROR:
                yield fails
                return
            if not truth:
                continue
            if self._risky(entry.row, names):
                yield fails
            if not entry.row.note:
                target = "" if entry.row.stays else str(entry.row.transition.target)
                yield Branch(entry.row, target, "", False, ())
                return
        yield Branch(None, "", cell.default if cell.default in _ENDS else "", False, ())

    def _risky(self, row: Row, names: Names) -> bool:
        """Whether an assign of a row may not be evaluated, or may not fit its key."""
        for target, value in row.assigns:
            if not self._total(value.root, names):
                return True
            key = self.table.context.get(target.root)
            if key is None or target.steps or key.type.startswith("any"):
                continue
            kinds = self.typist.kinds(value.root, names)
            if kinds is None or not kinds <= kinds_of(key.type):
                return True
        return False

    def _total(self, node: Node, names: Names) -> bool:
        """Whether an expression has a value whatever comes."""
        if isinstance(node, Quantifier):
            return False
        parts = children(node)
        if not all(self._total(part, names) for part in parts):
            return False
        kinds = [set(self.typist.kinds(part, names) or ()) for part in parts]
        match node:
            case Unary(op="not"):
                return kinds == [{"boolean"}]
            case Unary():
                return kinds == [{"number"}]
            case Binary(op="and" | "or"):
                return kinds == [{"boolean"}, {"boolean"}]
            case Binary(op="==" | "!="):
                return True
            case Binary(op="in"):
                return False
            case Binary(op="-"):
                return kinds == [{"number"}, {"number"}]
            case Binary():
                return kinds in ([{"number"}, {"number"}], [{"text"}, {"text"}])
            case Call(function="len"):
                return bool(kinds[0]) and kinds[0] <= {"text", "list", "object"}
            case Call(function="lower"):
                return kinds == [{"text"}]
            case Call(function="ago"):
                return False
            case _:
                return True

    def _call(self, tool: str) -> Iterator[Branch]:
        spec = (self.sheet.specs or {}).get(tool)
        names = Names(self.table, {"args": arguments_of(self.table, spec, tool)})
        atoms = list(self._named(tool))
        wheres = [atom.where for _, _, atom in atoms if atom.where is not None]
        use = self.table.tools.get(tool)
        when = self.sheet.quietly(None if use is None else use.when)
        asked = (*wheres, *([when] if when is not None and wheres else ()))
        seen: dict[Roles, Branch] = {}
        for truths, scope in _outcomes(asked, names):
            if when is not None and wheres and truths[-1] is not True:
                continue  # the gate refuses what its condition does not allow
            for roles in self._variants(tool, self._roles(tool, atoms, truths)):
                if roles not in seen or (scope is not None and not seen[roles].scope):
                    seen[roles] = Branch(None, "", "", False, roles, scope or {})
        yield from seen.values()

    def fits(self, tool: str) -> bool:
        """Whether every bound value of a tool fits its parameter, whatever the context holds."""
        use = self.table.tools.get(tool)
        spec = (self.sheet.specs or {}).get(tool)
        schema = arguments_of(self.table, spec, tool)
        properties = schema.get("properties") or {}
        plain = Names(self.table, {})
        for argument, text in {} if use is None else use.bind.items():
            value = self.sheet.quietly(text)
            if value is None or not self._total(value.root, plain):
                return False
            shape = shape_of(properties[argument], (), schema) if argument in properties else ANY
            kinds = self.typist.kinds(value.root, plain)
            bounded = attrs.evolve(shape, kinds=ANY.kinds, known=False) != ANY
            if shape.known and (bounded or kinds is None or not kinds <= shape.kinds):
                return False
        return True

    # --------------------------------------------------------------------------------- rules

    def _named(self, name: str) -> Iterator[tuple[int, Role, Atom]]:
        for number, heard in enumerate(self._heard):
            for role, atom in heard.get(name, ()):
                yield number, role, atom

    def _roles(
        self, name: str, atoms: Sequence[tuple[int, Role, Atom]], truths: Sequence[Truth]
    ) -> Roles:
        wheres = iter(truths)
        found: list[list[Role]] = [[] for _ in self.rules]
        for number, role, atom in atoms:
            if (atom.where is None or next(wheres) is True) and role not in found[number]:
                found[number].append(role)
        return tuple(
            rule.complete(name, tuple(sorted(roles, key=ORDER.index)))
            for rule, roles in zip(self.rules, found, strict=True)
        )

    def _variants(self, name: str, roles: Roles) -> Iterable[Roles]:
        """Return what a fact is to the rules, should it be about the value that is followed."""
        choices: list[tuple[tuple[Role, ...], ...]] = []
        for rule, mine in zip(self.rules, roles, strict=True):
            if rule.per is None:
                choices.append((mine,))
                continue
            key = self.key(rule, name) if mine else self.world
            if key is None or self.world is None:
                never = self.world == "null" and not self._nullable(rule, name)
                choices.append(((),) if never else (mine, ()) if mine else (mine,))
            else:
                choices.append((mine,) if key == self.world else ((),))
        return product(*choices)

    def _nullable(self, rule: Rule, name: str) -> bool:
        """Whether the value of `per=` that a fact carries may be null, or read as null."""
        root = None if rule.per is None else rule.per.root
        if not isinstance(root, Path):
            return True
        specs = self.sheet.specs
        spec = (specs or {}).get(name)
        shape = (
            Names(self.table, {"args": arguments_of(self.table, spec, name)})
            if is_call(name)
            else names_at(self.table, specs, name)
        ).shape(root)
        return not shape.known or shape.nullable

    def worlds(self) -> tuple[str, ...]:
        """Return the values of `per=` to follow one rule for: known ones, and any other."""
        (rule,) = self.rules
        if rule.per is None:
            return ("",)
        names = set(self._heard[0])
        if rule.automaton.hears_other:
            names |= {
                tool for state in self.table.states.values() for tool in self.table.tools_in(state)
            }
        keys = {self.key(rule, name) for name in names}
        known = sorted(key for key in keys if key is not None)
        return (*known, ANY_OTHER) if None in keys else tuple(known)

    def key(self, rule: Rule, name: str) -> str | None:
        """Return the value of `per=` that a fact always has, as a text; None when it varies."""
        root = None if rule.per is None else rule.per.root
        if not isinstance(root, Path):
            return None
        if root.root == "context":
            return unparse(root) if self._constant([root]) else None
        if root.root in ("visits", "iterations", "now"):
            return None
        carried = {"args"} if is_call(name) else set(names_at(self.table, None, name).given)
        if root.root not in carried:
            return "null"
        use = self.table.tools.get(name.partition(".")[0])
        if root.root == "args" and use is not None and len(root.steps) == 1:
            value = self.sheet.quietly(use.bind.get(root.member))
            if value is not None and self._constant(value.paths()):
                return unparse(value.root)
        return None

    def _constant(self, paths: Iterable[Path]) -> bool:
        """Whether paths read nothing but context keys that are the same all run long."""
        return all(path.root == "context" and path.member in self.fixed for path in paths)


def _fixed(sheet: Sheet) -> frozenset[str]:
    """Return the context keys that keep their first value: no row assigns them."""
    assigned = {target.root for row in sheet.grid.rows for target, _ in row.assigns}
    kept = {name for name, key in sheet.table.context.items() if key.scope != "stretch"}
    return frozenset(kept - assigned)


def _pairs(rule: Rule) -> dict[str, list[tuple[Role, Atom]]]:
    found: dict[str, list[tuple[Role, Atom]]] = {}
    for role, side in zip(rule.automaton.sides, rule.sides, strict=True):
        for atom in side:
            found.setdefault(atom.name, []).append((role, atom))
    return found


def _outcomes(
    expressions: tuple[Expression, ...], names: Names
) -> list[tuple[tuple[Truth, ...], Mapping[str, JSON] | None]]:
    """Return what conditions can be together, each with values where some are known."""
    if not expressions:
        return [((), {})]
    cut = regions(expressions, names)
    if cut.complete:
        return list(cut.found.items())
    if len(expressions) > _GUESSED:
        raise Unsearchable(cut.reason)
    every: tuple[Truth, ...] = (True, False, ERROR)
    return [(truths, None) for truths in product(every, repeat=len(expressions))]
