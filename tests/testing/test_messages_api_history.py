"""Every invalid request is refused in the API's words, as the real client sees it."""

from __future__ import annotations

import anthropic
import pytest

from statemachine_agents.testing.messages_api import MessagesAPI, pause, reply

USER = {"role": "user", "content": "hello"}
TOOL = {"name": "fetch_order", "description": "Look up.", "input_schema": {"type": "object"}}
OPUS = "claude-opus-5-5"
CHANGES = "mid-conversation-tool-changes-2026-07-01"
MARK = {"type": "ephemeral"}
HOUR = {"type": "ephemeral", "ttl": "1h"}


def says(text, **more):
    return {"role": "assistant", "content": [{"type": "text", "text": text, **more}]}


def calls(*ids, name="fetch_order", **more):
    blocks = [{"type": "tool_use", "id": i, "name": name, "input": {}, **more} for i in ids]
    return {"role": "assistant", "content": blocks}


def results(*ids, before=(), **more):
    blocks = [{"type": "tool_result", "tool_use_id": i, "content": "ok", **more} for i in ids]
    return {"role": "user", "content": [*before, *blocks]}


def text(words, **more):
    return {"type": "text", "text": words, **more}


def user(*blocks):
    return {"role": "user", "content": list(blocks)}


def system(*blocks, **more):
    return {"role": "system", "content": list(blocks) or "state: fetching", **more}


def change(name="fetch_order", kind="tool_removal", **tool):
    return {"type": kind, "tool": {"type": "tool_reference", "name": name, **tool}}


@pytest.fixture(scope="module")
def api():
    with MessagesAPI(lambda body: reply("fine")) as server:
        yield server


@pytest.fixture(scope="module")
def client(api):
    with anthropic.Anthropic(api_key="test", base_url=api.url, max_retries=0) as made:
        yield made


def unanswered(number, call):
    return (
        f"messages.{number}: `tool_use` ids were found without `tool_result` blocks immediately "
        f"after: {call}. Each `tool_use` block must have a corresponding `tool_result` block in "
        "the next message."
    )


def stray(number, index, call):
    return (
        f"messages.{number}.content.{index}: unexpected `tool_use_id` found in `tool_result` "
        f"blocks: {call}. Each `tool_result` block must have a corresponding `tool_use` block in "
        "the previous message."
    )


def ask(client, messages, *, betas="", **more):
    settings = {"model": OPUS, "max_tokens": 100, "tools": [TOOL], **more}
    headers = {"anthropic-beta": betas} if betas else {}
    return client.messages.create(messages=messages, extra_headers=headers, **settings)


PREFILL = (
    "This model does not support assistant message prefill. "
    "The conversation must end with a user message."
)

HISTORIES = {
    "tool_use unanswered": (
        [USER, calls("a", "b"), results("a")],
        unanswered(1, "b"),
    ),
    "tool_use last": (
        [USER, calls("a")],
        unanswered(1, "a"),
    ),
    "text before the results": (
        [USER, calls("a"), results("a", before=[text("wait")])],
        unanswered(1, "a"),
    ),
    "results in two messages": (
        [USER, calls("a", "b"), results("a"), results("b")],
        unanswered(1, "b"),
    ),
    "stray tool_result": (
        [USER, calls("a"), results("a", "zz")],
        stray(2, 1, "zz"),
    ),
    "result without any call": (
        [results("a")],
        stray(0, 0, "a"),
    ),
    "two results for one call": (
        [USER, calls("a"), results("a", "a")],
        (
            "messages.2.content.1: each tool_use must have a single result. Found multiple "
            "`tool_result` blocks with id: a"
        ),
    ),
    "ids twice in the history": (
        [USER, calls("a"), results("a"), calls("a"), results("a")],
        "messages.3.content.0: `tool_use` ids must be unique",
    ),
    "ids twice in one message": (
        [USER, calls("a", "a"), results("a")],
        "messages.1.content.1: `tool_use` ids must be unique",
    ),
    "empty message": (
        [USER, {"role": "assistant", "content": []}, USER],
        (
            "messages.1: all messages must have non-empty content except for the optional final "
            "assistant message"
        ),
    ),
    "empty string": (
        [{"role": "user", "content": ""}],
        (
            "messages.0: all messages must have non-empty content except for the optional final "
            "assistant message"
        ),
    ),
    "empty text": (
        [USER, says(""), USER],
        "messages.1.content.0: text content blocks must be non-empty",
    ),
    "blank text": (
        [user(text(" \n"))],
        "messages.0.content.0: text content blocks must contain non-whitespace text",
    ),
    "assistant last": ([USER, says("Sure, ")], PREFILL),
    "empty assistant last": ([USER, {"role": "assistant", "content": []}], PREFILL),
    "assistant first": (
        [says("hello"), USER],
        'messages: first message must use the "user" role',
    ),
    "system first": (
        [system(), USER],
        "messages.0: use the top-level 'system' parameter for the initial system prompt",
    ),
    "no message": ([], "messages: at least one message is required"),
    "unknown role": (
        [{"role": "tool", "content": "x"}],
        "messages.0.role: Input should be 'user', 'assistant' or 'system'",
    ),
    "unknown key": (
        [{**USER, "name": "bob"}],
        "messages.0.name: Extra inputs are not permitted",
    ),
    "no content": ([{"role": "user"}], "messages.0.content: Field required"),
    "number as content": (
        [{"role": "user", "content": 3}],
        "messages.0.content: Input should be a valid list",
    ),
    "call id with a dot": (
        [USER, calls("a.b"), results("a.b")],
        "messages.1.content.0.tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'",
    ),
    "call id with a line end": (
        [USER, calls("a\n"), results("a\n")],
        "messages.1.content.0.tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'",
    ),
    "result id with a dot": (
        [USER, calls("ab"), results("a.b")],
        (
            "messages.2.content.0.tool_result.tool_use_id: "
            "String should match pattern '^[a-zA-Z0-9_-]+$'"
        ),
    ),
    "call name with a dot": (
        [USER, calls("a", name="order.fetch"), results("a")],
        "messages.1.content.0.tool_use.name: String should match pattern '^[a-zA-Z0-9_-]{1,128}$'",
    ),
    "input that is text": (
        [
            USER,
            {
                "role": "assistant",
                "content": [{"type": "tool_use", "id": "a", "name": "f", "input": "{"}],
            },
            results("a"),
        ],
        "messages.1.content.0.tool_use.input: Input should be a valid dictionary",
    ),
    "error result without words": (
        [USER, calls("a"), results("a", content="", is_error=True)],
        "messages.2.content.0.tool_result: content cannot be empty if `is_error` is true",
    ),
    "tool_use from the user": (
        [{**calls("a"), "role": "user"}],
        "messages.0: `tool_use` blocks can only be in `assistant` messages",
    ),
    "tool_result from the assistant": (
        [USER, {**results("a"), "role": "assistant"}, USER],
        "messages.1: `tool_result` blocks can only be in `user` messages",
    ),
    "document from the assistant": (
        [USER, {"role": "assistant", "content": [{"type": "document", "source": {}}]}, USER],
        (
            "messages.1.content.0: Input tag 'document' found using 'type' does not match any of "
            "the expected tags: 'text', 'thinking'"
        ),
    ),
    "citations from the user": (
        [user(text("x", citations=[]))],
        "messages.0.content.0.text.citations: Extra inputs are not permitted",
    ),
    "unknown key in a block": (
        [user(text("x", colour="red"))],
        "messages.0.content.0.text.colour: Extra inputs are not permitted",
    ),
    "block without type": (
        [user({"text": "x"})],
        "messages.0.content.0: Unable to extract tag using discriminator 'type'",
    ),
    "mark on thinking": (
        [
            USER,
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "", "signature": "s", "cache_control": MARK}
                ],
            },
            USER,
        ],
        "messages.1.content.0.thinking.cache_control: Extra inputs are not permitted",
    ),
    "forged signature": (
        [
            USER,
            {
                "role": "assistant",
                "content": [{"type": "thinking", "thinking": "", "signature": "s"}, text("x")],
            },
            USER,
        ],
        "messages.1.content.0: Invalid `signature` in `thinking` block",
    ),
    "words in a result that are empty": (
        [USER, calls("a"), results("a", content=[text("")])],
        "messages.2.content.0.tool_result.content.0: text content blocks must be non-empty",
    ),
    "a call inside a result": (
        [USER, calls("a"), results("a", content=[calls("b")["content"][0]])],
        "messages.2.content.0.tool_result.content.0: Input tag 'tool_use' found using 'type'",
    ),
    "message that is text": (["hello"], "messages.0: Input should be a valid dictionary"),
    "message without role": ([{"content": "x"}], "messages.0.role: Field required"),
    "block that is text": ([user("x")], "messages.0.content.0: Input should be a valid dictionary"),
    "five marks": (
        [user(*[text(str(n), cache_control=MARK) for n in range(5)])],
        "A maximum of 4 blocks with cache_control may be provided. Found 5.",
    ),
    "mark of an unknown lifetime": (
        [user(text("x", cache_control={"type": "ephemeral", "ttl": "2h"}))],
        "messages.0.content.0.text.cache_control.ephemeral.ttl: Input should be '5m' or '1h'",
    ),
    "long mark after a short one": (
        [user(text("x", cache_control=MARK), text("y", cache_control=HOUR))],
        (
            "messages.0.content.1.cache_control.ttl: a ttl='1h' cache_control block must not come "
            "after a ttl='5m' cache_control block. Note that blocks are processed in the following "
            "order: `tools`, `system`, `messages`."
        ),
    ),
    "clear_at without header": (
        [USER, system(clear_at="next_user_message")],
        "messages.1.clear_at: Extra inputs are not permitted",
    ),
    "tool change without header": (
        [USER, system(change())],
        (
            "messages.1.content.0: Input tag 'tool_removal' found using 'type' does not match any "
            "of the expected tags: 'text'"
        ),
    ),
    "system between call and result": (
        [USER, calls("a"), system(), results("a")],
        (
            "messages.2: a system message must directly follow a user message or an assistant "
            "message that ends in a server tool result"
        ),
    ),
    "system before a user message": (
        [USER, system(), USER],
        (
            "messages.1: a system message must be the last message or be followed by an assistant "
            "message"
        ),
    ),
    "blank system text": (
        [USER, system(text(" "))],
        "messages.1.content.0: text content blocks must contain non-whitespace text",
    ),
}


@pytest.mark.parametrize("case", HISTORIES)
def test_an_invalid_history_is_a_400_in_the_words_of_the_api(client, case):
    """Each way to get the message list wrong is refused by class, type and exact sentence."""
    messages, sentence = HISTORIES[case]
    with pytest.raises(anthropic.BadRequestError) as caught:
        ask(client, messages)
    assert caught.value.api_message.startswith(sentence)
    assert caught.value.type == "invalid_request_error"


def test_only_a_turn_this_server_paused_may_come_last():
    """An assistant message comes back last if, and only if, it was served with pause_turn."""
    with (
        MessagesAPI([pause("Searching."), reply("done")]) as api,
        anthropic.Anthropic(api_key="test", base_url=api.url, max_retries=0) as client,
    ):
        paused = ask(client, [USER])
        assert paused.stop_reason == "pause_turn"
        with pytest.raises(anthropic.BadRequestError, match="must end with a user message"):
            ask(client, [USER, says("Searching?")])
        again = ask(client, [USER, paused.to_param()])
    assert again.content[0].text == "done"


def test_after_a_paused_turn_a_note_may_follow_but_no_tool_change():
    """A turn that paused on a server tool's result takes a system message, without tool changes."""
    found = {"type": "web_search_tool_result", "tool_use_id": "srv_1", "content": []}
    search = {"type": "server_tool_use", "id": "srv_1", "name": "web_search", "input": {"q": "x"}}
    with (
        MessagesAPI([pause("Searching.", blocks=[search, found]), reply("done")]) as api,
        anthropic.Anthropic(api_key="test", base_url=api.url, max_retries=0) as client,
    ):
        paused = ask(client, [USER]).to_param()
        with pytest.raises(anthropic.BadRequestError, match="cannot directly follow a paused"):
            ask(client, [USER, paused, system(change())], betas=CHANGES)
        assert ask(client, [USER, paused, system()]).content[0].text == "done"


def test_a_block_type_the_server_served_is_taken_back_and_no_other():
    """A future block type can be echoed to the server that sent it; a made-up one cannot."""
    with (
        MessagesAPI([reply(blocks=[{"type": "quantum", "state": "both"}]), reply("ok")]) as api,
        anthropic.Anthropic(api_key="test", base_url=api.url, max_retries=0) as client,
    ):
        first = ask(client, [USER])
        assert first.content[0].type == "quantum"
        made_up = {"role": "assistant", "content": [{"type": "psychic"}]}
        with pytest.raises(anthropic.BadRequestError, match="Input tag 'psychic'"):
            ask(client, [USER, made_up, USER])
        assert ask(client, [USER, first.to_param(), USER]).content[0].text == "ok"


def test_a_refused_request_takes_no_step():
    """Refusals leave the script where it was, and are recorded with their sentence."""
    with (
        MessagesAPI([reply("only one")]) as api,
        anthropic.Anthropic(api_key="test", base_url=api.url, max_retries=0) as client,
    ):
        with pytest.raises(anthropic.BadRequestError):
            ask(client, [])
        assert len(api.script) == 1
        assert ask(client, [USER]).content[0].text == "only one"
        assert [item.status for item in api.requests] == [400, 200]
        assert api.requests[0].verdict == "messages: at least one message is required"
        assert [item.accepted for item in api.requests] == [False, True]
        assert api.script == ()
