"""Checks on what a model or a customer wrote: it must not decide whom an effect is about.

Rules.  1. *Written* is what a message, a reply or an argument the model chose puts into a context
key, directly or from another such key.  2. A bound parameter of an effect is what the table
decides; one that is bound to something written only looks like it.
Not here: secrets and approvals (`consent`), types of bound values (`kinds`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from statemachine_agents.proof.sheet import Sheet
from statemachine_agents.table.expressions import Expression
from statemachine_agents.table.grid import Row
from statemachine_agents.table.model import Use

_NO_USE: Final = Use()


def check(sheet: Sheet) -> None:
    """Check bound parameters of effects, and effects that cannot hand on their key."""
    if sheet.specs is None:
        return
    written = _written(sheet)
    offered = {offer.tool for offer in sheet.offers}
    for name, spec in sheet.specs.items():
        if spec.effect == "read" or name not in offered:
            continue
        for argument, text in sheet.table.tools.get(name, _NO_USE).bind.items():
            keys = sorted(set(_keys(sheet.quietly(text))) & set(written))
            if keys:
                what = (
                    f"{argument!r} of {name!r} is bound to context.{keys[0]}, "
                    f"which {written[keys[0]]} fills with what a model or a customer wrote"
                )
                advice = "bind it to what a tool has looked up, or leave it to the gate to judge"
                where = f"tools.{name}.bind.{argument}"
                sheet.warn("written-binding", where, what, advice=advice)
        if spec.effect == "idempotent" and not spec.wants_call:
            what = f"{name!r} is `idempotent`, but takes no `Call`, so it cannot hand its key on"
            advice = (
                "give it a parameter `call: Call`, if a repeated call is not harmless by itself"
            )
            sheet.remark("key-unused", f"tools.{name}", what, advice=advice)


def _written(sheet: Sheet) -> dict[str, str]:
    """Return context key -> label of a row that fills it with something written."""
    out: dict[str, str] = {}
    while True:
        before = len(out)
        for row in sheet.grid.rows:
            for target, value in row.assigns:
                if target.root not in out and _is_written(sheet, row, value, out):
                    out[target.root] = row.label
        if len(out) == before:
            return out


def _is_written(sheet: Sheet, row: Row, value: Expression, known: Mapping[str, str]) -> bool:
    tools = {pattern.split(".", 1)[0] for each in row.patterns for pattern in each.members}
    bound = [sheet.table.tools.get(tool, _NO_USE).bind for tool in tools]
    for path in value.paths():
        match path.root:
            case "reply":
                return True
            case "message" if path.member in ("", "text"):
                return True  # other members are attributes that the application sets
            case "context" if path.member in known:
                return True
            case "args" if any(path.member not in each for each in bound):
                return True
    return False


def _keys(value: Expression | None) -> Iterator[str]:
    for path in () if value is None else value.paths():
        if path.root == "context":
            yield path.member
