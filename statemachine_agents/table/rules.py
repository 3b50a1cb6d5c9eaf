"""Rules: what may never, or must always, happen in a run, as small automata.

Rules of this file.  1. A rule is parsed once and is data plus three pure functions: `start`,
`observe`, `allows`; the gate, the fold and later the prover use the same object.  2. `at_most` and
the like count *intents*, per call and not per attempt, minus those closed by `.error`: a call in
doubt counts as done.  3. `per=` keeps one automaton per value.
Enforced here: `never at_most only_after` refuse a call; `leads_to` is an obligation, reported as
owed or broken.  The other forms are parsed and stored; `check` says that they are not enforced yet.
Not here: proofs about rules (`proof`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import attrs

from statemachine_agents.errors import EvaluationError, ExpressionError
from statemachine_agents.table.expressions import Expression, Parser, parse
from statemachine_agents.values import JSON, dumps

FORMS: Final[Mapping[str, tuple[str, ...]]] = {
    "never": ("atom",),
    "at_most": ("atom", "count"),
    "exactly": ("atom", "count"),
    "must": ("atom",),
    "starts_with": ("atom",),
    "only_after": ("atom", "atom"),
    "each_needs": ("atom", "atom"),
    "leads_to": ("atom", "atom"),
    "next": ("atom", "atom"),
    "never_after": ("atom", "atom"),
    "not_both": ("atom", "atom"),
    "within": ("atom", "atom", "count"),
    "ends_within": ("count",),
}
"""Rule form -> its arguments. Source: verification.md section 3."""

ENFORCED: Final = frozenset({"never", "at_most", "only_after", "leads_to"})
_ALL: Final = "*"


@attrs.frozen
class Atom:
    """One thing a rule speaks of: a tool's intents (`process_credit`) or an event (`x.ok`)."""

    name: str
    where: Expression | None = None

    @property
    def intent(self) -> bool:
        """Whether it is about calls, not about events."""
        return "." not in self.name

    def fits(self, scope: Mapping[str, JSON]) -> bool:
        """Whether the condition holds; one that cannot be evaluated does not."""
        if self.where is None:
            return True
        try:
            return self.where.holds(scope)
        except EvaluationError:
            return False


@attrs.frozen
class Rule:
    """One parsed rule.

    Args:
        text: as written.
        form: one of `FORMS`.
        sides: its atom arguments, each a tuple of alternatives.
        count: its number, or None.
        per: one automaton per value of this expression, or None.
    """

    text: str
    form: str
    sides: tuple[tuple[Atom, ...], ...]
    count: int | None = None
    per: Expression | None = None

    def atoms(self) -> tuple[Atom, ...]:
        """Every atom the rule names."""
        return tuple(atom for side in self.sides for atom in side)

    @property
    def enforced(self) -> bool:
        """Whether a running workflow applies it already."""
        return self.form in ENFORCED

    @property
    def most(self) -> int:
        """How many intents `at_most` or `never` allow."""
        return 0 if self.form == "never" else self.count or 0

    def key(self, scope: Mapping[str, JSON]) -> str:
        """Return which automaton a fact belongs to; values that cannot be read share one."""
        if self.per is None:
            return _ALL
        try:
            return dumps(self.per.evaluate(scope)).decode()
        except EvaluationError:
            return _ALL

    def start(self) -> Mapping[str, Any]:
        """Return the automaton state of a fresh run."""
        return {}

    def allows(self, state: Mapping[str, Any], tool: str, scope: Mapping[str, JSON]) -> bool:
        """Whether an intent of a tool may be made now."""
        if self.form not in ("never", "at_most", "only_after"):
            return True
        if not any(atom.name == tool and atom.fits(scope) for atom in self.sides[0]):
            return True
        key = self.key(scope)
        if self.form == "only_after":
            return bool(state.get(key))
        return int(state.get(key, 0)) < self.most

    def observe(
        self, state: Mapping[str, Any], name: str, scope: Mapping[str, JSON], call: int | None
    ) -> Mapping[str, Any]:
        """Return the automaton state after a fact; the same object when nothing changed.

        Args:
            state: before.
            name: a tool (its intent) or an event.
            scope: what `where` and `per` may read.
            call: number of the call it belongs to.
        """
        if self.form in ("at_most", "never"):
            return self._count(state, name, scope, call)
        if self.form == "only_after":
            if _hit(self.sides[1], name, scope):
                key = self.key(scope)
                return state if state.get(key) else {**state, key: True}
            return state
        if self.form == "leads_to":
            key = self.key(scope)
            if _hit(self.sides[0], name, scope):
                return state if key in state else {**state, key: True}
            if key in state and _hit(self.sides[1], name, scope):
                return {other: value for other, value in state.items() if other != key}
        return state

    def _count(
        self, state: Mapping[str, Any], name: str, scope: Mapping[str, JSON], call: int | None
    ) -> Mapping[str, Any]:
        """Count intents; `open <call>` remembers which count a later `.error` takes back."""
        opened = f"open {call}"
        if "." not in name:
            if not _hit(self.sides[0], name, scope):
                return state
            key = self.key(scope)
            return {**state, key: int(state.get(key, 0)) + 1, opened: key}
        if opened not in state:
            if _hit(self.sides[0], name, scope):  # a rule that counts events, not intents
                key = self.key(scope)
                return {**state, key: int(state.get(key, 0)) + 1}
            return state
        outcome = name.rpartition(".")[2]
        if outcome == "unknown":
            return state
        rest = {other: value for other, value in state.items() if other != opened}
        if outcome == "error":
            rest[state[opened]] = int(rest[state[opened]]) - 1
        return rest

    def owed(self, state: Mapping[str, Any]) -> tuple[str, ...]:
        """Return for which values an obligation is still open; `*` when the rule has no `per`."""
        return tuple(sorted(state)) if self.form == "leads_to" else ()


def _hit(side: tuple[Atom, ...], name: str, scope: Mapping[str, JSON]) -> bool:
    return any(atom.name == name and atom.fits(scope) for atom in side)


@attrs.frozen
class RuleSet:
    """All rules of a table, indexed by what they listen to."""

    rules: tuple[Rule, ...]
    by_name: Mapping[str, tuple[int, ...]]

    @classmethod
    def of(cls, rules: tuple[Rule, ...]) -> RuleSet:
        """Index rules by the tools and events that can move them."""
        found: dict[str, dict[int, None]] = {}
        for index, rule in enumerate(rules):
            if not rule.enforced:
                continue
            for atom in rule.atoms():
                names = [atom.name]
                if atom.intent and rule.form in ("at_most", "never"):
                    names += [f"{atom.name}.{outcome}" for outcome in ("ok", "error", "unknown")]
                for name in names:
                    found.setdefault(name, {})[index] = None
        return cls(rules, {name: tuple(indexes) for name, indexes in found.items()})

    def start(self) -> tuple[Mapping[str, Any], ...]:
        """Return every automaton's first state."""
        return tuple(rule.start() for rule in self.rules)

    def observe(
        self,
        states: tuple[Mapping[str, Any], ...],
        name: str,
        scope: Mapping[str, JSON],
        call: int | None = None,
    ) -> tuple[Mapping[str, Any], ...]:
        """Return the automata after a fact; the same tuple when none moved."""
        listening = self.by_name.get(name)
        if listening is None:
            return states
        changed = {}
        for index in listening:
            new = self.rules[index].observe(states[index], name, scope, call)
            if new is not states[index]:
                changed[index] = new
        if not changed:
            return states
        return tuple(changed.get(index, state) for index, state in enumerate(states))

    def forbids(
        self, states: tuple[Mapping[str, Any], ...], tool: str, scope: Mapping[str, JSON]
    ) -> tuple[int, Rule] | None:
        """Return the first rule that does not allow an intent, with its index."""
        for index in self.by_name.get(tool, ()):
            if not self.rules[index].allows(states[index], tool, scope):
                return index, self.rules[index]
        return None

    def owed(self, states: tuple[Mapping[str, Any], ...]) -> list[dict[str, JSON]]:
        """Return the open obligations: rule index, its text, the value it is about."""
        return [
            {"rule": index, "text": rule.text, "for": value}
            for index, (rule, state) in enumerate(zip(self.rules, states, strict=True))
            for value in rule.owed(state)
        ]


def parse_rule(text: str, define: Mapping[str, Expression] | None = None) -> Rule:
    """Parse one rule, such as `at_most(process_credit, 1, per=args.order_id)`.

    Args:
        text: the rule.
        define: the table's named expressions.

    Raises:
        ExpressionError: says what was expected and where.
    """
    return _RuleParser(text, define or {}).rule()


class _RuleParser:
    def __init__(self, text: str, define: Mapping[str, Expression]) -> None:
        self.text = text
        self.define = define
        self.tokens = Parser(text, define=define)

    def fail(self, message: str) -> ExpressionError:
        token = self.tokens.peek
        span = (token.start, token.end)
        return ExpressionError(f"{self.text!r}: {message}", text=self.text, span=span)

    def name(self, what: str) -> str:
        token = self.tokens.peek
        if token.kind != "name":
            raise self.fail(f"expected {what}, got {token.text or 'the end'!r}")
        self.tokens.take()
        return token.text

    def sees(self, text: str) -> bool:
        return self.tokens.peek.text == text and self.tokens.peek.kind in ("op", "name")

    def expression(self) -> Expression:
        start = self.tokens.peek.start
        self.tokens.expression()
        # Parsed again on its own, so that spans and messages point into the part, not the rule.
        return parse(self.text[start : self.tokens.peek.start].rstrip(), self.define)

    def rule(self) -> Rule:
        form = self.tokens.peek.text
        if self.tokens.peek.kind == "name" and form not in FORMS:
            raise self.fail(f"no rule is named {form!r}; known: {', '.join(FORMS)}")
        self.name("a rule")
        self.tokens.expect("(")
        sides: list[tuple[Atom, ...]] = []
        count: int | None = None
        for index, kind in enumerate(FORMS[form]):
            if index:
                self.tokens.expect(",")
            if kind == "atom":
                sides.append(self.side())
            else:
                count = self.count()
        per = None
        if self.sees(","):
            self.tokens.take()
            if self.name("`per=`") != "per":
                raise self.fail(f"{form} takes {len(FORMS[form])} arguments and `per=expression`")
            self.tokens.expect("=")
            per = self.expression()
        self.tokens.expect(")")
        if self.tokens.peek.kind != "end":
            raise self.fail(f"nothing may follow the rule, got {self.tokens.peek.text!r}")
        return Rule(self.text, form, tuple(sides), count, per)

    def count(self) -> int:
        token = self.tokens.peek
        if token.kind != "number" or not token.text.isdecimal():
            raise self.fail(f"expected a whole number, got {token.text or 'the end'!r}")
        self.tokens.take()
        return int(token.text)

    def side(self) -> tuple[Atom, ...]:
        if not self.sees("["):
            return (self.atom(),)
        self.tokens.take()
        atoms = [self.atom()]
        while self.sees(","):
            self.tokens.take()
            atoms.append(self.atom())
        self.tokens.expect("]")
        return tuple(atoms)

    def atom(self) -> Atom:
        name = self.name("a tool or an event")
        if self.sees("."):
            self.tokens.take()
            name = f"{name}.{self.name('an outcome such as ok')}"
        where = None
        if self.sees("where"):
            self.tokens.take()
            where = self.expression()
        return Atom(name, where)
