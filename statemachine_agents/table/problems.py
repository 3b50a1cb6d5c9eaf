"""A problem: one thing an author has to look at, as a value.

Rules.  1. It says where, what, expected, got and what to do next.  2. All problems of a table are
collected and reported together, sorted by place.
Not here: who finds them (`table.reading`, `table.grid`, `proof.structure`).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Literal, TypeAlias

import attrs

from statemachine_agents.errors import TableError
from statemachine_agents.values import JSON

Severity: TypeAlias = Literal["error", "warning", "info"]


@attrs.frozen
class Position:
    """A place in a file; lines and columns from 1, in characters.

    Args:
        file: its name as it was given.
        line: line.
        column: first character.
        length: characters on that line; 0 when only the line is known.
    """

    file: str
    line: int
    column: int = 1
    length: int = 0

    def __str__(self) -> str:
        column = f":{self.column}" if self.length else ""
        return f"{self.file}:{self.line}{column}"


@attrs.frozen
class Problem:
    """One finding.

    Args:
        code: stable short code, such as `unknown-state`.
        where: place in the table, such as `transitions[3].target`.
        what: what is wrong there, as a clause.
        expected: what would be right, may be empty.
        got: what stands there, may be empty.
        next: what to do, may be empty.
        severity: an `error` makes the table unusable; a `warning` works, but probably not as meant;
            `info` is worth knowing and shown on demand.
        span: first character and the one after the last, in the expression that stands there.
        position: where that is in a file, if it came from one.
    """

    code: str
    where: str
    what: str
    expected: str = ""
    got: str = ""
    next: str = ""
    severity: Severity = "error"
    span: tuple[int, int] | None = attrs.field(default=None, eq=False)
    position: Position | None = attrs.field(default=None, eq=False)

    def __str__(self) -> str:
        place = self.where if self.position is None else f"{self.position}: {self.where}"
        parts = [f"{self.severity}[{self.code}] {place}: {self.what}"]
        if self.expected:
            parts.append(f"expected {self.expected}")
        if self.got:
            parts.append(f"got {self.got}")
        if self.next:
            parts.append(self.next)
        return "; ".join(parts)

    def to_dict(self) -> dict[str, JSON]:
        """Return the finding as plain JSON."""
        plain = attrs.asdict(self, recurse=False)
        del plain["span"], plain["position"]
        if self.position is not None:
            plain |= attrs.asdict(self.position)
        return {key: value for key, value in plain.items() if value}


_COMPARED = 20_000
"""Names compared for the findings of one table: each takes some microseconds."""


def suggest(name: object, known: Iterable[str], *, told: int = 0) -> str:
    """Return `did you mean 'x'?`, or the known names when none is near.

    Args:
        name: what was written.
        known: what could have been meant.
        told: findings already made; after very many of them, nothing is looked for.
    """
    names = list(known)
    if told * len(names) > _COMPARED or len(names) > _COMPARED:
        return ""
    near = difflib.get_close_matches(str(name), names, n=1, cutoff=0.6)
    if near:
        return f"did you mean {near[0]!r}?"
    return f"known here: {', '.join(names[:12]) or 'none'}"


def refuse(subject: str, problems: Sequence[Problem]) -> None:
    """Raise one `TableError` that holds every problem of severity `error`, if there is any."""
    errors = [problem for problem in problems if problem.severity == "error"]
    if not errors:
        return
    count = "1 problem" if len(errors) == 1 else f"{len(errors)} problems"
    lines = "\n".join(f"  {problem}" for problem in errors)
    msg = f"{subject}: {count}\n{lines}"
    raise TableError(msg, problems=tuple(problems), subject=subject)
