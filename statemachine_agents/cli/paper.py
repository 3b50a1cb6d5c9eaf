"""Where a command writes: lines and tables for people, objects for programs.

Rules.  1. With `--json` stdout carries one JSON object a line and nothing else; notes go to stderr.
2. Colour and control codes only on a terminal, and not with NO_COLOR.  3. Texts are cleaned here
once more, whoever calls.  4. A reader who went away (`| head`) is no error: the command goes on and
keeps its exit code.
Not here: what is said (`live`, `records`, `checking`).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from typing import IO, Any, TypeAlias

from rich.console import Console
from rich.panel import Panel
from rich.status import Status
from rich.table import Table
from rich.text import Text

from statemachine_agents.cli.text import clean, json_line
from statemachine_agents.values import JSON

Part: TypeAlias = str | tuple[str, str]
"""A text, or a text with a rich style."""

_WIDE = 10_000
"""Columns of a pipe: whoever reads it cuts lines as they like."""


class _Patient:
    """A stream that forgives a reader who went away."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._gone = False

    def write(self, text: str) -> int:
        if not self._gone:
            self._try(self._stream.write, text)
        return len(text)

    def flush(self) -> None:
        if not self._gone:
            self._try(self._stream.flush)

    def isatty(self) -> bool:
        return self._stream.isatty()

    def _try(self, work: Any, *arguments: str) -> None:
        try:
            work(*arguments)
        except BrokenPipeError:
            self._gone = True
            # Python flushes stdout once more at exit and would complain there.
            void = os.open(os.devnull, os.O_WRONLY)
            os.dup2(void, self._stream.fileno())
            os.close(void)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class Paper:
    """What one command writes on.

    Args:
        json: one object a line on stdout instead of lines for people.
    """

    def __init__(self, *, json: bool = False) -> None:
        self.json = json
        self._out = _console(sys.stdout)
        self._err = _console(sys.stderr)

    @property
    def width(self) -> int:
        """Columns of the terminal; many in a pipe."""
        return self._out.width

    @property
    def terminal(self) -> bool:
        """Whether stdout is a terminal."""
        return self._out.is_terminal

    def line(self, *parts: Part) -> None:
        """Write one line for people; nothing with `--json`."""
        if not self.json:
            self._out.print(_text(parts), soft_wrap=True)

    def exact(self, *parts: Part) -> None:
        """Write one line for people whose blanks count; its texts must be clean already."""
        if self.json:
            return
        line = Text()
        for part in parts:
            text, style = (part, "") if isinstance(part, str) else part
            line.append(text, style or None)
        line.rstrip()
        self._out.print(line, soft_wrap=True)

    def note(self, *parts: Part) -> None:
        """Write one line to stderr, whoever reads stdout."""
        self._err.print(_text(parts), soft_wrap=True)

    def complain(self, text: str, *, lead: str = "sma: ") -> None:
        """Write a message of one or several lines to stderr, `lead` in front of the first."""
        first, *others = text.split("\n")
        self.note((lead, "bold red"), first)
        for line in others:
            self.note(line)

    def object(self, value: JSON) -> None:
        """Write one object for programs; nothing without `--json`."""
        if self.json:
            self.raw(json_line(value) + "\n")

    def raw(self, text: str) -> None:
        """Write a text as it is: JSON, pictures, journals."""
        self._out.file.write(text)
        self._out.file.flush()

    def table(self, headers: Sequence[str], rows: Iterable[Sequence[Part]]) -> None:
        """Write columns for people; the last one takes what is left of the line."""
        if self.json:
            return
        grid = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", pad_edge=False)
        for number, header in enumerate(headers, 1):
            grid.add_column(header, no_wrap=number < len(headers), overflow="fold")
        for row in rows:
            grid.add_row(*(_text((cell,)) for cell in row))
        if self.terminal:
            self._out.print(grid)
            return
        with self._out.capture() as captured:
            self._out.print(grid)
        self.raw("\n".join(line.rstrip() for line in captured.get().splitlines()) + "\n")

    def panel(
        self, title: Part, rows: Iterable[tuple[str, Part]], commands: Iterable[str] = ()
    ) -> None:
        """Write named values under a title: in a box on a terminal, as plain lines in a pipe.

        Args:
            title: the first line.
            rows: names and values; empty values are left out.
            commands: what to type next; never broken over lines, so that it can be copied.
        """
        if self.json:
            return
        style = "" if isinstance(title, str) else title[1]
        filled = [(name, value) for name, value in rows if _text((value,)).plain]
        if not self.terminal:
            self.line(title)
            for name, value in filled:
                self.line(f"  {name:<9} ", value)
            for command in commands:
                self.line(f"  {'next':<9} ", command)
            return
        grid = Table.grid(padding=(0, 2, 0, 0))
        grid.add_column(style="dim", no_wrap=True)
        grid.add_column(overflow="fold")
        for name, value in filled:
            grid.add_row(Text(name), _text((value,)))
        self._out.print(Panel(grid, title=_text((title,)), title_align="left", border_style=style))
        for command in commands:
            self.line(("  next: ", "dim"), (command, "bold"))

    def waiting(self, text: str) -> Status | None:
        """Return a moving mark that says what is waited for; None where nobody would see it."""
        if self.json or not self.terminal:
            return None
        return self._out.status(_text(((text, "dim"),)), spinner="dots")


def _console(stream: IO[str]) -> Console:
    return Console(
        width=None if stream.isatty() else _WIDE,
        file=_Patient(stream),  # type: ignore[arg-type]  # has all that rich calls
        highlight=False,
        markup=False,
        emoji=False,
    )


def _text(parts: Sequence[Part]) -> Text:
    out = Text()
    for part in parts:
        text, style = (part, "") if isinstance(part, str) else part
        out.append(_keep_indent(text), style or None)
    return out


def _keep_indent(text: str) -> str:
    """Return a clean text; blanks at its ends separate it from its neighbours and stay."""
    bare = clean(text)
    before = text[: len(text) - len(text.lstrip(" "))]
    after = text[len(text.rstrip(" ")) :] if bare else ""
    return f"{before}{bare}{after}"
