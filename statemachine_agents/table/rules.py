"""Rules: what may never, or must always, happen in a run, as small automata.

Rules of this file.  1. A rule is parsed once and is data plus a few pure functions: `roles` says
what a fact is to it, `react` moves one automaton, `observe` does both; the gate, the fold, the
prover and `conform` use the same object.  2. An intent counts from the moment it is written down; a
call closed by `.error` did not happen and is taken back, a call in doubt counts as done.
3. `per=` keeps one automaton per value.  4. What a rule forbids is refused at the gate when it is a
call; a fact cannot be refused, so a fact that breaks a rule is marked and reported.
The state of a rule in a run is a plain mapping: value of `per` (or `*`) -> state of that automaton,
`open <call>` -> value whose count that call may still take back, `broken <value>` -> True.
Not here: the automata (`automata`), the text form (`rule_syntax`), proofs about rules (`proof`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeAlias

import attrs

from statemachine_agents.errors import EvaluationError
from statemachine_agents.table.automata import FORMS, ORDER, Form, Role
from statemachine_agents.table.events import ENGINE_EVENTS
from statemachine_agents.table.expressions import Expression
from statemachine_agents.values import JSON, dumps

RuleState: TypeAlias = Mapping[str, Any]
"""What a rule remembers of a run; see the top of this file."""

TURN: Final = "model.asked"
"""The fact that counts turns: the model was asked. No row and no rule can name it."""

ALL: Final = "*"
"""The one automaton of a rule without `per=`."""

_OUTCOMES: Final = ("ok", "error", "unknown")


_BARE: Final = frozenset(event for event in ENGINE_EVENTS if "." not in event)


def is_call(name: str) -> bool:
    """Whether a fact is the intent of a call; events carry a dot, but for two of the engine's."""
    return "." not in name and name not in _BARE


@attrs.frozen
class Atom:
    """One thing a rule speaks of: a tool's intents (`process_credit`) or an event (`x.ok`)."""

    name: str
    where: Expression | None = None

    @property
    def intent(self) -> bool:
        """Whether it is about calls, not about events."""
        return is_call(self.name)

    @property
    def tool(self) -> str:
        """The tool it speaks of, or the first word of an engine event."""
        return self.name.partition(".")[0]

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
        form: one of `automata.FORMS`.
        sides: its atom arguments, each a tuple of alternatives.
        count: its number, or None.
        per: one automaton per value of this expression, or None.
    """

    text: str
    form: str
    sides: tuple[tuple[Atom, ...], ...]
    count: int | None = None
    per: Expression | None = None
    automaton: Form = attrs.field(init=False, eq=False, repr=False)
    _atoms: Mapping[str, tuple[tuple[Role, Atom], ...]] = attrs.field(
        init=False, eq=False, repr=False
    )
    _expected: frozenset[str] = attrs.field(init=False, eq=False, repr=False)
    _fixed: Mapping[str, tuple[Role, ...]] = attrs.field(init=False, eq=False, repr=False)

    @automaton.default
    def _form(self) -> Form:
        return FORMS[self.form]

    @_atoms.default
    def _by_name(self) -> dict[str, tuple[tuple[Role, Atom], ...]]:
        pairs = [
            (role, atom)
            for role, side in zip(FORMS[self.form].sides, self.sides, strict=True)
            for atom in side
        ]
        names = dict.fromkeys(atom.name for _, atom in pairs)
        return {
            name: tuple(
                (role, atom) for wanted in ORDER for role, atom in pairs
                if role == wanted and atom.name == name
            )
            for name in names
        }  # fmt: skip

    @_expected.default
    def _awaited(self) -> frozenset[str]:
        """Tools of the events that a form which hears every call waits for."""
        sides = zip(FORMS[self.form].sides, self.sides, strict=True)
        role = "b" if "b" in FORMS[self.form].sides else "a"
        return frozenset(
            atom.tool for side_role, side in sides for atom in side
            if side_role == role and not atom.intent
        )  # fmt: skip

    @_fixed.default
    def _unconditional(self) -> dict[str, tuple[Role, ...]]:
        """Roles of the facts that no `where` speaks of: they are the same every time."""
        plain = {
            name: self.complete(name, tuple(dict.fromkeys(role for role, _ in pairs)))
            for name, pairs in self._atoms.items()
            if all(atom.where is None for _, atom in pairs)
        }
        return {**plain, TURN: ("turn",)}

    def atoms(self) -> tuple[Atom, ...]:
        """Every atom the rule names."""
        return tuple(atom for side in self.sides for atom in side)

    @property
    def n(self) -> int:
        """The rule's number; 0 where it has none."""
        return self.count or 0

    @property
    def names(self) -> tuple[str, ...]:
        """The intents and events that can move it, besides `hears_other` and turns."""
        found = dict.fromkeys(self._atoms)
        if self.automaton.takes_back:
            for atom in self.atoms():
                if atom.intent:
                    found |= dict.fromkeys(f"{atom.name}.{outcome}" for outcome in _OUTCOMES)
        if self.automaton.hears_turns:
            found[TURN] = None
        return tuple(found)

    # -------------------------------------------------------------------------- what a fact is

    def roles(self, name: str, scope: Mapping[str, JSON]) -> tuple[Role, ...]:
        """Return the roles a fact plays, in the order they are played.

        Args:
            name: a tool (its intent), an event, or `TURN`.
            scope: what `where` may read.
        """
        fixed = self._fixed.get(name)
        if fixed is not None:
            return fixed
        found = [role for role, atom in self._atoms.get(name, ()) if atom.fits(scope)]
        return self.complete(name, tuple(dict.fromkeys(found)))

    def complete(self, name: str, found: tuple[Role, ...]) -> tuple[Role, ...]:
        """Return roles with `other` among them where the fact is a call nobody waits for."""
        if not self.automaton.hears_other or not is_call(name) or name in self._expected:
            return found
        wanted = "b" if "b" in self.automaton.sides else "a"
        return found if wanted in found else ("other", *found)

    def key(self, scope: Mapping[str, JSON]) -> str:
        """Return which automaton a fact belongs to; values that cannot be read share one."""
        if self.per is None:
            return ALL
        try:
            return dumps(self.per.evaluate(scope)).decode()
        except EvaluationError:
            return ALL

    def counts(self, roles: tuple[Role, ...]) -> bool:
        """Whether a call that plays these roles counts until it ends in `.error`."""
        return self.automaton.takes_back and (self.automaton.count is not None or "b" in roles)

    def running(self, state: RuleState) -> tuple[str, ...]:
        """Return the values that have an automaton; `*` alone without `per`."""
        if self.per is None:
            return (ALL,)
        return tuple(key for key in state if not key.startswith(("open ", "broken ")))

    # ------------------------------------------------------------------------- how it moves

    def start(self) -> RuleState:
        """Return the state of a fresh run."""
        return {}

    def refuses(self, state: RuleState, tool: str, scope: Mapping[str, JSON]) -> bool:
        """Whether an intent of a tool would break the rule now."""
        roles = self.roles(tool, scope)
        return bool(roles) and self.breaks(state, roles, self.key(scope))

    def breaks(self, state: RuleState, roles: tuple[Role, ...], key: str) -> bool:
        """Whether a fact that plays these roles breaks the rule now."""
        return self.automaton.play_all(int(state.get(key, 0)), roles, self.n)[1]

    def observe(
        self, state: RuleState, name: str, scope: Mapping[str, JSON], call: int | None
    ) -> RuleState:
        """Return the state after a fact; the same object when nothing changed.

        Args:
            state: before.
            name: a tool (its intent), an event, or `TURN`.
            scope: what `where` and `per` may read.
            call: number of the call it belongs to.
        """
        if "." in name and f"open {call}" in state:
            state = self.close(state, name, call)
        roles = self.roles(name, scope)
        if not roles:
            return state
        if name != TURN:
            return self.react(state, roles, self.key(scope), name, call)
        for key in self.running(state):
            state = self.react(state, roles, key, name, call)
        return state

    def react(
        self, state: RuleState, roles: tuple[Role, ...], key: str, name: str, call: int | None
    ) -> RuleState:
        """Return the state after a fact whose roles and `per` value are known.

        Args:
            state: before.
            roles: in the order of `automata.ORDER`.
            key: `*`, or the canonical JSON of the value of `per`.
            name: the fact; an intent may be taken back later.
            call: number of its call.
        """
        form, before = self.automaton, int(state.get(key, 0))
        at, broken = form.play_all(before, roles, self.n)
        changes: dict[str, Any] = {}
        if at != before:
            # True is 1, and says at a glance that nothing is counted.
            changes[key] = at if form.count is not None or at != 1 else True
            if is_call(name) and self.counts(roles):
                changes[f"open {call}"] = key
        if broken and f"broken {key}" not in state:
            changes[f"broken {key}"] = True
        if not changes:
            return state
        after = {**state, **changes}
        if at == 0 and at != before:
            del after[key]
        return after

    def close(self, state: RuleState, name: str, call: int | None) -> RuleState:
        """Return the state after the outcome of a call that was counted when it was intended."""
        outcome = name.rpartition(".")[2]
        if outcome == "unknown":
            return state
        opened = f"open {call}"
        key = state[opened]
        after = {other: value for other, value in state.items() if other != opened}
        if outcome == "error":
            at = self.automaton.take_back(int(after.get(key, 0)))
            after[key] = at if self.automaton.count is not None or at != 1 else True
        return after

    # ------------------------------------------------------------------------- what is left

    def owed(self, state: RuleState) -> tuple[str, ...]:
        """Return for which values something is still due; `*` when the rule has no `per`."""
        form, n = self.automaton, self.n
        if form.due is None and not form.owes:
            return ()
        keys = self.running(state)
        return tuple(sorted(key for key in keys if form.is_due(int(state.get(key, 0)), n)))

    def broken(self, state: RuleState) -> tuple[str, ...]:
        """Return for which values the rule was broken by a fact; `*` without `per`."""
        marks = [key for key in state if key.startswith("broken ")]
        return tuple(sorted(mark.removeprefix("broken ") for mark in marks))


@attrs.frozen
class RuleSet:
    """All rules of a table, indexed by what they listen to.

    Args:
        rules: in table order.
        by_name: intent, event or `TURN` -> indexes of the rules it can move.
        others: indexes of the rules that hear every call.
        demands: indexes of the rules a successful end must have met.
    """

    rules: tuple[Rule, ...]
    by_name: Mapping[str, tuple[int, ...]]
    others: tuple[int, ...] = ()
    demands: tuple[int, ...] = ()

    @classmethod
    def of(cls, rules: tuple[Rule, ...]) -> RuleSet:
        """Index rules by the tools and events that can move them."""
        found: dict[str, set[int]] = {}
        for index, rule in enumerate(rules):
            for name in rule.names:
                found.setdefault(name, set()).add(index)
        others = tuple(index for index, rule in enumerate(rules) if rule.automaton.hears_other)
        for name, indexes in found.items():
            if is_call(name):
                indexes.update(others)
        return cls(
            rules,
            {name: tuple(sorted(indexes)) for name, indexes in found.items()},
            others,
            tuple(index for index, rule in enumerate(rules) if rule.automaton.demands),
        )

    @property
    def turns(self) -> int | None:
        """The most turns a run may take by `ends_within`, or None."""
        return min((rule.n for rule in self.rules if rule.form == "ends_within"), default=None)

    def listening(self, name: str) -> tuple[int, ...]:
        """Return the rules a fact can move."""
        found = self.by_name.get(name)
        if found is None:
            return self.others if is_call(name) else ()
        return found

    def start(self) -> tuple[RuleState, ...]:
        """Return every rule's first state."""
        return tuple(rule.start() for rule in self.rules)

    def observe(
        self,
        states: tuple[RuleState, ...],
        name: str,
        scope: Mapping[str, JSON],
        call: int | None = None,
    ) -> tuple[RuleState, ...]:
        """Return the states after a fact; the same tuple when none moved."""
        listening = self.listening(name)
        if not listening:
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
        self, states: tuple[RuleState, ...], tool: str, scope: Mapping[str, JSON]
    ) -> tuple[int, Rule] | None:
        """Return the first rule that does not allow an intent, with its index."""
        for index in self.listening(tool):
            if self.rules[index].refuses(states[index], tool, scope):
                return index, self.rules[index]
        return None

    def unmet(self, states: tuple[RuleState, ...]) -> str:
        """Return the first rule without which no run may end in success, or an empty text."""
        for index in self.demands:
            if self.rules[index].owed(states[index]):
                return self.rules[index].text
        return ""

    def owed(self, states: tuple[RuleState, ...]) -> list[dict[str, JSON]]:
        """Return what is still due: rule index, its text, the value it is about."""
        return [
            {"rule": index, "text": rule.text, "for": value}
            for index, (rule, state) in enumerate(zip(self.rules, states, strict=True))
            for value in rule.owed(state)
        ]

    def broken(self, states: tuple[RuleState, ...]) -> list[dict[str, JSON]]:
        """Return what facts have broken: rule index, its text, the value it is about."""
        return [
            {"rule": index, "text": rule.text, "for": value}
            for index, (rule, state) in enumerate(zip(self.rules, states, strict=True))
            for value in rule.broken(state)
        ]
