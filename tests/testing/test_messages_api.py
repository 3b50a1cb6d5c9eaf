"""The server itself: endpoints, headers, what it records, its script and its threads."""

from __future__ import annotations

import http.client
import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from urllib.parse import urlsplit

import anthropic
import pytest

from statemachine_agents.errors import UsageError
from statemachine_agents.models.capabilities import MODELS
from statemachine_agents.testing.messages_api import MessagesAPI, reply

REQUEST = {
    "model": "claude-opus-5-5",
    "max_tokens": 100,
    "messages": [{"role": "user", "content": "hello"}],
}
HEADERS = {
    "authorization": "Bearer test",
    "anthropic-version": "2026-10-21",
    "content-type": "application/json",
}


@contextmanager
def served(script=(), **settings):
    with (
        MessagesAPI(script, **settings) as api,
        anthropic.Anthropic(api_key="test", base_url=api.url, max_retries=0) as client,
    ):
        yield api, client


def send(api, body, *, method="POST", path="/v1/messages", headers=HEADERS):
    """Send raw bytes, as no client would; return status, headers and parsed body."""
    line = http.client.HTTPConnection(urlsplit(api.url).netloc, timeout=10)
    try:
        line.request(method, path, body, headers)
        answer = line.getresponse()
        return answer.status, answer.headers, json.loads(answer.read())
    finally:
        line.close()


# ------------------------------------------------------------------------------------- endpoints


def test_what_the_client_sends_is_recorded():
    """Method, path, headers, parsed body, verdict, status, usage and step are kept, in order."""
    with served([reply("one"), reply("two")]) as (api, client):
        first = client.messages.create(**REQUEST)
        client.messages.create(**{**REQUEST, "max_tokens": 7})
        one, two = api.requests
    assert (one.method, one.path, one.status, one.accepted) == ("POST", "/v1/messages", 200, True)
    assert (one.body, two.body["max_tokens"]) == (REQUEST, 7)
    assert one.headers["authorization"] == "Bearer test"
    assert one.headers["anthropic-version"] == "2026-10-21"
    assert one.headers["user-agent"].startswith("Anthropic/Python")
    assert one.step == reply("one")
    assert one.usage["output_tokens"] == first.usage.output_tokens
    assert first._request_id == one.request_id
    assert "Bearer" not in repr(one), "a record may be printed by a failing test"


def test_an_answer_has_the_headers_of_the_api():
    """Request id, workspace and the rate limits, dated by the injected clock."""
    with served([reply("hi")], clock=lambda: 0.0) as (api, client):
        raw = client.messages.with_raw_response.create(**REQUEST)
        assert raw.headers["request-id"] == api.requests[0].request_id
    assert raw.headers["anthropic-workspace-id"]
    for what in ("requests", "tokens", "input-tokens", "output-tokens"):
        limit = int(raw.headers[f"anthropic-ratelimit-{what}-limit"])
        assert 0 < int(raw.headers[f"anthropic-ratelimit-{what}-remaining"]) < limit
        assert raw.headers[f"anthropic-ratelimit-{what}-reset"] == "1970-01-01T00:01:00Z"


def test_either_kind_of_key_is_accepted():
    """The older `x-api-key` header is as good as a bearer token."""
    with served([reply("hi")]) as (api, _):
        old = {"x-api-key": "k", "anthropic-version": "2023-06-01"}
        assert send(api, json.dumps(REQUEST), headers=old)[0] == 200


@pytest.mark.parametrize(
    ("change", "status", "kind", "words"),
    [
        ({"authorization": ""}, 401, "authentication_error", "authentication is required"),
        ({"authorization": "Bearer "}, 401, "authentication_error", "authentication is required"),
        ({"anthropic-version": None}, 400, "invalid_request_error", "header is required"),
        ({"anthropic-version": "1999"}, 400, "invalid_request_error", '"1999" is not a valid'),
    ],
)
def test_a_request_needs_a_key_and_a_version(change, status, kind, words):
    """Without them the error is the API's, as JSON with a request id, and takes no step."""
    headers = {key: value for key, value in {**HEADERS, **change}.items() if value is not None}
    with served([reply("hi")]) as (api, _):
        got, sent, body = send(api, json.dumps(REQUEST), headers=headers)
        assert len(api.script) == 1
    assert (got, body["type"], body["error"]["type"]) == (status, "error", kind)
    assert words in body["error"]["message"]
    assert body["request_id"] == sent["request-id"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/complete"),
        ("GET", "/v1/messages"),
        ("DELETE", "/v1/models"),
        ("PUT", "/"),
        ("POST", "/v1/messages/batches"),
    ],
)
def test_every_other_path_is_not_found(method, path):
    """Whatever is not emulated says so."""
    with served() as (api, _):
        status, _, body = send(api, "{}", method=method, path=path)
    assert (status, body["error"]["type"]) == (404, "not_found_error")
    assert path in body["error"]["message"]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("", "not valid JSON"),
        ('{"model": ', "not valid JSON"),
        ("[]", "should be a JSON object"),
        ("{}", "model: Field required"),
        ('{"model": 3}', "model: Input should be a valid string"),
        ('{"model": "claude-opus-5-5"}', "max_tokens: Field required"),
        ('{"model": "claude-opus-5-5", "max_tokens": true}', "max_tokens: Input should be a valid"),
        ('{"model": "claude-opus-5-5", "max_tokens": 1}', "messages: Field required"),
    ],
)
def test_a_body_needs_its_fields(body, words):
    """Broken JSON and missing fields are named."""
    with served() as (api, _):
        status, _, answer = send(api, body)
        assert words in api.requests[0].verdict
    assert status == 400
    assert words in answer["error"]["message"]


def test_a_chunked_body_is_read():
    """A client that streams its request body is understood like any other."""
    data = json.dumps(REQUEST).encode()
    with served([reply("hi")]) as (api, _):
        status, _, body = send(api, iter([data[:20], data[20:]]))
    assert (status, body["content"][0]["text"]) == (200, "hi")


def test_a_body_over_32_megabytes_is_too_large():
    """The limit of the endpoint is kept, and the connection stays usable."""
    big = [{"role": "user", "content": "x" * (33 * 1024 * 1024)}]
    with served([reply("small")]) as (_, client):
        with pytest.raises(anthropic.ContentTooLargeError) as caught:
            client.messages.create(**{**REQUEST, "messages": big})
        assert caught.value.type == "request_too_large"
        assert client.messages.create(**REQUEST).content[0].text == "small"


# ---------------------------------------------------------------------------------------- models


def test_models_are_listed_page_by_page():
    """Every model that is not retired is listed once; the client pages through them."""
    alive = [name for name, row in MODELS.items() if row.lifecycle != "retired"]
    with served() as (api, client):
        assert [model.id for model in client.models.list(limit=3)] == alive
        assert len(api.requests) == -(-len(alive) // 3)
        page = client.models.list(before_id=alive[5], limit=2)
        assert ([model.id for model in page.data], page.has_more) == (alive[3:5], True)


def test_a_model_tells_what_it_can():
    """Dated ids resolve, and the capability tree says which thinking is accepted."""
    with served() as (_, client):
        opus = client.models.retrieve("claude-opus-5-5")
        haiku = client.models.retrieve("claude-haiku-4-5-20251001")
        gone = client.models.retrieve("claude-3-5-sonnet-20241022")
        with pytest.raises(anthropic.NotFoundError, match="model: claude-nope"):
            client.models.retrieve("claude-nope")
    assert (opus.line, opus.lifecycle) == ("opus", "active")
    assert opus.capabilities.thinking.types.adaptive.supported
    assert not opus.capabilities.thinking.types.disabled.supported
    assert haiku.max_input_tokens == 200_000
    assert gone.lifecycle == "retired"


@pytest.mark.parametrize("query", ["limit=0", "limit=many", "after_id=claude-nope"])
def test_a_wrong_page_is_a_400(query):
    """Page parameters are checked."""
    with served() as (api, _):
        status, _, body = send(api, None, method="GET", path=f"/v1/models?{query}")
    assert status == 400
    assert body["error"]["message"].startswith(query.partition("=")[0])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("model", ["claude-nope", "claude-3-5-sonnet-20241022"])
def test_unknown_and_retired_models_are_not_found(model):
    """A request for a model that is not there takes no step."""
    with served([reply("hi")]) as (api, client):
        with pytest.raises(anthropic.NotFoundError, match=f"model: {model}"):
            client.messages.create(**{**REQUEST, "model": model})
        assert len(api.script) == 1


def test_extra_models_are_served_with_caution():
    """A model named by the test is answered, with the capabilities of an unknown one."""
    system = {"role": "system", "content": "x"}
    with served([reply("hi")], extra_models=["my-model"]) as (_, client):
        asked = {**REQUEST, "model": "my-model"}
        assert client.messages.create(**asked).model == "my-model"
        with pytest.raises(anthropic.BadRequestError, match="role 'system' is not supported"):
            client.messages.create(**{**asked, "messages": [*REQUEST["messages"], system]})


# ---------------------------------------------------------------------------------------- script


def test_a_function_sees_each_request_and_cannot_change_the_record():
    """The script may be a function of the request body; it works on its own copy."""

    def answer(body):
        words = body["messages"][-1]["content"]
        body["messages"].clear()
        return reply(f"you said {words}")

    with served(answer) as (api, client):
        assert client.messages.create(**REQUEST).content[0].text == "you said hello"
        assert api.requests[0].body == REQUEST
        assert api.script == ()


def test_an_exhausted_script_is_a_clear_500_that_is_not_tried_again():
    """Nothing is left to say: one request, one sentence, and the object knows."""
    with (
        MessagesAPI([reply("last")]) as api,
        anthropic.Anthropic(api_key="test", base_url=api.url, max_retries=2) as client,
    ):
        client.messages.create(**REQUEST)
        assert not api.exhausted
        with pytest.raises(anthropic.InternalServerError, match="is exhausted"):
            client.messages.create(**REQUEST)
        assert api.exhausted == 1
        assert [item.status for item in api.requests] == [200, 500]


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (lambda body: 1 / 0, "the script function failed: ZeroDivisionError"),
        (lambda body: "hello", "expected a step such as reply"),
    ],
)
def test_a_script_that_fails_is_seen_on_both_sides(script, words):
    """The client gets a 500 with the reason, the test finds the exception on the object."""
    with served(script) as (api, client):
        with pytest.raises(anthropic.InternalServerError, match=words):
            client.messages.create(**REQUEST)
        assert len(api.failures) == 1


def test_a_step_that_cannot_be_streamed_is_seen_on_both_sides():
    """A raw block without its fields is the script's fault, told as a 500."""
    with served([reply(blocks=[{"type": "text"}])]) as (api, client):
        with (
            pytest.raises(anthropic.InternalServerError, match="this step cannot be sent"),
            client.messages.stream(**REQUEST) as events,
        ):
            events.get_final_message()
        assert isinstance(api.failures[0], KeyError)


def test_the_same_script_gives_the_same_ids():
    """Ids follow from order and text, so that a run against the fake can be a golden one."""
    seen = []
    for _ in range(2):
        with served([reply(calls=[("f", {}), ("f", {})])]) as (_, client):
            message = client.messages.create(**REQUEST)
            seen.append([message.id, message._request_id, *(block.id for block in message.content)])
    assert seen[0] == seen[1]
    assert len(set(seen[0])) == 4


def test_many_threads_share_one_server():
    """Forty requests from eight threads are each answered once, recorded once, with own ids."""
    with served([reply(f"reply {n}") for n in range(40)]) as (api, client):
        with ThreadPoolExecutor(8) as pool:
            got = list(pool.map(lambda _: client.messages.create(**REQUEST), range(40)))
        assert {message.content[0].text for message in got} == {f"reply {n}" for n in range(40)}
        assert len({message.id for message in got}) == 40
        assert len({item.request_id for item in api.requests}) == 40
        assert (api.script, api.exhausted) == ((), 0)


def test_it_can_be_asked_afterwards_and_closed_twice():
    """What was recorded outlives the server; a server that does not listen says what to do."""
    api = MessagesAPI([reply("hi")])
    with pytest.raises(UsageError, match="use `with` or `start"):
        _ = api.url
    with api, anthropic.Anthropic(api_key="t", base_url=api.url, max_retries=0) as client:
        with pytest.raises(UsageError, match="already listens"):
            api.start()
        client.messages.create(**REQUEST)
    api.close()
    assert api.requests[0].status == 200
    with (
        anthropic.Anthropic(api_key="t", base_url=api.url, max_retries=0) as client,
        pytest.raises(anthropic.APIConnectionError),
    ):
        client.messages.create(**REQUEST)


def test_a_taken_port_is_the_callers_to_change():
    """Two servers cannot share a port; the error names it."""
    with MessagesAPI() as api:
        port = urlsplit(api.url).port
        with pytest.raises(UsageError, match=f"cannot listen on 127.0.0.1 port {port}"):
            MessagesAPI(port=port).start()
