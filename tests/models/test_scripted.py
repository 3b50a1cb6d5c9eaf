"""What a scripted model must do: say its turns in order, remember what was asked, fail loudly."""

import asyncio
import pickle

import pytest

from statemachine_agents.errors import ModelError, UsageError, WorkflowError
from statemachine_agents.models.scripted import (
    ScriptedModel,
    ScriptExhausted,
    Turn,
    fail,
    raw,
    say,
    stop,
    use,
    use_all,
)
from statemachine_agents.turn.ports import Layout, Model, ModelReply, ModelRequest


def request(messages=(), **fields):
    given = {"run": "r-1", "agent": "desk", "model": None, "system": (), "tools": ()}
    return ModelRequest(**{**given, "messages": messages, **fields})


def ask(model, *requests, **options):
    async def talk():
        return [await model.complete(one, **options) for one in requests]

    return asyncio.run(talk())


def test_turns_come_in_order_with_fresh_ids():
    """Each request takes the next turn, and calls are numbered across turns."""
    model = ScriptedModel([use("a", x=1), use_all(use("b"), use("c", name="n")), say("Done.")])
    first, second, third = ask(model, request(), request(), request())
    assert first.content == [{"type": "tool_use", "id": "call_1", "name": "a", "input": {"x": 1}}]
    assert [(b["id"], b["name"], b["input"]) for b in second.content] == [
        ("call_2", "b", {}),
        ("call_3", "c", {"name": "n"}),
    ]
    assert third.content == [{"type": "text", "text": "Done."}]
    assert [r.stop_reason for r in (first, second, third)] == ["tool_use", "tool_use", "end_turn"]
    assert set(first.usage.values()) == {0}
    assert not first.cut


def test_it_is_a_model():
    """The scripted model satisfies the port, layout included."""
    model = ScriptedModel([], note_role="user")
    assert isinstance(model, Model)
    assert model.layout(None) == Layout("scripted", "user")
    assert model.layout("claude-opus-5-5") == Layout("claude-opus-5-5", "user")
    assert asyncio.run(model.aclose()) is None


def test_unreadable_arguments_are_told_apart():
    """A `raw` call has the input {} and its text in `unreadable`."""
    (reply,) = ask(ScriptedModel([raw("a", "{oops")]), request())
    assert reply.content[0]["input"] == {}
    assert reply.unreadable == {"call_1": "{oops"}
    assert reply.stop_reason == "tool_use"


@pytest.mark.parametrize(
    "reason",
    ["end_turn", "max_tokens", "stop_sequence", "pause_turn", "refusal", "from_the_future"],
)
def test_any_stop_reason(reason):
    """`stop` gives any stop reason, with text and calls before it."""
    (reply,) = ask(ScriptedModel([stop(reason, "I was", use("a"))]), request())
    assert reply.stop_reason == reason
    assert [block["type"] for block in reply.content] == ["text", "tool_use"]


def test_failures_are_model_errors_of_known_kinds():
    """`fail` raises `ModelError` with its kind, and a kind that does not exist is refused."""
    with pytest.raises(ModelError, match="busy") as caught:
        ask(ScriptedModel([fail("overloaded", "busy")]), request())
    assert caught.value.facts["kind"] == "overloaded"
    with pytest.raises(UsageError, match="'overloded'"):
        fail("overloded")


def test_whole_replies_and_functions():
    """A turn may be a ModelReply, or a function of the request that returns any turn."""
    whole = ModelReply(content=[], stop_reason=None, cut=True)
    model = ScriptedModel(
        [whole, lambda asked: use(asked.offered[0]), lambda _: fail("auth"), lambda _: whole]
    )
    first, second = ask(model, request(), request(offered=("b",)))
    assert first is whole
    assert second.content[0]["name"] == "b"
    with pytest.raises(ModelError):
        ask(model, request())
    assert ask(model, request()) == [whole]


def test_a_used_up_script_says_what_could_be_said():
    """The error names the state of the script, the agent, and the tools that were offered."""
    model = ScriptedModel([say("one")])
    ask(model, request())
    with pytest.raises(ScriptExhausted) as caught:
        ask(model, request(offered=("fetch_order", "hand_off"), turn=2))
    text = str(caught.value)
    assert "all 1 turns of the script are used" in text
    assert "fetch_order, hand_off" in text
    assert "'desk'" in text
    assert "use('fetch_order', ...)" in text
    assert caught.value.facts["offered"] == ["fetch_order", "hand_off"]
    assert isinstance(caught.value, WorkflowError)
    assert isinstance(caught.value, AssertionError)
    assert not isinstance(caught.value, ModelError)
    assert str(pickle.loads(pickle.dumps(caught.value))) == text
    with pytest.raises(ScriptExhausted, match=r"offered here: nothing.*say\('\.\.\.'\)"):
        ask(model, request())


def test_a_script_that_is_not_strict_ends_in_words():
    """Without `strict` a used-up script goes on ending the turn."""
    replies = ask(ScriptedModel([], strict=False), request(), request())
    assert [reply.stop_reason for reply in replies] == ["end_turn", "end_turn"]
    assert replies[0].content[0]["text"]


def test_unused_turns_are_known():
    """`unused` holds the turns nobody asked for, and the repr counts them."""
    model = ScriptedModel([say("one"), say("two")])
    ask(model, request())
    assert model.unused == (Turn(text="two"),)
    assert repr(model) == "ScriptedModel(1 of 2 turns used)"


def test_requests_are_kept_as_asked_without_copies():
    """A growing transcript does not change what an earlier request is reported to have held."""
    messages = [{"role": "user", "content": "hi"}]
    model = ScriptedModel([say("one"), say("two")])
    one = request(messages)
    ask(model, one)
    messages.append({"role": "assistant", "content": "one"})
    ask(model, request(messages))
    assert model.asked == 2
    assert [len(kept.messages) for kept in model.requests] == [1, 2]
    assert model.requests[0].agent == "desk"
    assert model.requests[1].messages[0] is messages[0]


def test_text_is_handed_out():
    """`on_text` gets the text of a reply, not its calls."""
    heard = []
    ask(ScriptedModel([stop("tool_use", "hello", use("a"))]), request(), on_text=heard.append)
    assert heard == ["hello"]


def test_an_agent_s_model_id_is_echoed():
    """The reply names the model that was asked for, or `scripted`."""
    first, second = ask(
        ScriptedModel([say("a"), say("b")]), request(), request(model="claude-opus-5-5")
    )
    assert (first.model, second.model) == ("scripted", "claude-opus-5-5")
