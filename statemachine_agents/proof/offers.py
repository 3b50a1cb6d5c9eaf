"""Checks on tools: does everything offered exist, is it bound, and does somebody hear its results?

Rules.  1. Without specs no tool is called unknown, and effects are not judged.  2. A parameter of a
tool that the engine calls itself must be bound: nobody else could give it.
Not here: what bound expressions may read (`reads`), rules (`reads`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from statemachine_agents.proof.sheet import Sheet, answered
from statemachine_agents.table.events import effect_of
from statemachine_agents.table.model import Use
from statemachine_agents.table.problems import suggest
from statemachine_agents.table.toolspec import ToolSpec

_NO_USE = Use()


def check(sheet: Sheet) -> None:
    """Check every tool a table offers, does, binds or names as an undo."""
    aliased = _uses(sheet)
    _offered(sheet, aliased)
    _heard(sheet)
    if sheet.specs is not None:
        _bindings(sheet, sheet.specs)
        _effects(sheet, sheet.specs)


def _uses(sheet: Sheet) -> set[str]:
    """Check `[tools]`; return the aliases whose tool is unknown, so they are reported once."""
    table, specs = sheet.table, sheet.specs
    wrong = set()
    named = {offer.tool for offer in sheet.offers}
    named |= {use.undo for use in table.tools.values() if use.undo is not None}
    named |= {spec.undo for spec in (specs or {}).values() if spec.undo is not None}
    for name, use in table.tools.items():
        where = f"tools.{name}"
        if name in table.signals:
            continue  # a name clash, reported by `naming`
        if name not in named:
            what = f"no state offers a tool named {name!r}, so this entry has no effect"
            sheet.say("unused-tool", where, what, advice=suggest(name, named - set(table.tools)))
        if use.use is None:
            continue
        target = table.tools.get(use.use, _NO_USE)
        if use.use in table.signals:
            what = f"{use.use!r} is a signal and has no function"
            sheet.say("unknown-tool", f"{where}.use", what)
        elif target.use is not None:
            what = f"{use.use!r} is an alias itself"
            sheet.say("alias-of-alias", f"{where}.use", what, advice=f"name {target.use!r}")
        elif specs is not None and name not in specs:
            wrong.add(name)
            what = f"no tool is named {use.use!r}"
            sheet.say("unknown-tool", f"{where}.use", what, advice=suggest(use.use, specs))
    return wrong


def _offered(sheet: Sheet, aliased: set[str]) -> None:
    table, specs = sheet.table, sheet.specs
    known = {*table.signals, *aliased, *(specs or ())}
    seen: set[tuple[str, str]] = set()
    for offer in sheet.offers:
        place = offer.where.partition("[")[0]
        if (place, offer.tool) in seen:
            sheet.warn("twice", offer.where, f"{offer.tool!r} stands here twice")
        seen.add((place, offer.tool))
        doing = place.endswith(".do")
        if offer.tool == "undo":
            continue  # with others in one `do`: reported by `verbs`
        if doing and offer.tool in table.signals:
            what = f"{offer.tool!r} is a signal: only a model can give one"
            sheet.say("signal-in-do", offer.where, what, advice="use an `ask` state, or a tool")
        elif specs is not None and offer.tool not in known:
            what = f"no tool or signal is named {offer.tool!r}"
            advice = suggest(offer.tool, sheet.known_tools, told=len(sheet.problems))
            sheet.say("unknown-tool", offer.where, what, advice=advice)


def _heard(sheet: Sheet) -> None:
    """Warn about tools whose results no row looks at."""
    heard = answered(sheet)
    told: set[str] = set()
    for offer in sheet.offers:
        if offer.tool in heard or offer.tool in told:
            continue
        if any(sheet.grid.cell(state, "settled").moves for state in offer.states):
            continue  # a `do` state that only waits until everything is done
        told.add(offer.tool)
        what = f"{offer.tool!r} is offered, but no row anywhere takes one of its results"
        reads = effect_of(sheet.table, sheet.specs, offer.tool) == "read"
        asks = all(sheet.table.states[state].verb == "ask" for state in offer.states)
        # What a model looks up for itself need not move the run.
        say = sheet.remark if reads and asks else sheet.warn
        say("results-unhandled", offer.where, what, advice=f"add a row on `{offer.tool}.ok`")


def _bindings(sheet: Sheet, specs: Mapping[str, ToolSpec]) -> None:
    table = sheet.table
    done = {
        tool: name
        for name, state in table.states.items()
        if state.verb == "do" and state.each is None and state.do != ("undo",)
        for tool in state.do or ()
    }
    for name, spec in specs.items():
        use = table.tools.get(name, _NO_USE)
        properties: Mapping[str, Any] = spec.arguments.get("properties", {})
        for argument in use.bind:
            closed = spec.arguments.get("additionalProperties", True) is False
            if argument not in properties and closed:
                what = f"the tool {name!r} has no parameter {argument!r}"
                advice = suggest(argument, properties)
                sheet.say("unknown-argument", f"tools.{name}.bind.{argument}", what, advice=advice)
        if name not in done:
            continue
        for argument in spec.arguments.get("required", ()):
            if argument in use.bind or "default" in properties.get(argument, {}):
                continue
            what = (
                f"the state {done[name]!r} calls {name!r} itself, "
                f"but its parameter {argument!r} is not bound"
            )
            advice = f"add `{argument} = ...` to its `bind`"
            sheet.say("missing-binding", f"tools.{name}.bind", what, advice=advice)


def _effects(sheet: Sheet, specs: Mapping[str, ToolSpec]) -> None:
    table = sheet.table
    offered = {offer.tool for offer in sheet.offers}
    for name, spec in specs.items():
        if spec.effect == "verifiable" and not spec.verifies and name in offered:
            what = f"{name!r} is `verifiable`, but has no verifier to ask after a crash"
            sheet.say("no-verifier", f"tools.{name}", what, advice="give its `@tool` a `verify=`")
        undo = table.tools.get(name, _NO_USE).undo
        where = f"tools.{name}.undo" if undo else f"tools.{name}"
        undo = undo or spec.undo
        if undo is not None and undo not in specs:
            what = f"no tool is named {undo!r}, which should undo {name!r}"
            sheet.say("unknown-tool", where, what, advice=suggest(undo, specs))
    for offer in sheet.offers:
        if offer.tool not in specs or specs[offer.tool].effect != "manual":
            continue
        event = f"{offer.tool}.unknown"
        open_ = [state for state in offer.states if not sheet.grid.cell(state, event).moves]
        if open_:
            states = ", ".join(open_[:5]) + (", ..." if len(open_) > 5 else "")
            what = (
                f"the effect of {offer.tool!r} is `manual`, and in {states} no row takes "
                f"`{event}`: after a crash the run parks there until a person resolves the call"
            )
            advice = "add a row for it, or declare what a repeated call does: `@tool(effect=...)`"
            sheet.warn("effect-unknown-unhandled", offer.where, what, advice=advice)
