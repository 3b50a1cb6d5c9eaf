r"""Serve a script of replies as a Messages API on 127.0.0.1 (no key, no network).

    python -m statemachine_agents.testing.messages_api --script FILE --port N

One line with the URL is printed; give it to a client as its base URL. Ctrl-C ends the server.

A script file holds one JSON object a line. Empty lines and lines that begin with # are skipped.
The single key of a line says what the model does next:

  {"reply": {"text": "One moment.", "calls": [["fetch_order", {"order_id": "A1"}]]}}
      also: thinking (true or a text), stop_reason, stop_sequence, stop_details, usage (numbers that
      replace the computed ones), blocks (raw content blocks); a call may name its id in third place
  {"pause": {"text": "Still at it."}}                stop_reason pause_turn
  {"refusal": {"category": null, "explanation": "No."}}
  {"context_window_exceeded": {}}
  {"truncated": {"name": "fetch_order", "input": {"order_id": "A1"}}}     cut by max_tokens
  {"malformed": {"name": "fetch_order", "raw": "{\"order_id\": A1"}}      arguments that are no JSON
  {"error": {"status": 529}}      also: type, message, code, retry_after (seconds), headers
  {"drop": {}}                    the connection is lost before headers
  {"cut": {"after": 4}}           a stream breaks after 4 events; clean: true ends it without a word
  {"stream_error": {"after": 2}}  an error event in a stream; also: type, message
  {"delay": {"seconds": 0.5, "step": {"reply": {"text": "late"}}}}

cut and stream_error take "step": {"reply": {...}} for the reply that is cut. A request that the API
would refuse is answered with that error and takes no step; after the last step valid requests are
answered with a 500 that says so.
"""

from __future__ import annotations

import argparse
import sys
import threading
from collections.abc import Sequence

from statemachine_agents.errors import UsageError
from statemachine_agents.testing.messages_api.script_file import load_script
from statemachine_agents.testing.messages_api.server import MessagesAPI

__all__ = ["main"]

INTERRUPTED = 130
USAGE = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code: 2 for a wrong script or port, 130 after Ctrl-C."""
    parser = argparse.ArgumentParser(
        prog="python -m statemachine_agents.testing.messages_api",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--script", required=True, metavar="FILE", help="JSON lines, see above")
    parser.add_argument("--port", type=int, default=0, metavar="N", help="default: any free port")
    chosen = parser.parse_args(arguments)
    try:
        with MessagesAPI(load_script(chosen.script), port=chosen.port) as api:
            sys.stdout.write(f"{api.url}\n")
            sys.stdout.flush()
            threading.Event().wait()
    except UsageError as wrong:
        sys.stderr.write(f"error: {wrong}\n")
        return USAGE
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


if __name__ == "__main__":
    sys.exit(main())
