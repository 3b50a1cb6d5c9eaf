"""A finding drawn as a compiler would: place, line, carets, help.

Rules.  1. The line is shown as it stands in the file, cleaned of what a terminal would obey; carets
stand under the very characters, also behind tabs and wide ones.  2. A line too long for the
terminal is cut around the carets.  3. Nothing is drawn that is not known: a finding without a
position has its place in the table instead.
Not here: other formats (`formats`), what is found (`proof`).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from rich.cells import cell_len

from statemachine_agents.cli.paper import Part
from statemachine_agents.cli.text import clean
from statemachine_agents.table.problems import Position, Problem

STYLES: Final = {"error": "bold red", "warning": "bold yellow", "info": "bold blue"}
_TAB: Final = "    "


class Sources:
    """The lines of the files that findings point into, each read once."""

    def __init__(self) -> None:
        self._lines: dict[str, list[str]] = {}

    def line(self, position: Position) -> str | None:
        """Return the line a position points at, or None when it cannot be read."""
        if position.file not in self._lines:
            try:
                text = Path(position.file).read_text(encoding="utf-8", errors="replace")
            except OSError:
                text = ""
            self._lines[position.file] = text.split("\n")
        lines = self._lines[position.file]
        return lines[position.line - 1] if 0 < position.line <= len(lines) else None


def draw(problem: Problem, sources: Sources, width: int) -> Iterator[tuple[Part, ...]]:
    """Yield a finding as lines.

    Args:
        problem: the finding.
        sources: files already read.
        width: columns of the terminal.
    """
    style = STYLES[problem.severity]
    head = f"{problem.severity}[{problem.code}]"
    yield (head, style), (": ", "bold"), (clean(problem.what), "bold")
    position = problem.position
    if position is None:
        if problem.where:
            yield ("  --> ", "blue"), clean(problem.where)
        yield from _notes(problem, "")
        yield ("",)
        return
    gutter = " " * len(str(position.line))
    place = f" ({clean(problem.where)})" if problem.where else ""
    yield (f"{gutter} --> ", "blue"), clean(position), (place, "dim")
    line = sources.line(position)
    if line is not None and line.strip():
        text, before, under = _cut(line.rstrip("\r"), position, width - len(gutter) - 4)
        yield ((f"{gutter} |", "blue"),)
        yield (f"{position.line} | ", "blue"), text
        if position.length:
            carets = "^" * max(1, under)
            note = f" {clean(problem.next)}" if problem.next else ""
            yield (f"{gutter} | ", "blue"), " " * before, (carets + note, style)
    yield from _notes(problem, gutter, told=bool(line and line.strip() and position.length))
    yield ("",)


def _notes(problem: Problem, gutter: str, *, told: bool = False) -> Iterator[tuple[Part, ...]]:
    for word, text in (("expected", problem.expected), ("got", problem.got)):
        if text:
            yield (f"{gutter} = ", "blue"), (f"{word}: ", "bold"), clean(text)
    if problem.next and not told:
        yield (f"{gutter} = ", "blue"), ("help: ", "bold"), clean(problem.next)


def _cut(line: str, position: Position, width: int) -> tuple[str, int, int]:
    """Return the part of a line to show, the columns before the carets, and their number."""
    start, end = position.column - 1, position.column - 1 + position.length
    parts = _plain(line[:start]), _plain(line[start:end]), _plain(line[end:])
    before, under, after = (cell_len(part) for part in parts)
    if before + under + after <= max(width, 40):
        return "".join(parts), before, under
    room = max(width, 40)
    head = parts[0]
    if before > room // 3:
        while cell_len(head) > room // 3:
            head = head[1:]
        head = f"...{head}"
    rest = (parts[1] + parts[2])[: max(20, room - cell_len(head) - 3)]
    cut = "..." if len(rest) < len(parts[1] + parts[2]) else ""
    return head + rest + cut, cell_len(head), min(under, cell_len(rest))


def _plain(text: str) -> str:
    """Return a part of a line with tabs widened and control characters made harmless."""
    out = text.replace("\t", _TAB)
    return "".join(clean(char) or char if not char.isspace() else " " for char in out)
