"""The refund desk's letters over SMTP, against a server of our own on a real socket."""

from __future__ import annotations

import asyncio
import base64
import email
import email.policy
import socketserver
import threading
from pathlib import Path

import attrs
import pytest

from statemachine_agents import Call
from statemachine_agents.errors import UsageError
from statemachine_agents.load import load_workflow
from statemachine_agents.tools.toolbox import Doubted, Failed, Returned, Toolbox

FOLDER = Path(__file__).parents[2] / "workflows" / "refund"
CALL = Call(run_id="r1", call_id=4, key="r1/4/send_email/00", deadline=2**52)
LETTER = {"to": "ada@shopper.example", "subject": "Grüße", "body": "Paid.\n.\nBye: 49 €"}


class Server(socketserver.ThreadingTCPServer):
    """Speaks enough SMTP; `answers` replaces a reply by its verb, None hangs up instead."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, **answers):
        super().__init__(("127.0.0.1", 0), Session)
        self.answers = answers
        self.heard = []
        self.letters = []
        self.thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    @property
    def port(self):
        return self.server_address[1]

    def stop(self):
        self.shutdown()
        self.server_close()
        self.thread.join()


class Session(socketserver.StreamRequestHandler):
    def answer(self, verb, reply):
        reply = self.server.answers.get(verb, reply)
        if reply is None:
            return False
        self.wfile.write(f"{reply}\r\n".encode())
        return True

    def handle(self):
        going = self.answer("CONNECT", "220 here")
        while going and (line := self.rfile.readline()):
            text = line.decode().strip()
            verb = text.split(" ")[0].upper().split(":")[0]
            self.server.heard.append(text)
            if verb == "EHLO":
                going = self.answer(verb, "250-here\r\n250 AUTH PLAIN")
            elif verb == "DATA":
                going = self.answer(verb, "354 go on") and self.data()
            elif verb == "AUTH":
                going = self.answer(verb, "235 welcome")
            else:
                going = self.answer(verb, "250 ok")

    def data(self):
        if "DATA" in self.server.answers:
            return True
        lines = []
        while (line := self.rfile.readline()) not in (b".\r\n", b""):
            lines.append(line.removeprefix(b"."))
        self.server.letters.append(b"".join(lines))
        return self.answer("LETTER", "250 taken")


@pytest.fixture
def server():
    """Return a function that starts a server; all are stopped afterwards."""
    running = []

    def start(**answers):
        running.append(Server(**answers))
        return running[-1]

    yield start
    for each in running:
        each.stop()


def desk(tmp_path, monkeypatch, url):
    monkeypatch.setenv("SMA_SMTP_URL", url)
    return load_workflow(FOLDER, tmp_path)


def send(workflow, **changes):
    """Send a letter as a run does, at the first attempt."""
    spec = attrs.evolve(workflow.definition.tools["send_email"], retry=None)
    coming = Toolbox(workflow.functions).call("send_email", {**LETTER, **changes}, CALL, spec=spec)
    return asyncio.run(coming)


def test_a_letter_goes_to_the_server(server, tmp_path, monkeypatch):
    """The server gets one whole letter in seven bits, from whom, to whom, and nothing on disk."""
    running = server()
    got = send(desk(tmp_path, monkeypatch, f"smtp://127.0.0.1:{running.port}"))
    (raw,) = running.letters
    raw.decode("ascii")
    assert raw.count(b"\n") == raw.count(b"\r\n")
    letter = email.message_from_bytes(raw, policy=email.policy.default)
    assert got == Returned({"message_id": letter["Message-ID"], "to": "ada@shopper.example"})
    assert letter["Subject"] == "Grüße"
    assert letter.get_content().splitlines() == ["Paid.", ".", "Bye: 49 €"]
    heard = [line.lower() for line in running.heard]  # the case of verbs differs by Python version
    assert "mail from:<refunds@shop.example>" in heard
    assert "rcpt to:<ada@shopper.example>" in heard
    assert list(tmp_path.iterdir()) == []


def test_nobody_can_ask_a_server(server, tmp_path, monkeypatch):
    """The verifier answers unknown, so a letter in doubt waits for a person."""
    workflow = desk(tmp_path, monkeypatch, f"smtp://127.0.0.1:{server().port}")
    spec = workflow.definition.tools["send_email"]
    coming = Toolbox(workflow.functions).verify("send_email", LETTER, CALL, spec=spec)
    found = asyncio.run(coming)
    assert (found.answer, found.detail) == (
        "unknown",
        "a mail server cannot be asked what it has sent",
    )


@pytest.mark.parametrize(
    ("answers", "kind", "letters"),
    [
        ({"CONNECT": "554 not you"}, "unreachable", 0),
        ({"CONNECT": None}, "unreachable", 0),
        ({"EHLO": None}, "unreachable", 0),
        ({"EHLO": "250-here\r\n250 STARTTLS", "STARTTLS": "454 no"}, "unreachable", 0),
        ({"MAIL": "451 later"}, "refused", 0),
        ({"MAIL": None}, "unreachable", 0),
        ({"RCPT": "550 no such mailbox"}, "bounced", 0),
        ({"RCPT": "452 full"}, "refused", 0),
        ({"RCPT": None}, "unreachable", 0),
        ({"DATA": "554 no"}, "refused", 0),
        ({"LETTER": "554 spam"}, "refused", 1),
    ],
)
def test_a_letter_that_was_not_taken_is_an_error(
    server, tmp_path, monkeypatch, answers, kind, letters
):
    """As long as the server has not taken it, nothing happened, and the kind says why."""
    running = server(**answers)
    got = send(desk(tmp_path, monkeypatch, f"smtp://127.0.0.1:{running.port}"))
    assert isinstance(got, Failed)
    assert got.kind == kind
    assert len(running.letters) == letters


def test_a_line_that_breaks_late_is_a_doubt(server, tmp_path, monkeypatch):
    """The server heard the letter and hung up: nobody knows, so it is no error."""
    running = server(LETTER=None)
    got = send(desk(tmp_path, monkeypatch, f"smtp://127.0.0.1:{running.port}"))
    assert isinstance(got, Doubted)
    assert len(running.letters) == 1


def test_a_goodbye_that_fails_changes_nothing(server, tmp_path, monkeypatch):
    """Once the server has the letter, a broken farewell is no failure."""
    running = server(QUIT=None)
    got = send(desk(tmp_path, monkeypatch, f"smtp://127.0.0.1:{running.port}"))
    assert isinstance(got, Returned)


def test_nobody_there_is_unreachable_and_tried_again(server, tmp_path, monkeypatch):
    """A closed port is `unreachable`, the one kind that the tool's own retry repeats."""
    running = server()
    port = running.port
    running.server_close()
    workflow = desk(tmp_path, monkeypatch, f"smtp://127.0.0.1:{port}")
    got = send(workflow)
    assert isinstance(got, Failed)
    assert got.kind == "unreachable"
    assert workflow.definition.tools["send_email"].retry.on == ("unreachable",)


def test_bounces_and_line_breaks_never_reach_the_server(server, tmp_path, monkeypatch):
    """What is refused for a Maildir is refused for a server, before it is called."""
    running = server()
    workflow = desk(tmp_path, monkeypatch, f"smtp://127.0.0.1:{running.port}")
    assert send(workflow, to="abe@bounce.example").kind == "bounced"
    assert send(workflow, to="a@b.example\r\nRCPT TO:<eve@b.example>").kind == "header"
    assert running.heard == []


def test_a_password_logs_in_here(server, tmp_path, monkeypatch):
    """User and password of the URL, unquoted, are used; on this machine even without TLS."""
    running = server()
    url = f"smtp://desk%40shop:p%3Aw@127.0.0.1:{running.port}"
    assert isinstance(send(desk(tmp_path, monkeypatch, url)), Returned)
    token = base64.b64encode(b"\0desk@shop\0p:w").decode()
    assert f"AUTH PLAIN {token}" in running.heard


def test_a_wrong_password_is_no_doubt(server, tmp_path, monkeypatch):
    """A server that does not let us in has sent nothing, and the error repeats no password."""
    running = server(AUTH="535 no")
    url = f"smtp://desk:s3cr3t@127.0.0.1:{running.port}"
    got = send(desk(tmp_path, monkeypatch, url))
    assert isinstance(got, Failed)
    assert got.kind == "unreachable"
    assert "s3cr3t" not in got.text + got.detail


def test_a_password_does_not_travel_open(server, tmp_path, monkeypatch):
    """To another host that offers no TLS, neither password nor letter is sent."""
    running = server()
    # Reaches this machine, but not under a name that says so.
    url = f"smtp://desk:s3cr3t@0.0.0.0:{running.port}"
    got = send(desk(tmp_path, monkeypatch, url))
    assert isinstance(got, Failed)
    assert got.kind == "refused"
    assert "no TLS" in got.text
    assert [line.split(" ")[0] for line in running.heard] == ["ehlo"]


@pytest.mark.parametrize(
    "url",
    [
        "mail.example:25",
        "smtps://u:s3cr3t@mail.example:465",
        "smtp://u:s3cr3t@mail.example",
        "smtp://u:s3cr3t@:25",
        "smtp://u:s3cr3t@mail.example:port",
        "smtp://u:s3cr3t@mail.example:25/folder",
        "smtp://[u:s3cr3t@mail.example:25",
    ],
)
def test_a_wrong_url_is_refused_without_being_repeated(tmp_path, monkeypatch, url):
    """`build` says how the variable is written; a password in it appears nowhere."""
    with pytest.raises(UsageError, match="write smtp://") as caught:
        desk(tmp_path, monkeypatch, url)
    seen = [str(caught.value), repr(caught.value.facts), *getattr(caught.value, "__notes__", [])]
    assert "s3cr3t" not in "".join(seen)


def test_the_password_is_in_no_repr(tmp_path, monkeypatch):
    """Printing a tool's object shows where mail goes, not the password."""
    workflow = desk(tmp_path, monkeypatch, "smtp://u:s3cr3t@mail.example:25")
    shown = repr(workflow.functions["send_email"].__self__)
    assert "mail.example" in shown
    assert "s3cr3t" not in shown
