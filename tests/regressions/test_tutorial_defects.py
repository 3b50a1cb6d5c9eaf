"""The eleven defects of the tutorial this project answers, one test each.

Source: sources.md, part E: a refund flow whose code finished, moved and paid when it should not.
"""

from __future__ import annotations

import json
from itertools import pairwise

import pytest

from statemachine_agents.journal.replies import MEANINGS
from statemachine_agents.models.capabilities import DEFAULT_MODEL, capabilities
from statemachine_agents.table.model import Agent, Limits, State, Table, Transition
from statemachine_agents.turn import effects as fx
from tests.api_rules import faults
from tests.driving import Hand, small, use
from tests.lively_tables import refund_desk
from tests.tables import refund

ORDER = {"email": "ann@example.org"}
POLICY = {"eligible": True, "amount_cents": 900}


def at(state: str, role: str = "system") -> Hand:
    """Return a refund that has come as far as a state."""
    hand = Hand(refund_desk(), {"order_id": "A1"}, role=role)
    for here, tool, value in (
        ("fetching", "fetch_order", ORDER),
        ("validating", "check_refund_policy", POLICY),
        ("crediting", "process_credit", {"id": "cr-1"}),
    ):
        if here == state:
            break
        hand.reply(use(tool))
        hand.returns(value)
    assert hand.state == state
    return hand


@pytest.mark.parametrize("state", ["fetching", "validating", "crediting", "emailing"])
def test_1_ending_a_turn_finishes_no_workflow(state):
    """The tutorial set COMPLETE on `end_turn` in any state; here it is a reminder."""
    hand = at(state)
    hand.reply(text="The refund is complete.")
    assert hand.state == state
    assert hand.bodies("stepped")[-1]["default"] == "nudged"
    assert isinstance(hand.expect(fx.AskModel), fx.AskModel)
    hand.audit()


def test_2_every_state_has_a_way_on():
    """The tutorial had no transition out of the e-mail; here it leads to the end or a person."""
    hand = at("emailing")
    hand.reply(use("send_email"))
    hand.returns({"ok": True})
    assert (hand.outcome.status, hand.outcome.state) == ("succeeded", "complete")
    bounced = at("emailing")
    bounced.reply(use("send_email"))
    bounced.fails("bounced", "no such address")
    assert bounced.state == "needs_person"
    workflow = refund_desk()
    for name, state in workflow.table.states.items():
        assert state.final or workflow.grid.moves_from(name)


def test_3_completed_steps_are_what_happened_not_a_comparison_of_names():
    """The tutorial compared state names as texts; here the note lists the path that was taken.

    The names sort the other way round, and one state is visited twice.
    """
    workflow = small(
        Transition("zebra", "look.ok", "mule"),
        Transition("mule", "look.ok", "zebra", guard="visits.zebra < 2"),
        Transition("mule", "look.ok", "ant"),
        Transition("ant", "look.ok", "done"),
        states=[State(name, ask="x", tools=["look"]) for name in ("zebra", "mule", "ant")],
        limits=Limits(idle=9),
    )
    hand = Hand(workflow)
    for _ in range(4):
        hand.reply(use("look"))
        hand.returns({})
    hand.ask()
    note = hand.requests[-1][1][-1]["content"][0]["text"]
    assert note.endswith("Done so far: zebra -> mule -> zebra -> mule.")
    assert note.startswith("State: ant ")


def test_4_iterations_are_limited():
    """The tutorial looped for ever; here the run ends at its bound and names limit and state."""
    workflow = small(
        Transition("here", "pay.ok", "done"),
        states=[State("here", ask="x", tools=["look", "pay"])],
        limits=Limits(iterations=5),
    )
    hand = Hand(workflow)
    for number in range(5):
        hand.reply(use("look", n=number))
        hand.returns({"n": number})
    assert len(hand.requests) == 5
    assert (hand.outcome.status, hand.outcome.limit) == ("failed", "iterations")
    assert "limit iterations reached in state 'here': 5" in hand.outcome.reason
    assert refund().limits.iterations == 12


def test_5_the_system_prompt_is_written_once():
    """The tutorial rewrote it every turn; here head and history only grow at their end."""
    hand = at("emailing")
    hand.ask()
    heads = {json.dumps([list(r.system), list(r.tools)]) for r, _, _ in hand.requests}
    assert len(heads) == 1
    sent = [messages for _, messages, _ in hand.requests]
    assert len(sent) == 4
    for before, after in pairwise(sent):
        assert json.dumps(after).startswith(json.dumps(before)[:-1])


def test_6_a_credit_is_made_once():
    """The tutorial paid again on a retry; here a doubt keeps its key, and a rule bounds intents."""
    hand = at("crediting")
    hand.reply(use("process_credit"))
    key = hand.call().key
    assert key == hand.bodies("call_intended")[-1]["key"]
    assert "A1" not in key  # not made of the content, which two legal refunds may share
    hand.doubts()  # the tool is `manual`: nobody calls it again
    assert hand.waits == ("resolution",)
    hand.reload()
    assert [effect for effect in hand.open() if isinstance(effect, fx.CallTool)] == []
    hand.signal("resolution", done={"id": "cr-1"}, by="ann")
    assert hand.state == "emailing"
    assert sum(body["tool"] == "process_credit" for body in hand.bodies("call_intended")) == 1
    safe = Hand(
        small(
            Transition("here", "send.ok", "done"),
            states=[State("here", ask="x", tools=["send"])],
        )
    )
    safe.reply(use("send"))
    keys = []
    for _ in range(3):
        keys.append(safe.call().key)
        safe.doubts()
    assert len(set(keys)) == 1
    hand.audit()


def test_7_several_calls_of_one_reply_move_the_state_once():
    """The tutorial moved with each call; here one effect runs, the next reply sees its state."""
    hand = at("crediting")
    hand.reply(use("process_credit"), use("send_email"), use("process_credit"))
    refused = [(body["tool"], body["code"]) for body in hand.bodies("call_refused")]
    assert refused == [("send_email", "not_offered"), ("process_credit", "rule")]
    hand.returns({"id": "cr-1"})
    assert hand.outcome.path == ("fetching", "validating", "crediting", "emailing")
    hand.ask()
    assert len([r for r in hand.results().values() if r.get("is_error")]) == 2
    hand.audit()


@pytest.mark.parametrize("stop", [*sorted(set(MEANINGS) - {"tool_use", "error"}), "brand_new"])
def test_8_tools_run_on_tool_use_only(stop):
    """The tutorial ran any call that was there; here other stop reasons execute nothing."""
    hand = at("crediting")
    before = len(hand.bodies("call_intended"))
    hand.reply(use("process_credit"), stop=stop)
    assert len(hand.bodies("call_intended")) == before
    assert hand.run.standing.snap().state == "crediting"
    hand.audit()


@pytest.mark.parametrize("tool", ["fetch_order", "check_refund_policy", "process_credit"])
def test_9_a_failed_tool_advances_nothing(tool):
    """The tutorial moved on after an exception; here the model sees the error and stays."""
    state = {"fetch_order": "fetching", "check_refund_policy": "validating"}.get(tool, "crediting")
    hand = at(state)
    hand.reply(use(tool))
    hand.fails("down", "the shop is closed")
    assert hand.state == state
    hand.ask()
    result = hand.results()[next(reversed(hand.results()))]
    assert result["is_error"] is True
    assert json.loads(result["content"]) == {"error": "down", "text": "the shop is closed"}
    hand.audit()


@pytest.mark.parametrize("role", ["system", "user"])
def test_10_a_system_message_never_comes_first(role):
    """The tutorial opened `messages` with the system role, a 400 everywhere; here the user does."""
    hand = at("emailing", role)
    hand.reply(text="hm")
    hand.model_fails()
    hand.signal("resume")
    hand.ask()
    for request, messages, _ in hand.requests:
        assert messages[0]["role"] == "user"
        assert faults(messages) == []
        assert request.system[0]["type"] == "text"


def test_11_no_model_name_is_built_in_that_is_retired():
    """The tutorial named a model that answers 404; here the default is a living one.

    A table need not name any: then the door's model is asked.
    """
    assert capabilities("claude-3-5-sonnet-20241022").lifecycle == "retired"
    assert capabilities(DEFAULT_MODEL).lifecycle == "active"
    assert capabilities(DEFAULT_MODEL).known
    assert Agent("anybody").model is None
    hand = at("fetching")
    assert hand.expect(fx.AskModel).request.model is None
    assert "claude" not in Table.to_toml(refund())
