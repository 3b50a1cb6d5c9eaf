"""What the operators and functions of an expression do to JSON values.

Rules.  1. Kinds decide, never Python's conversions: true is not 1, a list is not its length.
2. What has no meaning is reported through `fail`, which knows the place in the text; a Python
exception never escapes.  3. Nothing is mutated.  4. Work is counted, not timed, so a replay stops
where the run stopped: see `MAX_WORK`.

The values are never quoted in a message, only their kinds: they may be a customer's.
Not here: which operand comes from where (`evaluation`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import TypeAlias

import attrs

from statemachine_agents.errors import EvaluationError
from statemachine_agents.values import JSON, MAX_INT

Fail: TypeAlias = Callable[[str], EvaluationError]
"""Makes the error for one place in the text out of the problem found there."""

MAX_ITEMS = 1_000
"""Items of the longest list `+` may make."""

MAX_TEXT = 65_536
"""Characters of the longest text `+` may make."""

MAX_WORK = 1_000_000
"""Nodes one evaluation may visit inside list functions; about 0.2 s at worst.

Without it three nested list functions over a thousand items would be 10**9 visits. What `==`,
`in`, `+` and `lower` look at counts too: one an item, one per 64 characters.
"""

NUMBERS = frozenset({int, float})
_KINDS: Mapping[type, str] = {
    type(None): "null", bool: "a boolean", int: "a number", float: "a number",
    str: "a text", list: "a list", dict: "an object",
}  # fmt: skip
_DURATION = re.compile(r"([0-9]{1,9})([smhdw])")
_MOMENT = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2})(\.[0-9]{1,9})?Z")
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}


@attrs.define
class Meter:
    """What is left of `MAX_WORK` in one evaluation."""

    text: str
    left: int = MAX_WORK

    def spend(self, amount: int) -> None:
        """Count work about to be done, or refuse it."""
        self.left -= amount
        if self.left < 0:
            raise EvaluationError(
                f"{self.text!r}: over {MAX_WORK:,} steps inside list functions; the lists are too "
                "long to be searched inside one another: let a tool do this search",
                span=(0, len(self.text)),
                text=self.text,
            )


def kind_of(value: JSON) -> str:
    """Return the kind of a value in the words of the errors: `null`, `a text`, `an object`..."""
    return _KINDS.get(type(value), f"a {type(value).__name__}")


def seconds_of(duration: JSON) -> int | None:
    """Return the seconds of a duration such as `90s`, `15m`, `24h`, `7d`, `2w`; else None."""
    found = _DURATION.fullmatch(duration) if type(duration) is str else None
    return int(found[1]) * _SECONDS[found[2]] if found else None


def same(left: JSON, right: JSON, meter: Meter | None = None) -> bool:
    """Return whether two values are equal as `==` means it, at every depth.

    1 equals 1.0; true equals neither. Objects are equal whatever the order of their keys.
    """
    kind, other = type(left), type(right)
    if kind is not other:
        return kind in NUMBERS and other in NUMBERS and bool(left == right)
    if kind is list or kind is dict:
        return _same_inside(left, right, meter)
    if meter is not None and kind is str:
        meter.spend(len(left) // 64)
    return bool(left == right)


def _same_inside(left: JSON, right: JSON, meter: Meter | None) -> bool:
    # A stack instead of recursion: a value may be deeper than Python likes to recurse.
    pending = [(left, right)]
    while pending:
        a, b = pending.pop()
        kind = type(a)
        if kind is not type(b) or (kind is not list and kind is not dict):
            if not same(a, b, meter):
                return False
            continue
        if a is b:
            continue
        if len(a) != len(b):
            return False
        if meter is not None:
            meter.spend(len(a))
        if kind is list:
            pending.extend(zip(a, b, strict=True))
        elif a.keys() == b.keys():
            pending.extend((value, b[key]) for key, value in a.items())
        else:
            return False
    return True


def contains(item: JSON, container: JSON, meter: Meter | None, fail: Fail) -> bool:
    """Return whether a list has the item, a text the text, or an object the key."""
    kind = type(container)
    if kind is list:
        if meter is not None:
            meter.spend(len(container))
        for member in container:  # noqa: SIM110 - a generator takes twice as long
            if same(item, member, meter):
                return True
        return False
    if type(item) is str and (kind is dict or kind is str):
        if meter is not None and kind is str:
            meter.spend(len(container) // 64)
        return item in container
    raise fail(
        "`in` wants a list on the right, or a text in a text, or a text as the key of an object; "
        f"got {kind_of(item)} in {kind_of(container)}"
    )


def add(a: JSON, b: JSON, meter: Meter | None, fail: Fail) -> JSON:
    """Return the sum of two numbers, or two texts or two lists joined."""
    kind, other = type(a), type(b)
    if kind in NUMBERS and other in NUMBERS:
        return _number(a, b, fail)
    if kind is not other or (kind is not list and kind is not str):
        raise fail(
            f"`+` wants two numbers, two texts or two lists, got {kind_of(a)} and {kind_of(b)}"
        )
    size, most, what = len(a) + len(b), MAX_ITEMS, "items"
    if kind is str:
        most, what = MAX_TEXT, "characters"
    if size > most:
        raise fail(f"`+` would make {size:,} {what}, at most {most:,} are allowed")
    if meter is not None:
        meter.spend(size if kind is list else size // 64)
    return a + b


def subtract(a: JSON, b: JSON, fail: Fail) -> float:
    """Return the difference of two numbers."""
    if type(a) in NUMBERS and type(b) in NUMBERS:
        return _number(a, -b, fail)
    raise fail(f"`-` wants two numbers, got {kind_of(a)} and {kind_of(b)}")


def _number(a: float, b: float, fail: Fail) -> float:
    try:
        value = a + b
    except OverflowError:
        raise fail("the result is not a finite number") from None
    if type(value) is int:
        if -MAX_INT <= value <= MAX_INT:
            return value
        raise fail("the result is a whole number beyond 2**53, which JSON readers round")
    if math.isfinite(value):
        return value
    raise fail("the result is not a finite number")


def length(value: JSON, fail: Fail) -> int:
    """Return how many characters, items or members there are."""
    if type(value) in (str, list, dict):
        return len(value)
    raise fail(f"`len` wants a text, a list or an object, got {kind_of(value)}")


def lower(value: JSON, meter: Meter | None, fail: Fail) -> str:
    """Return a text in lower case, by the Unicode rules of the running Python."""
    if type(value) is not str:
        raise fail(f"`lower` wants a text, got {kind_of(value)}")
    if meter is not None:
        meter.spend(len(value) // 64)
    return value.lower()


def ago(duration: JSON, now: JSON, fail: Fail) -> str:
    """Return the moment a duration before `now`, in the form of `now`."""
    seconds = seconds_of(duration)
    if seconds is None:
        raise fail(
            "`ago` wants a text of a whole number and one of s m h d w, such as '24h', "
            f"got {'another text' if type(duration) is str else kind_of(duration)}"
        )
    found = _MOMENT.fullmatch(now) if type(now) is str else None
    if found is None:
        raise fail(
            "`now` must be a text such as '2026-11-20T19:48:00Z', "
            f"got {'another text' if type(now) is str else kind_of(now)}"
        )
    try:
        moment = datetime.fromisoformat(found[1]) - timedelta(seconds=seconds)
    except (ValueError, OverflowError) as error:
        raise fail(f"there is no such moment: {error}") from error
    return f"{moment.isoformat()}{found[2] or ''}Z"
