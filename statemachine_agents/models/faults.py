"""Turn whatever stops a model from answering into one `ModelError`.

Rules.  1. The kind comes from the error type the API names, else from the HTTP status, else from
the class.  2. The sentence holds what the API said, cut short, never a key and never a request.
3. Nothing here imports the SDK before there is an error of it to name.
Not here: retries (the SDK does them), what a run does about an error (`turn`).

Source: docs/claude-api, section 3 (which class for which status, what escapes the SDK's classes).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from email.utils import parsedate_to_datetime
from json import JSONDecodeError
from typing import Any, Final

from statemachine_agents.errors import ModelError

__all__ = ["KINDS", "NO_KEY", "model_error", "no_answer"]

KINDS: Final = frozenset(
    {
        "auth",
        "billing",
        "invalid_request",
        "not_found",
        "overloaded",
        "rate_limit",
        "server",
        "too_large",
        "transport",
        "unknown",
    }
)
"""Every value of `ModelError.facts["kind"]`."""

NO_KEY: Final = (
    "no API key: set ANTHROPIC_API_KEY (or pass api_key=...), or use `--model rehearsal`, "
    "which needs none"
)

_BY_TYPE: Final = {
    "api_error": "server",
    "authentication_error": "auth",
    "billing_error": "billing",
    "conflict_error": "server",
    "invalid_request_error": "invalid_request",
    "not_found_error": "not_found",
    "overloaded_error": "overloaded",
    "permission_error": "auth",
    "rate_limit_error": "rate_limit",
    "request_too_large": "too_large",
    "timeout_error": "server",
}
_BY_STATUS: Final = {
    401: "auth",
    402: "billing",
    403: "auth",
    404: "not_found",
    408: "transport",
    409: "server",
    413: "too_large",
    429: "rate_limit",
    431: "too_large",
    499: "transport",
    529: "overloaded",
}
_NEXT: Final = {
    "auth": "check ANTHROPIC_API_KEY and what it may use",
    "billing": "check the account's credit and limits",
    "invalid_request": "the request must change; asking again will not help",
    "not_found": "check the model id",
    "overloaded": "resume the run later",
    "rate_limit": "resume the run later, or lower the number of runs at once",
    "server": "resume the run later",
    "too_large": "the transcript or a tool result is too long",
    "transport": "check the network and the base URL, then resume the run",
    "unknown": "see the error this one was raised from",
}
_LONGEST: Final = 400


def model_error(error: Exception, *, model: str, secrets: Iterable[str | None] = ()) -> ModelError:
    """Return the `ModelError` for an exception that came out of the SDK; the caller chains it.

    Args:
        error: anything but a cancellation.
        model: id that was asked, for the sentence.
        secrets: texts that must not appear, such as the key; blanked wherever they stand.

    Returns:
        An error whose facts are `kind`, `status`, `request_id`, `retry_after` (seconds) and
        `error_code`, the last four None when unknown.
    """
    import anthropic

    if isinstance(error, anthropic.APIStatusError):
        said = error.api_message or f"HTTP {error.status_code} without a readable reason"
        return no_answer(
            model,
            _kind_of_status(error),
            _blanked(said, secrets),
            status=error.status_code,
            request_id=error.request_id,
            retry_after=_retry_after(error.response.headers),
            error_code=error.error_code,
        )
    # Without credentials the SDK raises a TypeError, and only once it builds the request.
    if isinstance(error, TypeError) and "authentication method" in str(error):
        return no_answer(model, "auth", NO_KEY)
    kind, said = _kind_of_class(error)
    return no_answer(model, kind, _blanked(said, secrets))


def no_answer(
    model: str,
    kind: str,
    said: str,
    *,
    status: int | None = None,
    request_id: str | None = None,
    retry_after: float | None = None,
    error_code: str | None = None,
) -> ModelError:
    """Return the error for a model that did not answer; the arguments become its facts."""
    place = kind if status is None else f"{kind}, HTTP {status}"
    advice = "" if said == NO_KEY else f"; {_NEXT[kind]}"
    return ModelError(
        f"{model} did not answer ({place}): {said}{advice}",
        kind=kind,
        status=status,
        request_id=request_id,
        retry_after=retry_after,
        error_code=error_code,
    )


def _blanked(said: Any, secrets: Iterable[str | None]) -> str:
    text = " ".join(str(said).split())
    for secret in filter(None, secrets):
        text = text.replace(secret, "[key]")
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "..."


def _kind_of_status(error: Any) -> str:
    # A spend limit is a 429 that no waiting cures.
    if error.error_code is not None and "spend_limit" in error.error_code:
        return "billing"
    # After a 200, in the middle of a stream, only the type tells.
    by_type = _BY_TYPE.get(error.type) if isinstance(error.type, str) else None
    status = error.status_code
    default = "server" if status >= 500 else "invalid_request" if status >= 400 else "unknown"
    return by_type or _BY_STATUS.get(status, default)


def _kind_of_class(error: Exception) -> tuple[str, str]:
    import anthropic
    import httpx2

    # Named by text: not every SDK we allow has both.
    if {"CredentialsError", "WorkloadIdentityError"} & {
        each.__name__ for each in type(error).mro()
    }:
        return "auth", str(error)
    if isinstance(error, anthropic.APIResponseValidationError | JSONDecodeError | UnicodeError):
        return "server", f"its answer is not readable ({type(error).__name__})"
    if isinstance(error, anthropic.APIConnectionError):
        return "transport", f"{error} [{_root(error)}]"
    if isinstance(error, httpx2.HTTPError | httpx2.StreamError | httpx2.InvalidURL | OSError):
        return "transport", f"{type(error).__name__}: {error}"
    # The text of a foreign exception may quote the request, so only its type is told.
    return "unknown", type(error).__name__


def _root(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return type(error).__name__


def _retry_after(headers: Mapping[str, str]) -> float | None:
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        try:
            return max(0.0, float(headers[name]) / unit)
        except (KeyError, ValueError):
            continue
    try:
        # A date is counted from the server's own date: no clock is read here.
        until = parsedate_to_datetime(headers["retry-after"])
        return max(0.0, (until - parsedate_to_datetime(headers["date"])).total_seconds())
    except (KeyError, ValueError, TypeError):
        return None
