"""Letters to customers: into a Maildir, or to a mail server.

Rules.  1. The Message-ID comes from the call's idempotency key, so one call has one letter.  2. A
`ToolError` is raised only as long as nothing can have left; after that an exception is a doubt.
3. No text of a customer or a model becomes a header line of its own.
Not here: what the letter says (the model), when it is written (`table.toml`).
"""

from __future__ import annotations

import hashlib
import mailbox
import os
import smtplib
import socket
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP, default
from email.utils import format_datetime
from pathlib import Path
from typing import Final, Protocol
from unicodedata import category
from urllib.parse import unquote, urlsplit

import attrs

from statemachine_agents import ToolError
from statemachine_agents.errors import UsageError

from .disk import publish

SENDER: Final = "refunds@shop.example"
BOUNCES: Final = "bounce.example"
"""Every address of this domain bounces, wherever the letter would go."""

PATIENCE: Final = 8.0
"""Seconds a mail server may take for one answer; a few of them fit into the tool's timeout."""

_BREAKS: Final = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Unicode categories that end a line for somebody, or are no text at all."""

_HERE: Final = frozenset({"localhost", "127.0.0.1", "::1"})
# Seven bits only: what one server on the way cannot carry, none has to.
_STORED: Final = default.clone(cte_type="7bit")
_SENT: Final = SMTP.clone(cte_type="7bit")


class Outbox(Protocol):
    """Where letters go."""

    def send(self, letter: EmailMessage) -> None:
        """Let a letter go, once per Message-ID where that can be known."""

    def find(self, message_id: str) -> bool | None:
        """Return whether a letter has gone out; None when nobody can tell."""


def outbox(folder: Path, url: str | None) -> Outbox:
    """Return the way out: the mail server of a URL, else a Maildir.

    Args:
        folder: the Maildir.
        url: `smtp://[user:pass@]host:port`, or None or empty.

    Raises:
        UsageError: the URL is none; it is not repeated, it may hold a password.
    """
    if not url:
        return Maildir(folder)
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host or not port or parts.scheme != "smtp" or parts.path.strip("/"):
        msg = "SMA_SMTP_URL is set, but not to a mail server: write smtp://[user:pass@]host:port"
        raise UsageError(msg, variable="SMA_SMTP_URL")
    return MailServer(host, port, unquote(parts.username or ""), unquote(parts.password or ""))


def message_id(key: str) -> str:
    """Return the Message-ID of the letter that the call with this key writes."""
    return f"<{hashlib.sha256(key.encode()).hexdigest()[:32]}@shop.example>"


def compose(to: str, subject: str, body: str, *, identity: str) -> EmailMessage:
    """Write a letter.

    Args:
        to: one address.
        subject: one line.
        body: plain text.
        identity: its Message-ID.

    Raises:
        ToolError: kind `header` (a line break or control character in a header), `address`, or
            `bounced`.
    """
    for name, text in (("to", to), ("subject", subject)):
        if any(category(char) in _BREAKS for char in text):
            msg = f"{name!r} holds a line break or another control character; write one plain line"
            raise ToolError(msg, kind="header", name=name)
    try:
        to.encode("ascii")
        host = Address(addr_spec=to).domain
    except (ValueError, IndexError, MessageError):  # IndexError: what "" gives
        host = ""
    if not host:
        msg = "'to' is not one plain address such as ada@shopper.example"
        raise ToolError(msg, kind="address")
    if host.lower() == BOUNCES:
        raise ToolError(f"mail to {to} bounced: no such mailbox", kind="bounced")
    letter = EmailMessage(policy=_STORED)
    letter["From"] = f"Refund desk <{SENDER}>"
    letter["To"] = to
    letter["Subject"] = subject
    letter["Date"] = format_datetime(datetime.now(UTC))
    letter["Message-ID"] = identity
    letter.set_content(body)
    return letter


@attrs.frozen
class Maildir:
    """Letters as files in a Maildir, readable with any mail program.

    A letter's file is named after its Message-ID: a second delivery finds the name taken, so
    attempts may overlap.

    Args:
        folder: created at first use.
    """

    folder: Path

    def send(self, letter: EmailMessage) -> None:
        """Deliver a letter, unless it is there already (perhaps read and moved to `cur`)."""
        identity = str(letter["Message-ID"])
        if self.find(identity):
            return
        handle, name = tempfile.mkstemp(dir=self.folder / "tmp")
        with os.fdopen(handle, "wb") as file:
            file.write(letter.as_bytes(policy=_STORED))
            file.flush()
            os.fsync(file.fileno())
        publish(Path(name), self.folder / "new" / _file_of(identity))

    def find(self, message_id: str) -> bool:
        """Return whether the letter with this Message-ID lies in the Maildir."""
        # `mailbox.Maildir(create=True)` fails when two processes come first at once.
        for part in ("tmp", "new", "cur"):
            (self.folder / part).mkdir(parents=True, exist_ok=True)
        return _file_of(message_id) in mailbox.Maildir(self.folder, create=False)


def _file_of(identity: str) -> str:
    return identity.strip("<>").replace("@", ".")


@attrs.frozen
class MailServer:
    """Letters to a mail server, over TLS where the server offers it.

    Args:
        host: its name.
        port: its port.
        user: for the login; empty means no login.
        password: never leaves over an open line, except to this very machine.
    """

    host: str
    port: int
    user: str = ""
    password: str = attrs.field(default="", repr=False)

    def send(self, letter: EmailMessage) -> None:
        """Hand a letter over.

        Raises:
            ToolError: nothing was handed over: kind `unreachable`, `bounced` or `refused`.
            OSError: the line broke with the letter on it; nobody knows.
        """
        with self._session() as server:
            self._announce(server, str(letter["To"]))
            try:
                code, _ = server.data(letter.as_bytes(policy=_SENT))
            except smtplib.SMTPDataError as error:
                raise ToolError("the mail server refused the letter", kind="refused") from error
            if code != 250:
                raise ToolError(f"the mail server refused the letter ({code})", kind="refused")
            with suppress(OSError):  # it has the letter: whatever it says now changes nothing
                server.quit()

    def find(self, message_id: str) -> None:
        """Return None: a mail server cannot be asked what it has sent."""

    @contextmanager
    def _session(self) -> Iterator[smtplib.SMTP]:
        try:
            # Its own way to find a name for this machine may wait for DNS.
            name = socket.gethostname()
            server = smtplib.SMTP(self.host, self.port, name, timeout=PATIENCE)
        except OSError as error:  # SMTPException is one
            raise ToolError("the mail server cannot be reached", kind="unreachable") from error
        try:
            self._log_in(server)
            yield server
        finally:
            server.close()

    def _log_in(self, server: smtplib.SMTP) -> None:
        try:
            server.ehlo_or_helo_if_needed()
            private = server.has_extn("starttls")
            if private:
                server.starttls(context=ssl.create_default_context())
                server.ehlo()
            if self.user and (private or self.host in _HERE):
                server.login(self.user, self.password)
        except OSError as error:
            raise ToolError("the mail server did not let us in", kind="unreachable") from error
        if self.user and not private and self.host not in _HERE:
            msg = "the mail server offers no TLS, and a password does not travel open"
            raise ToolError(msg, kind="refused")

    def _announce(self, server: smtplib.SMTP, to: str) -> None:
        """Say from whom and to whom: as yet the server has nothing to send."""
        try:
            code, _ = server.mail(SENDER)
            if code == 250:
                code, _ = server.rcpt(to)
        except OSError as error:
            raise ToolError("the mail server hung up", kind="unreachable") from error
        if code in (550, 551, 553):
            raise ToolError(f"mail to {to} bounced ({code})", kind="bounced")
        if code not in (250, 251):
            raise ToolError(f"the mail server did not take mail to {to} ({code})", kind="refused")
