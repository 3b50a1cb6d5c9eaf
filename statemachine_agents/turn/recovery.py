"""What is done about a call whose outcome nobody knows, by effect class.

Rules.  1. A tool that is not known to be safe is never called again.  2. A retry keeps its stored
key.  3. Only a verifier has to wait for the deadline of a dead owner's attempt: it could look too
early; a receiver that honours our key cannot be fooled, and a person is asked anyway
(docs/decisions/003).
Source: protocol.md sections 2.4 and 2.6.
Not here: asking the verifier or the person (`driver`).
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

from statemachine_agents.journal.standing import OpenCall
from statemachine_agents.table.toolspec import ToolSpec

Then: TypeAlias = Literal["retry", "verify", "person", "closed"]

MAX_ATTEMPTS: Final = 5
"""Attempts of one call in doubt, in all."""

MAX_CHECKS: Final = 3
"""Times a verifier may answer `unknown` before a person is asked."""

SKEW: Final = 1_000_000
"""Microseconds added to a dead owner's deadline before its call is verified."""


def after_doubt(spec: ToolSpec, call: OpenCall, at: int) -> Then:
    """Return the way out of a fresh doubt.

    Args:
        spec: the tool.
        call: the call in doubt.
        at: UTC microseconds.
    """
    again = call.attempt < MAX_ATTEMPTS
    if call.effect in ("read", "transactional"):
        return "retry" if again else "person"
    if call.effect == "idempotent":
        valid = call.key_until is None or at < call.key_until
        if valid and again:
            return "retry"
        return "verify" if spec.verifies else "person"
    if call.effect == "verifiable" and spec.verifies:
        return "verify"
    return "person"


def after_check(call: OpenCall, verdict: str) -> Then:
    """Return what follows a verifier's answer."""
    if verdict == "done":
        return "closed"
    if verdict == "not_done":
        return "retry" if call.attempt < MAX_ATTEMPTS else "closed"
    return "verify" if call.checks + 1 < MAX_CHECKS else "person"


def recover_at(call: OpenCall) -> int:
    """Return from when on a dead owner's open call may be doubted, in UTC microseconds."""
    return call.deadline + SKEW if call.effect == "verifiable" else 0
