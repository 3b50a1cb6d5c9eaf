"""A definition: the table and the specs of its tools, hashed together.

Rules.  1. It is all that recovery, `check` and replay need; no Python.  2. Its hash names it: a run
keeps the definition it started with.
Not here: functions (`kernel.workflow` binds them).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import attrs

from statemachine_agents.errors import TableError
from statemachine_agents.table.model import Table
from statemachine_agents.table.toolspec import ToolSpec
from statemachine_agents.values import JSON, dumps, loads, sha256


def _copied(value: Mapping[str, Any]) -> dict[str, Any]:
    return dict(value)


@attrs.frozen(slots=False)
class Definition:
    """Everything that decides, as data.

    Args:
        table: the state table.
        tools: name as the table writes it -> spec of the function behind it.
        children: child workflow name -> hash of its definition.
    """

    table: Table
    tools: Mapping[str, ToolSpec] = attrs.field(factory=dict, converter=_copied)
    children: Mapping[str, str] = attrs.field(factory=dict, converter=_copied)

    def to_dict(self) -> dict[str, JSON]:
        """Return the plain form."""
        table = self.table.to_dict()
        table.pop("check", None)  # what its author allows `check` to find decides no run
        return {
            "format": 1,
            "table": table,
            "tools": {name: spec.to_dict() for name, spec in self.tools.items()},
            "children": dict(self.children),
        }

    @cached_property
    def data(self) -> bytes:
        """The canonical bytes; key order inside the table matters, so sections keep theirs."""
        return dumps({**self.to_dict(), "order": _order(self.table)})

    @cached_property
    def hash(self) -> str:
        """SHA-256 of `data`."""
        return sha256(self.data)

    @classmethod
    def from_data(cls, data: bytes) -> Definition:
        """Read a definition back from its bytes."""
        plain = loads(data)
        if not isinstance(plain, Mapping) or plain.get("format") != 1:
            msg = "definition: unknown format; it was written by a newer version of this package"
            raise TableError(msg)
        table = dict(plain["table"])
        for section, names in plain["order"].items():
            if section in table:
                table[section] = {name: table[section][name] for name in names}
        return cls(
            Table.from_dict(table),
            {name: ToolSpec.from_dict(spec) for name, spec in plain["tools"].items()},
            plain["children"],
        )


def _order(table: Table) -> dict[str, JSON]:
    """Canonical bytes sort keys, but states and definitions are ordered: keep their order apart."""
    return {
        "states": list(table.states),
        "define": list(table.define),
        "tools": list(table.tools),
        "context": list(table.context),
    }
