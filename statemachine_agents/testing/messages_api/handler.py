"""Sockets: one HTTP request in, one `Plan` out on the wire.

Rules.  1. What to answer is decided elsewhere; here it is only written.  2. The body is always read
before anything is answered, so a kept connection stays in step.  3. Streams use chunked encoding:
without it a client cannot see a cut.  4. A client that went away is not an error.
Not here: who is right (`validate`), what comes next (`server`).
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeAlias

import attrs

from statemachine_agents.testing.messages_api.blocks import canonical
from statemachine_agents.testing.messages_api.stream import Event, encode

__all__ = ["MOST_BYTES", "Decide", "Listener", "Plan"]

MOST_BYTES = 32 * 1024 * 1024
"""Largest request body of the Messages API."""

_GRACE = 5.0


@attrs.frozen(kw_only=True)
class Plan:
    """What to write.

    Args:
        status: HTTP status.
        headers: response headers except length, encoding and type.
        payload: a JSON body, or None when `events` stream.
        events: events of a stream.
        broken: shut the socket before the end: half a payload, or a chunked body without its end.
        drop: shut the socket before anything is written.
        delay: seconds to wait first.
    """

    status: int = 200
    headers: Mapping[str, str] = attrs.field(factory=dict)
    payload: Any = None
    events: tuple[Event, ...] = ()
    broken: bool = False
    drop: bool = False
    delay: float = 0.0


Decide: TypeAlias = Callable[[str, str, Mapping[str, str], bytes | None], Plan]
"""(method, path, lower-case headers, body or None when too large) -> Plan."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else every answer waits for the client's delayed ACK: 40 ms
    server: Listener

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's word
        """Say nothing: requests are recorded, not printed."""

    def _answer(self) -> None:
        try:
            body = self._read()
            headers = {key.lower(): value for key, value in self.headers.items()}
            plan = self.server.decide(self.command, self.path, headers, body)
            if plan.delay:
                self.server.closing.wait(plan.delay)
            self._write(plan)
        except (ConnectionError, ValueError):  # it went away, or its chunks have no size
            self.close_connection = True

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _answer  # noqa: N815 - names of the base class

    def _read(self) -> bytes | None:
        """Return the body; None when it is over the limit (it is read and forgotten)."""
        if "chunked" in self.headers.get("transfer-encoding", "").lower():
            return self._read_chunks()
        text = self.headers.get("content-length", "0")
        left = int(text) if text.isdigit() else 0
        if left <= MOST_BYTES:
            return self.rfile.read(left)
        while left > 0 and (piece := self.rfile.read(min(left, 1 << 20))):
            left -= len(piece)
        return None

    def _read_chunks(self) -> bytes | None:
        parts: list[bytes] = []
        total = 0
        while size := int(self.rfile.readline().partition(b";")[0] or b"0", 16):
            piece = self.rfile.read(size)
            total += size
            if total <= MOST_BYTES:
                parts.append(piece)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass  # trailers
        return b"".join(parts) if total <= MOST_BYTES else None

    def _write(self, plan: Plan) -> None:
        if plan.drop:
            self._shut()
        elif plan.payload is None:
            self._head(plan, {"content-type": "text/event-stream", "transfer-encoding": "chunked"})
            for event in plan.events:
                data = encode(event)
                self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))
            if plan.broken:
                self._shut()
            else:
                self.wfile.write(b"0\r\n\r\n")
        else:
            data = canonical(plan.payload)
            self._head(plan, {"content-type": "application/json", "content-length": str(len(data))})
            self.wfile.write(data[: len(data) // 2] if plan.broken else data)
            if plan.broken:
                self._shut()

    def _head(self, plan: Plan, more: Mapping[str, str]) -> None:
        self.send_response(plan.status)
        for key, value in {**plan.headers, **more}.items():
            self.send_header(key, value)
        self.end_headers()

    def _shut(self) -> None:
        """Shut both directions: merely closing would let buffered bytes and keep-alive linger."""
        self.close_connection = True
        with contextlib.suppress(OSError):  # the client may have been faster
            self.connection.shutdown(socket.SHUT_RDWR)


class Listener(ThreadingHTTPServer):
    """Accept on 127.0.0.1, one daemon thread a connection, and let go of everything on close.

    Args:
        port: 0 for any free one.
        decide: answers a request; called from many threads.
    """

    daemon_threads = True
    timeout = None  # `handle_request` waits for a connection; `close` makes one

    def __init__(self, port: int, decide: Decide) -> None:
        self.decide = decide
        self.closing = threading.Event()
        self._open: set[Any] = set()
        self._change = threading.Condition()
        super().__init__(("127.0.0.1", port), _Handler)
        self._thread = threading.Thread(target=self._accept, name="messages-api", daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self.server_address[1])

    def _accept(self) -> None:
        while not self.closing.is_set():
            self.handle_request()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Remember the connection, then serve it in a thread."""
        with self._change:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Forget the connection."""
        super().shutdown_request(request)
        with self._change:
            self._open.discard(request)
            self._change.notify_all()

    def close(self) -> None:
        """Stop accepting, shut every connection, wait for their threads. Twice is fine."""
        if self.closing.is_set():
            return
        self.closing.set()
        with socket.create_connection(("127.0.0.1", self.port)):
            self._thread.join(_GRACE)
        self.server_close()
        with self._change:
            for request in self._open:
                with contextlib.suppress(OSError):  # it may have gone by itself
                    request.shutdown(socket.SHUT_RDWR)
            self._change.wait_for(lambda: not self._open, _GRACE)
