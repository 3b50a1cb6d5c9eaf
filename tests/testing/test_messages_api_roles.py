"""System messages, tool changes and old models; and everything that must be accepted."""

from __future__ import annotations

import anthropic
import pytest

from statemachine_agents.testing.messages_api import MessagesAPI, reply

USER = {"role": "user", "content": "hello"}
TOOL = {"name": "fetch_order", "description": "Look up.", "input_schema": {"type": "object"}}
OPUS = "claude-opus-5-5"
CLEAR = "mid-conversation-system-clear-at-2026-08-21"
CHANGES = "mid-conversation-tool-changes-2026-07-01"
INLINE = "inline-tools-2026-09-15"
EFFORT = "mid-conversation-output-config-2026-07-01"
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


def ask(client, messages, *, betas="", **more):
    settings = {"model": OPUS, "max_tokens": 100, "tools": [TOOL], **more}
    headers = {"anthropic-beta": betas} if betas else {}
    return client.messages.create(messages=messages, extra_headers=headers, **settings)


ONE = {"type": "tool", "name": "fetch_order"}


def named(name, **more):
    return [{**TOOL, "name": name, **more}]


def strict(schema):
    return [{**TOOL, "strict": True, "input_schema": schema}]


TURN = {"clear_at": "next_user_message"}
DEFINE = {"type": "tool_addition", "tool": {"type": "tool_definition", "definition": TOOL}}

ROLES = {
    "old model, system role": (
        [USER, system()],
        {"model": "claude-opus-4-7"},
        "messages.1: role 'system' is not supported on this model",
    ),
    "clear_at and a tool block": (
        [USER, system(change(), **TURN)],
        {"betas": f"{CLEAR},{CHANGES}"},
        (
            "messages.1: a turn-scoped system message supports text blocks only "
            "(clear_at: 'next_user_message')"
        ),
    ),
    "clear_at and a mark": (
        [USER, system(text("x", cache_control=MARK), **TURN)],
        {"betas": CLEAR},
        "messages.1: a turn-scoped system message does not support cache_control",
    ),
    "clear_at of an unknown kind": (
        [USER, system(clear_at="tomorrow")],
        {"betas": CLEAR},
        "messages.1.clear_at: Input should be 'next_user_message' or 'never'",
    ),
    "clear_at on a user message": (
        [{**USER, **TURN}],
        {"betas": CLEAR},
        "messages.0.clear_at: Extra inputs are not permitted",
    ),
    "tool change on a model without": (
        [USER, system(change())],
        {"betas": CHANGES, "model": "claude-sonnet-5"},
        "messages.1.content.0: tool changes are not supported on this model",
    ),
    "unknown effort in a message": (
        [USER, {"role": "system", "output_config": {"effort": "huge"}}],
        {"betas": EFFORT},
        "messages.1.output_config.effort: Input should be",
    ),
    "old model, blank at the end": (
        [USER, says("Sure, ")],
        {"model": "claude-haiku-4-5"},
        "messages: final assistant content cannot end with trailing whitespace",
    ),
    "old model, assistant last": (
        [USER, says("Sure,")],
        {"model": "claude-haiku-4-5"},
        "This model does not support assistant message prefill.",
    ),
    "unknown wish for mismatched blocks": (
        [USER],
        {
            "betas": "thinking-binding-controls-2026-08-01",
            "thinking": {
                "type": "adaptive",
                "block_binding": {"prefix_mismatch_behavior": "shrug"},
            },
        },
        "thinking.adaptive.block_binding.prefix_mismatch_behavior: Input should be 'error' or",
    ),
    "history with calls, no tools": (
        [USER, calls("a"), results("a")],
        {"tools": []},
        "Requests which include `tool_use` or `tool_result` blocks must define tools.",
    ),
}


@pytest.mark.parametrize("case", ROLES)
def test_system_messages_and_old_models_have_their_own_refusals(client, case):
    """Placement, headers and the capability row decide about system messages."""
    messages, settings, sentence = ROLES[case]
    with pytest.raises(anthropic.BadRequestError) as caught:
        ask(client, messages, **settings)
    assert caught.value.api_message.startswith(sentence)


@pytest.mark.parametrize(
    ("block", "betas", "error"),
    [
        (change("nope"), CHANGES, anthropic.types.ToolReferenceUnresolvedError),
        (DEFINE, INLINE, anthropic.types.ToolNameConflictError),
    ],
)
def test_a_tool_change_that_does_not_resolve_has_its_own_exception(client, block, betas, error):
    """The error code travels in the details, so the client raises the class named after it."""
    with pytest.raises(error) as caught:
        ask(client, [USER, system(block)], betas=betas)
    assert isinstance(caught.value, anthropic.BadRequestError)


FINE = {
    "calls and results": ([USER, calls("a", "b"), results("b", "a")], {}),
    "results, then words": (
        [USER, calls("a"), user(*results("a")["content"], text("state: validating"))],
        {},
    ),
    "same role twice": ([USER, USER, says("x"), says("y"), USER], {}),
    "note after results": ([USER, calls("a"), results("a"), system()], {}),
    "two notes in a section": ([USER, system(), system()], {}),
    "notes in the middle": ([USER, system(), says("x"), USER, system()], {}),
    "note on a model that ignores it": ([USER, system()], {"model": "claude-sonnet-5"}),
    "turn-scoped note": ([USER, system(**TURN), says("x"), USER], {"betas": CLEAR}),
    "tools withdrawn and back": (
        [USER, system(change()), says("x"), USER, system(change(kind="tool_addition"))],
        {"betas": CHANGES},
    ),
    "tool defined inline": (
        [
            USER,
            system(
                {
                    "type": "tool_addition",
                    "tool": {"type": "tool_definition", "definition": named("late")[0]},
                },
                change("late"),
            ),
        ],
        {"betas": INLINE},
    ),
    "effort of a message": (
        [USER, {"role": "system", "output_config": {"effort": "high"}}],
        {"betas": EFFORT},
    ),
    "forced where it is allowed": ([USER], {"tool_choice": ONE, "model": "claude-haiku-5-5"}),
    "auto, one at a time": (
        [USER],
        {"tool_choice": {"type": "auto", "disable_parallel_tool_use": True}},
    ),
    "sonnet thinks between tools": (
        [USER],
        {"thinking": {"type": "between_tools"}, "model": "claude-sonnet-5-5"},
    ),
    "four marks, long ones first": (
        [user(text("x", cache_control=MARK))],
        {
            "tools": named("f", cache_control=HOUR),
            "system": [text("s", cache_control=HOUR)],
            "cache_control": MARK,
        },
    ),
    "a server tool beside ours": (
        [USER],
        {"tools": [TOOL, {"type": "web_search_20260209", "name": "web_search"}]},
    ),
    "a mark inside a result": (
        [USER, calls("a"), results("a", content=[text("x", cache_control=MARK)])],
        {},
    ),
    "a strict tool": (
        [USER],
        {
            "tools": strict(
                {
                    "type": "object",
                    "additionalProperties": False,
                    "properties": {"n": {"type": ["integer", "null"]}},
                }
            )
        },
    ),
    "an undeclared name in the history": (
        [USER, calls("a", name="never_declared"), results("a")],
        {},
    ),
}


@pytest.mark.parametrize("case", FINE)
def test_a_valid_history_is_accepted(client, case):
    """What the API allows is not refused: a validator that refuses everything proves nothing."""
    messages, settings = FINE[case]
    assert ask(client, messages, **settings).content[0].text == "fine"
