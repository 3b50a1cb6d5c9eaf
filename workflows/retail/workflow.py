"""The retail desk: `table.toml` bound to the tools of one shop.

Rules.  1. Nothing is opened or created here; the shop appears at first use.
Not here: the table (`table.toml`), the tools (`tools`).
"""

from __future__ import annotations

from pathlib import Path

from statemachine_agents import Table, Workflow

from .shop import Shop
from .tools import RetailDesk


def build(home: Path) -> Workflow:
    """Return the workflow of the shop that lives in a directory.

    Args:
        home: where the run store lies; the shop is `retail.db` in it.
    """
    text = Path(__file__).with_name("table.toml").read_text(encoding="utf-8")
    table = Table.from_toml(text, source="retail/table.toml")
    desk = RetailDesk(Shop(home / "retail.db"))
    return Workflow(table, tools=[getattr(desk, name) for name in table.states["helping"].tools])
