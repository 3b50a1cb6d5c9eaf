"""A run as it happens: a line per moment for people, an object per moment for programs.

Rules.  1. Told after the commit, by moments; nothing is guessed ahead.  2. Whatever a row decided
is shown with the verdicts that led to it.  3. A parked run ends with the very commands that go on.
Not here: past runs (`records`), exit codes (`failures`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import attrs
from rich.status import Status

from statemachine_agents import moments as m
from statemachine_agents.cli.paper import Paper, Part
from statemachine_agents.cli.text import clean, short
from statemachine_agents.journal.outcome import Outcome
from statemachine_agents.values import JSON

REHEARSED: Final = (
    "rehearsal: no model was used, a legal tool was called each time; "
    "set ANTHROPIC_API_KEY or give --model to ask Claude"
)

_STYLES: Final[Mapping[str, str]] = {
    "ok": "green", "error": "red", "refused": "yellow", "doubted": "bold yellow",
    "succeeded": "bold green", "failed": "bold red", "cancelled": "bold red",
    "waiting": "bold yellow", "quarantined": "bold red", "running": "cyan",
}  # fmt: skip
_WORDS: Final = re.compile(r"(?<!^)(?=[A-Z])")


def style_of(status: str) -> str:
    """Return the style of a status or of a call's outcome."""
    return _STYLES.get(status, "")


def event_of(moment: m.Moment) -> dict[str, JSON]:
    """Return a moment as plain JSON; `event` is its name in small letters, `on` what a row took."""
    name = _WORDS.sub("_", type(moment).__name__).lower()
    out: dict[str, JSON] = {"event": name}
    for key, value in attrs.asdict(moment, recurse=False).items():
        if isinstance(value, Outcome):
            out["status"], out["state"] = value.status, value.state
        elif isinstance(value, tuple):
            out[key] = [list(each) if isinstance(each, tuple) else each for each in value]
        else:
            out["on" if key == "event" else key] = value
    return out


class Live:
    """An observer that writes.

    Args:
        paper: where to.
        rehearsed: whether the model is none, which is said once, when it first would have spoken.
    """

    def __init__(self, paper: Paper, *, rehearsed: bool = False) -> None:
        self.paper = paper
        self.run_id = ""
        self._silent = not rehearsed
        self._mark: Status | None = None

    def __call__(self, moment: m.Moment) -> None:
        """Take a moment."""
        self.paper.object(event_of(moment))
        self._notice(moment)
        for line in self._lines(moment):
            self.paper.line(*self._indent(moment), *line)
        self._busy(moment)

    def close(self) -> None:
        """Stop the moving mark."""
        if self._mark is not None:
            self._mark.stop()
            self._mark = None

    def _notice(self, moment: m.Moment) -> None:
        if isinstance(moment, m.AgentReplied) and not self._silent:
            self._silent = True
            self.paper.note((REHEARSED, "dim"))

    def _indent(self, moment: m.Moment) -> tuple[Part, ...]:
        if not self.run_id or moment.run_id == self.run_id:
            return ()
        return ((f"{moment.run_id.removeprefix(self.run_id).lstrip('-')} ", "dim"),)

    def _lines(self, moment: m.Moment) -> Iterable[Sequence[Part]]:
        match moment:
            case m.StateEntered():
                place = f" ({moment.index} of {moment.total})" if moment.total else ""
                yield (moment.state, "bold cyan"), (place, "dim")
            case m.AgentReplied():
                yield from _replied(moment)
            case m.CallStarted():
                if moment.attempt > 1:
                    yield "  ", (f"{moment.tool}: attempt {moment.attempt}", "dim")
            case m.CallFinished():
                said = f": {short(moment.text, 200)}" if moment.text else ""
                yield "  ", moment.tool, " ", (moment.outcome, style_of(moment.outcome)), said
            case m.StateLeft():
                yield from _left(moment)
            case m.ReplyQueued():
                yield "  ", ("to the customer: ", "dim"), (clean(moment.text), "italic")
            case m.RunParked():
                yield "  ", ("parked: ", "yellow"), moment.reason

    def _busy(self, moment: m.Moment) -> None:
        """Say what is waited for, where lines can move."""
        self.close()
        match moment:
            case m.CallStarted():
                self._mark = self.paper.waiting(f"  {moment.tool} is at work")
            case m.StateEntered() | m.CallFinished() | m.StateLeft():
                self._mark = self.paper.waiting("  waiting")
        if self._mark is not None:
            self._mark.start()


def _replied(moment: m.AgentReplied) -> Iterable[Sequence[Part]]:
    turn = f"turn {moment.turn} of {moment.limit}"
    if moment.stop_reason == "error":
        yield "  ", (turn, "dim"), " ", ("the model could not be asked: ", "red"), moment.detail
    elif moment.calls:
        yield "  ", (turn, "dim"), " asks for ", ", ".join(moment.calls)
    else:
        yield "  ", (turn, "dim"), " says ", (short(moment.text, 200) or "nothing", "italic")


def _left(moment: m.StateLeft) -> Iterable[Sequence[Part]]:
    parts: list[Part] = ["  ", (moment.label or "default", "magenta"), ": "]
    parts += [moment.event, " -> ", (moment.target, "cyan")]
    if moment.guard:
        parts += ["  ", (f"[{moment.guard}]", "dim")]
    if moment.verdicts:
        parts += ["  ", (f"({verdicts_of(moment.verdicts)})", "dim")]
    yield parts


def verdicts_of(verdicts: Iterable[Sequence[Any]]) -> str:
    """Return guard verdicts as `row 3 false, row 4 true`; rows count from 1."""
    words = {True: "true", False: "false", None: "no verdict"}
    parts = []
    for row, value, *why in verdicts:
        because = f" ({why[0]})" if why and why[0] else ""
        parts.append(f"row {row + 1} {words[value]}{because}")
    return ", ".join(parts)
