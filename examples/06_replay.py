"""A journal decides again, without a model or a tool; a changed fact is found at its place."""

import attrs

from statemachine_agents import Journal, State, Table, Transition, Workflow, tool
from statemachine_agents.journal.records import Draft, Head, seal
from statemachine_agents.models.scripted import use
from statemachine_agents.system import SeededEntropy
from statemachine_agents.testing.play import play


@tool(effect="read")
def stock(item: str) -> int:
    """Count an item."""
    return 3


table = Table(
    name="order",
    initial="looking",
    states=[
        State("looking", ask="Check the stock.", tools=["stock"]),
        State("accepted", final="success"),
        State("declined", final="failure", returns="'out of stock'"),
    ],
    transitions=[
        Transition("looking", "stock.ok", "accepted", guard="result > 0"),
        Transition("looking", "stock.ok", "declined"),
    ],
)

played = play(Workflow(table, tools=[stock]), script=[use("stock", item="lamp")])
print(played.replay())
assert played.replay().same

# A forged copy: the tool said 0, and somebody sealed the chain again.
records, head = [], Head()
for record in played.journal.records:
    body = {**record.body, "value": 0} if record.kind == "call_returned" else record.body
    new = seal(
        [Draft(record.kind, body)],
        run=record.run,
        definition=record.definition,
        fence=record.fence,
        head=head,
        at=record.at,
        entropy=SeededEntropy(),
    )
    records += new
    head = Head(new[-1].seq, new[-1].hash)
forged = attrs.evolve(played.journal, records=tuple(records))
difference = Journal.loads(forged.dumps()).replay().difference
print(difference)
assert difference is not None
assert difference.kind == "stepped"
