"""What differs between two tables besides states and rows: tools, rules, limits, context, words.

Rules.  1. A tool is compared where both tables let it be called; where only one does, `diff` says
so.  2. Rules are compared in normal form, in any order.
Not here: states, cells and walks (`diff`), whether a rule holds (`product`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import attrs

from statemachine_agents.errors import ExpressionError
from statemachine_agents.proof.changes import Change, Sense, Side, changed
from statemachine_agents.table.expressions import unparse
from statemachine_agents.table.model import Agent, Key, Signal, Use
from statemachine_agents.table.rule_syntax import parse_rule
from statemachine_agents.table.rules import Atom
from statemachine_agents.values import JSON, dumps

_NO_USE: Final = Use()


def compare(first: Side, second: Side, *, known: bool) -> Iterator[Change]:
    """Return all these differences.

    Args:
        first: the table before.
        second: after.
        known: whether the specs of the tools of both are known.
    """
    yield from _tools(first, second)
    if known:
        yield from _specs(first, second)
    yield from _rules(first, second)
    yield from _limits(first, second)
    yield from _context(first, second)
    yield from _wording(first, second)


# ------------------------------------------------------------------------------------------- tools


def _tools(first: Side, second: Side) -> Iterator[Change]:
    names = {tool: first.offering(tool) for name in first.near
             for tool in first.table.tools_in(first.table.states[name])}  # fmt: skip
    for tool, states in names.items():
        if not second.offering(tool):
            continue
        one = first.table.tools.get(tool, _NO_USE)
        two = second.table.tools.get(tool, _NO_USE)
        yield from _bound(tool, one, two, first, second, states)
        for kind, only, free in (
            ("when", "is called only when", "is called without a condition"),
            ("approve", "needs a person when", "needs no person any more"),
        ):
            before = first.normal(getattr(one, kind))
            after = second.normal(getattr(two, kind))
            if before == after:
                continue
            sense: Sense = "changed"
            if before is None:
                sense = "impossible" if kind == "when" else "changed"
            elif after is None:
                sense = "possible"
            text = free if after is None else f"{only} {after}"
            yield Change(
                sense=sense, kind=kind, place=tool, text=text, before=before, after=after,
                states=states,
            )  # fmt: skip
        for field, words in (("undo", "is undone by another tool"), ("use", "is another function")):
            if getattr(one, field) != getattr(two, field):
                yield changed("tool", tool, words, getattr(one, field), getattr(two, field), states)
        if one.why != two.why:
            yield changed("wording", tool, "is refused in other words", one.why, two.why, states)
        signals = first.table.signals.get(tool), second.table.signals.get(tool)
        if signals[0] != signals[1]:
            plain = (_dict(signals[0]), _dict(signals[1]))
            yield changed("tool", tool, "says other things", *plain, states=states)


def _bound(
    tool: str, one: Use, two: Use, first: Side, second: Side, states: tuple[str, ...]
) -> Iterator[Change]:
    for argument in dict.fromkeys((*one.bind, *two.bind)):
        before = first.normal(one.bind.get(argument))
        after = second.normal(two.bind.get(argument))
        if before == after:
            continue
        sense: Sense = "changed"
        text = f"gets {argument} from {after}, not from {before}"
        if after is None:
            sense, text = "possible", f"the model may choose {argument}, which was {before}"
        elif before is None:
            sense, text = "impossible", f"the model cannot choose {argument}: it is {after}"
        yield Change(
            sense=sense, kind="bind", place=tool, text=text, before=before, after=after,
            states=states,
        )  # fmt: skip


def _specs(first: Side, second: Side) -> Iterator[Change]:
    for tool, one in first.definition.tools.items():
        two = second.definition.tools.get(tool)
        states = first.offering(tool)
        if two is None or not states or not second.offering(tool):
            continue
        if one.effect != two.effect:
            text = f"is {two.effect}, was {one.effect}: a call in doubt is treated otherwise"
            yield Change(
                sense="changed", kind="effect", place=tool, text=text, before=one.effect,
                after=two.effect, states=states,
            )  # fmt: skip
        for field, words in (("arguments", "takes other arguments"), ("result", "returns another")):
            before, after = getattr(one, field), getattr(two, field)
            if dumps(before) != dumps(after):
                yield changed("tool", tool, words, before, after, states)

    for child, digest in first.definition.children.items():
        other = second.definition.children.get(child)
        if other is not None and other != digest:
            states = tuple(
                name for name in first.near if child in (first.table.states[name].run or ())
            )
            yield changed("tool", child, "is another workflow of that name", digest, other, states)


def _rules(first: Side, second: Side) -> Iterator[Change]:
    mine, theirs = _normal_rules(first), _normal_rules(second)
    for key, text in theirs.items():
        if key not in mine:
            yield Change(sense="impossible", kind="rule", place=text, text="holds now", after=text)
    for key, text in mine.items():
        if key not in theirs:
            said = "holds no more"
            yield Change(sense="possible", kind="rule", place=text, text=said, before=text)


def _normal_rules(side: Side) -> dict[str, str]:
    """Return each rule in normal form -> as written; order and repetition do not matter."""
    out = {}
    for text in side.table.rules:
        try:
            rule = parse_rule(text, side.define)
        except ExpressionError:
            out[text] = text
            continue
        sides = [sorted(_atom(atom) for atom in one) for one in rule.sides]
        per = None if rule.per is None else unparse(rule.per.root)
        out[repr((rule.form, sides, rule.count, per))] = text
    return out


def _atom(atom: Atom) -> str:
    return atom.name if atom.where is None else f"{atom.name} where {unparse(atom.where.root)}"


def _limits(first: Side, second: Side) -> Iterator[Change]:
    before, after = attrs.asdict(first.table.limits), attrs.asdict(second.table.limits)
    for name, value in after.items():
        if value != before[name]:
            text = f"is {_bound_text(value)}, was {_bound_text(before[name])}"
            yield changed("limit", name, text, before[name], value)


def _bound_text(value: float | None) -> str:
    return "without bound" if value is None else str(value)


def _context(first: Side, second: Side) -> Iterator[Change]:
    mine, theirs = first.table.context, second.table.context
    for name in dict.fromkeys((*mine, *theirs)):
        one, two = mine.get(name), theirs.get(name)
        if one == two:
            continue
        plain = (_dict(one), _dict(two))
        if two is None:
            text = "is no key of the context any more"
        elif one is None:
            text = f"is a new key: {two.type}"
        elif one.type != two.type:
            text = f"is {two.type}, was {one.type}"
        else:
            text = "has another default, scope or privacy"
        was, now = one is not None and one.required, two is not None and two.required
        if now and not was:
            text += "; a run cannot start without it"
        elif was and not now:
            text += "; a run can start without it"
        yield changed("context", name, text, *plain)


def _wording(first: Side, second: Side) -> Iterator[Change]:
    one, two = first.table, second.table
    if one.instructions != two.instructions:
        text = "the model is instructed otherwise"
        yield changed("wording", "instructions", text, one.instructions, two.instructions)
    for name in dict.fromkeys((*one.agents, *two.agents)):
        before, after = one.agents.get(name), two.agents.get(name)
        if before != after:
            yield changed("wording", name, "speaks otherwise", _dict(before), _dict(after))


def _dict(value: Signal | Key | Agent | None) -> dict[str, JSON] | None:
    return None if value is None else attrs.asdict(value)
