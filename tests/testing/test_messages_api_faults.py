"""Every scripted reply and fault, as the real client sees it, streaming and not, sync and async."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager

import anthropic
import httpx2
import pytest

from statemachine_agents.testing.messages_api import (
    MessagesAPI,
    context_window_exceeded,
    cut,
    delay,
    drop,
    error,
    malformed,
    pause,
    refusal,
    reply,
    stream_error,
    truncated,
)

TOOL = {"name": "fetch_order", "description": "Look up.", "input_schema": {"type": "object"}}
REQUEST = {
    "model": "claude-opus-5-5",
    "max_tokens": 100,
    "tools": [TOOL],
    "messages": [{"role": "user", "content": "hello"}],
}
RICH = reply(
    "Looking it up, this takes more than one piece of text.",
    [("fetch_order", {"order_id": "A1", "deep": {"list": [1, 2, 3]}}), ("fetch_order", {})],
    thinking="First the order.",
)


@contextmanager
def served(*steps, max_retries=0, **options):
    with (
        MessagesAPI(steps) as api,
        anthropic.Anthropic(
            api_key="test", base_url=api.url, max_retries=max_retries, **options
        ) as client,
    ):
        yield api, client
        assert api.failures == ()


def ask(client, *, stream=False):
    if not stream:
        return client.messages.create(**REQUEST)
    with client.messages.stream(**REQUEST) as events:
        return events.get_final_message()


def plain(message):
    return [block.model_dump(mode="json", exclude_unset=True) for block in message.content]


def test_a_rich_reply_is_the_same_streamed_and_not():
    """Thinking, text and two calls arrive whole both ways, in order, with the same usage."""
    with served(RICH, RICH) as (api, client):
        whole, streamed = ask(client), ask(client, stream=True)
        assert [block.type for block in whole.content] == [
            "thinking",
            "text",
            "tool_use",
            "tool_use",
        ]
        assert whole.content[0].thinking == "First the order."
        assert whole.content[2].input == {"order_id": "A1", "deep": {"list": [1, 2, 3]}}
        assert whole.content[3].input == {}
        assert whole.stop_reason == streamed.stop_reason == "tool_use"
        ids = {block.id for block in (*whole.content[2:], *streamed.content[2:])}
        assert len(ids) == 4
        for one, other in zip(plain(whole), plain(streamed), strict=True):
            one.pop("id", None)
            other.pop("id", None)
            assert one == other
        assert whole.usage.output_tokens == streamed.usage.output_tokens > 1
        assert whole.usage.output_tokens_details.thinking_tokens > 0
        assert api.requests[0].usage == whole.usage.model_dump(exclude_unset=True)


def test_the_events_of_a_stream_come_in_the_order_of_the_api():
    """Start, then start-deltas-stop per block, then the delta of the message, then stop."""
    with (
        served(reply("hi", [("fetch_order", {"a": 1}, "call_1")])) as (_, client),
        client.messages.create(**REQUEST, stream=True) as events,
    ):
        seen = list(events)
    assert [event.type for event in seen] == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "content_block_start",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert (seen[0].message.content, seen[0].message.stop_reason) == ([], None)
    assert seen[0].message.usage.output_tokens == 1
    assert (seen[4].content_block.id, seen[4].content_block.input) == ("call_1", {})
    assert seen[5].delta.partial_json == ""
    assert seen[8].delta.stop_reason == "tool_use"


def test_the_async_client_sees_the_same():
    """The async client gets replies, streams and faults from the same server."""

    async def main(url):
        async with anthropic.AsyncAnthropic(api_key="test", base_url=url, max_retries=0) as client:
            whole = await client.messages.create(**REQUEST)
            async with client.messages.stream(**REQUEST) as events:
                texts = [piece async for piece in events.text_stream]
                streamed = await events.get_final_message()
            with pytest.raises(anthropic.OverloadedError):
                await client.messages.create(**REQUEST)
            with pytest.raises(httpx2.RemoteProtocolError):
                async with client.messages.stream(**REQUEST) as events:
                    await events.get_final_message()
        return whole, texts, streamed

    with MessagesAPI([RICH, RICH, error(529), cut(5)]) as api:
        whole, texts, streamed = asyncio.run(main(api.url))
        assert api.script == ()
    assert "".join(texts) == whole.content[1].text == streamed.content[1].text
    assert len(texts) > 1


HTTP = [
    (400, anthropic.BadRequestError, "invalid_request_error"),
    (401, anthropic.AuthenticationError, "authentication_error"),
    (402, anthropic.PaymentRequiredError, "billing_error"),
    (403, anthropic.PermissionDeniedError, "permission_error"),
    (404, anthropic.NotFoundError, "not_found_error"),
    (408, anthropic.RequestTimeoutError, "timeout_error"),
    (409, anthropic.ConflictError, "conflict_error"),
    (413, anthropic.ContentTooLargeError, "request_too_large"),
    (422, anthropic.UnprocessableEntityError, "invalid_request_error"),
    (429, anthropic.RateLimitError, "rate_limit_error"),
    (500, anthropic.InternalServerError, "api_error"),
    (503, anthropic.ServiceUnavailableError, "api_error"),
    (504, anthropic.GatewayTimeoutError, "timeout_error"),
    (529, anthropic.OverloadedError, "overloaded_error"),
]


@pytest.mark.parametrize(("status", "kind", "word"), HTTP)
def test_an_http_error_is_the_exception_of_its_status(status, kind, word):
    """Status and type decide the class; message, request id and step are where they belong."""
    with served(error(status, message="scripted")) as (api, client):
        with pytest.raises(kind) as caught:
            ask(client)
        assert (caught.value.status_code, caught.value.type) == (status, word)
        assert caught.value.api_message == "scripted"
        assert caught.value.request_id == api.requests[0].request_id
        assert (api.requests[0].status, api.requests[0].accepted) == (status, True)
        assert api.requests[0].step == error(status, message="scripted")


def test_retries_are_seen_with_their_number():
    """Overloaded and rate limited are tried again after retry-after; the count is in a header."""
    steps = [error(529, retry_after=0.01), error(429, retry_after=0.01), reply("third time")]
    with served(*steps, max_retries=2) as (api, client):
        raw = client.messages.with_raw_response.create(**REQUEST)
        assert raw.retries_taken == 2
        assert raw.parse().content[0].text == "third time"
        assert [item.attempt for item in api.requests] == [0, 1, 2]
        assert [item.status for item in api.requests] == [529, 429, 200]


def test_x_should_retry_overrides_the_status():
    """A 529 that says no is not tried again, a 400 that says yes is."""
    no, yes = {"x-should-retry": "false"}, {"x-should-retry": "true"}
    with served(error(529, headers=no), reply("never"), max_retries=2) as (api, client):
        with pytest.raises(anthropic.OverloadedError):
            ask(client)
        assert len(api.requests) == 1
    with served(error(400, headers=yes, retry_after=0.01), reply("ok"), max_retries=2) as (
        _,
        client,
    ):
        assert ask(client).content[0].text == "ok"


@pytest.mark.parametrize("stream", [False, True])
def test_a_drop_before_headers_is_a_lost_connection(stream):
    """The socket is shut before anything is sent: a connection error, tried again by the client."""
    with served(drop()) as (api, client):
        with pytest.raises(anthropic.APIConnectionError):
            ask(client, stream=stream)
        assert (api.requests[0].status, api.requests[0].accepted) == (0, True)
    with served(drop(), reply("back"), max_retries=1) as (api, client):
        assert ask(client, stream=stream).content[0].text == "back"
        assert [item.attempt for item in api.requests] == [0, 1]


@pytest.mark.parametrize("after", [1, 3, 8])
def test_a_broken_stream_is_a_raw_protocol_error(after):
    """A chunked body without its end raises httpx2's own class, and is not tried again."""
    with served(cut(after, RICH), reply("never"), max_retries=2) as (api, client):
        with pytest.raises(httpx2.RemoteProtocolError) as caught:
            ask(client, stream=True)
        assert not isinstance(caught.value, anthropic.AnthropicError)
        assert len(api.requests) == 1


def test_a_clean_end_without_message_stop_raises_nothing():
    """The client notices nothing: no stop reason, and a call without its arguments."""
    step = reply(calls=[("fetch_order", {"order_id": "A1"})])
    with served(cut(4, step, clean=True), cut(99, step, clean=True)) as (_, client):
        message = ask(client, stream=True)
        assert message.stop_reason is None
        assert [(block.type, block.input) for block in message.content] == [("tool_use", {})]
        late = ask(client, stream=True)
        assert late.content[0].input == {"order_id": "A1"}


@pytest.mark.parametrize("clean", [False, True])
def test_half_a_body_is_a_connection_error(clean):
    """Without streaming a cut is half a JSON body, which the client takes for a lost connection."""
    with served(cut(3, clean=clean)) as (_, client), pytest.raises(anthropic.APIConnectionError):
        ask(client)


def test_an_error_event_is_a_status_error_of_200():
    """A stream that breaks with an error event raises the plain class, and is not tried again."""
    with served(stream_error(after=3, step=RICH), reply("never"), max_retries=2) as (api, client):
        with pytest.raises(anthropic.APIStatusError) as caught:
            ask(client, stream=True)
        assert (caught.value.status_code, caught.value.type) == (200, "overloaded_error")
        assert not isinstance(caught.value, anthropic.OverloadedError)
        assert len(api.requests) == 1


def test_an_error_event_is_its_own_status_without_a_stream():
    """A request that does not stream gets the same error as an HTTP answer."""
    with (
        served(stream_error("rate_limit_error", "slow down")) as (_, client),
        pytest.raises(anthropic.RateLimitError, match="slow down"),
    ):
        ask(client)


def test_arguments_that_are_no_json_raise_in_a_stream():
    """Streamed nonsense is a builtin ValueError of the client's accumulator."""
    with (
        served(malformed("fetch_order", '{"order_id": A1}')) as (_, client),
        pytest.raises(ValueError, match="Unable to parse tool parameter JSON"),
    ):
        ask(client, stream=True)


def test_arguments_that_are_no_json_are_text_without_a_stream():
    """Not streamed, the raw text stands where an object belongs."""
    with served(malformed("fetch_order", '{"order_id": A1}')) as (_, client):
        message = ask(client)
        assert message.stop_reason == "tool_use"
        assert message.content[0].input == '{"order_id": A1}'


def test_unfinished_arguments_pass_the_client_in_silence():
    """Arguments that merely end too early are completed by the client, even half a number.

    So an adapter must parse the raw text itself: 50000 can arrive as 5 under `tool_use`.
    """
    raw = '{"order_id": "A1", "amount_cents": 5'
    unfinished_text = '{"order_id": "A1", "note": "to be cont'
    with served(malformed("f", raw), malformed("f", unfinished_text)) as (_, client):
        number, words = ask(client, stream=True), ask(client, stream=True)
    assert number.stop_reason == words.stop_reason == "tool_use"
    assert number.content[0].input == {"order_id": "A1", "amount_cents": 5}
    assert words.content[0].input == {"order_id": "A1"}


def test_max_tokens_in_a_call_leaves_no_usable_arguments():
    """A cut call says max_tokens; its arguments are empty, or in a stream the finished keys."""
    short = truncated("fetch_order", {"order_id": "A1"})
    long = truncated("fetch_order", {"a": 1, "zzzzzzzzzzzzzzz": "never arrives"})
    with served(short, short, long) as (_, client):
        for stream in (False, True):
            message = ask(client, stream=stream)
            assert (message.stop_reason, message.content[0].input) == ("max_tokens", {})
        assert ask(client, stream=True).content[0].input == {"a": 1}


@pytest.mark.parametrize("stream", [False, True])
def test_a_refusal_carries_its_details(stream):
    """A refusal has no content, its category and its explanation."""
    with served(refusal("cyber", "not this")) as (_, client):
        message = ask(client, stream=stream)
    assert (message.stop_reason, message.content) == ("refusal", [])
    assert (message.stop_details.category, message.stop_details.explanation) == (
        "cyber",
        "not this",
    )


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("step", "reason"),
    [
        (context_window_exceeded(), "model_context_window_exceeded"),
        (pause(), "pause_turn"),
        (reply("x", stop_reason="max_tokens"), "max_tokens"),
        (reply("x", stop_reason="stop_sequence", stop_sequence="END"), "stop_sequence"),
        (reply("x", stop_reason="bored"), "bored"),
        (reply(), "end_turn"),
        (reply(blocks=[{"type": "tool_use", "id": "a", "name": "f", "input": {}}]), "tool_use"),
    ],
)
def test_every_stop_reason_passes_unchanged(step, reason, stream):
    """Known or not, the stop reason arrives as the script says it, or follows from the calls."""
    with served(step) as (_, client):
        message = ask(client, stream=stream)
    assert (message.stop_reason, message.stop_sequence) == (reason, step.stop_sequence)


@pytest.mark.parametrize("stream", [False, True])
def test_an_unknown_block_keeps_its_fields(stream):
    """The client builds an unknown block as a text block: its type and fields are still there."""
    with served(reply("a", blocks=[{"type": "quantum", "state": "both"}])) as (_, client):
        message = ask(client, stream=stream)
    assert plain(message)[1] == {"type": "quantum", "state": "both"}


def test_citations_are_streamed_as_their_own_deltas():
    """A raw text block with citations arrives the same both ways."""
    cite = {
        "type": "char_location",
        "cited_text": "x",
        "document_index": 0,
        "document_title": None,
        "start_char_index": 0,
        "end_char_index": 1,
        "file_id": None,
    }
    step = reply(blocks=[{"type": "text", "text": "see x", "citations": [cite]}])
    with served(step, step) as (_, client):
        whole, streamed = ask(client), ask(client, stream=True)
    assert whole.content[0].citations[0].cited_text == "x"
    assert streamed.content[0].citations[0].cited_text == "x"


def test_a_delay_longer_than_the_patience_of_the_client_is_a_timeout():
    """The client gives up; the server forgets the wait when it is closed."""
    with served(delay(600, reply("too late")), timeout=0.1) as (api, client):
        with pytest.raises(anthropic.APITimeoutError):
            ask(client)
        assert api.requests[0].accepted
    with served(delay(0.01, reply("in time"))) as (_, client):
        assert ask(client).content[0].text == "in time"


def test_usage_can_be_overridden():
    """A step may claim any usage; what it does not name is computed."""
    with served(reply("x", usage={"output_tokens": 777, "input_tokens": 5})) as (api, client):
        usage = ask(client).usage
        assert (usage.output_tokens, usage.input_tokens) == (777, 5)
        assert usage.cache_read_input_tokens == 0
        assert api.requests[0].usage["output_tokens"] == 777
