"""Checks on names: are they sound, free, of a known type, and does everything named exist?

Rules.  1. Reserved words are the first words of engine events: `run.ok` would be nobody's.
2. A name that is wrong is reported where it is written, with the nearest right one.
Not here: names inside expressions (`reads`), tools (`offers`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from statemachine_agents.proof.sheet import Sheet
from statemachine_agents.table.events import RESERVED
from statemachine_agents.table.expressions import WORDS
from statemachine_agents.table.model import STAY, TYPES, Key
from statemachine_agents.table.problems import suggest
from statemachine_agents.table.toolspec import TOOL_NAME

ROOTS: Final = (
    "context", "visits", "iterations", "now",
    "result", "args", "error", "results", "message", "approval", "reply",
)  # fmt: skip
"""First names of paths. Source: design.md section 3.4."""

_IDENTIFIER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_STATE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,127}")
_TOOL: Final = re.compile(TOOL_NAME)
_EFFORTS: Final = ("low", "medium", "high")


def check(sheet: Sheet) -> None:
    """Check every name of a table and what it refers to."""
    _spelling(sheet)
    _reserved(sheet)
    _clashes(sheet)
    _references(sheet)
    _context(sheet)
    _signals(sheet)


def _spelling(sheet: Sheet) -> None:
    table = sheet.table
    letters = "letters, digits, `_` and `-`, a letter or `_` first"
    for section, names, shape, expected in (
        ("states", table.states, _STATE, letters),
        ("groups", table.groups, _STATE, letters),
        ("agents", table.agents, _STATE, letters),
        ("tools", table.tools, _TOOL, "1 to 128 letters, digits, `_` and `-`"),
        ("signals", table.signals, _TOOL, "1 to 128 letters, digits, `_` and `-`"),
        ("context", table.context, _IDENTIFIER, "letters, digits and `_`, no digit first"),
        ("define", table.define, _IDENTIFIER, "letters, digits and `_`, no digit first"),
    ):
        for name in names:
            if not shape.fullmatch(name):
                what = f"{name!r} cannot be a name here"
                sheet.say("bad-name", f"{section}.{name}", what, expected=expected)
    for offer in sheet.offers:
        if not _TOOL.fullmatch(offer.tool):
            what = f"{offer.tool!r} cannot be a tool's name"
            expected = "1 to 128 letters, digits, `_` and `-`"
            sheet.say("bad-name", offer.where, what, expected=expected)
    if not _TOOL.fullmatch(table.name):
        what = f"{table.name!r} gives no events: a parent could not run it as a child workflow"
        sheet.warn("bad-name", "name", what, expected="1 to 128 letters, digits, `_` and `-`")


def _reserved(sheet: Sheet) -> None:
    table = sheet.table
    for kind, where, name in (
        ("workflow", "name", table.name),
        *(("signal", f"signals.{name}", name) for name in table.signals),
        *(("tool", f"tools.{name}", name) for name in table.tools),
        *(("tool", offer.where, offer.tool) for offer in sheet.offers),
        *(
            ("workflow", f"states.{state.name}.run[{index}]", name)
            for state in table.states.values()
            for index, name in enumerate(state.run or ())
        ),
    ):
        if name in RESERVED:
            what = f"no {kind} may be named {name!r}: `{name}.` begins events of the engine"
            sheet.say("reserved-name", where, what, advice=f"rename it, such as `{name}_it`")
    for name in table.states:
        if name == STAY:
            what = f"no state may be named {STAY!r}: as a target it means `remain here`"
            sheet.say("reserved-name", f"states.{name}", what, advice="rename it")
        elif name in RESERVED:
            what = f"{name!r} is also the first word of engine events, which reads badly in rows"
            sheet.warn("reserved-name", f"states.{name}", what)
    for name in table.define:
        if name in ROOTS or name in WORDS:
            what = f"{name!r} has a meaning in every expression already"
            sheet.say("reserved-name", f"define.{name}", what, advice="rename it")


def _clashes(sheet: Sheet) -> None:
    table = sheet.table
    for name in table.groups:
        if name in table.states:
            what = f"a state is named {name!r} too, and a source could mean either"
            sheet.say("name-clash", f"groups.{name}", what, advice="rename the group")
    for name in table.signals:
        if name in table.tools or name in (sheet.specs or ()):
            what = f"a tool is named {name!r} too; `{name}.ok` could be either's"
            sheet.say("name-clash", f"signals.{name}", what, advice="rename the signal")
    tools = {offer.tool for offer in sheet.offers}
    for state in table.states.values():
        for index, name in enumerate(state.run or ()):
            if name in tools:
                what = f"a tool or signal is named {name!r} too; `results.{name}` could be either's"
                sheet.say("name-clash", f"states.{state.name}.run[{index}]", what)


def _references(sheet: Sheet) -> None:
    table = sheet.table
    _known(sheet, "unknown-state", "initial", "state", table.initial, table.states)
    for index, row in enumerate(table.transitions):
        if not row.event:
            what = "names no event, so nothing can fire it"
            sheet.say("no-event", f"transitions[{index}].event", what)
        if row.target is None:
            if not row.assign:
                what = "has neither a target nor an assign, so it does nothing"
                advice = f"add `target`; to remain in the state, `target = '{STAY}'`"
                sheet.warn("empty-note", f"transitions[{index}]", what, advice=advice)
        elif row.target != STAY:
            where = f"transitions[{index}].target"
            _known(sheet, "unknown-state", where, "state", row.target, table.states)
    for name, members in table.groups.items():
        for index, member in enumerate(members):
            where = f"groups.{name}[{index}]"
            _known(sheet, "unknown-state", where, "state", member, table.states)
    for state in table.states.values():
        where = f"states.{state.name}"
        if state.agent is not None:
            _known(sheet, "unknown-agent", f"{where}.agent", "agent", state.agent, table.agents)
        if sheet.children is not None:
            for index, child in enumerate(state.run or ()):
                place = f"{where}.run[{index}]"
                _known(sheet, "unknown-workflow", place, "workflow", child, sheet.children)
        for index, key in enumerate(state.shows):
            place = f"{where}.shows[{index}]"
            if _known(sheet, "unknown-context-key", place, "context key", key, table.context) and (
                state.verb == "ask" and table.context[key].private
            ):
                what = f"the context key {key!r} is private and never reaches a prompt"
                sheet.say("private-shown", place, what, advice="leave it out here")
    for agent in table.agents.values():
        if agent.effort is not None and agent.effort not in _EFFORTS:
            where, what = f"agents.{agent.name}.effort", "is no effort"
            expected = ", ".join(_EFFORTS)
            sheet.say("unknown-effort", where, what, expected=expected, got=repr(agent.effort))


def _known(sheet: Sheet, code: str, where: str, kind: str, name: str, names: Any) -> bool:
    """Report a name that is not among `names`; return whether it is."""
    if name in names:
        return True
    sheet.say(
        code,
        where,
        f"no {kind} is named {name!r}",
        advice=suggest(name, names, told=len(sheet.problems)),
    )
    return False


def _context(sheet: Sheet) -> None:
    for name, key in sheet.table.context.items():
        where = f"context.{name}"
        if key.scope not in ("run", "stretch"):
            what = f"no scope is named {key.scope!r}"
            advice = suggest(key.scope, ("run", "stretch"))
            sheet.say("unknown-scope", f"{where}.scope", what, advice=advice)
        if not _typed(sheet, where, key.type):
            continue
        if key.default is not None and not fits(key):
            what = "the default is not of the key's own type"
            sheet.say("wrong-default", f"{where}.default", what, expected=key.type)
        if key.scope == "stretch" and key.required:
            what = "is emptied at each outside input, but its type does not allow null"
            advice = f"give it a default, or the type {key.type + '?'!r}"
            sheet.say("stretch-without-default", where, what, advice=advice)


def fits(key: Key) -> bool:
    """Whether a key's default is a value of its type."""
    value, kind = key.default, key.type.removesuffix("?")
    kinds: Mapping[str, bool] = {
        "string": isinstance(value, str),
        "integer": isinstance(value, int) and not isinstance(value, bool),
        "number": isinstance(value, int | float) and not isinstance(value, bool),
        "boolean": isinstance(value, bool),
        "object": isinstance(value, Mapping),
        "list": isinstance(value, list | tuple),
    }
    return kinds.get(kind, True)


def _signals(sheet: Sheet) -> None:
    for name, signal in sheet.table.signals.items():
        for field, kind in signal.fields.items():
            where = f"signals.{name}.{field}"
            if field == "about":
                what = "no field may be named 'about': there the signal's description stands"
                sheet.say("reserved-name", where, what, advice="rename the field")
            _typed(sheet, where, kind)


def _typed(sheet: Sheet, where: str, kind: str) -> bool:
    if kind.removesuffix("?") in TYPES:
        return True
    advice = suggest(kind, TYPES)
    expected = "a type, with `?` when the value may be null"
    sheet.say("unknown-type", where, f"no type is named {kind!r}", expected=expected, advice=advice)
    return False
