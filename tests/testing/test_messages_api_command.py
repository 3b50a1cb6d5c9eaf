"""`python -m statemachine_agents.testing.messages_api`, as a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import anthropic
import pytest

import statemachine_agents

COMMAND = [sys.executable, "-m", "statemachine_agents.testing.messages_api"]
REQUEST = {
    "model": "claude-sonnet-5-5",
    "max_tokens": 100,
    "messages": [{"role": "user", "content": "hello"}],
}


def environment():
    """Find the package whether it is installed or not."""
    root = str(Path(statemachine_agents.__file__).parents[1])
    return {**os.environ, "PYTHONPATH": root}


@contextmanager
def running(*arguments):
    process = subprocess.Popen(
        [*COMMAND, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    try:
        yield process, process.stdout.readline().strip()
    finally:
        process.kill()
        process.communicate()


def finished(*arguments):
    return subprocess.run(
        [*COMMAND, *arguments], capture_output=True, text=True, env=environment(), timeout=60
    )


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "script.jsonl"
    path.write_text('# greet, then fail\n{"reply": {"text": "hi"}}\n{"error": {"status": 529}}\n')
    return str(path)


def test_it_prints_its_url_serves_the_script_and_ends_on_interrupt(script):
    """One line with the URL, steps in order, then a clear 500; Ctrl-C ends it with 130, quietly."""
    with (
        running("--script", script) as (process, url),
        anthropic.Anthropic(api_key="test", base_url=url, max_retries=0) as client,
    ):
        assert client.messages.create(**REQUEST).content[0].text == "hi"
        with pytest.raises(anthropic.OverloadedError):
            client.messages.create(**REQUEST)
        with pytest.raises(anthropic.InternalServerError, match="is exhausted"):
            client.messages.create(**REQUEST)
        process.send_signal(signal.SIGINT)
        rest, complaints = process.communicate(timeout=30)
    assert (process.returncode, rest, complaints) == (130, "", "")


def test_it_listens_where_it_is_told_and_says_when_it_cannot(script):
    """A second server on the same port is refused with exit code 2 and the reason."""
    with running("--script", script) as (_, url):
        port = str(urlsplit(url).port)
        second = finished("--script", script, "--port", port)
    assert second.returncode == 2
    assert f"error: cannot listen on 127.0.0.1 port {port}" in second.stderr
    assert "Traceback" not in second.stderr


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"reply": {}}\n{"answer": {}}\n', "line 2: got {'answer': {}}, expected one object"),
        ("{\n", "line 1: not JSON"),
        (None, "cannot be read"),
    ],
)
def test_a_bad_script_file_is_a_clear_error(tmp_path, content, words):
    """The line is named, the exit code is 2, and nothing listens."""
    path = tmp_path / "bad.jsonl"
    if content is not None:
        path.write_text(content)
    done = finished("--script", str(path))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ")
    assert words in done.stderr
    assert str(path) in done.stderr


def test_help_documents_the_format():
    """Every word of the file form is explained by --help; no argument at all is a usage error."""
    done = finished("--help")
    assert done.returncode == 0
    for word in ("reply", "error", "drop", "cut", "stream_error", "delay", "malformed", "pause"):
        assert f'{{"{word}": ' in done.stdout
    assert finished().returncode == 2


def test_the_examples_of_the_help_are_valid_lines():
    """What --help shows can be copied into a script file."""
    from statemachine_agents.testing.messages_api import __main__, parse_script

    lines = [line for line in __main__.__doc__.splitlines() if line.startswith("  {")]
    steps = [line[: line.rindex("}") + 1] for line in lines]
    assert len(parse_script("\n".join(steps))) == len(lines) == 11
