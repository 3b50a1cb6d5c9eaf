"""A line of states: each tool result moves the run one state on. Runs without a key."""

from statemachine_agents import State, Table, Transition, Use, Workflow, tool
from statemachine_agents.models.scripted import use
from statemachine_agents.testing.play import play


@tool(effect="read")
def fetch_order(order_id: str) -> dict[str, str]:
    """Look up an order."""
    return {"id": order_id, "email": "ada@shop.example"}


@tool(effect="manual")
def send_email(to: str, body: str) -> str:
    """Send a mail."""
    return f"sent to {to}"


table = Table(
    name="confirm",
    initial="fetching",
    context={"order_id": "string", "order": "object?", "sent": "string?"},
    tools={
        "fetch_order": Use(bind={"order_id": "context.order_id"}),
        "send_email": Use(bind={"to": "context.order.email"}),
    },
    states=[
        State("fetching", ask="Look up the order.", tools=["fetch_order"]),
        State("emailing", ask="Confirm it to the customer.", tools=["send_email"], shows=["order"]),
        State("complete", final="success", returns="context.sent"),
    ],
    transitions=[
        #          source      event             target      assign
        Transition("fetching", "fetch_order.ok", "emailing", assign={"order": "result"}),
        Transition("emailing", "send_email.ok", "complete", assign={"sent": "result"}),
    ],
)

played = play(
    Workflow(table, tools=[fetch_order, send_email]),
    {"order_id": "A1"},
    script=[use("fetch_order"), use("send_email", body="Your order is on its way.")],
)
print(" -> ".join(played.path), "|", played.outcome.value)
assert played.path == ("fetching", "emailing", "complete")
