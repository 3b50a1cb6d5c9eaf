"""A mapping: how the log of another system reads as facts, as a value.

Rules.  1. A mapping is data: expressions of the table language on `run` (one log) and `event` (one
entry of it).  2. It is read strictly; everything that is wrong with it is reported together.

    id = "run.id"
    events = "run.events"
    turn = "event.turn"
    facts = [
      { when = "event.ev == 'user'", message = "{text: event.text, confirms: event.confirms}" },
      { when = "event.ev == 'call'", call = "event.name", arguments = "event.arguments",
        result = "event.result", failed = "event.tool_error", decode = true },
    ]

Not here: reading a log with it (`foreign`), files (`cli`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import attrs

from statemachine_agents.errors import ExpressionError, UsageError
from statemachine_agents.table.expressions import Expression, parse
from statemachine_agents.table.problems import suggest
from statemachine_agents.values import JSON

_TOP: Final = ("id", "events", "turn", "ended", "context", "facts")
_ROW: Final = {
    "message": ("when", "message"),
    "call": ("when", "call", "arguments", "result", "failed", "decode"),
    "event": ("when", "event", "scope"),
}
_NOTHING: Final = parse("null")


@attrs.frozen(kw_only=True)
class Reading:
    """One row of a mapping: which entries it takes, and what they say.

    Args:
        kind: `message`, `call` or `event`.
        when: takes an entry if this holds; None takes all.
        subject: the message, the tool's name, or the event's name.
        parts: the other expressions of the row, by key; `scope.<name>` for an event's names.
        decode: a text result that is JSON is read as such.
    """

    kind: str
    when: Expression | None
    subject: Expression
    parts: Mapping[str, Expression]
    decode: bool = False


@attrs.frozen(kw_only=True)
class Mapped:
    """A mapping, parsed.

    Args:
        id: what a run is called.
        events: its entries, a list.
        turn: which turn of the model an entry belongs to; None when the log does not say.
        ended: whether the run is over; None means that it is.
        context: values the run began with, by context key.
        facts: rows, in order.
    """

    id: Expression
    events: Expression
    turn: Expression | None
    ended: Expression | None
    context: Mapping[str, Expression]
    facts: tuple[Reading, ...]


def read_mapping(data: Mapping[str, JSON], *, where: str = "mapping") -> Mapped:
    """Read a mapping from its plain form; every fault is reported together.

    Raises:
        UsageError: unknown or missing keys, or texts that are no expressions.
    """
    reader = _Reader(where)
    reader.keys(data, _TOP, "")
    rows = data.get("facts")
    if not isinstance(rows, list) or not rows:
        reader.say("facts", "expected a list of one or more rows")
        rows = []
    context = data.get("context", {})
    if not isinstance(context, Mapping):
        reader.say("context", "expected a table of context keys and expressions")
        context = {}
    made = Mapped(
        id=reader.expression(data.get("id", "run.id"), "id"),
        events=reader.expression(data.get("events", "run.events"), "events"),
        turn=reader.optional(data, "turn"),
        ended=reader.optional(data, "ended"),
        context={
            str(key): reader.expression(text, f"context.{key}") for key, text in context.items()
        },
        facts=tuple(reader.row(row, f"facts[{index}]") for index, row in enumerate(rows)),
    )
    reader.refuse()
    return made


class _Reader:
    """Reads parts and keeps what is wrong with them."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.faults: list[str] = []

    def say(self, place: str, what: str) -> None:
        self.faults.append(f"{self.where}: {place}: {what}" if place else f"{self.where}: {what}")

    def keys(self, data: Mapping[str, JSON], known: tuple[str, ...], place: str) -> None:
        for key in data:
            if key not in known:
                self.say(place, f"unknown key {key!r}; {suggest(key, known)}")

    def expression(self, text: JSON, place: str) -> Expression:
        if not isinstance(text, str):
            self.say(place, f"expected a text that is an expression, got {text!r}")
            return _NOTHING
        try:
            return parse(text)
        except ExpressionError as error:
            self.say(place, str(error))
            return _NOTHING

    def optional(self, data: Mapping[str, JSON], key: str, place: str = "") -> Expression | None:
        return self.expression(data[key], f"{place}{key}") if key in data else None

    def row(self, row: JSON, place: str) -> Reading:
        kinds = [kind for kind in _ROW if isinstance(row, Mapping) and kind in row]
        if len(kinds) != 1:
            self.say(place, f"expected a row with exactly one of {', '.join(_ROW)}")
            return Reading(kind="event", when=None, subject=_NOTHING, parts={})
        kind = kinds[0]
        self.keys(row, _ROW[kind], place)
        parts = {
            key: self.expression(row[key], f"{place}.{key}")
            for key in ("arguments", "result", "failed")
            if key in row
        }
        scope = row.get("scope", {})
        if not isinstance(scope, Mapping):
            self.say(f"{place}.scope", "expected a table of names and expressions")
            scope = {}
        parts |= {
            f"scope.{name}": self.expression(text, f"{place}.scope.{name}")
            for name, text in scope.items()
        }
        return Reading(
            kind=kind,
            when=self.optional(row, "when", f"{place}."),
            subject=self.expression(row[kind], f"{place}.{kind}"),
            parts=parts,
            decode=row.get("decode") is True,
        )

    def refuse(self) -> None:
        if self.faults:
            raise UsageError("\n".join(self.faults), faults=tuple(self.faults))
