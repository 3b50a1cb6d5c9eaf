"""What every way of not answering must be called, and what its sentence must not give away."""

import json

import anthropic
import httpx2
import pytest

from statemachine_agents.errors import ModelError
from statemachine_agents.models.faults import KINDS, NO_KEY, model_error

REQUEST = httpx2.Request(
    "POST", "http://localhost/v1/messages", headers={"authorization": "Bearer sk-secret"}
)


def status_error(status, kind=None, message="said", code=None, headers=None):
    details = None if code is None else {"error_code": code}
    body = {"type": "error", "error": {"type": kind, "message": message, "details": details}}
    response = httpx2.Response(
        status, headers={"request-id": "req_1", **(headers or {})}, request=REQUEST
    )
    client = anthropic.AsyncAnthropic(api_key="sk-secret")
    return client._make_status_error(json.dumps(body), body=body, response=response)


def named(error, **options):
    return model_error(error, model="claude-x", **options)


@pytest.mark.parametrize(
    ("status", "kind", "expected"),
    [
        (400, "invalid_request_error", "invalid_request"),
        (401, "authentication_error", "auth"),
        (402, "billing_error", "billing"),
        (403, "permission_error", "auth"),
        (404, "not_found_error", "not_found"),
        (408, None, "transport"),
        (409, "conflict_error", "server"),
        (412, None, "invalid_request"),
        (413, "request_too_large", "too_large"),
        (422, None, "invalid_request"),
        (429, "rate_limit_error", "rate_limit"),
        (431, None, "too_large"),
        (499, None, "transport"),
        (500, "api_error", "server"),
        (501, None, "server"),
        (503, None, "server"),
        (504, "timeout_error", "server"),
        (529, "overloaded_error", "overloaded"),
        (529, None, "overloaded"),
        (418, "future_error", "invalid_request"),
        (200, "overloaded_error", "overloaded"),
        (200, "rate_limit_error", "rate_limit"),
        (200, "api_error", "server"),
        (200, "future_error", "unknown"),
    ],
)
def test_every_status_has_its_kind(status, kind, expected):
    """The error type decides, else the status; the facts carry status and request id."""
    error = named(status_error(status, kind))
    assert isinstance(error, ModelError)
    assert error.facts["kind"] == expected
    assert error.facts["kind"] in KINDS
    assert (error.facts["status"], error.facts["request_id"]) == (status, "req_1")
    assert "claude-x" in str(error)
    assert "said" in str(error)


def test_every_class_of_the_sdk_is_known():
    """Every exception class that the SDK exports has a kind of its own, but for the bare roots."""
    classes = {
        thing
        for thing in vars(anthropic).values()
        if isinstance(thing, type) and issubclass(thing, anthropic.AnthropicError)
    }
    assert anthropic.RateLimitError in classes
    unknown = set()
    for each in classes:
        response = httpx2.Response(getattr(each, "status_code", 500), request=REQUEST)
        if issubclass(each, anthropic.APIStatusError):
            made = each("x", response=response, body=None)
        elif issubclass(each, anthropic.APIResponseValidationError):
            made = each(response, None)
        elif issubclass(each, anthropic.APIConnectionError):
            made = each(request=REQUEST)
        elif issubclass(each, anthropic.APIError):
            made = each("x", REQUEST, body=None)
        else:
            made = each("x")
        if named(made).facts["kind"] == "unknown":
            unknown.add(each.__name__)
    # Roots that say nothing, what a middleware raises, and webhooks, which nobody asks for.
    assert unknown <= {
        "AnthropicError",
        "APIError",
        "APIWebhookValidationError",
        "RetryableError",
    }


@pytest.mark.parametrize("code", ["enforced_spend_limit_reached", "contract_spend_limit_reached"])
def test_a_spend_limit_is_about_money(code):
    """A 429 that no waiting cures is called billing, and its code is a fact."""
    error = named(status_error(429, "rate_limit_error", code=code))
    assert error.facts["kind"] == "billing"
    assert error.facts["error_code"] == code


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after-ms": "1500", "retry-after": "2"}, 1.5),
        (
            {
                "retry-after": "Fri, 20 Nov 2026 10:00:30 GMT",
                "date": "Fri, 20 Nov 2026 10:00:00 GMT",
            },
            30.0,
        ),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({}, None),
    ],
)
def test_how_long_to_wait_is_a_fact(headers, seconds):
    """Seconds to wait are read from either header, also from a date."""
    assert named(status_error(429, headers=headers)).facts["retry_after"] == seconds


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (anthropic.APIConnectionError(request=REQUEST), "transport"),
        (anthropic.APITimeoutError(REQUEST), "transport"),
        (httpx2.RemoteProtocolError("peer closed"), "transport"),
        (httpx2.ReadError("gone"), "transport"),
        (httpx2.StreamClosed(), "transport"),
        (httpx2.InvalidURL("no"), "transport"),
        (ConnectionResetError("reset"), "transport"),
        (json.JSONDecodeError("x", "y", 0), "server"),
        (anthropic.IdentityTokenFileError("no file"), "auth"),
        (RuntimeError("prompt: my secret words"), "unknown"),
        (TypeError("not serialisable: my secret words"), "unknown"),
        (ValueError("my secret words"), "unknown"),
    ],
)
def test_what_is_no_status_has_a_kind_too(error, kind):
    """Transport, credentials and foreign errors are told apart; foreign texts are not quoted."""
    found = named(error)
    assert found.facts["kind"] == kind
    assert found.facts["status"] is None
    assert "secret words" not in str(found)


def test_a_lost_connection_names_its_cause():
    """The class at the bottom of a connection error is in the sentence."""
    error = anthropic.APIConnectionError(request=REQUEST)
    error.__cause__ = httpx2.ConnectError("refused")
    assert "[ConnectError]" in str(named(error))


def test_a_missing_key_says_what_to_do():
    """The SDK's TypeError becomes a sentence with both ways out."""
    error = named(TypeError('"Could not resolve authentication method. Expected one of api_key"'))
    assert error.facts["kind"] == "auth"
    assert NO_KEY in str(error)
    assert "ANTHROPIC_API_KEY" in str(error)
    assert "--model rehearsal" in str(error)


def test_a_key_is_blanked_and_a_long_text_cut():
    """Whatever a gateway quotes, the key is not repeated, and the sentence stays readable."""
    message = "bad key sk-secret\nin\there " + "x" * 1000
    text = str(
        named(status_error(401, "authentication_error", message), secrets=["sk-secret", None])
    )
    assert "sk-secret" not in text
    assert "bad key [key] in here" in text
    assert len(text) < 600


def test_an_unreadable_reason_is_said_to_be_one():
    """An error page without the API's shape leaves the status as the reason."""
    response = httpx2.Response(502, text="<html>", request=REQUEST)
    error = anthropic.InternalServerError("<html>", response=response, body="<html>")
    assert "HTTP 502 without a readable reason" in str(named(error))
