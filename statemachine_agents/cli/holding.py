"""Who holds a run: read from the store's file, for the sentence that says so.

Rules.  1. Only looks; the one thing it changes is a lease whose process is gone.  2. A lease of a
process of this machine that no longer exists is given back, so that a killed run can be resumed at
once instead of when the lease runs out.  If we are wrong (another process namespace under the same
host name), the fence still keeps the other one from writing, as after any lapsed lease.
Not here: leases themselves (`stores`), which are never taken from a process that lives.
"""

from __future__ import annotations

import os
import socket
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import attrs

from statemachine_agents.cli.text import time_of
from statemachine_agents.stores.sqlite import SQLiteStore
from statemachine_agents.turn.ports import Lease


@attrs.frozen
class Holder:
    """The process that advances a run.

    Args:
        host: its machine.
        pid: its process id there.
        until: when its lease runs out, UTC microseconds.
        lease: what it holds.
    """

    host: str
    pid: int
    until: int
    lease: Lease

    @property
    def here(self) -> bool:
        """Whether it is a process of this machine."""
        return self.host == socket.gethostname()

    @property
    def gone(self) -> bool:
        """Whether it is certain that the process no longer exists."""
        if not self.here:
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except OSError:
            return False  # it exists and is somebody else's
        return False

    def __str__(self) -> str:
        place = "on this machine" if self.here else f"on {self.host}"
        return f"process {self.pid} {place} (its lease runs until {time_of(self.until)})"


def holder_of(path: Path, run: str) -> Holder | None:
    """Return who holds a run now, or None."""
    address = f"{path.absolute().as_uri()}?mode=ro"
    with closing(sqlite3.connect(address, uri=True, timeout=5)) as db:
        found = db.execute(
            "select owner, lease_until, fence, attempts from run where run = ?", (run,)
        ).fetchone()
    if found is None or found[0] is None or found[1] <= time.time_ns() // 1000:
        return None
    owner, until, fence, attempts = found
    host, _, rest = owner.rpartition(":")[0].rpartition(":")
    if not rest.isdecimal():
        return Holder(str(owner), 0, until, Lease(run, fence, owner, attempts))
    return Holder(host, int(rest), until, Lease(run, fence, owner, attempts))


async def free_if_gone(store: SQLiteStore, run: str) -> Holder | None:
    """Give back the lease of a dead process of this machine; return whose it was."""
    holder = holder_of(store.path, run)
    if holder is None or not holder.pid or not holder.gone:
        return None
    await store.release(holder.lease)
    return holder
