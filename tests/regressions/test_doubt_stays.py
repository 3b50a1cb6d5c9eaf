"""A retry that was never made must not settle the doubt before it."""

from statemachine_agents.errors import ToolError
from statemachine_agents.kernel.workflow import Workflow
from statemachine_agents.models.scripted import use
from statemachine_agents.table.model import State, Table, Transition
from statemachine_agents.testing.play import play
from statemachine_agents.tools.decorator import tool


@tool(effect="idempotent")
def pay(cents: int) -> str:
    """Pay somebody."""
    return "paid"


PAYING = Workflow(
    Table(
        name="paying",
        initial="paying",
        rules=["at_most(pay, 1)"],
        states=[
            State("paying", ask="Pay.", tools=["pay"]),
            State("asking", wait="resolution", question="Was it paid?"),
            State("paid", final="success"),
            State("failed", final="failure", returns="'not paid'"),
        ],
        transitions=[
            Transition("paying", "pay.ok", "paid"),
            Transition("paying", "pay.error", "failed"),
            Transition("paying", "pay.unknown", "asking"),
            Transition("asking", "pay.ok", "paid"),
            Transition("asking", "pay.error", "failed"),
        ],
    ),
    tools=[pay],
)


def test_a_busy_retry_keeps_the_doubt_open():
    """Doubted, then not even tried, then answered: one call, three attempts, one key, no error."""
    answers = [OSError("connection lost"), ToolError("no thread free", kind="busy"), "paid"]
    played = play(PAYING, script=[use("pay", cents=5)], tools={"pay": answers})
    assert played.path == ("paying", "paid")
    intents = [each.body for each in played.journal.records if each.kind == "call_intended"]
    assert [body["attempt"] for body in intents] == [1, 2, 3]
    assert len({body["key"] for body in intents}) == 1
    assert played.kinds().count("call_doubted") == 2
    assert played.replay().same


def test_a_doubt_that_is_never_tried_ends_with_a_person():
    """When no retry gets through, the run parks for a resolution instead of failing."""
    answers = [OSError("connection lost"), ToolError("no thread free", kind="busy")]
    played = play(PAYING, script=[use("pay", cents=5)], tools={"pay": answers})
    assert played.outcome.status == "waiting"
    assert played.outcome.waiting == ("resolution",)


def test_a_clear_no_settles_the_doubt():
    """A receiver that knows our key and says no is believed: the error arrives."""
    answers = [OSError("connection lost"), ToolError("account closed", kind="closed")]
    played = play(PAYING, script=[use("pay", cents=5)], tools={"pay": answers})
    assert played.path == ("paying", "failed")
