"""Conform: the rules of a table, asked of what really happened.

Rules of this file.  1. The same rule objects that the gate applies move on the recorded facts;
nothing is decided again, nothing is called.  2. Facts come in the order in which a live run shows
them to its rules: a call when it is intended, an event when it is stepped, a turn when the model is
asked.  3. What a rule still asks for is broken in a run that succeeded or failed, and owed in one
that is parked, open or cancelled.
Not here: logs of other systems (`foreign`), deciding again (`replay`), proofs (`proof.product`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, TypeAlias

import attrs

from statemachine_agents.journal.fold import take
from statemachine_agents.journal.journal import Journal
from statemachine_agents.journal.records import Record
from statemachine_agents.journal.standing import Standing, stretch_begun
from statemachine_agents.kernel.gate import gate_scope
from statemachine_agents.kernel.workflow import Workflow
from statemachine_agents.table.automata import Role
from statemachine_agents.table.grid import definitions
from statemachine_agents.table.model import Table
from statemachine_agents.table.rule_syntax import parse_rule
from statemachine_agents.table.rules import ALL, TURN, Rule, RuleSet, RuleState, is_call
from statemachine_agents.values import JSON

Rules: TypeAlias = Workflow | Table | RuleSet | Sequence[str]
"""Where rules may come from: a workflow, a table, parsed rules, or their texts."""


@attrs.frozen
class Fact:
    """One thing a rule can see.

    Args:
        name: a tool (its intent), an event, or `rules.TURN`.
        scope: the names `where` and `per` may read.
        call: number of the call it belongs to; None for events of the engine.
        at: where it stands: seq of the record, or place in a foreign log, from 1.
    """

    name: str
    scope: Mapping[str, JSON]
    call: int | None = None
    at: int = 0


@attrs.frozen
class Violation:
    """A rule that was not kept, once for each fact that broke it.

    Args:
        run_id: the run.
        at: seq or place of the fact; 0 when it was broken by the end of the run.
        rule: index of the rule, from 0.
        text: the rule as written.
        fact: the fact that broke it; `end` when nothing came that was due.
        value: value of `per` as JSON text, `*` without `per`.
    """

    run_id: str
    at: int
    rule: int
    text: str
    fact: str
    value: str

    def __str__(self) -> str:
        where = f"at {self.at}: {self.fact}" if self.at else "at the end, what it asks for is due"
        about = "" if self.value == ALL else f" for {self.value}"
        return f"run {self.run_id}, {where}: breaks {self.text}{about}"


@attrs.frozen(kw_only=True)
class Conformance:
    """What one run says to a set of rules.

    Args:
        run_id: the run.
        facts: how many facts were seen.
        violations: in the order in which they happened.
        owed: (rule index, value) of what is still due in a run that is open or was cancelled.
    """

    run_id: str
    facts: int
    violations: tuple[Violation, ...] = ()
    owed: tuple[tuple[int, str], ...] = ()

    @property
    def kept(self) -> bool:
        """Whether no rule was broken."""
        return not self.violations

    def to_dict(self) -> dict[str, JSON]:
        """Return it as plain JSON."""
        return {
            "run_id": self.run_id,
            "facts": self.facts,
            "kept": self.kept,
            "violations": [attrs.asdict(violation) for violation in self.violations],
            "owed": [{"rule": rule, "for": value} for rule, value in self.owed],
        }


def conform(journal: Journal, rules: Rules | None = None) -> Conformance:
    """Ask a journal whether it keeps rules: its own, or others.

    Args:
        journal: of any run of this package, ended or not.
        rules: those to ask for; None means the rules the run was made with.

    Raises:
        JournalDamaged: the chain does not verify, or a body was erased.
        ExpressionError: a text is no rule.

    Example:
        >>> conform(journal, ["at_most(process_credit, 1)"]).kept  # doctest: +SKIP
        True
    """
    workflow = journal.verify().workflow
    wanted = workflow.rules if rules is None else rules_of(rules)
    standing = Standing(workflow, journal.run_id)
    watch = Watch(wanted, journal.run_id)
    for fact in _facts(standing, journal.records):
        watch.see(fact)
    status = "" if standing.ended is None else standing.ended["status"]
    return watch.end(ended=status in ("succeeded", "failed"))


def audit(run_id: str, facts: Iterable[Fact], rules: RuleSet, *, ended: bool = True) -> Conformance:
    """Ask facts of any origin whether they keep rules.

    Args:
        run_id: what to call the run.
        facts: in order.
        rules: the rules.
        ended: whether the run is over, so that what is due will not come any more.
    """
    watch = Watch(rules, run_id)
    for fact in facts:
        watch.see(fact)
    return watch.end(ended=ended)


def rules_of(source: Rules) -> RuleSet:
    """Return the rules of a workflow, a table or some texts.

    Raises:
        ExpressionError: a text is no rule.
    """
    if isinstance(source, RuleSet):
        return source
    if isinstance(source, Workflow):
        return source.rules
    if isinstance(source, Table):
        known, _ = definitions(source)
        return RuleSet.of(tuple(parse_rule(text, known) for text in source.rules))
    return RuleSet.of(tuple(parse_rule(text) for text in source))


# --------------------------------------------------------------------------------- facts of a run


def facts_of(journal: Journal) -> Iterator[Fact]:
    """Yield what a run's rules saw, in order.

    Raises:
        JournalDamaged: the chain does not verify, or a body was erased.
    """
    workflow = journal.verify().workflow
    return _facts(Standing(workflow, journal.run_id), journal.records)


def _facts(s: Standing, records: Iterable[Record]) -> Iterator[Fact]:
    for record in records:
        kind, body = record.kind, record.body
        fact = _step_fact(s, record) if kind == "stepped" else None
        new = kind == "call_intended" and body.get("attempt") == 1
        take(s, record)
        if fact is not None:
            yield fact
        elif kind == "model_asked":
            yield Fact(TURN, {}, None, record.seq)
        elif new:
            scope = gate_scope(s.snap(), body["arguments"], s.now)
            yield Fact(body["tool"], scope, body["no"], record.seq)


def _step_fact(s: Standing, record: Record) -> Fact | None:
    """Return the event of a step as the kernel showed it to the rules."""
    snapshot, name = s.snapshot, record.body.get("event", "")
    if snapshot is None or snapshot.ended:
        return None  # the first step enters a state; a run that has ended hears nothing
    scope: dict[str, JSON] = {
        "context": snapshot.context,
        "visits": snapshot.visits,
        "iterations": snapshot.counters.iterations,
        "now": s.now,
    }
    arrival = s.arrivals[0] if s.arrivals else None
    if arrival is not None and arrival.name == name:
        return Fact(name, {**scope, **arrival.scope}, arrival.call, record.seq)
    if name == "user.message" and s.inbox:
        before = stretch_begun(s.workflow, snapshot)
        scope |= {"context": before.context, "iterations": 0, "message": dict(s.inbox[0])}
    else:
        reason = str(record.body.get("reason", ""))
        scope["error"] = {"kind": name.partition(".")[2], "text": reason, "attempts": 0}
    return Fact(name, scope, None, record.seq)


# ------------------------------------------------------------------------------------- watching


class Watch:
    """Rules watching one run, fact by fact.

    Args:
        rules: the rules.
        run_id: named in violations.
    """

    def __init__(self, rules: RuleSet, run_id: str = "") -> None:
        self.rules = rules
        self.run_id = run_id
        self.facts = 0
        self.violations: list[Violation] = []
        self._each = [_watch(rule) for rule in rules.rules]
        self._by_name: dict[str, tuple[tuple[int, _Plain | _Full], ...]] = {}

    def see(self, fact: Fact) -> None:
        """Show a fact to every rule it can move."""
        self.facts += 1
        name = fact.name
        watching = self._by_name.get(name)
        if watching is None:
            listening = self.rules.listening(name)
            watching = tuple((index, self._each[index]) for index in listening)
            self._by_name[name] = watching
        for index, each in watching:
            for value in each.see(name, fact.scope, fact.call):
                self._note(fact.at, index, name, value)

    def end(self, *, ended: bool) -> Conformance:
        """Return what was seen; what is due counts as broken if the run is over."""
        owed = [(index, key) for index, each in enumerate(self._each) for key in each.owed()]
        for index, key in owed if ended else ():
            self._note(0, index, "end", key)
        return Conformance(
            run_id=self.run_id,
            facts=self.facts,
            violations=tuple(self.violations),
            owed=() if ended else tuple(owed),
        )

    def _note(self, at: int, index: int, name: str, value: str) -> None:
        text = self.rules.rules[index].text
        self.violations.append(Violation(self.run_id, at, index, text, name, value))


class _Plain:
    """A rule without `where` and `per`: one state, and the calls that may still be taken back."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.at = 0
        self._open: set[int | None] = set()
        self._roles: dict[str, tuple[Role, ...]] = {}
        self._moves: dict[tuple[int, str], tuple[int, bool]] = {}
        self._steady = rule.automaton.count is None and not rule.automaton.takes_back

    def see(self, name: str, _scope: Mapping[str, JSON], call: int | None) -> tuple[str, ...]:
        """Move; return the values for which the rule is broken."""
        if self._steady:
            pair = (self.at, name)
            move = self._moves.get(pair)
            if move is None:
                move = self._moves[pair] = self._played(name)
            self.at, broken = move
        else:
            if call in self._open and "." in name:
                self._close(name, call)
            before = self.at
            self.at, broken = self._played(name)
            if self.at != before and is_call(name) and self.rule.counts(self._roles[name]):
                self._open.add(call)
        return _ONE if broken else ()

    def _played(self, name: str) -> tuple[int, bool]:
        roles = self._roles.get(name)
        if roles is None:
            roles = self._roles[name] = self.rule.roles(name, {})
        return self.rule.automaton.play_all(self.at, roles, self.rule.n)

    def _close(self, name: str, call: int | None) -> None:
        outcome = name.rpartition(".")[2]
        if outcome == "error":
            self.at = self.rule.automaton.take_back(self.at)
        if outcome != "unknown":
            self._open.discard(call)

    def owed(self) -> tuple[str, ...]:
        """Return `*` if something is due."""
        return _ONE if self.rule.automaton.is_due(self.at, self.rule.n) else ()


class _Full:
    """Any rule, one automaton a value of `per`."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.state: RuleState = rule.start()

    def see(self, name: str, scope: Mapping[str, JSON], call: int | None) -> tuple[str, ...]:
        """Move; return the values for which the rule is broken."""
        rule, state = self.rule, self.state
        if "." in name and f"open {call}" in state:
            self.state = state = rule.close(state, name, call)
        roles = rule.roles(name, scope)
        if not roles:
            return ()
        keys = rule.running(state) if name == TURN else (rule.key(scope),)
        for key in keys:
            self.state = rule.react(self.state, roles, key, name, call)
        return tuple(key for key in keys if rule.breaks(state, roles, key))

    def owed(self) -> tuple[str, ...]:
        """Return for which values something is due."""
        return self.rule.owed(self.state)


def _watch(rule: Rule) -> _Plain | _Full:
    plain = rule.per is None and all(atom.where is None for atom in rule.atoms())
    return _Plain(rule) if plain else _Full(rule)


_ONE: Final = (ALL,)
