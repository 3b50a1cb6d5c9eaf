"""Checks on what a model may supply, what a person said yes to, and how long a run waits.

Rules.  1. Effects are judged only where specs are known.  2. A yes in a `wait` state is about the
question; only `approve` of a tool covers the very arguments.
Not here: whether bound values fit (`kinds`), rows on approvals (`verbs`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from statemachine_agents.proof.sheet import Sheet
from statemachine_agents.table.model import Use
from statemachine_agents.table.toolspec import ToolSpec

_NO_USE: Final = Use()
_SECRET: Final = re.compile(r"(^|_)(password|passwd|secret|api_?key|(access|auth|api)_token)$")
"""A plain `token` is left out: it is also a part of a text."""


def check(sheet: Sheet) -> None:
    """Check secrets, approvals and waits without a timer."""
    _timers(sheet)
    if sheet.specs is not None:
        _secrets(sheet, sheet.specs)
        _approvals(sheet, sheet.specs)


def _timers(sheet: Sheet) -> None:
    for state in sheet.table.states.values():
        waits = state.wait or ()
        if state.verbs != ("wait",) or state.after is not None or "timer" in waits:
            continue
        if set(waits) & {"message", "approval"}:
            what = "waits without a timer: a run can park here for ever"
            advice = "add `after` and a row on `timer.fired`, if that is not meant"
            sheet.remark("wait-without-timer", f"states.{state.name}", what, advice=advice)


def _secrets(sheet: Sheet, specs: Mapping[str, ToolSpec]) -> None:
    states = sheet.table.states
    # In a `do` state the engine calls: a parameter that is not bound is `missing-binding`.
    asked = {
        offer.tool: None
        for offer in sheet.offers
        if any(states[name].verb == "ask" for name in offer.states)
    }
    for tool in asked:
        if tool not in specs:
            continue
        bind = sheet.table.tools.get(tool, _NO_USE).bind
        for parameter in _parameters(specs[tool]):
            if parameter not in bind and _SECRET.search(parameter.lower()):
                what = f"the model supplies {parameter!r} of {tool!r}, which looks like a secret"
                advice = f"add `{parameter} = ...` to its `bind`, from a private context key"
                sheet.warn("secret-from-model", f"tools.{tool}.bind", what, advice=advice)


def _approvals(sheet: Sheet, specs: Mapping[str, ToolSpec]) -> None:
    table = sheet.table
    told: set[tuple[int, str]] = set()
    for state in table.states.values():
        if "approval" not in (state.wait or ()):
            continue
        for entry in sheet.grid.cell(state.name, "approval.granted").moves:
            target = table.states.get(entry.row.transition.target or "")
            if target is None:
                continue
            for tool in table.tools_in(target):
                use = table.tools.get(tool, _NO_USE)
                spec = specs.get(tool)
                if spec is None or spec.effect == "read" or use.approve is not None:
                    continue
                if (entry.row.index, tool) in told:
                    continue
                told.add((entry.row.index, tool))
                free = [name for name in _parameters(spec) if name not in use.bind]
                what = f"a yes leads to {target.name!r}, where {tool!r} runs without `approve`"
                advice = f"add `approve` to [tools] {tool}"
                where = f"transitions[{entry.row.index}].target"
                if free and target.verb == "ask":
                    what += f": the model still chooses {', '.join(free)}"
                    sheet.warn("approval-without-arguments", where, what, advice=advice)
                else:
                    what += ": nothing ties the yes to the arguments"
                    sheet.remark("approval-without-arguments", where, what, advice=advice)


def _parameters(spec: ToolSpec) -> Mapping[str, Any]:
    found: Any = spec.arguments.get("properties")
    return found if isinstance(found, Mapping) else {}
