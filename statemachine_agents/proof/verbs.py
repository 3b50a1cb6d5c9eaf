"""Checks on states: exactly one verb, and only the keys that verb has a meaning for.

Rules.  1. A key that its verb does not know would be ignored silently, so it is an error.
2. What a state waits for must be able to arrive and be taken.
Not here: names in these keys (`naming`, `offers`), expressions in them (`reads`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import attrs

from statemachine_agents.proof.sheet import Sheet
from statemachine_agents.table.events import is_engine
from statemachine_agents.table.model import VERBS, WAITS, State
from statemachine_agents.table.operations import seconds_of
from statemachine_agents.table.problems import suggest

_KEYS: Final[Mapping[str, frozenset[str]]] = {
    "ask": frozenset(
        {"tools", "talk", "agent", "output", "parallel", "shows", "fresh", "say", "after"}
    ),
    "do": frozenset({"say", "after"}),
    "wait": frozenset({"question", "shows", "say", "after"}),
    "run": frozenset({"each", "at_once", "join", "say", "after"}),
    "final": frozenset({"returns", "say"}),
}
"""Verb -> the other keys it has a meaning for. Source: design.md section 3.1."""

_DEFAULTS: Final = {
    field.name: getattr(State("default"), field.name)
    for field in attrs.fields(State)
    if field.name not in ("name", "origin", *VERBS)
}
_ARRIVES: Final = {
    "message": ("user.message",),
    "approval": ("approval.granted", "approval.rejected"),
    "timer": ("timer.fired",),
}


def check(sheet: Sheet) -> None:
    """Check every state's verb and keys."""
    for state in sheet.table.states.values():
        where = f"states.{state.name}"
        if not state.verbs:
            what = "does not say who acts here"
            sheet.say("no-verb", where, what, expected=f"exactly one of {', '.join(VERBS)}")
            continue
        if len(state.verbs) > 1:
            what = f"has {len(state.verbs)} verbs: {', '.join(state.verbs)}"
            sheet.say("many-verbs", where, what, expected="exactly one")
            continue
        _keys(sheet, state, where)
        _values(sheet, state, where)
        if state.verb == "wait":
            _waits(sheet, state, where)
        elif state.after is not None and not _moved_by(sheet, state, ("timer.fired",)):
            what = "sets a timer, but no row takes `timer.fired` here"
            sheet.warn("timer-unhandled", f"{where}.after", what, advice="add a row, or drop it")


def _keys(sheet: Sheet, state: State, where: str) -> None:
    legal = _KEYS[state.verb]
    for key, default in _DEFAULTS.items():
        if key in legal or getattr(state, key) == default:
            continue
        owners = ", ".join(f"`{verb}`" for verb in VERBS if key in _KEYS[verb])
        what = f"means nothing in a state with `{state.verb}`"
        sheet.say("wrong-verb", f"{where}.{key}", what, expected=f"a state with {owners}")


def _values(sheet: Sheet, state: State, where: str) -> None:
    if state.final not in (None, "success", "failure"):
        advice = suggest(state.final, ("success", "failure"))
        what = f"no end is named {state.final!r}"
        sheet.say("unknown-final", f"{where}.final", what, advice=advice)
    if state.after is not None and seconds_of(state.after) is None:
        expected = "a whole number and one of s m h d w, such as `90s` or `2d`"
        sheet.say("bad-duration", f"{where}.after", "is no duration", expected=expected,
                  got=repr(state.after))  # fmt: skip
    if state.run == ():
        sheet.say("empty-list", f"{where}.run", "names no workflow", expected="one or more")
    if state.do is not None and len(state.do) > 1 and "undo" in state.do:
        what = "`undo` undoes completed effects and stands alone"
        sheet.say("undo-not-alone", f"{where}.do", what, advice="give it a state of its own")
    if state.at_once is not None:
        if state.at_once < 1:
            got = str(state.at_once)
            sheet.say("bad-number", f"{where}.at_once", "is too small", expected=">= 1", got=got)
        if state.each is None and state.verb in ("do", "run"):
            what = "bounds the items of `each`, which is absent"
            sheet.warn("at-once-without-each", f"{where}.at_once", what)
    if state.join is not None:
        _join(sheet, state, f"{where}.join")


def _join(sheet: Sheet, state: State, where: str) -> None:
    join = state.join
    sound = join in ("all", "any") if isinstance(join, str) else type(join) is int and join >= 1
    if not sound:
        expected = "`all`, `any` or a number of children from 1 on"
        sheet.say("bad-join", where, "is no way to join", expected=expected, got=repr(join))
    elif isinstance(join, int) and state.each is None and join > len(state.run or state.do or ()):
        what = f"waits for {join}, but only {len(state.run or state.do or ())} are started"
        sheet.say("bad-join", where, what)


def _waits(sheet: Sheet, state: State, where: str) -> None:
    waits = state.wait or ()
    if not waits:
        sheet.say("empty-list", f"{where}.wait", "waits for nothing", expected=", ".join(WAITS))
    ways = {
        **_ARRIVES,
        "resolution": [
            event for event in sheet.grid.cells.get(state.name, {}) if not is_engine(event)
        ],
    }
    deaf = []
    for index, kind in enumerate(waits):
        place = f"{where}.wait[{index}]"
        if kind not in WAITS:
            what = f"nobody can wait for {kind!r}"
            sheet.say("unknown-wait", place, what, advice=suggest(kind, WAITS))
            continue
        if kind == "timer" and state.after is None:
            advice = 'add `after`, such as `after = "1h"`'
            sheet.say("timer-without-after", place, "no timer is set here", advice=advice)
        elif not _moved_by(sheet, state, ways[kind]):
            deaf.append((place, kind))
    for place, kind in deaf:
        events = " or ".join(f"`{event}`" for event in _ARRIVES.get(kind, ("<tool>.ok",)))
        sheet.say(
            "wait-unhandled",
            place,
            f"waits for {kind}, but no row takes {events} here",
            advice="add a row for it",
            severity="error" if len(deaf) == len(waits) else "warning",
        )
    if state.after is not None and "timer" not in waits and (
        not _moved_by(sheet, state, ("timer.fired",))
    ):  # fmt: skip
        what = "sets a timer, but no row takes `timer.fired` here"
        sheet.warn("timer-unhandled", f"{where}.after", what, advice="add a row, or drop it")


def _moved_by(sheet: Sheet, state: State, events: Iterable[str]) -> bool:
    cells = sheet.grid.cells.get(state.name, {})
    return any(event in cells and cells[event].moves for event in events)
