"""The command `conform`: the rules of a table, asked of journals and of foreign logs.

Rules.  1. Nothing is called and nothing is decided again.  2. A file says itself what it is: an
exported journal begins with its definition; anything else needs a mapping.  3. Every violation is
listed with run and position, and every rule with its counts.
Not here: the asking (`journal.conform`, `journal.foreign`).
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Final

import attrs
from cyclopts import Parameter

from statemachine_agents.cli import options as o
from statemachine_agents.cli.failures import FINDINGS, SUCCESS
from statemachine_agents.cli.finding import find_run
from statemachine_agents.cli.paper import Paper
from statemachine_agents.cli.reading import journal_of, with_store
from statemachine_agents.cli.text import plural, short
from statemachine_agents.errors import JournalDamaged, UsageError, ValueRefused
from statemachine_agents.journal.conform import Conformance, rules_of
from statemachine_agents.journal.conform import conform as ask
from statemachine_agents.journal.foreign import conform_foreign
from statemachine_agents.journal.journal import Journal
from statemachine_agents.journal.mapping import Mapped, read_mapping
from statemachine_agents.load import load_table
from statemachine_agents.stores.sqlite import SQLiteStore
from statemachine_agents.table.model import Table
from statemachine_agents.table.rules import RuleSet
from statemachine_agents.values import JSON, parse

_MOST: Final = 100_000
_SHOWN: Final = 20


@attrs.define
class _Count:
    """What the runs said to one rule."""

    kept: int = 0
    broken: int = 0
    owed: int = 0


@attrs.define
class _Sum:
    """What was asked so far."""

    paper: Paper
    runs: int = 0
    facts: int = 0
    passed: int = 0
    violations: int = 0
    counts: dict[str, _Count] = attrs.field(factory=dict)

    def take(self, found: Conformance, rules: RuleSet) -> None:
        """Count one run and tell what it broke."""
        self.runs += 1
        self.facts += found.facts
        broken = {violation.rule for violation in found.violations}
        owed = {index for index, _ in found.owed}
        for index, rule in enumerate(rules.rules):
            count = self.counts.setdefault(rule.text, _Count())
            count.broken += index in broken
            count.owed += index in owed and index not in broken
            count.kept += index not in broken and index not in owed
        for violation in found.violations:
            self.violations += 1
            self.paper.object({"event": "violation", **attrs.asdict(violation)})
            if self.violations <= _SHOWN:
                self.paper.line(("broken ", "bold red"), str(violation))
        self.paper.object({"event": "run", **found.to_dict()})


def conform(
    *journals: Annotated[
        str, Parameter(help="Files of exported journals or foreign logs, run ids, `last`, `all`.")
    ],
    rules: Annotated[
        str | None,
        Parameter(
            help="Table whose rules are asked: a folder, table file, module:attribute or bundled "
            "name. Default: the rules each run was made with."
        ),
    ] = None,
    map_: Annotated[
        Path | None,
        Parameter(name="--map", help="TOML file that says how foreign logs read as facts."),
    ] = None,
    store: o.Store = o.STORE,
    json: o.Json = False,
) -> int:
    """Ask runs, or logs of other systems, whether they keep the rules of a table."""
    if not journals:
        raise UsageError("conform needs journals: files, run ids, `last`, or `all` in the store")
    table = None if rules is None else load_table(rules)
    wanted = None if table is None else rules_of(table)
    if wanted is not None and not wanted.rules:
        raise UsageError(f"{rules}: the table has no rules, so there is nothing to ask")
    mapping = None if map_ is None else _mapping(map_)
    total = _Sum(Paper(json=json))
    for name in journals:
        path = Path(name)
        if path.is_file():
            _from_file(path, table, wanted, mapping, total)
        else:
            for journal in _stored(store, name):
                _own(journal, wanted, total)
    return _close(total)


def _own(journal: Journal, wanted: RuleSet | None, total: _Sum) -> None:
    rules = journal.workflow.rules if wanted is None else wanted
    total.take(ask(journal, rules), rules)


def _stored(store: Path, name: str) -> list[Journal]:
    async def read(it: SQLiteStore) -> list[Journal]:
        if name == "all":
            rows = await it.runs(limit=_MOST)
        else:
            rows = [await find_run(it, name)]
        return [await journal_of(it, row) for row in rows]

    return with_store(store, read)


def _from_file(
    path: Path,
    table: Table | None,
    wanted: RuleSet | None,
    mapping: Mapped | None,
    total: _Sum,
) -> None:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}", path=str(path)) from error
    if data.startswith(b'{"definition":'):
        try:
            _own(Journal.loads(data), wanted, total)
        except JournalDamaged as error:
            raise UsageError(f"{path}: {error}", path=str(path)) from error
        return
    if mapping is None or table is None or wanted is None:
        msg = (
            f"{path}: not an exported journal; a foreign log needs --rules TABLE and --map FILE, "
            "which says how its entries read as facts"
        )
        raise UsageError(msg, path=str(path))
    for number, log in _logs(path, data):
        heard = conform_foreign(log, mapping, wanted, table=table, number=number)
        total.passed += heard.passed
        total.take(heard.conformance, wanted)


def _logs(path: Path, data: bytes) -> Iterator[tuple[int, JSON]]:
    """Yield the logs of a file: a JSON list, one object, or one object a line."""
    lines = [line for line in data.splitlines() if line.strip()]
    if not lines:
        raise UsageError(f"{path} is empty", path=str(path))
    if len(lines) > 1 and lines[0].strip() not in (b"[", b"{"):
        for number, line in enumerate(lines, 1):
            yield number, _json(path, f"line {number}", line)
        return
    whole = _json(path, "the file", data)
    yield from enumerate(whole if isinstance(whole, list) else [whole], 1)


def _json(path: Path, place: str, data: bytes) -> JSON:
    try:
        return parse(data, where=place)
    except ValueRefused as error:
        raise UsageError(f"{path}: {error}", path=str(path)) from error


def _mapping(path: Path) -> Mapped:
    try:
        data: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{path} cannot be read as TOML: {error}", path=str(path)) from error
    return read_mapping(data, where=str(path))


def _close(total: _Sum) -> int:
    paper = total.paper
    if total.violations > _SHOWN:
        hidden = total.violations - _SHOWN
        paper.line((f"... and {hidden} more; --json lists all", "dim"))
    if total.counts:
        paper.table(
            ("kept", "broken", "owed", "rule"),
            (
                (
                    str(count.kept),
                    (str(count.broken), "bold red" if count.broken else ""),
                    str(count.owed),
                    short(text, 200),
                )
                for text, count in total.counts.items()
            ),
        )
    else:
        paper.line("no rules: these runs were made without any")
    passed = f", {total.passed} entries no row of the mapping takes" if total.passed else ""
    verdict = plural(total.violations, "violation")
    style = "bold red" if total.violations else "green"
    paper.line(
        f"{plural(total.runs, 'run')}, {plural(total.facts, 'fact')}{passed}: ", (verdict, style)
    )
    counts = {text: attrs.asdict(count) for text, count in total.counts.items()}
    paper.object(
        {
            "event": "conformed",
            "runs": total.runs,
            "facts": total.facts,
            "passed": total.passed,
            "violations": total.violations,
            "rules": counts,
        }
    )
    return FINDINGS if total.violations else SUCCESS
