"""A journal as a value, and as a file: definition and records, to keep, send and replay.

Rules.  1. One JSON object a line: first the definition and the head (seq and hash of the last
record: a chain alone does not miss what was cut off its end), then the records in order.  2. A line
holds exactly what is hashed, and a body that went to a blob beside its hash, so a file verifies on
any machine.  3. An incomplete last line is a torn write and is said so; anything else wrong is
damage.
Not here: reading files (`cli`), live stores (`stores`).
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from functools import cached_property
from typing import Final

import attrs

from statemachine_agents.errors import JournalDamaged, ValueRefused
from statemachine_agents.journal.records import (
    Head,
    Record,
    damaged,
    record_of,
    verify_chain,
    with_blob,
)
from statemachine_agents.journal.replay import Replayed, replay
from statemachine_agents.kernel.workflow import Workflow
from statemachine_agents.table.definition import Definition
from statemachine_agents.values import JSON, dumps, loads, sha256

_HEADER: Final = (
    "run", "seq", "rid", "kind", "v", "at", "fence", "definition", "body_hash", "hash",
)  # fmt: skip


def _in_order(records: Iterable[Record]) -> tuple[Record, ...]:
    return tuple(records)


@attrs.frozen(slots=False)
class Journal:
    """The records of one run with the definition they were decided under.

    Args:
        definition: canonical bytes of the definition.
        records: from seq 1, large bodies read back.
        head: what the file says about its last record; None when it says nothing.
    """

    definition: bytes = attrs.field(repr=False)
    records: tuple[Record, ...] = attrs.field(repr=False, converter=_in_order)
    head: Head | None = attrs.field(default=None, eq=False)

    @property
    def run_id(self) -> str:
        """The run's id."""
        return self.records[0].run if self.records else ""

    @cached_property
    def workflow(self) -> Workflow:
        """The workflow of the definition, without functions."""
        return Workflow.from_definition(Definition.from_data(self.definition))

    def verify(self) -> Journal:
        """Check definition, chain, order and formats; return self.

        Raises:
            JournalDamaged: at the first thing that is wrong.
        """
        head = verify_chain(self.records)
        if self.records and sha256(self.definition) != self.records[0].definition:
            raise damaged(self.run_id, 1, "the definition is not the one the run was made with")
        if self.head is not None and self.head != head:
            why = f"the journal ends at seq {head.seq}, its first line says {self.head.seq}"
            raise damaged(self.run_id, head.seq + 1, why)
        return self

    def replay(self) -> Replayed:
        """Decide every record again; see `journal.replay`."""
        return replay(self.verify().workflow, self.run_id, self.records)

    def dumps(self) -> bytes:
        """Return the file form."""
        first: dict[str, JSON] = {"definition": loads(self.definition)}
        if self.records:
            first["head"] = {"seq": self.records[-1].seq, "hash": self.records[-1].hash}
        return b"\n".join([dumps(first), *map(_line, self.records)]) + b"\n"

    @classmethod
    def loads(cls, data: bytes) -> Journal:
        """Read the file form.

        Raises:
            JournalDamaged: a line is not canonical JSON or lacks a part; a last line without a
                line end is named as torn.
        """
        lines = data.split(b"\n")
        if lines[-1]:
            raise JournalDamaged(
                f"line {len(lines)}: the last line has no end: a torn write; cut it off to read on",
                line=len(lines),
                torn=True,
            )
        records = []
        number = 1
        try:
            definition, head = _first(loads(lines[0]))
            for number, line in enumerate(lines[1:-1], 2):  # noqa: B007 - the message names it
                records.append(_record(loads(line)))
        except (ValueRefused, KeyError, TypeError, ValueError) as error:
            msg = f"line {number}: not a journal record ({type(error).__name__}: {error})"
            raise JournalDamaged(msg, line=number) from error
        return cls(definition, records, head)


def _first(row: dict[str, JSON]) -> tuple[bytes, Head | None]:
    _only(row, "definition", "head")
    told = row.get("head")
    return dumps(row["definition"]), None if told is None else Head(told["seq"], told["hash"])


def _line(record: Record) -> bytes:
    line = {name: getattr(record, name) for name in _HEADER}
    if record.data is not None:
        line["salt"] = base64.b16encode(record.salt).decode()
        line["body"] = loads(record.data)
        if line["body"] != record.body:  # it lives in a blob; the record names its hash
            line["blob"] = record.body
    return dumps(line)


def _record(row: dict[str, JSON]) -> Record:
    erased = "body" not in row
    # A part whose name was damaged must not pass for a part that was erased.
    _only(row, *_HEADER, *(() if erased else ("salt", "body", "blob")))
    blob = row.pop("blob", None)
    row["data"] = None if erased else dumps(row["body"])
    row["salt"] = b"" if erased else base64.b16decode(row["salt"])
    record = record_of(row)
    return record if blob is None else with_blob(record, dumps(blob))


def _only(row: dict[str, JSON], *names: str) -> None:
    if not isinstance(row, dict):
        raise TypeError("not an object")
    strange = [name for name in row if name not in names]
    if strange:
        msg = f"a part named {strange[0]!r}, expected {', '.join(names)}"
        raise ValueError(msg)
