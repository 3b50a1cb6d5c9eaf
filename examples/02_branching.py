"""One event, several rows: the first row whose guard holds takes it. Runs without a key."""

from statemachine_agents import State, Table, Transition, Use, Workflow, tool
from statemachine_agents.testing.play import play


@tool(effect="read")
def score(text: str) -> dict[str, int]:
    """Score how urgent a text is."""
    return {"urgency": 9 if "fire" in text else 2}


table = Table(
    name="triage",
    initial="scoring",
    context={"text": "string", "urgency": "integer?"},
    tools={"score": Use(bind={"text": "context.text"})},
    states=[
        State("scoring", do=["score"]),
        State("urgent", final="success", returns="'call somebody'"),
        State("queued", final="success", returns="'answer by mail'"),
        State("failed", final="failure"),
    ],
    transitions=[
        Transition("scoring", "score.ok", assign={"urgency": "result.urgency"}),  # a note
        Transition("scoring", "score.ok", "urgent", guard="context.urgency > 5"),
        Transition("scoring", "score.ok", "queued"),
        Transition("scoring", "score.error", "failed"),
    ],
)

workflow = Workflow(table, tools=[score])
for text in ("the kitchen is on fire", "where is my parcel"):
    played = play(workflow, {"text": text})
    print(f"{text!r}: {played.outcome.value}")
assert play(workflow, {"text": "fire"}).path[-1] == "urgent"
assert play(workflow, {"text": "parcel"}).path[-1] == "queued"
