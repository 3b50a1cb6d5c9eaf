"""Tools, choices, thinking and unknown fields are judged against the model that is asked."""

from __future__ import annotations

import http.client
import json
from urllib.parse import urlsplit

import anthropic
import pytest

from statemachine_agents.testing.messages_api import MessagesAPI, reply

USER = {"role": "user", "content": "hello"}
TOOL = {"name": "fetch_order", "description": "Look up.", "input_schema": {"type": "object"}}
OPUS = "claude-opus-5-5"
MARK = {"type": "ephemeral"}


def text(words, **more):
    return {"type": "text", "text": words, **more}


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


FORCED = 'tool_choice: type "tool" and "any" are not supported for this model.'
ONE = {"type": "tool", "name": "fetch_order"}
THINK = (
    '"thinking.type.{}" is not supported for this model. Use "thinking.type.adaptive" and '
    '"output_config.effort" to control thinking behavior.'
)


def named(name, **more):
    return [{**TOOL, "name": name, **more}]


def strict(schema):
    return [{**TOOL, "strict": True, "input_schema": schema}]


SETTINGS = {
    "tool name with a dot": (
        {"tools": named("credit.customer")},
        "tools.0.custom.name: String should match pattern '^[a-zA-Z0-9_-]{1,128}$'",
    ),
    "tool name of 129": (
        {"tools": named("a" * 129)},
        "tools.0.custom.name: String should match pattern '^[a-zA-Z0-9_-]{1,128}$'",
    ),
    "tool names twice": ({"tools": [TOOL, TOOL]}, "tools: Tool names must be unique."),
    "tool without schema": (
        {"tools": [{"name": "f"}]},
        "tools.0.custom.input_schema: Field required",
    ),
    "tool with an array schema": (
        {"tools": named("f", input_schema={"type": "array"})},
        "tools.0.custom.input_schema.type: Input should be 'object'",
    ),
    "tool with an unknown key": (
        {"tools": named("f", effect="read")},
        "tools.0.custom.effect: Extra inputs are not permitted",
    ),
    "all tools deferred": (
        {"tools": named("f", defer_loading=True)},
        "tools: At least one tool must have defer_loading=false.",
    ),
    "strict and open": (
        {"tools": strict({"type": "object"})},
        "tools.0.custom: For 'object' type, 'additionalProperties' must be explicitly set to false",
    ),
    "strict with a minimum": (
        {
            "tools": strict(
                {
                    "type": "object",
                    "additionalProperties": False,
                    "properties": {"n": {"type": "integer", "minimum": 1}},
                }
            )
        },
        "tools.0.custom: For 'integer' type, property 'minimum' is not supported",
    ),
    "21 strict tools": (
        {
            "tools": [
                {
                    **TOOL,
                    "name": f"t{n}",
                    "strict": True,
                    "input_schema": {"type": "object", "additionalProperties": False},
                }
                for n in range(21)
            ]
        },
        "tools: at most 20 tools may be strict. Found 21.",
    ),
    "forced tool": ({"tool_choice": ONE}, FORCED),
    "forced any": ({"tool_choice": {"type": "any"}}, FORCED),
    "forced tool, sonnet": ({"tool_choice": ONE, "model": "claude-sonnet-5-5"}, FORCED),
    "forced tool, fable": (
        {"tool_choice": ONE, "model": "claude-fable-5-1"},
        "tool_choice forces tool use is not compatible with this model",
    ),
    "forced while budget thinking": (
        {
            "tool_choice": ONE,
            "model": "claude-opus-4-7",
            "max_tokens": 2000,
            "thinking": {"type": "enabled", "budget_tokens": 1024},
        },
        "Thinking may not be enabled when tool_choice forces tool use.",
    ),
    "choice of an undeclared tool": (
        {"tool_choice": {"type": "tool", "name": "nope"}, "model": "claude-opus-5"},
        "tool_choice: Tool 'nope' not found in provided tools",
    ),
    "choice without tools": (
        {"tool_choice": {"type": "auto"}, "tools": []},
        "tool_choice: tool_choice may only be specified while providing tools",
    ),
    "choice of an unknown kind": (
        {"tool_choice": {"type": "maybe"}},
        "tool_choice: Input tag 'maybe' found using 'type' does not match any of the expected tags",
    ),
    "thinking off": ({"thinking": {"type": "disabled"}}, THINK.format("disabled")),
    "thinking by budget": (
        {"thinking": {"type": "enabled", "budget_tokens": 1024}, "max_tokens": 2000},
        THINK.format("enabled"),
    ),
    "between tools where it is unknown": (
        {"thinking": {"type": "between_tools"}},
        THINK.format("between_tools"),
    ),
    "adaptive where it is unknown": (
        {"thinking": {"type": "adaptive"}, "model": "claude-haiku-4-5"},
        "adaptive thinking is not supported on this model",
    ),
    "budget too small": (
        {"thinking": {"type": "enabled", "budget_tokens": 10}, "model": "claude-opus-5"},
        "thinking.enabled.budget_tokens: Input should be greater than or equal to 1024",
    ),
    "budget over max_tokens": (
        {"thinking": {"type": "enabled", "budget_tokens": 1024}, "model": "claude-opus-5"},
        "`max_tokens` must be greater than `thinking.budget_tokens`.",
    ),
    "binding control without header": (
        {"thinking": {"type": "adaptive", "block_binding": {}}},
        "thinking.adaptive.block_binding: Extra inputs are not permitted",
    ),
    "temperature": (
        {"extra_body": {"temperature": 0.5}},
        "temperature: Extra inputs are not permitted",
    ),
    "top_p": ({"extra_body": {"top_p": 0.5}}, "top_p: Extra inputs are not permitted"),
    "top_k": ({"extra_body": {"top_k": 5}}, "top_k: Extra inputs are not permitted"),
    "a thread": ({"extra_body": {"thread": {}}}, "thread: Extra inputs are not permitted"),
    "negative max_tokens": (
        {"max_tokens": -1},
        "max_tokens: Input should be greater than or equal to 0",
    ),
    "unknown effort": (
        {"output_config": {"effort": "huge"}},
        "output_config.effort: Input should be 'low', 'medium', 'high', 'xhigh' or 'max'",
    ),
    "unknown speed": ({"speed": "warp"}, "speed: Input should be 'standard' or 'fast'"),
    "unknown service tier": (
        {"service_tier": "gold"},
        "service_tier: Input should be 'auto' or 'standard_only'",
    ),
    "metadata with a name": (
        {"metadata": {"name": "bob"}},
        "metadata.name: Extra inputs are not permitted",
    ),
    "number as stop sequence": (
        {"stop_sequences": [3]},
        "stop_sequences.0: Input should be a valid string",
    ),
    "image in the system prompt": (
        {"system": [{"type": "image", "text": "x"}]},
        "system.0: Input tag 'image' found using 'type'",
    ),
    "unknown thinking": (
        {"thinking": {"type": "hard"}},
        "thinking: Input tag 'hard' found using 'type'",
    ),
    "mark of an unknown kind": (
        {"cache_control": {"type": "eternal"}},
        "cache_control: Input tag 'eternal' found using 'type'",
    ),
    "tool schema without type": (
        {"tools": named("f", input_schema={})},
        "tools.0.custom.input_schema.type: Field required",
    ),
    "strict and open deep inside": (
        {
            "tools": strict(
                {
                    "type": "object",
                    "additionalProperties": False,
                    "properties": {
                        "x": {"anyOf": [{"type": "null"}, {"type": "object"}]},
                    },
                }
            )
        },
        "tools.0.custom: For 'object' type, 'additionalProperties' must be explicitly set to false",
    ),
    "blank stop sequence": (
        {"stop_sequences": [" "]},
        "stop_sequences: each stop sequence must contain non-whitespace",
    ),
    "empty system block": (
        {"system": [text("")]},
        "system.0: text content blocks must be non-empty",
    ),
    "five marks over all": (
        {
            "tools": named("f", cache_control=MARK),
            "system": [text(str(n), cache_control=MARK) for n in range(3)],
            "cache_control": MARK,
        },
        "A maximum of 4 blocks with cache_control may be provided. Found 5.",
    ),
}


@pytest.mark.parametrize("case", SETTINGS)
def test_an_invalid_setting_is_a_400_in_the_words_of_the_api(client, case):
    """Tools, tool choice, thinking, marks and unknown fields are judged against the model."""
    settings, sentence = SETTINGS[case]
    with pytest.raises(anthropic.BadRequestError) as caught:
        ask(client, [USER], **settings)
    assert caught.value.api_message.startswith(sentence)


BETAS = (
    "mid-conversation-system-clear-at-2026-08-21,inline-tools-2026-09-15,"
    "mid-conversation-output-config-2026-07-01,thinking-binding-controls-2026-08-01"
)
OBJECT = {"type": "object", "additionalProperties": False, "properties": {"x": {"type": "string"}}}
EVERYTHING = {
    "model": OPUS,
    "max_tokens": 100,
    "system": [text("s", cache_control=MARK)],
    "tools": [{**TOOL, "input_schema": OBJECT, "strict": True, "cache_control": MARK}],
    "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
    "thinking": {
        "type": "adaptive",
        "block_binding": {"prefix_mismatch_behavior": "error"},
    },
    "cache_control": MARK,
    "output_config": {"effort": "low"},
    "metadata": {"user_id": "u"},
    "stop_sequences": ["x"],
    "speed": "fast",
    "service_tier": "auto",
    "stream": False,
    "messages": [
        {"role": "user", "content": [text("hi")]},
        {
            "role": "assistant",
            "content": [
                text("one moment"),
                {"type": "tool_use", "id": "a", "name": "fetch_order", "input": {"x": "1"}},
            ],
        },
        {
            "role": "user",
            "content": [
                {
                    "type": "tool_result",
                    "tool_use_id": "a",
                    "content": [text("ok", cache_control=MARK)],
                    "is_error": False,
                }
            ],
        },
        {"role": "system", "content": "note", "clear_at": "next_user_message"},
        {"role": "assistant", "content": "ok"},
        USER,
        {
            "role": "system",
            "content": [
                {
                    "type": "tool_removal",
                    "tool": {"type": "tool_reference", "name": "fetch_order"},
                },
                {
                    "type": "tool_addition",
                    "tool": {"type": "tool_definition", "definition": {**TOOL, "name": "late"}},
                },
            ],
            "output_config": {"effort": "low"},
        },
    ],
}
ODD = [None, [], {}, "", 5, -1, True, [None], {"type": []}, {"type": "text"}, "system", 1e9]


def places(value, path=()):
    """Yield the path of everything inside a value."""
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
        yield (*path, key)
        if isinstance(inner, dict | list):
            yield from places(inner, (*path, key))


def replaced(value, path, new):
    """Return a copy with one place replaced."""
    out = value.copy()
    out[path[0]] = replaced(out[path[0]], path[1:], new) if path[1:] else new
    return out


def test_whatever_stands_anywhere_the_answer_is_an_answer():
    """Each place of a request that uses everything, replaced by each odd value: 200 or a 400.

    Never a 500, never a lost connection: the validator itself has no unhandled shape.
    """
    headers = {
        "x-api-key": "test",
        "anthropic-version": "2026-10-21",
        "anthropic-beta": BETAS,
        "content-type": "application/json",
    }
    with MessagesAPI(lambda body: reply("fine")) as server:
        line = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=30)
        statuses = []
        for body in (
            EVERYTHING,
            *(replaced(EVERYTHING, path, odd) for path in places(EVERYTHING) for odd in ODD),
        ):
            line.request("POST", "/v1/messages", json.dumps(body), headers)
            answer = line.getresponse()
            answer.read()
            statuses.append(answer.status)
        line.close()
        assert server.failures == ()
    assert statuses[0] == 200
    assert set(statuses) == {200, 400, 404}, "404 where the model's name was replaced"
    assert len(statuses) > 1000
