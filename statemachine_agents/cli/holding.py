"""Who holds a run, as a sentence says it.

Rules.  1. Only looks.  2. A process of this machine that has died holds nothing: its run is free.
Not here: taking leases (`dispatch`), naming owners (`system`).
"""

from __future__ import annotations

import time

import attrs

from statemachine_agents.cli.text import time_of
from statemachine_agents.system import has_died, name_owner
from statemachine_agents.turn.ports import RunRow


@attrs.frozen
class Holder:
    """The process that advances a run.

    Args:
        owner: as the store names it: `host:pid:...`.
        until: when its lease runs out, UTC microseconds.
    """

    owner: str
    until: int

    def __str__(self) -> str:
        host, *rest = self.owner.rsplit(":", 3)
        until = f"(its lease runs until {time_of(self.until)})"
        if len(rest) != 3:
            return f"{self.owner} {until}"
        here = host == name_owner().rsplit(":", 3)[0]
        place = "on this machine" if here else f"on {host.partition('/')[0]}"
        return f"process {rest[0]} {place} {until}"


def holder_of(row: RunRow) -> Holder | None:
    """Return who holds a run now, or None when it is free."""
    if row.lease_until is None or row.lease_until <= time.time_ns() // 1000 or has_died(row.owner):
        return None
    return Holder(row.owner, row.lease_until)
