"""Where an abstract run stands, and one fact of it.

Rules.  1. A place holds what rules and the engine's order of things can tell apart, and no values.
Not here: what leads from place to place (`facts`, `moves`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple, TypeAlias

import attrs

from statemachine_agents.table.rules import Rule
from statemachine_agents.values import JSON

FRESH, LATE, DOUBT, OLD_DOUBT = range(4)
"""A call made in this visit; made before it; in doubt since this visit; in doubt for longer."""

MANY: Final = 2
"""So many alike calls at once stand for any number; of reads that no rule counts, one does."""

LIMIT: Final = "limit"

OUTCOMES: Final = ("ok", "error", "unknown")
MADE: Final = "made "
"""Before the name of a tool in `Place.used`: it was called, and how that ended is still to come."""

Open: TypeAlias = tuple[str, tuple[bool, ...], int]
"""A call: tool, which rules count it until it fails, one of `FRESH LATE DOUBT OLD_DOUBT`."""


class Place(NamedTuple):
    """Where an abstract run stands.

    `phase`: `new` (just entered), `idle`, `asked` (the model replies), `calls` (it has called),
    `do` (the engine calls, `used` says how far it is), `settled`, `error`, or an end: `success`,
    `failure`, `failed`, `cancelled`.
    """

    state: str
    phase: str
    used: str
    facts: frozenset[str]
    raised: str
    open: tuple[Open, ...]
    at: tuple[int | None, ...]


ENDS: Final = frozenset({"success", "failure", "failed", "cancelled"})


@attrs.frozen
class Hop:
    """One fact of a run.

    Args:
        state: where it happens.
        fact: a tool (its intent), an event, or `model.asked`.
        row: label of the row that fires; `default` where none does and that ends the run.
        target: the state or end it leads to; empty where the run stays.
        scope: values with which it happens, as far as conditions read them.
        mine: whether it is about the value of `per=` that is followed.
        late: whether it is the result of a call made in an earlier visit.
    """

    state: str
    fact: str
    row: str = ""
    target: str = ""
    scope: Mapping[str, JSON] = attrs.field(factory=dict)
    mine: bool = True
    late: bool = False

    def __str__(self) -> str:
        row = f" ({self.row})" if self.row else ""
        return f"{self.state}: {self.fact}{row}" + (f" -> {self.target}" if self.target else "")


class Broken(NamedTuple):
    """A rule that a hop breaks: index of the rule."""

    rule: int


Next: TypeAlias = tuple[Hop, "Place | Broken"]


def due(rule: Rule, at: int | None) -> bool:
    """Whether a rule still asks for something."""
    if at is None and rule.per is not None:
        return False
    return rule.automaton.is_due(at or 0, rule.n)
