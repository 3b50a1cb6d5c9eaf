"""A user's mistake is one sentence and an exit code; never a traceback, never a half-made file."""

import pytest

from statemachine_agents.cli import app
from tests.cli.terminal import COMMANDS, ONE_TOOL, folder


def test_help_mentions_every_command(sma):
    """`sma --help`, and `sma` alone, list every command; each command has help of its own."""
    for arguments in (["--help"], ["-h"], []):
        said = sma(*arguments)
        assert said.code == 0
        for name in COMMANDS:
            assert f" {name} " in said.out
    assert set(COMMANDS) == set(app._COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(sma, name):
    """`sma COMMAND --help` says what it does and explains every option."""
    said = sma(name, "--help")
    assert said.code == 0
    assert f"Usage: sma {name}" in said.out
    assert app._COMMANDS[name][1].split(",")[0].split(";")[0] in " ".join(said.out.split())
    assert "see `options`" not in said.out
    options = [line for line in said.out.splitlines() if line.startswith(("│ --", "│ *"))]
    assert options
    for line in options:
        assert len(line.strip("│ ").split("  ", 1)) == 2, line


def test_version(sma):
    """`sma --version` names the package and its version."""
    from statemachine_agents import __version__

    assert sma("--version").out.strip() == f"statemachine-agents {__version__}"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["rnu"], 'Did you mean "run"?'),
        (["run"], "WORKFLOW requires an argument"),
        (["run", "refnd"], "did you mean 'refund'?"),
        (["run", "refund", "--inptu", "a=b"], "Did you mean --input"),
        (["run", "no/such/folder"], "there is no such folder or file"),
        (["run", "statemachine_agents.nothing:at_all"], "nothing"),
        (["send", "last"], "TEXT requires an argument"),
        (["runs", "--limit", "many"], "unable to convert"),
        (["resume", "r-1", "--store", "none.db"], "there is no store"),
    ],
)
def test_a_wrong_command_line_exits_2(sma, home, arguments, sentence):
    """What was typed wrong is said, with the nearest right thing; nothing is created."""
    said = sma(*arguments)
    assert said.code == 2
    assert sentence in said.err
    assert said.err.startswith("sma: ")
    assert "Traceback" not in said.all
    assert list(home.iterdir()) == []


def test_an_error_is_an_object_with_json(sma):
    """With --json stdout stays JSON when something goes wrong, and stderr has the sentence."""
    said = sma("run", "refnd", "--json")
    assert said.last == {
        "event": "error",
        "error": "UsageError",
        "text": said.last["text"],
        "exit": 2,
    }
    assert said.last["text"] in said.err


def test_a_table_with_errors_is_refused_with_all_of_them(sma, home):
    """`sma run` of a wrong table lists its problems like check does, exit 1."""
    folder(
        home, "wrong", ONE_TOOL.format(name="wrong").replace('target = "done"', 'target = "don"')
    )
    said = sma("run", "wrong")
    assert said.code == 1
    assert "no function of that name was given" in said.err or "'don'" in said.err
    assert "Traceback" not in said.all


@pytest.mark.parametrize("command", [["runs"], ["run", "refund", "--input", "order_id=A1"]])
def test_a_file_that_is_no_store_is_left_alone(sma, home, command):
    """Not a database, another program's database, a directory: exit 70, and not a byte changed."""
    import sqlite3

    (home / "text.db").write_text("hello, I am a text that is long enough to be looked at\n" * 9)
    with sqlite3.connect(home / "other.db") as db:
        db.execute("create table mine (x)")
    db.close()
    (home / "folder.db").mkdir()
    for name, words in (
        ("text.db", "not an SQLite file"),
        ("other.db", "an SQLite file of another program"),
        ("folder.db", "is a directory"),
    ):
        path = home / name
        before = path.read_bytes() if path.is_file() else None
        said = sma(*command, "--store", name)
        assert said.code == 70, said.all
        assert words in said.err
        assert "Traceback" not in said.all
        assert before is None or path.read_bytes() == before


def test_a_store_that_cannot_be_made_exits_70(sma):
    """A directory that does not exist, or where nothing can be written."""
    for path in ("no/such/runs.db", "/proc/runs.db"):
        said = sma("run", "refund", "--input", "order_id=A1", "--store", path)
        assert said.code == 70
        assert said.err.startswith("sma: ")
        assert "Traceback" not in said.all


def test_an_internal_error_is_one_line_and_a_hint(sma, monkeypatch):
    """A bug of ours is exit 70 and one line; SMA_DEBUG=1 shows the traceback."""

    def broken(*_arguments):
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("statemachine_agents.load._find", broken)
    said = sma("check", "refund")
    assert said.code == 70
    assert said.err == (
        "sma: internal error: ZeroDivisionError: a bug; run with SMA_DEBUG=1 for the traceback\n"
    )
    monkeypatch.setenv("SMA_DEBUG", "1")
    assert "Traceback (most recent call last)" in sma("check", "refund").err


def test_interrupted_before_there_is_a_run(sma, monkeypatch):
    """Ctrl-C while nothing has begun yet: exit 130, one word."""

    def interrupted(*_arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("statemachine_agents.load._find", interrupted)
    said = sma("check", "refund")
    assert said.code == 130
    assert said.err == "interrupted\n"
