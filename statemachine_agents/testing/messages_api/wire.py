"""The outer shape of an answer: errors and headers of the Messages API.

Rules.  1. Whatever goes wrong is one `Fault`; the server turns it into one error body.  2. Headers
that tell time take it as an argument; nothing here reads a clock.
Not here: which request is a fault (`validate`, `history`), the sockets (`server`).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

import attrs

__all__ = ["STATUS_OF", "TYPE_OF", "Fault", "rate_limits"]

TYPE_OF: Mapping[int, str] = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    409: "conflict_error",
    413: "request_too_large",
    422: "invalid_request_error",
    429: "rate_limit_error",
    500: "api_error",
    503: "api_error",
    504: "timeout_error",
    529: "overloaded_error",
}
"""HTTP status to `error.type`."""

STATUS_OF: Mapping[str, int] = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "conflict_error": 409,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}
"""`error.type` to the HTTP status it travels under when nothing was sent yet."""

_LIMITS = {
    "requests": 4_000,
    "tokens": 2_400_000,
    "input-tokens": 2_000_000,
    "output-tokens": 400_000,
}


@attrs.define(slots=False)  # an exception needs its __dict__ for the traceback machinery
class Fault(Exception):
    """A request that is answered with an error body.

    Args:
        status: HTTP status.
        message: `error.message`.
        type: `error.type`; by default the one of the status.
        code: `error.details.error_code`, where the API names the cause.
        headers: extra response headers, such as `retry-after`.
    """

    status: int
    message: str
    type: str = attrs.field(
        default=attrs.Factory(lambda self: TYPE_OF.get(self.status, "api_error"), takes_self=True)
    )
    code: str | None = None
    headers: Mapping[str, str] = attrs.field(factory=dict)

    def __str__(self) -> str:
        return self.message

    def body(self, request_id: str) -> dict[str, Any]:
        """Return the error JSON of the Messages API."""
        error: dict[str, Any] = {"type": self.type, "message": self.message}
        if self.code is not None:
            error["details"] = {"error_code": self.code}
        return {"type": "error", "error": error, "request_id": request_id}


def bad(message: str, *, code: str | None = None) -> Fault:
    """Return the 400 of an invalid request."""
    return Fault(400, message, code=code)


def rate_limits(now: float, requests: int, tokens_in: int, tokens_out: int) -> dict[str, str]:
    """Return the `anthropic-ratelimit-*` headers.

    Args:
        now: seconds since 1970, from the server's clock.
        requests: requests answered so far; these never run out, remaining stops at 0.
        tokens_in: input tokens counted so far.
        tokens_out: output tokens counted so far.
    """
    reset = dt.datetime.fromtimestamp(int(now) + 60, tz=dt.UTC)
    stamp = reset.isoformat().replace("+00:00", "Z")
    used = {
        "requests": requests,
        "tokens": tokens_in + tokens_out,
        "input-tokens": tokens_in,
        "output-tokens": tokens_out,
    }
    headers: dict[str, str] = {}
    for what, limit in _LIMITS.items():
        headers[f"anthropic-ratelimit-{what}-limit"] = str(limit)
        headers[f"anthropic-ratelimit-{what}-remaining"] = str(max(limit - used[what], 0))
        headers[f"anthropic-ratelimit-{what}-reset"] = stamp
    return headers
