"""Logs of other systems, asked whether they keep rules.

Rules.  1. A mapping says how a log reads: each entry is read by the first row whose `when` holds;
an entry that no row takes is counted and passed over.  2. Calls of one turn are made together:
their intents come before their results, as a live run would have shown them.  3. Where rules read
the context, the rules' own table is followed: its rows move and assign as the facts come; nothing
is called and no rule of it is applied.
Not here: the form of a mapping (`mapping`), files (`cli`), the rules (`conform`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import attrs

from statemachine_agents.errors import EvaluationError, UsageError, ValueRefused
from statemachine_agents.journal.conform import Conformance, Fact, Watch
from statemachine_agents.journal.mapping import Mapped, Reading
from statemachine_agents.kernel.step import Event, begin, step
from statemachine_agents.kernel.workflow import Workflow, used_tools
from statemachine_agents.table.definition import Definition
from statemachine_agents.table.expressions import Expression
from statemachine_agents.table.model import Table
from statemachine_agents.table.rules import TURN, RuleSet, is_call
from statemachine_agents.table.toolspec import ToolSpec
from statemachine_agents.values import JSON, parse

_FOLLOWED: Final = frozenset({"context", "visits", "iterations"})
_OPEN: Final = {"type": "object"}


@attrs.frozen(kw_only=True)
class Heard:
    """One foreign log, asked.

    Args:
        conformance: what the rules say.
        taken: entries that were read.
        passed: entries that no row takes.
    """

    conformance: Conformance
    taken: int
    passed: int


def conform_foreign(
    log: JSON, mapping: Mapped, rules: RuleSet, *, table: Table | None = None, number: int = 1
) -> Heard:
    """Ask one foreign log whether it keeps rules.

    Args:
        log: what one run left behind, plain JSON.
        mapping: how it reads.
        rules: the rules.
        table: the rules' table, followed where rules read the context; None follows nothing.
        number: which log of its file it is, from 1; its name when it has no id.

    Raises:
        UsageError: the mapping does not fit the log; says which entry and which part.
    """
    scope = {"run": log}
    name = _value(mapping.id, scope, f"log {number}: id")
    run_id = str(number if name is None else name)
    entries = _value(mapping.events, scope, f"log {run_id}: events")
    if not isinstance(entries, list):
        msg = f"log {run_id}: events = {mapping.events.text} gives no list"
        raise UsageError(f"{msg}; name the path to its entries", run=run_id)
    given = {
        key: _value(part, scope, f"log {run_id}: context.{key}")
        for key, part in mapping.context.items()
    }
    follower = _Follower(table, rules, given)
    watch = Watch(rules, run_id)
    reader = _Log(log, mapping, run_id)
    for fact in reader.facts(entries):
        watch.see(follower.placed(fact))
    over = True
    if mapping.ended is not None:
        over = _value(mapping.ended, scope, f"log {run_id}: ended") is True
    return Heard(conformance=watch.end(ended=over), taken=reader.taken, passed=reader.passed)


class _Log:
    """The entries of one log, as facts."""

    def __init__(self, log: JSON, mapping: Mapped, run_id: str) -> None:
        self.log = log
        self.mapping = mapping
        self.run_id = run_id
        self.taken = self.passed = self.calls = 0
        self._turn: JSON = None
        self._results: list[Fact] = []

    def facts(self, entries: list[JSON]) -> Iterator[Fact]:
        for at, entry in enumerate(entries, 1):
            scope = {"run": self.log, "event": entry}
            place = f"log {self.run_id}, entry {at}"
            row = self._row(scope, place)
            if row is None:
                self.passed += 1
                continue
            self.taken += 1
            turn = self._part(self.mapping.turn, scope, f"{place}: turn")
            if turn is None or turn != self._turn or row.kind != "call":
                yield from self._flush()
            if turn is not None and turn != self._turn:
                yield Fact(TURN, {}, None, at)
            self._turn = turn
            yield from self._read(row, scope, at, place)
        yield from self._flush()

    def _flush(self) -> Iterator[Fact]:
        yield from self._results
        self._results = []

    def _row(self, scope: dict[str, JSON], place: str) -> Reading | None:
        for index, row in enumerate(self.mapping.facts):
            if row.when is None or _value(row.when, scope, f"{place}: facts[{index}].when") is True:
                return row
        return None

    def _part(self, part: Expression | None, scope: dict[str, JSON], place: str) -> JSON:
        return None if part is None else _value(part, scope, place)

    def _read(self, row: Reading, scope: dict[str, JSON], at: int, place: str) -> Iterator[Fact]:
        subject = _value(row.subject, scope, f"{place}: {row.kind}")
        if row.kind == "message":
            yield Fact("user.message", {"message": subject}, None, at)
            return
        if not isinstance(subject, str):
            msg = f"{place}: {row.kind} = {row.subject.text} gives {subject!r}, expected a name"
            raise UsageError(msg, run=self.run_id, at=at)
        if row.kind == "event":
            names = {
                key.removeprefix("scope."): _value(part, scope, f"{place}: {key}")
                for key, part in row.parts.items()
            }
            yield Fact(subject, names, None, at)
            return
        yield from self._call(row, subject, scope, at, place)

    def _call(
        self, row: Reading, tool: str, scope: dict[str, JSON], at: int, place: str
    ) -> Iterator[Fact]:
        self.calls += 1
        parts = row.parts
        given = self._part(parts.get("arguments"), scope, f"{place}: arguments")
        args = given if isinstance(given, dict) else {}
        yield Fact(tool, {"args": args}, self.calls, at)
        failed = self._part(parts.get("failed"), scope, f"{place}: failed")
        result = self._part(parts.get("result"), scope, f"{place}: result")
        if row.decode and isinstance(result, str):
            result = _decoded(result)
        if failed is True:
            text = result if isinstance(result, str) else ""
            error = {"kind": "error", "text": text, "attempts": 1}
            after = Fact(f"{tool}.error", {"args": args, "error": error}, self.calls, at)
        elif "result" in parts or failed is False:
            after = Fact(f"{tool}.ok", {"args": args, "result": result}, self.calls, at)
        else:
            return  # the log does not say what came of it
        self._results.append(after)


def _value(part: Expression, scope: Mapping[str, JSON], place: str) -> JSON:
    try:
        return part.evaluate(scope)
    except EvaluationError as error:
        raise UsageError(f"{place} = {part.text}: {error}", text=part.text) from error


def _decoded(text: str) -> JSON:
    """Return the JSON object or list that a text holds, or the text itself."""
    if text[:1] not in "{[":
        return text
    try:
        return parse(text)
    except ValueRefused:
        return text


class _Follower:
    """The rules' table, moved along with a log, so that rules may read its context."""

    def __init__(self, table: Table | None, rules: RuleSet, given: Mapping[str, JSON]) -> None:
        self._workflow: Workflow | None = None
        if table is None or not _reads(rules):
            return
        self._workflow = followed(table)
        context = {name: key.default for name, key in table.context.items()}
        self._snapshot = begin(self._workflow, {**context, **given}).after

    def placed(self, fact: Fact) -> Fact:
        """Return the fact with the context it met; let the table take it."""
        if self._workflow is None:
            return fact
        here = self._snapshot
        scope: dict[str, Any] = {
            "context": here.context,
            "visits": here.visits,
            "iterations": here.counters.iterations,
            **fact.scope,
        }
        if fact.name != TURN and not is_call(fact.name):
            names = ("result", "error", "message", "approval", "reply")
            payload = next((fact.scope[name] for name in names if name in fact.scope), None)
            event = Event(fact.name, "", fact.scope, payload, None, False, fact.call)
            self._snapshot = step(self._workflow, here, event).after
        return attrs.evolve(fact, scope=scope)


def _reads(rules: RuleSet) -> bool:
    """Whether any rule looks at what only a table can tell."""
    expressions = [rule.per for rule in rules.rules]
    expressions += [atom.where for rule in rules.rules for atom in rule.atoms()]
    return any(part is not None and _FOLLOWED & part.names() for part in expressions)


def followed(table: Table) -> Workflow:
    """Return a workflow of a table whose tools nobody has: any arguments, any outcome.

    Its rules are left out: they are asked, not applied.
    """
    specs = {name: ToolSpec(name=name, arguments=_OPEN) for name in used_tools(table)}
    return Workflow.from_definition(Definition(attrs.evolve(table, rules=()), specs))
