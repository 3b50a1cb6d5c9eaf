"""Replay: decide every recorded event again and compare. Calls nothing.

Rules.  1. What came from the world is taken from the journal; what the run decided is decided again
by the same code that decided it live (`journal.decide`) and compared field by field.  2. The first
difference ends the replay and is reported with seq, expected, got, row and verdicts.  3. The chain
is verified on the way; an erased body is reported as erased, not as different.
Not here: judging under a changed table (`whatif`, a later release).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from statemachine_agents.errors import ReplayMismatch
from statemachine_agents.journal.decide import FILLED, INPUTS, decide
from statemachine_agents.journal.fold import take
from statemachine_agents.journal.records import Draft, Record, verify
from statemachine_agents.journal.standing import Standing
from statemachine_agents.kernel.workflow import Workflow
from statemachine_agents.values import JSON


@attrs.frozen(kw_only=True)
class Difference:
    """The first place where journal and table decide differently.

    Args:
        seq: of the record that differs.
        kind: of that record; what was recorded.
        field: the part of its body that differs, or `kind`, or `erased`.
        expected: what was recorded.
        got: what is decided now.
        row: the row that fires now, counted from 1, or None.
        verdicts: what the guards say now, as (row from 1, verdict) texts.
    """

    seq: int
    kind: str
    field: str
    expected: JSON
    got: JSON
    row: int | None = None
    verdicts: tuple[str, ...] = ()

    def __str__(self) -> str:
        if self.field == "erased":
            return f"erased at seq {self.seq}: its body was deleted, replay cannot go past it"
        text = (
            f"first difference at seq {self.seq} ({self.kind}), {self.field}: "
            f"recorded {self.expected!r}, decided now {self.got!r}"
        )
        if self.row is not None:
            text += f"; row {self.row} fires now"
        if self.verdicts:
            text += f"; guards: {', '.join(self.verdicts)}"
        return text


@attrs.frozen(kw_only=True)
class Replayed:
    """The result of a replay.

    Args:
        run_id: the run.
        records: how many records were compared.
        steps: how many steps were decided again.
        difference: the first difference, or None.
        model_calls: always 0; replay has nothing to ask.
        tool_calls: always 0.
    """

    run_id: str
    records: int
    steps: int
    difference: Difference | None = None
    model_calls: int = 0
    tool_calls: int = 0

    @property
    def same(self) -> bool:
        """Whether every record was decided the same way."""
        return self.difference is None

    def require_same(self) -> Replayed:
        """Return self, or raise.

        Raises:
            ReplayMismatch: with the first difference.
        """
        if self.difference is not None:
            raise ReplayMismatch(
                f"run {self.run_id}: {self.difference}", **attrs.asdict(self.difference)
            )
        return self

    def to_dict(self) -> dict[str, JSON]:
        """Return the result as plain JSON."""
        out = attrs.asdict(self)
        if self.difference is not None:
            out["difference"]["verdicts"] = list(self.difference.verdicts)
        return {**out, "same": self.same}


def replay(workflow: Workflow, run: str, records: Iterable[Record]) -> Replayed:
    """Decide a journal again.

    Args:
        workflow: built from the run's definition; functions are not needed and never called.
        run: run id.
        records: the journal, from seq 1.

    Returns:
        How many records and steps were compared, and the first difference.

    Raises:
        JournalDamaged: the chain does not verify, or a record cannot follow the ones before.
    """
    s = Standing(workflow, run)
    count = steps = 0
    for record in records:
        verify(record, s.head.hash)
        if record.erased:
            gone = Difference(seq=record.seq, kind=record.kind, field="erased", expected="", got="")
            return Replayed(run_id=run, records=count, steps=steps, difference=gone)
        s.run = record.run  # a fork's first records were decided by its parent
        decided = decide(s)
        difference = _compare(record, decided)
        if difference is not None:
            return Replayed(run_id=run, records=count, steps=steps, difference=difference)
        take(s, record, None if decided is None else decided.after)
        count += 1
        steps += record.kind == "stepped"
    return Replayed(run_id=run, records=count, steps=steps)


def _compare(record: Record, decided: Draft | None) -> Difference | None:
    if decided is None:
        if record.kind in INPUTS:
            return None
        return _different(record, "kind", record.kind, "nothing to decide")
    if decided.kind != record.kind:
        return _different(record, "kind", record.kind, decided.kind, decided)
    body, filled = decided.body, FILLED.get(record.kind, frozenset())
    recorded = record.body
    if body == recorded:
        return None
    # The row first: of all that differs in a step it says most.
    for name in sorted(set(body) | set(recorded), key=lambda name: (name != "row", name)):
        if name not in filled and body.get(name) != recorded.get(name):
            return _different(record, name, recorded.get(name), body.get(name), decided)
    return None


def _different(
    record: Record, field: str, expected: JSON, got: JSON, decided: Draft | None = None
) -> Difference:
    body: Mapping[str, Any] = {} if decided is None else decided.body
    row = body.get("row") if record.kind == "stepped" else None
    verdicts = tuple(_verdict(verdict) for verdict in body.get("verdicts", ()))
    return Difference(
        seq=record.seq,
        kind=record.kind,
        field=field,
        expected=expected,
        got=got,
        row=None if row is None else row + 1,
        verdicts=verdicts,
    )


def _verdict(verdict: list[JSON]) -> str:
    said = {True: "true", False: "false", None: "no verdict"}[verdict[1]]
    return f"row {verdict[0] + 1} {said}" + (f" ({verdict[2]})" if len(verdict) > 2 else "")
