"""What asking Claude must do, with the real SDK over real HTTP against the fake Messages API."""

import asyncio
import copy
import gc
import json
import os
import subprocess
import sys

import anthropic
import attrs
import httpx2
import pytest
from opentelemetry import trace

from statemachine_agents.errors import ModelError
from statemachine_agents.models.capabilities import DEFAULT_MODEL
from statemachine_agents.models.claude import LONGEST_UNSTREAMED, Claude
from statemachine_agents.testing.messages_api import (
    Call,
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
from statemachine_agents.turn.ports import Layout, Model, ModelRequest

KEY = "sk-test-secret"
TOOLS = (
    {
        "name": "fetch_order",
        "description": "Fetch an order. " + "It is one of many orders of the shop. " * 80,
        "input_schema": {"type": "object", "properties": {"order_id": {"type": "string"}}},
    },
)
SYSTEM = ({"type": "text", "text": "You are the refund desk."}, {"type": "text", "text": "Rules."})


def request(messages=None, **fields):
    given = {"run": "r-1", "agent": "desk", "model": None, "system": SYSTEM, "tools": TOOLS}
    start = [{"role": "user", "content": [{"type": "text", "text": "Refund A1, please."}]}]
    return ModelRequest(messages=start if messages is None else messages, **{**given, **fields})


def claude(api, **options):
    return Claude(**{"api_key": KEY, "base_url": api.url, "max_retries": 0, **options})


def ask(api, *requests, on_text=None, **options):
    """Ask one after the other and close, in one event loop."""

    async def talk():
        model = claude(api, **options)
        try:
            return [await model.complete(one, on_text=on_text) for one in requests or (request(),)]
        finally:
            await model.aclose()

    return asyncio.run(talk())


def answered(asked, got, result="fine"):
    """Echo a reply into the transcript and answer its calls."""
    messages = [*asked.messages, {"role": "assistant", "content": got.content}]
    results = [
        {"type": "tool_result", "tool_use_id": block["id"], "content": result}
        for block in got.content
        if block["type"] == "tool_use"
    ]
    results.append({"type": "text", "text": "Go on."})
    return attrs.evolve(asked, messages=[*messages, {"role": "user", "content": results}])


UNKNOWN = {"type": "hologram", "film": "xyz", "frames": [1, {"a": None}], "caller": {"type": "x"}}
CITED = {"type": "text", "text": "As written.", "citations": [{"type": "page", "n": 1}]}

SCRIPTS = {
    "text": reply("Good day. " * 10),
    "call": reply(
        "Looking.", [("fetch_order", {"order_id": "A1", "n": 1.5, "deep": [{"x": None}]})]
    ),
    "calls": reply(calls=[("fetch_order", {}), ("no_such_tool", {"ü": "\u2028"})]),
    "thinking": reply("Hm.", [("fetch_order", {})], thinking=True),
    "thought": reply("Hm.", thinking="Let me think about this for a while."),
    "redacted": reply("Hm.", blocks=[{"type": "redacted_thinking"}]),
    "cited": reply(blocks=[CITED]),
    "unknown": reply("Look:", blocks=[UNKNOWN]),
    "pause": pause(),
    "stop_sequence": reply("until", stop_reason="stop_sequence", stop_sequence="END"),
    "max_tokens": reply("and then", stop_reason="max_tokens"),
    "truncated": truncated("fetch_order", {"order_id": "A1"}),
    "refusal": refusal("cyber", "Not with me.", "No."),
    "window": context_window_exceeded("full"),
    "future": reply("?", stop_reason="from_the_future"),
    "malformed": malformed("fetch_order", '{"order_id": '),
    "twice": malformed("fetch_order", '{"a": 1, "a": 2}'),
    "list": malformed("fetch_order", "[1, 2]"),
}
REASONS = {
    "call": "tool_use",
    "calls": "tool_use",
    "thinking": "tool_use",
    "pause": "pause_turn",
    "stop_sequence": "stop_sequence",
    "max_tokens": "max_tokens",
    "truncated": "max_tokens",
    "refusal": "refusal",
    "window": "model_context_window_exceeded",
    "future": "from_the_future",
    "malformed": "tool_use",
    "twice": "tool_use",
    "list": "tool_use",
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_streamed_or_not_the_reply_is_the_same(name):
    """The same script gives equal replies both ways, with the stop reason as the API said it."""
    replies = []
    for stream in (False, True):
        with MessagesAPI([SCRIPTS[name]]) as api:
            replies += ask(api, stream=stream)
        assert api.requests[0].body.get("stream", False) is stream
        assert api.requests[0].accepted
    assert replies[0] == replies[1]
    assert replies[0].stop_reason == REASONS.get(name, "end_turn")
    assert not replies[0].cut
    assert replies[0].model == DEFAULT_MODEL
    assert replies[0].id.startswith("msg_")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", ["text", "calls", "thinking", "thought", "redacted", "unknown"])
def test_a_reply_can_be_sent_back_verbatim(name, stream):
    """The next request is accepted with the content as it came, signatures included."""
    first, second = request(), None
    with MessagesAPI([SCRIPTS[name], reply("Done.")]) as api:
        (got,) = ask(api, first, stream=stream)
        second = answered(first, got)
        ask(api, second, stream=stream)
    assert [each.verdict for each in api.requests] == ["accepted", "accepted"]
    assert api.requests[1].body["messages"][1]["content"] == got.content
    json.dumps(got.content, allow_nan=False)


def test_an_edited_prefix_would_have_been_refused():
    """The check above means something: the same second request with another system text fails."""
    first = request()
    with MessagesAPI([SCRIPTS["thinking"], reply("Done.")]) as api:
        (got,) = ask(api, first)
        edited = attrs.evolve(answered(first, got), system=({"type": "text", "text": "Other."},))
        with pytest.raises(ModelError, match="bound to a different conversation") as caught:
            ask(api, edited)
    assert caught.value.facts["kind"] == "invalid_request"
    assert caught.value.facts["status"] == 400


def test_unknown_blocks_keep_every_field():
    """A block type from the future is kept as it came, not made into text."""
    for stream in (False, True):
        with MessagesAPI([SCRIPTS["unknown"]]) as api:
            (got,) = ask(api, stream=stream)
        assert got.content[1] == UNKNOWN


def test_arguments_that_are_no_object_are_unreadable():
    """Wrong arguments are {} with their raw text beside; right ones in the same reply stay."""
    calls = [Call("fetch_order", {"order_id": "A1"}, "t1"), Call("fetch_order", {}, "t2", "{oops")]
    for stream in (False, True):
        with MessagesAPI([reply(calls=calls)]) as api:
            (got,) = ask(api, stream=stream)
        assert [block["input"] for block in got.content] == [{"order_id": "A1"}, {}]
        assert got.unreadable == {"t2": "{oops"}


def test_a_refusal_says_why():
    """The explanation of the refusal is the reply's detail."""
    with MessagesAPI([SCRIPTS["refusal"]]) as api:
        (got,) = ask(api)
    assert got.detail == "Not with me."


def test_the_request_is_built_as_laid_down():
    """One mark on the last system block, the automatic one, a constant tool choice, no more."""
    asked = request(max_tokens=77)
    before = copy.deepcopy(asked)
    with MessagesAPI([reply("a"), reply("b"), reply("c")]) as api:
        ask(api, asked, attrs.evolve(asked, system=(), tools=()))
        ask(api, attrs.evolve(asked, model="claude-opus-5-5"), cache_ttl="1h")
    first, bare, hour = (each.body for each in api.requests)
    assert {each.headers["authorization"] for each in api.requests} == {f"Bearer {KEY}"}
    assert first == {
        "model": DEFAULT_MODEL,
        "max_tokens": 77,
        "messages": asked.messages,
        "cache_control": {"type": "ephemeral"},
        "tools": list(TOOLS),
        "tool_choice": {"type": "auto"},
        "system": [SYSTEM[0], {**SYSTEM[1], "cache_control": {"type": "ephemeral"}}],
        "stream": False,
    }
    assert set(bare) - {"stream"} == {"model", "max_tokens", "messages", "cache_control"}
    assert hour["model"] == "claude-opus-5-5"
    assert hour["system"][-1]["cache_control"] == {"type": "ephemeral", "ttl": "1h"}
    assert asked == before


@pytest.mark.parametrize(
    ("model", "sent"),
    [("claude-sonnet-5-5", True), ("claude-haiku-4-5", False), ("claude-opus-4-5", False)],
)
def test_effort_goes_where_it_is_understood(model, sent):
    """Effort is sent when asked for, to models that have it, and never otherwise."""
    with MessagesAPI([reply("a"), reply("b")]) as api:
        ask(api, request(model=model), request(model=model, effort="low"))
    plain, effort = (each.body for each in api.requests)
    assert "output_config" not in plain
    assert effort.get("output_config") == ({"effort": "low"} if sent else None)


def test_usage_counts_the_cache():
    """The four counts come from the API, and the second request of a transcript reads the cache."""
    for stream in (False, True):
        first = request()
        with MessagesAPI([reply("a"), reply("b")]) as api:
            (one,) = ask(api, first, stream=stream)
            (two,) = ask(api, answered(first, one), stream=stream)
        assert list(one.usage) == [
            "input_tokens",
            "output_tokens",
            "cache_creation_input_tokens",
            "cache_read_input_tokens",
        ]
        assert one.usage["cache_creation_input_tokens"] > 0
        assert one.usage["cache_read_input_tokens"] == 0
        assert two.usage["cache_read_input_tokens"] > 0
        assert two.usage == {key: api.requests[1].usage[key] for key in two.usage}


def test_text_arrives_in_pieces():
    """`on_text` makes the reply a stream and gets its text in order, nothing twice."""
    heard = []
    with MessagesAPI([reply("Good day. " * 10, [("fetch_order", {})])]) as api:
        (got,) = ask(api, on_text=heard.append)
    assert len(heard) > 1
    assert "".join(heard) == got.content[0]["text"] == "Good day. " * 10
    assert api.requests[0].body["stream"] is True


def test_a_listener_s_own_error_is_its_own():
    """What `on_text` raises is raised, not called a cut stream."""

    def listener(_):
        raise KeyError("mine")

    with MessagesAPI([reply("hello")]) as api, pytest.raises(KeyError, match="mine"):
        ask(api, on_text=listener)


def test_a_long_answer_is_streamed():
    """Beyond what may be asked for unstreamed, the request streams; at the bound it does not."""
    with MessagesAPI([reply("a"), reply("b")]) as api:
        ask(
            api,
            request(max_tokens=LONGEST_UNSTREAMED),
            request(max_tokens=LONGEST_UNSTREAMED + 1),
        )
    assert [each.body.get("stream", False) for each in api.requests] == [False, True]


# ----------------------------------------------------------------------------------- broken streams


@pytest.mark.parametrize("clean", [False, True])
@pytest.mark.parametrize("after", [1, 4, 9])
def test_a_stream_that_breaks_is_a_cut_reply(clean, after):
    """Whether the connection broke or ended early: what arrived, `cut`, and no stop reason."""
    step = cut(
        after, reply("Hello, this is a text", [("fetch_order", {"order_id": "A1"})]), clean=clean
    )
    with MessagesAPI([step]) as api:
        (got,) = ask(api, stream=True)
    assert got.cut
    assert got.stop_reason is None
    assert got.id
    assert [block["type"] for block in got.content] == ["text", "tool_use"][: (after + 1) // 4]


@pytest.mark.parametrize("clean", [False, True])
def test_a_stream_in_which_nothing_came_is_an_error(clean):
    """A stream that ended before its first event could not be asked."""
    with (
        MessagesAPI([cut(0, clean=clean)]) as api,
        pytest.raises(ModelError) as caught,
    ):
        ask(api, stream=True)
    assert caught.value.facts["kind"] == "transport"


def test_a_call_cut_in_its_arguments_has_none():
    """Half of the arguments are not arguments: {} and their text beside."""
    step = cut(5, reply(calls=[Call("fetch_order", {"order_id": "A1" * 40}, "t1")]))
    with MessagesAPI([step]) as api:
        (got,) = ask(api, stream=True)
    assert got.cut
    assert got.content[0]["input"] == {}
    assert got.unreadable["t1"].startswith('{"order_id"')


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("overloaded_error", "overloaded"),
        ("api_error", "server"),
        ("rate_limit_error", "rate_limit"),
        ("invalid_request_error", "invalid_request"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_an_error_in_the_middle_is_an_error(kind, expected, stream):
    """An error event after 200 is named by its type, not by the status."""
    step = stream_error(kind, "sorry", after=4)
    with MessagesAPI([step]) as api, pytest.raises(ModelError, match="sorry") as caught:
        ask(api, stream=stream)
    assert caught.value.facts["kind"] == expected
    assert caught.value.facts["request_id"] == api.requests[0].request_id


@pytest.mark.parametrize("stream", [False, True])
def test_cancelling_passes_through(stream):
    """A cancelled request is cancelled, not an error of the model, and the next one works."""

    async def talk(api):
        model = claude(api, stream=stream)
        try:
            task = asyncio.create_task(model.complete(request()))
            while not api.requests:  # noqa: ASYNC110 - the server runs in a thread of its own
                await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            return await model.complete(request())
        finally:
            await model.aclose()

    with MessagesAPI([delay(60, reply("late")), reply("next")]) as api:
        got = asyncio.run(talk(api))
    assert got.content[0]["text"] == "next"


# ---------------------------------------------------------------------------------- errors, retries


def test_a_busy_api_is_asked_again():
    """The SDK retries 429 and 5xx by itself; the attempts are counted on the wire."""
    with MessagesAPI(
        [error(429, retry_after=0.01), error(529, retry_after=0.01), reply("x")]
    ) as api:
        (got,) = ask(api, max_retries=2)
    assert got.content[0]["text"] == "x"
    assert [each.attempt for each in api.requests] == [0, 1, 2]


def test_a_lost_connection_is_asked_again():
    """A connection dropped before the answer is retried too, and given up as transport."""
    with MessagesAPI([drop(), reply("x"), drop()]) as api:
        (got,) = ask(api, max_retries=1)
        with pytest.raises(ModelError) as caught:
            ask(api)
    assert got.content[0]["text"] == "x"
    assert caught.value.facts["kind"] == "transport"


@pytest.mark.parametrize(
    ("step", "kind", "calls"),
    [
        (error(529, retry_after=0.01), "overloaded", 3),
        (error(429, retry_after=0.01), "rate_limit", 3),
        (error(500, retry_after=0.01), "server", 3),
        (error(401), "auth", 1),
        (error(402), "billing", 1),
        (error(403), "auth", 1),
        (error(404), "not_found", 1),
        (error(413), "too_large", 1),
        (error(400), "invalid_request", 1),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_what_stays_wrong_is_a_model_error(step, kind, calls, stream):
    """After the SDK's retries the error has a kind, a status and a request id, and no secrets."""
    with MessagesAPI([step] * 3) as api, pytest.raises(ModelError) as caught:
        ask(api, max_retries=2, stream=stream)
    facts = caught.value.facts
    assert facts["kind"] == kind
    assert facts["status"] == step.status
    assert facts["request_id"] == api.requests[-1].request_id
    assert len(api.requests) == calls
    assert facts["retry_after"] == (0.01 if calls == 3 else None)
    assert KEY not in str(caught.value)
    assert "Refund A1" not in str(caught.value)
    assert isinstance(caught.value.__cause__, anthropic.APIStatusError)


def test_a_retired_model_is_not_found():
    """An id the API does not serve says to check the id."""
    with MessagesAPI([]) as api, pytest.raises(ModelError, match="check the model id") as caught:
        ask(api, request(model="claude-3-5-sonnet-20241022"))
    assert caught.value.facts["kind"] == "not_found"


def test_an_unreachable_api_is_transport():
    """Nobody listens: transport, with the cause named."""
    with MessagesAPI([]) as api:
        pass
    with pytest.raises(ModelError, match="ConnectError") as caught:
        ask(api)
    assert caught.value.facts["kind"] == "transport"


def test_an_answer_cut_in_half_is_transport():
    """Half of a JSON body is not a reply."""
    with MessagesAPI([cut(0)]) as api, pytest.raises(ModelError) as caught:
        ask(api)
    assert caught.value.facts["kind"] == "transport"


def test_a_late_answer_is_transport():
    """An attempt that takes longer than `timeout` is given up."""
    with MessagesAPI([delay(60, reply("late"))]) as api, pytest.raises(ModelError) as caught:
        ask(api, timeout=0.2)
    assert caught.value.facts["kind"] == "transport"


def test_a_missing_key_says_what_to_do(monkeypatch, tmp_path):
    """Without any credential the error names the variable and the model that needs none."""
    for name in [name for name in os.environ if name.startswith("ANTHROPIC_")]:
        monkeypatch.delenv(name)
    for name in ("HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    with MessagesAPI([]) as api, pytest.raises(ModelError) as caught:
        ask(api, api_key=None)
    assert caught.value.facts["kind"] == "auth"
    assert "ANTHROPIC_API_KEY" in str(caught.value)
    assert "--model rehearsal" in str(caught.value)
    assert api.requests == ()


def test_the_key_comes_from_the_environment(monkeypatch):
    """Without `api_key` the SDK's own sources hold, and their key is blanked out of errors too."""
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-from-env")
    with MessagesAPI([error(401, message="wrong key sk-from-env")]) as api:
        monkeypatch.setenv("ANTHROPIC_BASE_URL", api.url)
        with pytest.raises(ModelError, match=r"wrong key \[key\]"):
            ask(api, api_key=None, base_url=None)
    assert api.requests[0].headers["authorization"] == "Bearer sk-from-env"


def test_the_key_is_not_shown():
    """Neither repr nor str shows the key or the address."""
    model = Claude("claude-opus-5-5", api_key=KEY, base_url="http://user:pass@localhost")
    assert repr(model) == (
        "Claude(model='claude-opus-5-5', max_retries=2, timeout=600.0, stream=False)"
    )
    assert KEY not in str(model)


def test_a_ttl_that_does_not_exist_is_refused():
    """Only the two lifetimes the API knows are taken."""
    with pytest.raises(ValueError, match="cache_ttl"):
        Claude(cache_ttl="2h")


# ----------------------------------------------------------------------------- clients, event loops


def test_it_is_a_model_with_a_layout():
    """The layout is that of the id asked for, else of the default."""
    model = Claude("claude-opus-5-5")
    assert isinstance(model, Model)
    assert model.layout(None) == Layout("claude-opus-5-5", "system")
    assert model.layout("claude-haiku-4-5") == Layout("claude-haiku-4-5", "user", 200_000)
    assert Claude().model == DEFAULT_MODEL


def test_one_model_serves_several_event_loops():
    """Each loop has its own connections; closing in one leaves the model usable in the next."""
    with MessagesAPI([reply(str(n)) for n in range(6)]) as api:
        model = claude(api)

        async def talk():
            first, second = await asyncio.gather(
                model.complete(request()), model.complete(request())
            )
            await model.aclose()
            await model.aclose()
            return first.content[0]["text"] + second.content[0]["text"]

        said = [asyncio.run(talk()) for _ in range(3)]
    assert sorted("".join(said)) == list("012345")


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_loop_that_ended_without_closing_is_forgotten():
    """A loop that forgot to close does not break the next one, and its client is dropped."""
    with MessagesAPI([reply("a"), reply("b")]) as api:
        model = claude(api)
        asyncio.run(model.complete(request()))

        async def talk():
            got = await model.complete(request())
            kept = len(model._clients)
            await model.aclose()
            return got, kept

        got, kept = asyncio.run(talk())
    gc.collect()  # the lost socket's warning belongs to this test, not to a later one
    assert got.content[0]["text"] == "b"
    assert kept == 1
    assert model._clients == {}


def mocked(answer, **options):
    transport = httpx2.MockTransport(lambda _: answer)
    return anthropic.AsyncAnthropic(
        api_key=KEY, max_retries=0, http_client=httpx2.AsyncClient(transport=transport), **options
    )


def whole(text="hi"):
    message = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [{"type": "text", "text": text}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 1, "output_tokens": 1},
    }
    return httpx2.Response(200, json=message, headers={"request-id": "req_9"})


def test_a_client_of_the_caller_stays_the_caller_s():
    """A given client is used as it is and not closed."""

    async def talk():
        client = mocked(whole())
        model = Claude(client=client)
        got = await model.complete(request())
        await model.aclose()
        still_open = not client.is_closed()
        await client.close()
        return got, still_open

    got, still_open = asyncio.run(talk())
    assert got.content == [{"type": "text", "text": "hi"}]
    assert still_open


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "page",
    [
        httpx2.Response(200, html="<html>log in first</html>"),
        httpx2.Response(200, json={"hello": "world"}),
        httpx2.Response(200, json=["hello"]),
        httpx2.Response(200, content=b"{", headers={"content-type": "application/json"}),
    ],
    ids=["html", "object", "list", "half"],
)
def test_a_page_that_is_no_message_is_an_error(page, stream):
    """A gateway's own page with status 200 is not taken for a reply."""

    async def talk():
        async with mocked(page) as client:
            return await Claude(client=client, stream=stream).complete(request())

    with pytest.raises(ModelError) as caught:
        asyncio.run(talk())
    assert caught.value.facts["kind"] == ("transport" if stream else "server")
    assert "log in" not in str(caught.value)


class Spans(trace.TracerProvider, trace.Tracer):
    """A provider that keeps what spans are started with."""

    def __init__(self):
        self.started = []

    def get_tracer(self, *args, **kwargs):
        return self

    def start_span(self, name, *args, attributes=None, **kwargs):
        self.started.append((name, dict(attributes or {})))
        return trace.NonRecordingSpan(trace.INVALID_SPAN_CONTEXT)

    def start_as_current_span(self, *args, **kwargs):
        raise NotImplementedError


@pytest.mark.parametrize("wanted", [True, False])
def test_the_sdk_s_spans_carry_the_run(wanted):
    """With a tracer, the SDK's span names the run as its conversation; it can be turned off."""
    spans = Spans()

    async def talk():
        async with mocked(whole(), open_telemetry={"tracer_provider": spans}) as client:
            await Claude(client=client, conversation_ids=wanted).complete(request())

    asyncio.run(talk())
    ids = [attributes.get("gen_ai.conversation.id") for _, attributes in spans.started]
    assert set(ids) == ({"r-1"} if wanted else {None})


def test_importing_models_imports_no_sdk():
    """Importing any module of the package leaves the SDK and what it brings unimported."""
    names = ["", ".scripted", ".script_file", ".rehearsal", ".claude", ".capabilities"]
    names += [".faults", ".samples", ".streamed"]
    code = f"""
import importlib, sys
for name in {names!r}:
    importlib.import_module("statemachine_agents.models" + name)
heavy = {{"anthropic", "httpx2", "pydantic", "opentelemetry", "rich", "sqlite3", "starlette"}}
print(sorted(heavy & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


def test_the_first_request_imports_the_sdk():
    """A process that never imported the SDK can ask: it is imported by the first request."""
    with MessagesAPI([reply("hello")]) as api:
        code = f"""
import asyncio, sys
from statemachine_agents.models.claude import Claude
from statemachine_agents.turn.ports import ModelRequest

async def talk():
    model = Claude(api_key="k", base_url={api.url!r})
    asked = ModelRequest(run="r", agent="a", model=None, system=[], tools=[],
                         messages=[{{"role": "user", "content": "hi"}}])
    assert "anthropic" not in sys.modules
    got = await model.complete(asked)
    await model.aclose()
    print(got.content[0]["text"])

asyncio.run(talk())
"""
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True
        )
    assert (done.stdout.strip(), done.stderr) == ("hello", "")
