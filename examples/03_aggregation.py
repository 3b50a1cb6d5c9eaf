"""Three tools at once, then one row that needs all three facts. No model takes part."""

from statemachine_agents import State, Table, Transition, Workflow, tool
from statemachine_agents.testing.play import play


@tool(effect="read")
async def weather() -> str:
    """Tell the weather."""
    return "sunny"


@tool(effect="read")
async def traffic() -> str:
    """Tell the traffic."""
    return "light"


@tool(effect="read")
def calendar() -> list[str]:
    """List today's appointments."""
    return ["dentist"]


table = Table(
    name="morning",
    initial="gathering",
    context={"brief": "object?"},
    states=[
        State("gathering", do=["weather", "traffic", "calendar"]),
        State("done", final="success", returns="context.brief"),
        State("failed", final="failure"),
    ],
    transitions=[
        Transition(
            "gathering",
            "weather.ok & traffic.ok & calendar.ok",
            "done",
            assign={
                "brief": "{sky: results.weather, road: results.traffic, day: results.calendar}"
            },
        ),
        Transition("gathering", "settled", "failed"),
    ],
)

played = play(Workflow(table, tools=[weather, traffic, calendar]))
print(played.outcome.value)
assert played.outcome.value == {"sky": "sunny", "road": "light", "day": ["dentist"]}
