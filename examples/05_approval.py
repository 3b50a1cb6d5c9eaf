"""A call that a person must approve: the run parks in a file, another driver takes it up later."""

import asyncio
import tempfile
from pathlib import Path

from statemachine_agents import Driver, SQLiteStore, State, Table, Transition, Use, Workflow, tool
from statemachine_agents.models.rehearsal import RehearsalModel


@tool(effect="manual")
def pay(amount_cents: int) -> str:
    """Pay somebody."""
    return f"paid {amount_cents}"


table = Table(
    name="payout",
    initial="paying",
    context={"amount_cents": "integer", "paid": "string?"},
    tools={
        "pay": Use(
            bind={"amount_cents": "context.amount_cents"}, approve="args.amount_cents > 1000"
        )
    },
    states=[
        State("paying", ask="Pay the amount.", tools=["pay"]),
        State("checking", wait="resolution", question="Did the money leave?"),
        State("paid", final="success", returns="context.paid"),
        State("refused", final="failure", returns="'a person said no'"),
    ],
    transitions=[
        Transition("paying", "pay.ok", "paid", assign={"paid": "result"}),
        Transition("paying", "approval.rejected", "refused"),
        Transition("paying", "pay.unknown", "checking"),
        Transition("checking", "pay.ok", "paid", assign={"paid": "result"}),
        Transition("checking", "pay.error", "paying"),
    ],
)


async def main() -> None:
    workflow = Workflow(table, tools=[pay])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "runs.db")
        store = SQLiteStore(path)
        async with Driver(workflow, model=RehearsalModel(), store=store) as driver:
            parked = await driver.start({"amount_cents": 5000})
            print(parked.status, "|", parked.reason)
        await store.aclose()

        store = SQLiteStore(path)  # as if another process came along tomorrow
        async with Driver(workflow, model=RehearsalModel(), store=store) as driver:
            waiting = await driver.pending(parked.run_id)
            print("asked:", waiting[0]["tool"], waiting[0]["arguments"])
            outcome = await driver.approve(parked.run_id, by="staff-1", digest=waiting[0]["digest"])
            print(outcome.status, "|", outcome.value)
            assert outcome.value == "paid 5000"
        await store.aclose()


asyncio.run(main())
