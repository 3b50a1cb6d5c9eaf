"""What the tests of the command line type, and what they see.

Rules.  1. `Said` holds everything a user gets: exit code, stdout, stderr.  2. Most cases run in
this process (`typed`), a few as real processes (`process`, `begun`), because each costs a second.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import attrs

ROOT = Path(__file__).parent.parent.parent
COMMANDS = (
    "run", "check", "graph", "diff", "mutate", "runs", "show", "replay", "conform", "export",
    "resume", "send", "approve", "resolve", "cancel",
)  # fmt: skip
KEYS = {
    "run_id", "status", "state", "path", "value", "reason", "iterations", "usage", "waiting",
    "limit", "broken", "owed",
}  # fmt: skip
"""What an outcome object says."""


@attrs.frozen
class Said:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def objects(self):
        """Every line of stdout as JSON; a line that is none fails the test."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def last(self):
        """The last line of stdout as JSON."""
        return self.objects[-1]

    def event(self, name):
        """The only event of a name."""
        (found,) = [each for each in self.objects if each.get("event") == name]
        return found

    @property
    def all(self):
        """Stdout and stderr."""
        return self.out + self.err


def typed(capsys, *arguments):
    """Run a command line in this process."""
    from statemachine_agents.cli import main

    capsys.readouterr()
    code = main([str(each) for each in arguments])
    out, err = capsys.readouterr()
    return Said(code, out, err)


def environment(**more):
    """Return an environment in which the package is found, and no key and no terminal is."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("ANTHROPIC_", "SMA_")) and name not in ("NO_COLOR", "FORCE_COLOR")
    }
    return {**kept, "PYTHONPATH": str(ROOT), **more}


def command(*arguments):
    """Return the command line of a real process."""
    return [sys.executable, "-m", "statemachine_agents", *(str(each) for each in arguments)]


def process(*arguments, cwd, **more):
    """Run a real process to its end."""
    done = subprocess.run(
        command(*arguments), cwd=cwd, env=environment(**more), capture_output=True, text=True,
        timeout=120,
    )  # fmt: skip
    return Said(done.returncode, done.stdout, done.stderr)


def begun(*arguments, cwd, **more):
    """Start a real process and leave it running."""
    return subprocess.Popen(
        command(*arguments), cwd=cwd, env=environment(**more), stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def folder(home, name, table, tools=""):
    """Write a workflow folder; return its path."""
    place = home / name
    place.mkdir()
    (place / "table.toml").write_text(table)
    if tools:
        (place / "tools.py").write_text(tools)
    return place


TALK = """
name = "talk"
initial = "listening"
transitions = [
  { source = "listening", event = "bye.ok", target = "over", assign = { why = "result.why" } },
]
[states]
listening = { ask = "Listen.", talk = true, tools = ["bye"] }
over = { final = "success", returns = "context.why" }
[signals.bye]
why = "string"
[context]
why = "string?"
"""
"""Waits for the customer, talks, and ends when the model says goodbye."""

ONE_TOOL = """
name = "{name}"
initial = "working"
transitions = [
  {{ source = "working", event = "work.ok", target = "done", assign = {{ made = "result" }} }},
  {{ source = "working", event = "work.error", target = "bad", assign = {{ why = "error.text" }} }},
]
[states]
working = {{ do = ["work"] }}
done = {{ final = "success", returns = "context.made" }}
bad = {{ final = "failure", returns = "context.why" }}
[context]
made = "any"
why = "string?"
"""
"""Calls one tool; no model is needed."""

RAISES = '''
from statemachine_agents import tool

@tool
def work() -> str:
    """Do something nobody can take back, and break in the middle."""
    raise RuntimeError("the line went dead")
'''

SLEEPS = '''
import time
from pathlib import Path
from statemachine_agents import tool

@tool(effect="idempotent", timeout=100)
def work() -> str:
    """Say that it has begun, wait as long as the file says, say that it is done."""
    here = Path(__file__).parent
    with (here / "begun").open("a") as file:
        file.write("x")
    time.sleep(float((here / "seconds").read_text()))
    return "slept"
'''


def sleeper(home, seconds):
    """Write a workflow whose tool sleeps."""
    place = folder(home, "sleeper", ONE_TOOL.format(name="sleeper"), SLEEPS)
    (place / "seconds").write_text(str(seconds))
    return place
