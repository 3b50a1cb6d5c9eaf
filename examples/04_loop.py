"""A loop with a bound: draft, review, draft again, at most three visits. Runs without a key."""

from statemachine_agents import Agent, State, Table, Transition, Workflow
from statemachine_agents.models.scripted import say, use
from statemachine_agents.table.model import Signal
from statemachine_agents.testing.play import play

table = Table(
    name="writers",
    initial="drafting",
    context={"topic": "string", "draft": "string?"},
    agents=[Agent("writer", "You write one sentence."), Agent("reviewer", "You are strict.")],
    signals={"accept": Signal({}), "revise": Signal({"advice": "string"})},
    states=[
        State("drafting", ask="Write about {context.topic}.", agent="writer"),
        State(
            "reviewing",
            ask="Accept it or ask for a revision.",
            agent="reviewer",
            tools=["accept", "revise"],
            shows=["draft"],
        ),
        State("published", final="success", returns="context.draft"),
        State("given_up", final="failure", returns="'three drafts were not enough'"),
    ],
    transitions=[
        Transition("drafting", "model.done", "reviewing", assign={"draft": "reply.text"}),
        Transition("reviewing", "accept.ok", "published"),
        Transition("reviewing", "revise.ok", "given_up", guard="visits.drafting >= 3"),
        Transition("reviewing", "revise.ok", "drafting"),
    ],
)

played = play(
    Workflow(table),
    {"topic": "rivers"},
    script=[say("Rivers."), use("revise", advice="longer"), say("Rivers run."), use("accept")],
)
print(" -> ".join(played.path), "|", played.outcome.value)
assert played.outcome.value == "Rivers run."

stubborn = [say("Rivers."), use("revise", advice="no")] * 3
assert play(Workflow(table), {"topic": "rivers"}, script=stubborn).path[-1] == "given_up"
