"""What a model's reply amounts to: every stop reason, every way to be unusable, every id."""

from __future__ import annotations

import pytest

from statemachine_agents.journal.replies import MEANINGS, meaning_of, usable
from statemachine_agents.table.model import Limits, State, Transition
from statemachine_agents.turn import effects as fx
from statemachine_agents.turn.ports import ModelReply
from tests.driving import Hand, small, use


def hand(role: str = "system", **limits: int) -> Hand:
    """Return a run that asks until `pay` or `look` is called."""
    workflow = small(
        Transition("here", "pay.ok", "done"),
        Transition("here", "look.error", "stay"),
        states=[State("here", ask="x", tools=["pay", "look", "peek"])],
        limits=Limits(**{"nudges": 9, "idle": 9, **limits}),
    )
    return Hand(workflow, role=role)


ROLES = pytest.mark.parametrize("role", ["system", "user"])


@ROLES
def test_calls_run_on_tool_use_only(role):
    """`tool_use` runs the calls and feeds their results, all in one user message, in call order."""
    run = hand(role)
    run.reply(use("look", n=1), use("peek", n=2), text="I look.")
    run.returns({"b": 2}, "peek")
    assert run.events() == ["run.started"]  # results arrive together
    run.returns({"a": 1}, "look")
    assert run.events() == ["run.started", "look.ok", "peek.ok"]
    run.ask()
    told = run.requests[-1][1]
    results = next(m for m in reversed(told) if m["role"] == "user")["content"]
    assert [block["content"] for block in results[:2]] == ['{"a":1}', '{"b":2}']
    run.audit()


@ROLES
@pytest.mark.parametrize(
    "stop", ["end_turn", "max_tokens", "stop_sequence", "pause_turn", "model_unknown"]
)
def test_calls_beside_another_stop_reason_are_answered_not_executed(stop, role):
    """No effect happens; every call still gets its one result."""
    run = hand(role)
    run.reply(use("pay"), use("look"), stop=stop)
    assert run.bodies("call_intended") == []
    assert [body["code"] for body in run.bodies("call_refused")] == ["not_executed"] * 2
    assert run.run.standing.snap().counters.refusals == 0
    if stop == "model_unknown":
        assert run.waits == ("resume",)
        run.signal("resume")
    run.reply(use("pay"))
    assert len(run.results()) == 2
    run.returns({})
    assert run.outcome.ok
    run.audit()


@ROLES
def test_ending_a_turn_never_completes_a_workflow(role):
    """`end_turn` is `model.done`; without a row it is answered with a reminder."""
    run = hand(role)
    run.reply(text="I am done.")
    assert run.state == "here"
    assert run.bodies("stepped")[-1]["default"] == "nudged"
    run.ask()
    assert "not finished here" in str(run.requests[-1][1][-2:])
    run.reply(use("pay"))
    run.audit()


@ROLES
@pytest.mark.parametrize("stop", ["max_tokens", "stop_sequence"])
def test_a_reply_that_ended_too_early_is_nudged(stop, role):
    """The text is kept and echoed, the next note says what happened."""
    run = hand(role)
    run.reply(text="I wanted", stop=stop)
    assert "model.done" not in run.events()
    assert run.run.standing.snap().counters.nudges == 1
    run.reply(use("pay"))
    assert "ended too early" in str(run.requests[-1][1])
    run.audit()


@ROLES
def test_a_paused_turn_is_asked_again_as_it_stands(role):
    """`pause_turn` adds nothing: the assistant turn stands last and goes on."""
    run = hand(role)
    run.reply(text="searching", stop="pause_turn")
    before = list(run.messages())
    run.ask()
    _, messages, paused = run.requests[-1]
    assert messages == before
    assert messages[-1]["role"] == "assistant"
    assert paused
    run.reply(use("pay"))
    run.audit()


@ROLES
def test_a_refusal_is_an_event_and_is_not_echoed(role):
    """Without a row it fails the run with the reason; the reply is in the journal only."""
    run = hand(role)
    run.reply(text="I cannot", stop="refusal", detail="policy")
    assert run.outcome.status == "failed"
    assert "model.refused" in run.outcome.reason
    assert run.bodies("model_replied")[0]["usable"] is False
    assert "I cannot" not in str(run.messages())
    run.audit()


@ROLES
@pytest.mark.parametrize("kind", ["unknown", "failed"])
def test_a_failed_request_parks_until_somebody_resumes(kind, role):
    """Transport errors and unknown stop reasons: parked, and asked the same again on resume."""
    run = hand(role)
    if kind == "failed":
        run.model_fails()
    else:
        run.reply(text="?", stop="a_new_reason")
    assert run.waits == ("resume",)
    assert run.events()[-1] == "model.failed"
    assert run.message("are you there?") == ""  # kept for a state that takes it
    assert run.waits == ("resume",)
    run.signal("resume", by="op")
    run.reply(use("pay"))
    run.returns({})
    assert run.outcome.ok
    if kind == "failed":
        assert run.requests[0][1] == run.requests[1][1]
    run.audit()


def test_a_full_window_opens_a_new_epoch_once():
    """The first overrun starts over with what is known; the second is a failure."""
    run = hand()
    run.reply(use("look", n=1))
    run.returns({"found": "gold"})
    run.reply(stop="model_context_window_exceeded")
    run.ask()
    _, messages, _ = run.requests[-1]
    assert [message["role"] for message in messages] == ["user", "system"]
    assert "gold" in messages[0]["content"][0]["text"]  # the result nobody had answered
    assert run.bodies("model_asked")[-1]["epoch"] == 2
    run.reply(stop="model_context_window_exceeded")
    assert run.events()[-1] == "model.failed"
    assert run.waits == ("resume",)
    run.audit()


@ROLES
@pytest.mark.parametrize(
    "reply",
    [
        ModelReply(content=[], stop_reason="end_turn"),
        ModelReply(content=[{"type": "text", "text": " \n"}], stop_reason="end_turn"),
        ModelReply(content=[], stop_reason="tool_use"),
        ModelReply(content=[{"type": "text", "text": "x"}], stop_reason=None),
        ModelReply(content=[{"type": "text", "text": "x"}], stop_reason="end_turn", cut=True),
        ModelReply(
            content=[{"type": "tool_use", "id": "t1", "name": "pay", "input": {}}],
            stop_reason="tool_use",
            cut=True,
        ),
        ModelReply(
            content=[{"type": "tool_use", "id": "t1", "name": "no name!", "input": {}}],
            stop_reason="tool_use",
        ),
        ModelReply(
            content=[{"type": "tool_use", "id": "t1", "name": "pay", "input": {"n": 2**70}}],
            stop_reason="tool_use",
        ),
        ModelReply(
            content=[{"type": "tool_use", "id": "t1", "name": "pay", "input": {"n": float("inf")}}],
            stop_reason="tool_use",
        ),
        ModelReply(
            content=[{"type": "thinking", "thinking": "hm", "signature": "s"}],
            stop_reason="max_tokens",
        ),
    ],
)
def test_a_reply_that_cannot_be_echoed_is_journaled_and_not_sent_back(reply, role):
    """Cut, empty, unreadable or unwritable: a nudge, no call, and a valid history after it."""
    run = hand(role)
    run.ask()
    run.give(fx.Replied(reply))
    body = run.bodies("model_replied")[0]
    assert body["usable"] is False
    assert run.bodies("call_intended") == []
    assert run.run.standing.snap().counters.nudges == 1
    run.reply(use("pay"))
    run.returns({})
    assert run.outcome.ok
    run.audit()


@ROLES
def test_calls_whose_arguments_were_no_json_are_answered_not_executed(role):
    """The echoed block has empty arguments; the raw text is kept in the journal."""
    run = hand(role)
    run.reply(use("look", id="a"), use("pay", id="b"), unreadable={"b": '{"n": '})
    assert [body["code"] for body in run.bodies("call_refused")] == ["not_executed"] * 2
    assert run.bodies("model_replied")[0]["unreadable"] == {"b": '{"n": '}
    run.reply(use("pay"))
    assert "not a JSON object" in str(run.requests[-1][1])
    run.audit()


@ROLES
def test_ids_that_a_model_reuses_are_made_unique(role):
    """Within a reply and over a run: every call keeps exactly one result under its own id."""
    run = hand(role)
    run.reply(use("look", id="x", n=1), use("peek", id="x", n=2))
    run.returns({"n": 1}, "look")
    run.returns({"n": 2}, "peek")
    run.reply(use("look", id="x", n=3))
    run.returns({"n": 3})
    run.ask()
    ids = [
        block["id"]
        for message in run.messages()
        if message["role"] == "assistant"
        for block in message["content"]
    ]
    assert ids == ["x", "call_2", "call_3"]
    assert {key: block["content"] for key, block in run.results().items()} == {
        "x": '{"n":1}',
        "call_2": '{"n":2}',
        "call_3": '{"n":3}',
    }
    assert run.bodies("model_replied")[0]["renamed"] == {"call_2": "x"}
    run.audit()


@ROLES
@pytest.mark.parametrize("given", ["", "a b", None, 5, "ü", "x" * 65])
def test_malformed_ids_are_replaced(given, role):
    """An id the API would not take back gets one that it does."""
    run = hand(role)
    run.ask()
    block = {"type": "tool_use", "id": given, "name": "look", "input": {}}
    run.give(fx.Replied(ModelReply(content=[block], stop_reason="tool_use")))
    assert run.call().tool == "look"
    run.returns({})
    run.ask()
    assert set(run.results()) == {"call_1"}
    run.audit()


def test_an_id_that_looks_like_ours_is_not_taken_twice():
    """A model may use `call_2` itself before we need it."""
    run = hand()
    run.reply(use("look", id="call_2"), use("peek", id="call_2"))
    assert len({call.no for call in run.open() if isinstance(call, fx.CallTool)}) == 2
    run.returns({}, "look")
    run.returns({}, "peek")
    run.ask()
    assert len(run.results()) == 2
    run.audit()


@pytest.mark.parametrize("given", [None, "text", 5, [1]])
def test_arguments_that_are_no_object_become_an_empty_one(given):
    """The schema then says what is missing, and the history stays valid."""
    run = hand()
    run.ask()
    block = {"type": "tool_use", "id": "t1", "name": "look", "input": given}
    run.give(fx.Replied(ModelReply(content=[block], stop_reason="tool_use")))
    assert run.call().arguments == {}
    run.audit()


def test_unknown_blocks_are_echoed_as_they_came():
    """A block type of tomorrow is kept, whole and in order."""
    run = hand()
    run.ask()
    content = [
        {"type": "tomorrow", "data": {"b": 1, "a": [2]}},
        {"type": "tool_use", "id": "t1", "name": "look", "input": {}},
    ]
    run.give(fx.Replied(ModelReply(content=content, stop_reason="tool_use")))
    assert run.messages()[-1]["content"] == content
    run.returns({})
    run.audit()


def test_nudges_have_a_limit():
    """A model that only talks is stopped: the third reply that leads nowhere fails the run."""
    run = hand(nudges=3)
    for _ in range(3):
        run.reply(text="hm")
    assert run.outcome.status == "failed"
    assert run.outcome.limit == "nudges"
    assert "limit nudges reached in state 'here'" in run.outcome.reason
    run.audit()


def test_a_reply_too_large_to_keep_is_no_reply():
    """Over the hard cap it is unusable like any other that cannot be written."""
    run = hand()
    run.ask()
    text = {"type": "text", "text": "x" * (17 * 1024 * 1024)}
    run.give(fx.Replied(ModelReply(content=[text], stop_reason="end_turn")))
    body = run.bodies("model_replied")[0]
    assert (body["usable"], body["content"]) == (False, [])
    run.audit()


def test_every_stop_reason_has_a_meaning():
    """The table is complete, and what is not in it is a failure, never the end."""
    sound = {"calls": 1, "usable": True, "content": [{"type": "tool_use"}]}
    for stop, meaning in MEANINGS.items():
        with_calls = meaning_of({**sound, "stop": stop})
        assert with_calls == ("nudge" if meaning == "done" else meaning)
    assert meaning_of({"stop": "never seen", "usable": True}) == "failed"
    assert meaning_of({"stop": None}) == "nudge"
    assert not usable([{"type": "text", "text": "x"}], None)


def test_usage_is_summed():
    """Token counts of every reply add up in the outcome, and count towards their limit."""
    run = hand(tokens=100)
    run.reply(use("look", n=1), usage={"input_tokens": 60, "output_tokens": 30, "zero": 0})
    run.returns({})
    run.reply(use("look", n=2), usage={"input_tokens": 5, "cost_micro_usd": 7, "output_tokens": 5})
    run.returns({})
    assert run.outcome.usage == {"input_tokens": 65, "output_tokens": 35, "cost_micro_usd": 7}
    assert run.outcome.limit == "tokens"
    run.audit()
