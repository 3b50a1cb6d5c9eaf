"""A journal as a value, and as a file: definition and records, to keep, send and replay.

Rules.  1. One JSON object a line: first the definition, then the records in order.  2. A line holds
exactly what is hashed, so a file verifies on any machine.  3. An incomplete last line is a torn
write and is said so; anything else wrong is damage.
Not here: reading files (`cli`), live stores (`stores`).
"""

from __future__ import annotations

import base64
from functools import cached_property

import attrs

from statemachine_agents.errors import JournalDamaged, ValueRefused
from statemachine_agents.journal.records import Record, damaged, record_of, verify_chain
from statemachine_agents.journal.replay import Replayed, replay
from statemachine_agents.kernel.workflow import Workflow
from statemachine_agents.table.definition import Definition
from statemachine_agents.values import dumps, loads, sha256

_HEADER = ("run", "seq", "rid", "kind", "v", "at", "fence", "definition", "body_hash", "hash")


@attrs.frozen(slots=False)
class Journal:
    """The records of one run with the definition they were decided under.

    Args:
        definition: canonical bytes of the definition.
        records: from seq 1.
    """

    definition: bytes = attrs.field(repr=False)
    records: tuple[Record, ...] = attrs.field(repr=False)

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
        verify_chain(self.records)
        if self.records and sha256(self.definition) != self.records[0].definition:
            raise damaged(self.run_id, 1, "the definition is not the one the run was made with")
        return self

    def replay(self) -> Replayed:
        """Decide every record again; see `journal.replay`."""
        return replay(self.verify().workflow, self.run_id, self.records)

    def dumps(self) -> bytes:
        """Return the file form."""
        lines = [dumps({"definition": loads(self.definition)})]
        for record in self.records:
            line = {name: getattr(record, name) for name in _HEADER}
            if record.data is not None:
                line["salt"] = base64.b16encode(record.salt).decode()
                line["body"] = loads(record.data)
            lines.append(dumps(line))
        return b"\n".join(lines) + b"\n"

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
        definition = b""
        records = []
        for number, line in enumerate(lines[:-1], 1):
            try:
                row = loads(line)
                if number == 1:
                    definition = dumps(row["definition"])
                    continue
                body = row.get("body")
                row["data"] = None if body is None else dumps(body)
                row["salt"] = base64.b16decode(row.get("salt", ""))
                records.append(record_of(row))
            except (ValueRefused, KeyError, TypeError, ValueError) as error:
                msg = f"line {number}: not a journal record ({type(error).__name__}: {error})"
                raise JournalDamaged(msg, line=number) from error
        return cls(definition, tuple(records))
