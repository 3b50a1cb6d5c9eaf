"""What reaches a terminal or a pipe: plain where it must be, and never what data says to do."""

import os
import pty
import subprocess

import pytest

from statemachine_agents.cli.text import brief, clean, command, json_line, short
from tests.cli.terminal import ONE_TOOL, TALK, begun, environment, folder
from tests.cli.terminal import command as line_of

EVIL = "\x1b[31mred\x1b[0m [bold]loud[/bold] \x9b2J \x07 \u202etxet :smile: \r\nnext"
EVIL_TOOL = f'''
from statemachine_agents import ToolError, tool

@tool(effect="read")
def work() -> str:
    """Fail with a text that tries to take the terminal over."""
    raise ToolError({EVIL!r}, kind="evil")
'''


def controls(text):
    """The characters of a text that a terminal would obey, line ends aside."""
    return {
        char
        for char in text
        if (ord(char) < 32 and char != "\n") or 127 <= ord(char) < 160 or char in "\u202e\u2028"
    }


def test_texts_are_cleaned_and_cut():
    """One line, no control characters, no marks that turn text around; the rest stays."""
    assert controls(clean(EVIL)) == set()
    assert clean("a\n  b\tc") == "a b c"
    assert "[bold]loud[/bold]" in clean(EVIL)
    assert short("x" * 200, 10) == "x" * 9 + "…"
    assert brief({"a": [1, "é\x1b"]}) == '{"a": [1, "é\\u001b"]}'
    assert controls(json_line({"text": EVIL})) == set()
    assert command("send", "r-1", "it's\x1b me").isprintable()


@pytest.mark.parametrize("arguments", [["run", "evil"], ["show", "last"], ["runs"]])
def test_a_tool_cannot_take_over_the_terminal(sma, home, arguments):
    """A tool's text is printed as text: no escape sequence, no markup, no emoji, on one line."""
    folder(home, "evil", ONE_TOOL.format(name="evil"), EVIL_TOOL)
    if arguments[0] != "run":
        sma("run", "evil")
    said = sma(*arguments)
    assert controls(said.all) == set()
    assert "[bold]loud[/bold]" in said.out
    assert ":smile:" in said.out


def test_neither_can_a_customer_a_model_or_an_argument(sma, home):
    """The same for messages, replies, names of runs and files."""
    folder(home, "talk", TALK)
    (home / "turns.jsonl").write_text('{"say": "[red]\\u001b[2J\\u009b1m hello"}\n')
    sma("run", "talk")
    said = sma("send", "last", EVIL, "--model", "scripted:turns.jsonl")
    assert said.code == 5
    assert controls(said.all) == set()
    assert "[red]" in said.out
    for arguments in (["show", EVIL], ["run", EVIL], ["check", EVIL], [EVIL]):
        wrong = sma(*arguments)
        assert wrong.code == 2
        assert controls(wrong.all) == set()


def test_json_keeps_what_was_said_whole(sma, home):
    """A program gets the very text, escaped; stdout has no raw control character."""
    folder(home, "evil", ONE_TOOL.format(name="evil"), EVIL_TOOL)
    said = sma("run", "evil", "--json")
    assert controls(said.out) == set()
    assert said.last["reason"] == EVIL


def test_a_pipe_gets_no_colour_and_no_boxes(sma):
    """Every command in a pipe: plain text without escape sequences or padding."""
    sma("run", "refund", "--input", "order_id=A14")
    for arguments in (
        ["show", "last"],
        ["runs"],
        ["replay", "last"],
        ["check", "refund", "--grid"],
    ):
        said = sma(*arguments)
        assert "\x1b" not in said.all
        assert not any(line.endswith(" ") for line in said.out.splitlines())
        assert "│" not in said.out


def on_terminal(*arguments, cwd, **more):
    """Run a command whose stdout and stderr are a terminal; return what it wrote."""
    leader, follower = pty.openpty()
    child = subprocess.Popen(
        line_of(*arguments), cwd=cwd, stdout=follower, stderr=follower, stdin=follower,
        env=environment(TERM="xterm-256color", COLUMNS="100", **more),
    )  # fmt: skip
    os.close(follower)
    said = b""
    while True:
        try:
            piece = os.read(leader, 65536)
        except OSError:  # how a pseudo-terminal says that the other end is closed
            break
        if not piece:
            break
        said += piece
    os.close(leader)
    return child.wait(timeout=60), said.decode()


def test_a_terminal_gets_colour_unless_no_color(home):
    """Colour and a box on a terminal; with NO_COLOR no colour."""
    folder(home, "evil", ONE_TOOL.format(name="evil"), EVIL_TOOL)
    code, said = on_terminal("run", "evil", cwd=home)
    assert code == 3
    assert "\x1b[" in said
    assert "╭" in said
    assert "\x1b[31mred" not in said
    assert "\x9b" not in said
    code, plain = on_terminal("run", "evil", cwd=home, NO_COLOR="1")
    assert code == 3
    assert not any(f"\x1b[{style}m" in plain for style in ("31", "32", "33", "36", "1;31", "1;36"))


def test_a_reader_who_goes_away_is_no_error(home):
    """`sma ... | head -1` ends quietly with the run's own exit code."""
    child = begun("run", "refund", "--input", "order_id=A1", cwd=home)
    child.stdout.close()
    assert child.wait(timeout=60) == 0
    assert "BrokenPipe" not in child.stderr.read()
    child.stderr.close()


def test_a_terminal_without_unicode_is_no_error(home):
    """Where a character cannot be shown, an escape is; the exit code stays."""
    child = subprocess.run(
        line_of("run", "--help"), cwd=home, capture_output=True, timeout=60,
        env=environment(PYTHONIOENCODING="ascii"),
    )  # fmt: skip
    assert child.returncode == 0
    assert b"Traceback" not in child.stderr
