"""The airline desk: `table.toml` bound to the tools that keep its books.

Rules.  1. Nothing is opened or created here; the books appear at first use.
Not here: the table (`table.toml`), the tools (`tools`).
"""

from __future__ import annotations

from pathlib import Path

from statemachine_agents import Table, Workflow

from .books import Books
from .tools import AirlineDesk


def build(home: Path) -> Workflow:
    """Return the workflow of the desk whose books lie in a directory.

    Args:
        home: where the run store lies; the books are `airline.db` in it.
    """
    text = Path(__file__).with_name("table.toml").read_text(encoding="utf-8")
    table = Table.from_toml(text, source="airline/table.toml")
    desk = AirlineDesk(Books(home / "airline.db"))
    return Workflow(table, tools=[getattr(desk, name) for name in table.states["helping"].tools])
