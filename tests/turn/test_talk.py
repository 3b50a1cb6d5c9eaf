"""Talking with customers: greetings, texts of the model, messages, and who hears what."""

from __future__ import annotations

import json

import pytest

from statemachine_agents.table.model import Agent, Key, Limits, State, Transition
from statemachine_agents.turn import effects as fx
from tests.driving import Hand, small, use

ROLES = pytest.mark.parametrize("role", ["system", "user"])


def desk(role: str = "system", **parts) -> Hand:
    """Return a desk that talks, with a greeting unless `say` says otherwise."""
    talking = State(
        "talking", ask="Help.", tools=["look"], talk=True, **{"say": "Welcome!", **parts}
    )
    return Hand(
        small(
            Transition("talking", "look.ok", "done"),
            Transition("talking", "user.message", None, assign={"last": "message.text"}),
            states=[talking],
            context={"last": Key(type="string?"), "name": Key(type="string", default="Ann")},
        ),
        role=role,
    )


def user_texts(messages) -> list[str]:
    return [
        block["text"]
        for message in messages
        if message["role"] == "user"
        for block in message["content"]
        if block["type"] == "text"
    ]


@ROLES
def test_a_greeting_is_delivered_and_quoted_never_an_opening_turn(role):
    """`say` goes out at once; the model reads of it in a block of the first user message."""
    hand = desk(role)
    assert hand.sent() == "Welcome!"
    assert hand.waits == ("message",)
    hand.message("Where is my order?")
    hand.ask()
    messages = hand.requests[-1][1]
    assert messages[0]["role"] == "user"
    texts = user_texts(messages)
    assert texts[0] == "Where is my order?"
    assert json.loads(texts[1])["you_said"] == ["Welcome!"]
    assert "Welcome!" not in str([m for m in messages if m["role"] == "system"])
    hand.audit()


@ROLES
def test_a_desk_waits_for_the_customer_before_it_asks_the_model(role):
    """Nobody has said anything yet, so there is nothing to ask."""
    hand = desk(role, say=None)
    assert hand.waits == ("message",)
    assert hand.bodies("model_asked") == []
    hand.message()
    assert isinstance(hand.next(), fx.AskModel)


@ROLES
def test_text_without_calls_is_sent_once_and_the_run_listens(role):
    """The reply is queued under a stable id, then `model.done`, then the customer's turn."""
    hand = desk(role, say=None)
    hand.message()
    hand.reply(text="Which order?")
    queued = hand.bodies("reply_queued")[0]
    assert queued == {"id": f"r-1-{hand.kinds.index('reply_queued')}", "text": "Which order?"}
    assert hand.bodies("stepped")[-1]["default"] == "waits"
    say = hand.expect(fx.Say)
    hand.reload()
    assert hand.expect(fx.Say).id == say.id
    assert hand.sent() == "Which order?"
    assert hand.waits == ("message",)
    hand.message("A1")
    hand.reply(use("look"), text="I look it up.")
    assert len(hand.bodies("reply_queued")) == 1  # text beside calls is private
    hand.audit()


@ROLES
def test_text_without_talk_is_private(role):
    """In a state that does not talk nothing reaches the customer."""
    hand = Hand(
        small(
            Transition("here", "look.ok", "done"),
            states=[State("here", ask="x", tools=["look"])],
            limits=Limits(nudges=9),
        ),
        role=role,
    )
    hand.reply(text="Dear customer")
    assert hand.bodies("reply_queued") == []
    hand.audit()


@ROLES
@pytest.mark.parametrize("text", ["", "  ", "\n"])
def test_an_empty_message_is_still_a_message(text, role):
    """The API takes no blank text, so a stand-in is sent; the guard sees what was written."""
    hand = desk(role, say=None)
    hand.message(text)
    hand.ask()
    assert user_texts(hand.requests[-1][1])[0] == "(an empty message)"
    assert hand.context["last"] == text
    hand.audit()


@ROLES
def test_messages_are_taken_one_by_one_and_told_together(role):
    """Each is an event; what came while the model was busy joins the next request, in order."""
    hand = desk(role, say=None)
    for text in ("one", "two"):
        hand.message(text)
    assert hand.events().count("user.message") == 1  # the model is being asked by now
    hand.reply(text="ok")
    hand.message("three")
    hand.reply(text="so")
    assert hand.events().count("user.message") == 3
    assert [t for t in user_texts(hand.messages()) if t in ("one", "two", "three")] == [
        "one",
        "two",
        "three",
    ]
    hand.audit()


@ROLES
def test_a_reply_to_an_older_question_does_not_stop_the_next_one(role):
    """A message that came while the model spoke is answered at once, not after another one."""
    hand = desk(role, say=None)
    hand.message("one")
    hand.ask()
    hand.message("two")
    hand.reply(text="answer to one")
    assert isinstance(hand.expect(fx.AskModel), fx.AskModel)
    assert "two" in user_texts(hand.messages())
    hand.audit()


@ROLES
def test_a_message_is_kept_until_a_state_takes_it(role):
    """A state that cannot meet it leaves it in the inbox for the one that can."""
    hand = Hand(
        small(
            Transition("busy", "look.ok", "talking"),
            Transition("talking", "user.message", "done", guard="message.text == 'bye'"),
            states=[
                State("busy", ask="x", tools=["look"]),
                State("talking", wait="message"),
            ],
        ),
        role=role,
    )
    hand.message("bye", id="m-1", sender="ann")
    assert hand.events() == ["run.started"]
    hand.reply(use("look"))
    hand.returns({})
    assert hand.outcome.ok
    received = hand.bodies("message_received")[0]
    assert received == {"id": "m-1", "text": "bye", "sender": "ann"}
    hand.audit()


@ROLES
def test_an_answer_nobody_has_waits_for_the_customer_again(role):
    """After `model.done` a row may move instead of waiting."""
    hand = Hand(
        small(
            Transition("talking", "model.done", "done", guard="'bye' in [reply.text]"),
            states=[State("talking", ask="x", talk=True)],
        ),
        role=role,
    )
    hand.message("hello")
    hand.reply(text="hi")
    assert hand.sent() == "hi"
    assert hand.waits == ("message",)
    hand.message("that is all")
    hand.reply(text="bye")
    assert hand.expect(fx.Say).text == "bye"  # said before the end
    assert hand.outcome.ok
    assert not hand.run.done
    hand.sent()
    assert hand.run.done
    hand.audit()


def test_replies_go_out_in_order():
    """A reply is offered only after the one before it was delivered."""
    hand = desk(say="First.")
    hand.message("hello")
    hand.reply(text="Second.")
    assert [effect.text for effect in hand.open() if isinstance(effect, fx.Say)] == ["First."]
    assert hand.sent() == "First."
    assert hand.sent() == "Second."
    hand.audit()


def test_a_greeting_is_filled_in_without_private_data():
    """`{context...}` is filled in; a private key stays empty: the model reads greetings too."""
    hand = Hand(
        small(
            Transition("talking", "look.ok", "done"),
            states=[
                State(
                    "talking",
                    ask="x",
                    tools=["look"],
                    talk=True,
                    say="Hello {context.name}{context.pin}!",
                )
            ],
            context={
                "name": Key(type="string", default="Ann"),
                "pin": Key(type="string", default="1234", private=True),
            },
        )
    )
    assert hand.sent() == "Hello Ann!"


@ROLES
def test_every_agent_hears_every_message_once(role):
    """A message taken while one agent spoke joins the other's transcript when it is asked."""
    hand = Hand(
        small(
            Transition("first", "user.message", "second", guard="message.text == 'other'"),
            Transition("first", "look.ok", "done"),
            Transition("second", "look.ok", "first"),
            states=[
                State("first", ask="a", tools=["look"], talk=True, agent="anna"),
                State("second", ask="b", tools=["look"], talk=True, agent="bert"),
            ],
            agents=[Agent("anna", "You are Anna."), Agent("bert", "You are Bert.")],
        ),
        role=role,
    )
    hand.message("hello")
    hand.reply(text="hi")
    hand.message("other")
    hand.reply(use("look"))
    hand.returns({})
    hand.ask()
    heard = {
        agent: [
            text for text in user_texts(hand.messages(agent)) if not text.startswith(("{", "<"))
        ]
        for agent in ("anna", "bert")
    }
    assert heard == {"anna": ["hello", "other"], "bert": ["hello", "other"]}
    hand.audit()


@ROLES
def test_a_timer_while_the_desk_listens_asks_the_model_again(role):
    """An outside input that moves nothing lets the model speak; the history stays valid."""
    hand = desk(role, say=None, after="1h")
    hand.message()
    hand.reply(text="one moment")
    hand.sent()
    assert hand.expect(fx.Wait).until == hand.run.standing.timer["due"]
    hand.signal("timer")
    assert isinstance(hand.expect(fx.AskModel), fx.AskModel)
    hand.reply(text="still there?")
    hand.audit()


@ROLES
def test_what_a_model_says_late_does_not_decide_for_the_next_state(role):
    """A timer moved the run while the model was asked: its `model.done` is late, moves nothing."""
    hand = Hand(
        small(
            Transition("first", "timer.fired", "second"),
            Transition("first", "look.ok", "done"),
            Transition("second", "model.done", "failed"),
            Transition("second", "look.ok", "done"),
            states=[
                State("first", ask="a", tools=["look"], after="1h"),
                State("second", ask="b", tools=["look"]),
            ],
        ),
        role=role,
    )
    hand.ask()
    assert hand.signal("timer") == ""
    assert hand.state == "first"  # the reply is awaited first
    hand.reply(text="done with the first")
    assert hand.state == "second"
    assert hand.bodies("stepped")[-1]["late"] is True
    hand.reply(use("look"))
    hand.returns({})
    assert hand.outcome.ok
    hand.audit()
