"""`play`: a whole run in a few lines, and it fails where a script does not fit."""

import pytest

from statemachine_agents.errors import ToolError, UsageError
from statemachine_agents.kernel.workflow import Workflow
from statemachine_agents.models.scripted import say, use
from statemachine_agents.table.model import State, Table, Transition, Use
from statemachine_agents.testing.play import play
from statemachine_agents.tools.decorator import tool
from tests.driving import small


@tool(effect="read")
def look(number: str) -> str:
    """Look something up."""
    raise AssertionError("the real tool must not be called when there is a double")


TABLE = Table(
    name="looker",
    initial="looking",
    context={"id": "string", "found": "string?"},
    tools={"look": Use(bind={"number": "context.id"})},
    states=[
        State("looking", ask="Look it up.", tools=["look"], talk=True),
        State("done", final="success", returns="context.found"),
        State("lost", final="failure", returns="'gone'"),
    ],
    transitions=[
        Transition("looking", "look.ok", "done", assign={"found": "result"}),
        Transition("looking", "look.error", "lost", guard="error.kind == 'gone'"),
    ],
)


@pytest.fixture
def looker():
    return Workflow(TABLE, tools=[look])


def test_a_played_run_has_path_calls_and_a_journal_that_replays(looker):
    """Doubles answer, the script is used up, and the journal decides the same again."""
    played = play(looker, {"id": "7"}, script=[use("look")], tools={"look": "x"}, messages=["hi"])
    assert played.path == ("looking", "done")
    assert played.outcome.value == "x"
    assert played.calls == (("look", {"number": "7"}),)
    assert played.replay().same
    assert played.kinds()[0] == "run_started"
    assert played.kinds()[-1] == "run_ended"


def test_two_plays_are_byte_identical(looker):
    """Time and noise are seeded, so the same play gives the same journal file."""
    script = [use("look")]
    first, second = (
        play(looker, {"id": "7"}, script=script, tools={"look": "x"}, messages=["hi"])
        for _ in range(2)
    )
    assert first.journal.dumps() == second.journal.dumps()


def test_a_left_over_script_step_fails_the_test(looker):
    """A script step nobody asked for is an error that names it."""
    with pytest.raises(AssertionError, match="left over"):
        play(
            looker,
            {"id": "7"},
            script=[use("look"), say("more")],
            tools={"look": "x"},
            messages=["a"],
        )


def test_doubles_may_raise_compute_and_change(looker):
    """A double is a value, an exception, a function of the arguments, or a list of them."""
    gone = [ToolError("try again", kind="busy"), ToolError("gone for good", kind="gone")]
    played = play(
        looker, {"id": "7"}, script=[use("look"), use("look")], tools={"look": gone}, messages=["a"]
    )
    assert played.path[-1] == "lost"
    assert played.outcome.reason == "gone"
    computed = play(
        looker,
        {"id": "7"},
        script=[use("look")],
        tools={"look": lambda arguments: arguments["number"] * 2},
        messages=["a"],
    )
    assert computed.outcome.value == "77"


def test_a_tool_without_a_double_is_an_error_not_a_real_call(looker):
    """With `tools={}` the real function is never reached."""
    played = play(looker, {"id": "7"}, script=[use("look")], tools={}, messages=["a"], strict=False)
    assert played.outcome.state == "looking"
    assert played.calls == (("look", {"number": "7"}),)


def test_unknown_doubles_are_refused(looker):
    """A double for a tool the workflow does not use is a typing mistake."""
    with pytest.raises(UsageError, match="lok"):
        play(looker, {"id": "7"}, tools={"lok": 1})


def test_time_moves_on_when_nobody_speaks():
    """A timer of a waiting state runs out; one that never comes is left over."""
    workflow = small(
        Transition("waiting", "user.message", "done"),
        Transition("waiting", "timer.fired", "failed"),
        states=[State("waiting", wait=["message", "timer"], after="2d")],
    )
    assert play(workflow, timers=1).path == ("waiting", "failed")
    assert play(workflow, messages=["hello"]).path == ("waiting", "done")
    assert play(workflow).outcome.status == "waiting"
    with pytest.raises(AssertionError, match="a timer"):
        play(workflow, timers=2)
