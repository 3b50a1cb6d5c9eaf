"""The early refund table is kept as it was, mistakes and all."""

from pathlib import Path

from statemachine_agents.proof.structure import check
from statemachine_agents.table.model import Table

EARLY = Path(__file__).with_name("early_refund.toml")


def test_the_early_refund_table_loads_without_an_error():
    """Its mistakes are of the kind no structural check calls an error, and it says its rows."""
    table = Table.from_toml(EARLY.read_text(encoding="utf-8"), source=EARLY.name)
    assert [str(each) for each in check(table) if each.severity == "error"] == []
    rows = [(row.source, *row.event, row.target, row.guard) for row in table.transitions]
    assert rows == [
        ("fetching", "fetch_order.ok", "validating", None),
        ("validating", "check_refund_policy.ok", "crediting", "result.eligible"),
        ("validating", "check_refund_policy.ok", "failed", None),
        ("crediting", "process_credit.ok", "emailing", None),
        ("emailing", "send_email.ok", "complete", None),
        ("*", "*.error", "failed", None),
    ]
    assert table.rules == (
        "at_most(process_credit, 1)",
        "only_after(process_credit, check_refund_policy.ok)",
        "at_most(send_email, 1)",
    )
