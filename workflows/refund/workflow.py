"""The refund workflow: `table.toml` bound to the tools of one shop.

Rules.  1. Nothing is opened or created here; the shop and the mail folder appear at first use.
2. The environment is read once, when `build` runs.
Not here: the table (`table.toml`), the tools (`tools`).
"""

from __future__ import annotations

import os
from pathlib import Path

from statemachine_agents import Table, Workflow

from .mail import outbox
from .shop import Shop
from .tools import RefundDesk


def build(home: Path) -> Workflow:
    """Return the workflow of the shop that lives in a directory.

    Args:
        home: where the run store lies; the shop is `shop.db` in it, and mail goes to the Maildir
            `mail`, unless the environment variable SMA_SMTP_URL names a mail server.

    Raises:
        UsageError: SMA_SMTP_URL is set and cannot be read.
    """
    text = Path(__file__).with_name("table.toml").read_text(encoding="utf-8")
    table = Table.from_toml(text, source="refund/table.toml")
    letters = outbox(home / "mail", os.environ.get("SMA_SMTP_URL"))
    desk = RefundDesk(Shop(home / "shop.db"), letters)
    return Workflow(
        table,
        tools=[desk.fetch_order, desk.check_refund_policy, desk.process_credit, desk.send_email],
    )
