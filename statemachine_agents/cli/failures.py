"""What went wrong, in one sentence and one exit code. Never a traceback for a user's mistake.

    0    success
    1    findings of `check`, or a replay that differs
    2    usage: a wrong input, an unknown workflow or run, a run that is not in that situation
    3    the run failed or was cancelled
    4    the event that ended the run was a limit
    5    the run is parked and waits for somebody
    70   an internal error, or the store could not do it
    130  interrupted; the run can be resumed

Rules.  1. Every sentence goes to stderr; with `--json` an object that says the same is the last
line of stdout.  2. SMA_DEBUG=1 adds the traceback, nothing else does.
Not here: what an outcome looks like (`live`).
"""

from __future__ import annotations

import os
import traceback
from typing import Final

from cyclopts import CycloptsError

from statemachine_agents.cli.paper import Paper
from statemachine_agents.cli.text import clean
from statemachine_agents.errors import (
    ReplayMismatch,
    TableError,
    UnknownRun,
    UsageError,
    ValueRefused,
    WorkflowError,
)

SUCCESS: Final = 0
FINDINGS: Final = 1
USAGE: Final = 2
FAILED: Final = 3
LIMIT: Final = 4
PARKED: Final = 5
INTERNAL: Final = 70
INTERRUPTED: Final = 130


class Interrupted(Exception):
    """Somebody pressed Ctrl-C while a run was driven; `run_id` is empty before there was one.

    Args:
        run_id: the run, or an empty text.
        next_command: the command that goes on with it.
    """

    def __init__(self, run_id: str = "", next_command: str = "") -> None:
        super().__init__(run_id)
        self.run_id = run_id
        self.next_command = next_command


def code_of(status: str, limit: str) -> int:
    """Return the exit code of a run.

    Args:
        status: of its outcome.
        limit: name of the limit whose event ended it, or an empty text.
    """
    if limit:
        return LIMIT
    return {"succeeded": SUCCESS, "failed": FAILED, "cancelled": FAILED}.get(status, PARKED)


def report(error: BaseException, paper: Paper) -> int:
    """Say what went wrong and return the exit code."""
    code = _code(error)
    if isinstance(error, KeyboardInterrupt):
        error = Interrupted()
    if isinstance(error, Interrupted):
        _interrupted(error, paper)
        return code
    sentence = _sentence(error, code)
    paper.complain(sentence)
    for note in getattr(error, "__notes__", ()):
        paper.complain(note, lead="")
    paper.object({"event": "error", "error": type(error).__name__, "text": sentence, "exit": code})
    if os.environ.get("SMA_DEBUG"):
        paper.complain("".join(traceback.format_exception(error)), lead="")
    return code


def _interrupted(error: Interrupted, paper: Paper) -> None:
    if error.run_id:
        paper.note("interrupted; the run can go on: ", (error.next_command, "bold"))
    else:
        paper.note("interrupted")
    paper.object({"event": "interrupted", "run_id": error.run_id, "next": error.next_command})


def _code(error: BaseException) -> int:
    from statemachine_agents.models.scripted import ScriptExhausted

    if isinstance(error, KeyboardInterrupt | Interrupted):
        return INTERRUPTED
    if isinstance(error, ReplayMismatch):
        return FINDINGS
    if isinstance(error, TableError) and error.facts.get("problems"):
        return FINDINGS
    if isinstance(
        error, UsageError | UnknownRun | ValueRefused | TableError | ScriptExhausted | CycloptsError
    ):
        return USAGE
    return INTERNAL


def _sentence(error: BaseException, code: int) -> str:
    if isinstance(error, CycloptsError):
        return f"{clean(error)} `sma --help` lists the commands."
    if isinstance(error, WorkflowError):
        return str(error)
    if code != INTERNAL:
        return str(error)
    said = clean(error)
    what = f"{type(error).__name__}: {said}" if said else type(error).__name__
    return f"internal error: {what}; run with SMA_DEBUG=1 for the traceback"
