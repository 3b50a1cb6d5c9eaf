"""A request before it is judged: its headers, its body, and the record that is kept of it.

Rules.  1. A record is complete: what came, what was said about it, what was answered.
Not here: what a valid body is (`validate`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import orjson

from statemachine_agents.testing.messages_api.script import Step
from statemachine_agents.testing.messages_api.wire import Fault, bad

__all__ = ["ACCEPTED", "Recorded", "body_of", "check_headers", "parsed"]

ACCEPTED = "accepted"

_VERSIONS = ("2026-10-21", "2023-06-01")


@attrs.frozen(kw_only=True)
class Recorded:
    """One request as the server saw it.

    Args:
        method: `GET` or `POST`.
        path: with its query.
        headers: lower-case names. Not shown in `repr`: they hold the caller's key.
        body: parsed JSON, or None.
        verdict: `accepted`, or the sentence it was refused with.
        status: HTTP status that was answered; 0 when the connection was dropped.
        usage: the `usage` of an answered message, as it was sent.
        request_id: as in the `request-id` header.
        step: the step of the script this request took, or None.
    """

    method: str
    path: str
    headers: Mapping[str, str] = attrs.field(repr=False)
    body: Any = None
    verdict: str = ACCEPTED
    status: int = 200
    usage: Mapping[str, Any] | None = None
    request_id: str = ""
    step: Step | None = None

    @property
    def accepted(self) -> bool:
        """Whether the request was valid; an accepted one may still be answered with a fault."""
        return self.verdict == ACCEPTED

    @property
    def attempt(self) -> int:
        """How often the client had tried before (`x-stainless-retry-count`)."""
        text = self.headers.get("x-stainless-retry-count", "0")
        return int(text) if text.isdigit() else 0


def check_headers(headers: Mapping[str, str]) -> None:
    """Raise the fault of a request without a key or with an unknown API version."""
    scheme, _, key = headers.get("authorization", "").partition(" ")
    if not ((scheme.lower() == "bearer" and key.strip()) or headers.get("x-api-key")):
        raise Fault(401, "authentication is required: send `authorization: Bearer` or `x-api-key`")
    version = headers.get("anthropic-version")
    if version is None:
        raise bad("anthropic-version: header is required")
    if version not in _VERSIONS:
        raise bad(f'anthropic-version: "{version}" is not a valid version')


def parsed(data: bytes | None) -> Any:
    """Return the JSON of a body, or None when it is none."""
    try:
        return orjson.loads(data or b"null")
    except orjson.JSONDecodeError:
        return None


def body_of(data: bytes | None) -> dict[str, Any]:
    """Return the JSON object of a body that was read; None stands for one that is too large."""
    if data is None:
        raise Fault(413, "Request exceeds the maximum size")
    try:
        body = orjson.loads(data)
    except orjson.JSONDecodeError as wrong:
        raise bad(f"The request body is not valid JSON: {wrong}") from wrong
    if not isinstance(body, dict):
        raise bad("The request body should be a JSON object")
    return body
