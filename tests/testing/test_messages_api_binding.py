"""Thinking is bound to what stood before it: the proof that a driver is append-only."""

from __future__ import annotations

from contextlib import contextmanager

import anthropic
import pytest

from statemachine_agents.testing.messages_api import MessagesAPI, pause, reply

OPUS = "claude-opus-5-5"
MARK = {"type": "ephemeral"}
BINDING = "thinking-binding-controls-2026-08-01"
TOOLS = [
    {"name": f"tool_{n}", "description": "d" * 400, "input_schema": {"type": "object"}}
    for n in range(6)
]
SYSTEM = "You are the refund desk of a shop. " * 60


class Clock:
    def __init__(self):
        self.now = 1_790_000_000.0

    def __call__(self):
        return self.now


@contextmanager
def served(script, clock=None):
    with (
        MessagesAPI(script, clock=clock or Clock()) as api,
        anthropic.Anthropic(api_key="test", base_url=api.url, max_retries=0) as client,
    ):
        yield api, client


def ask(client, messages, **more):
    settings = {"model": OPUS, "max_tokens": 100, "system": SYSTEM, "tools": TOOLS, **more}
    return client.messages.create(messages=messages, **settings)


def user(words, **more):
    return {"role": "user", "content": [{"type": "text", "text": words, **more}]}


def use(request):
    """One reply a turn: call the first tool, thinking included."""
    return reply(
        calls=[(request["tools"][0]["name"], {"turn": len(request["messages"])})], thinking=True
    )


def conversation(client, turns, *, note=None, betas="", system=lambda turn: SYSTEM, **more):
    """Run an append-only tool loop; return the usages."""
    messages, usages = [user("please refund A1")], []
    for turn in range(turns):
        if note is not None:
            messages.append({"role": "system", "content": f"state {turn}", **note})
        got = ask(
            client,
            messages,
            system=system(turn),
            extra_headers={"anthropic-beta": betas} if betas else {},
            **more,
        )
        usages.append(got.usage)
        messages += [
            got.to_param(),
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": block.id, "content": "r" * 300}
                    for block in got.content
                    if block.type == "tool_use"
                ],
            },
        ]
    return usages


BOUND = (
    "messages.1.content.0: Invalid `signature` in `thinking` block. The block is bound to a "
    "different conversation. Remove the block, or set "
    '`thinking.block_binding.prefix_mismatch_behavior` to "drop_block".'
)


def thought(client, **more):
    """Return a first turn with thinking, and the history that echoes it."""
    got = ask(client, [user("first")], **more)
    return [user("first"), got.to_param(), user("second")]


EDITS = {
    "system": lambda history: (history, {"system": SYSTEM + "!"}),
    "a tool": lambda history: (history, {"tools": TOOLS[:5]}),
    "a message": lambda history: ([user("First"), *history[1:]], {}),
    "a note put in front": lambda history: (
        [history[0], {"role": "system", "content": "state: x"}, *history[1:]],
        {},
    ),
}


@pytest.mark.parametrize("edit", EDITS)
def test_an_edited_prefix_is_refused_on_bound_models(edit):
    """Whatever changes before a thinking block, the next request with that block is a 400."""
    with served(lambda body: reply("ok", thinking=True)) as (_, client):
        messages, settings = EDITS[edit](thought(client))
        with pytest.raises(anthropic.BadRequestError) as caught:
            ask(client, messages, **settings)
        index = 2 if "note" in edit else 1
        assert caught.value.api_message == BOUND.replace("messages.1", f"messages.{index}")
        blocks = [block for block in messages[index]["content"] if block.type != "thinking"]
        messages[index] = {"role": "assistant", "content": blocks}
        assert ask(client, messages, **settings).content[1].text == "ok"


@pytest.mark.parametrize(
    ("model", "bound"),
    [
        ("claude-opus-5-5", True),
        ("claude-sonnet-5-5", True),
        ("claude-haiku-5-5", True),
        ("claude-fable-5-2", True),
        ("claude-opus-5", False),
        ("claude-sonnet-5", False),
        ("claude-haiku-4-5", False),
    ],
)
def test_only_bound_models_care_about_the_prefix(model, bound):
    """The capability row decides whether an edit before a thinking block matters."""
    with served(lambda body: reply("ok", thinking=True)) as (_, client):
        history = thought(client, model=model)
        if not bound:
            assert ask(client, history, model=model, system="other").content[1].text == "ok"
            return
        with pytest.raises(anthropic.BadRequestError, match="bound to a different conversation"):
            ask(client, history, model=model, system="other")


def test_an_append_only_history_is_never_refused():
    """Echoed verbatim, marks moved, string or block form: the signatures hold on every turn."""
    with served(use) as (api, client):
        conversation(client, 10, cache_control=MARK, note={})
        assert all(item.accepted for item in api.requests)
    with served(lambda body: reply("ok", thinking=True)) as (api, client):
        history = thought(client)
        history[0] = {"role": "user", "content": "first"}
        history[2] = user("second", cache_control=MARK)
        system = [{"type": "text", "text": SYSTEM, "cache_control": MARK}]
        assert ask(client, history, system=system).content[1].text == "ok"


def test_mismatched_blocks_are_dropped_when_asked():
    """With the beta header the block goes, the request passes, and the answer reports it."""
    with served(lambda body: reply("ok", thinking=True)) as (api, client):
        history = thought(client)
        control = {
            "type": "adaptive",
            "block_binding": {"prefix_mismatch_behavior": "drop_block"},
        }
        got = client.beta.messages.create(
            model=OPUS,
            max_tokens=100,
            system="other",
            tools=TOOLS,
            messages=history,
            thinking=control,
            betas=[BINDING],
        )
        assert BINDING in api.requests[-1].headers["anthropic-beta"]
    (dropped,) = got.input_transformations
    assert (dropped.type, dropped.path) == ("thinking_dropped", "messages.1.content.0")
    assert dropped.reason == "prefix_binding_mismatch"


def test_the_text_of_a_thought_is_sealed_too():
    """A changed thinking text, or redacted data nobody made, is invalid on every model."""
    with served(lambda body: reply("ok", thinking="I see.")) as (_, client):
        history = thought(client, model="claude-opus-5")
        blocks = [block.to_dict() for block in history[1]["content"]]
        blocks[0]["thinking"] = "I lie."
        history[1] = {"role": "assistant", "content": blocks}
        with pytest.raises(anthropic.BadRequestError, match=r"Invalid `signature` in `thinking`"):
            ask(client, history, model="claude-opus-5")
        history[1] = {
            "role": "assistant",
            "content": [{"type": "redacted_thinking", "data": "x"}, blocks[1]],
        }
        with pytest.raises(anthropic.BadRequestError, match=r"Invalid `data` in `redacted_think"):
            ask(client, history, model="claude-opus-5")


def test_redacted_thinking_is_bound_like_thinking():
    """A redacted block made by the server comes back on the same prefix only."""
    blocks = [{"type": "redacted_thinking"}, {"type": "text", "text": "ok"}]
    with served(lambda body: reply(blocks=blocks)) as (_, client):
        history = thought(client)
        assert history[1]["content"][0].data.startswith("sig_")
        assert ask(client, history).content[1].text == "ok"
        with pytest.raises(anthropic.BadRequestError, match="bound to a different conversation"):
            ask(client, history, system="other")


def test_a_resumed_turn_may_be_merged_or_not():
    """After pause_turn the two halves of a turn are one prefix, in one message or in two."""

    def script(body):
        return pause("half") if len(body["messages"]) == 1 else reply("rest", thinking=True)

    with served(script) as (_, client):
        start = [user("first")]
        half = ask(client, start).to_param()
        rest = ask(client, [*start, half]).to_param()
        assert ask(client, [*start, half, rest, user("go on")]).content[1].text == "rest"
        joined = {"role": "assistant", "content": [*half["content"], *rest["content"]]}
        assert ask(client, [*start, joined, user("go on")]).content[1].text == "rest"


def test_a_signature_survives_a_restart_of_the_server():
    """Signatures are a function of the conversation, not of the process that made them."""
    with served(lambda body: reply("ok", thinking=True)) as (_, client):
        history = thought(client)
    with served(lambda body: reply("ok", thinking=True)) as (_, client):
        assert ask(client, history).content[1].text == "ok"
        with pytest.raises(anthropic.BadRequestError, match="bound to a different conversation"):
            ask(client, history, system="other")
