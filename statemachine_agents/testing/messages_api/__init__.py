"""A fake Messages API over real HTTP: for tests, and for demonstrations without a key.

It refuses every invalid history in the API's own words, binds thinking blocks to their prefix,
counts prompt-cache hits and plays a script of replies and faults.

    with MessagesAPI([reply(calls=[("fetch_order", {"order_id": "A1"})]), error(529)]) as api:
        client = anthropic.Anthropic(base_url=api.url, api_key="test", max_retries=0)

Rules.  1. Nothing here needs the SDK; any client of the Messages API will do.
Not here: a model without a server (`models.scripted`).
"""

from statemachine_agents.testing.messages_api.script import (
    Call,
    Cut,
    Delay,
    Drop,
    Error,
    Reply,
    Script,
    Step,
    StreamError,
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
from statemachine_agents.testing.messages_api.script_file import (
    from_dict,
    load_script,
    parse_script,
)
from statemachine_agents.testing.messages_api.server import MessagesAPI, Recorded

__all__ = [
    "Call",
    "Cut",
    "Delay",
    "Drop",
    "Error",
    "MessagesAPI",
    "Recorded",
    "Reply",
    "Script",
    "Step",
    "StreamError",
    "context_window_exceeded",
    "cut",
    "delay",
    "drop",
    "error",
    "from_dict",
    "load_script",
    "malformed",
    "parse_script",
    "pause",
    "refusal",
    "reply",
    "stream_error",
    "truncated",
]
