"""Golden journals of shipped workflows: recorded once, decided again by every later release.

`SMA_UPDATE=1 python -m pytest tests/golden` records them anew; a format change keeps the old ones
under their version for ever (docs/decisions).
"""

import asyncio
import os
from pathlib import Path

import pytest

from statemachine_agents.driver import Driver
from statemachine_agents.errors import JournalDamaged
from statemachine_agents.journal.journal import Journal
from statemachine_agents.load import load_workflow
from statemachine_agents.models.rehearsal import RehearsalModel
from statemachine_agents.models.scripted import ScriptedModel, say, use, use_all
from statemachine_agents.stores.memory import MemoryStore
from statemachine_agents.system import SeededEntropy, SteppingClock

GOLDEN = Path(__file__).parent.parent.parent / "workflows" / "refund" / "golden"
MAIL = use("send_email", subject="Your refund", body="It is on its way.")
STRAY = [
    use("process_credit"),
    say("Let me see."),
    use_all(use("fetch_order"), use("send_email", subject="a", body="b")),
    use("check_refund_policy"),
    use_all(use("process_credit"), use("process_credit")),
    MAIL,
]


async def paid(driver):
    return await driver.start({"order_id": "A1"})


async def refunded_twice(driver):
    await driver.start({"order_id": "A2"})
    return await driver.start({"order_id": "A2"})


async def unknown(driver):
    return await driver.start({"order_id": "NO-SUCH-ORDER"})


async def approved(driver):
    parked = await driver.start({"order_id": "A13"})
    return await driver.approve(parked.run_id, by="staff-1")


async def declined(driver):
    parked = await driver.start({"order_id": "A14"})
    return await driver.approve(parked.run_id, granted=False, by="staff-1", note="not this one")


async def bounced(driver):
    parked = await driver.start({"order_id": "A27"})
    return await driver.approve(parked.run_id, by="staff-2")


async def cancelled(driver):
    parked = await driver.start({"order_id": "A15"})
    return await driver.cancel(parked.run_id, by="the customer", reason="changed my mind")


CASES = {
    "paid": (paid, None, "complete"),
    "refunded_twice": (refunded_twice, None, "failed"),
    "unknown_order": (unknown, None, "failed"),
    "approved": (approved, None, "complete"),
    "declined": (declined, None, "failed"),
    "bounced": (bounced, None, "complete"),
    "cancelled": (cancelled, None, "crediting"),
    "stray_model": (paid, STRAY, "complete"),
}


async def record(name, home):
    """Run a case on a fresh shop with seeded time and noise; return its journal and outcome."""
    scenario, script, _ = CASES[name]
    workflow = load_workflow("refund", home)
    model = RehearsalModel() if script is None else ScriptedModel(script)
    driver = Driver(
        workflow,
        model=model,
        store=MemoryStore(),
        clock=SteppingClock(),
        entropy=SeededEntropy(7),
    )
    async with driver:
        outcome = await scenario(driver)
        records = await driver.records(outcome.run_id)
    return Journal(workflow.definition.data, tuple(records)), outcome


@pytest.mark.parametrize("name", CASES)
def test_today_gives_the_golden_journal(name, tmp_path):
    """The same case recorded today ends as the golden one did and takes the same path."""
    journal, outcome = asyncio.run(record(name, tmp_path))
    assert outcome.state == CASES[name][2]
    path = GOLDEN / f"{name}.jsonl"
    if os.environ.get("SMA_UPDATE"):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(journal.dumps())
    kept = Journal.loads(path.read_bytes())
    assert [each.kind for each in kept.records] == [each.kind for each in journal.records]
    assert kept.records[-1].body == journal.records[-1].body


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.jsonl")), ids=lambda path: path.stem)
def test_golden_journals_replay(path):
    """Every golden journal verifies and is decided the same way, without model or tools."""
    replayed = Journal.loads(path.read_bytes()).replay()
    assert replayed.same, str(replayed.difference)
    assert replayed.records > 5


def test_there_is_a_golden_journal_for_every_case():
    """No case is forgotten or left over; explored ones come from `sma mutate --keep`."""
    recorded = {path.stem for path in GOLDEN.glob("*.jsonl")}
    assert {name for name in recorded if not name.startswith("explored_")} == set(CASES)


def test_a_broken_golden_journal_is_noticed():
    """One byte of a body changed: the chain names the record."""
    data = (GOLDEN / "paid.jsonl").read_bytes()
    broken = data.replace(b'"eligible":true', b'"eligible":null', 1)
    assert broken != data
    with pytest.raises(JournalDamaged, match="seq"):
        Journal.loads(broken).replay()
