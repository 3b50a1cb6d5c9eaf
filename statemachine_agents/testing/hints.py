"""Values worth trying: what a table compares with, and what its schemas allow.

Rules.  1. A guard such as `result.amount <= 500` makes 500, 501 and 499 worth trying for
`result.amount`, and null for every path; what is compared later, in the context or as a bound
argument, is worth trying where it comes from.  2. What a schema allows comes first, so the first
choice is an ordinary value.  3. Same choices, same value.
Not here: proving what can hold (`proof`), one ordinary value for a schema (`models.samples`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from statemachine_agents.kernel.workflow import Workflow
from statemachine_agents.models.samples import Sampler
from statemachine_agents.table.expressions import (
    Binary,
    Expression,
    Key,
    ListDisplay,
    Literal,
    Node,
    Path,
    children,
)
from statemachine_agents.testing.choices import Choices
from statemachine_agents.values import JSON

_ORDINARY: Mapping[str, tuple[JSON, ...]] = {
    "error.kind": ("error", "not_found", "busy"),
    "message.confirms": (True, False),
}
_MOST = 12


@attrs.frozen
class Hints:
    """What a workflow's expressions compare with, by path: `result.amount` -> values.

    Args:
        values: path as text, without the first name's `context` -> values worth trying.
    """

    values: Mapping[str, tuple[JSON, ...]]

    @classmethod
    def of(cls, workflow: Workflow) -> Hints:
        """Collect hints from every guard, condition and rule of a workflow."""
        found: dict[str, dict[str, JSON]] = {}
        for expression in _expressions(workflow):
            for path, values in _compared(expression.root):
                kept = found.setdefault(path, {})
                for value in values:
                    if len(kept) < _MOST:
                        kept.setdefault(repr(value), value)
        for path, source in _sources(workflow):
            for hinted in [name for name in found if f"{name}.".startswith(f"{path}.")]:
                moved = source + hinted.removeprefix(path)
                found[moved] = {**found[hinted], **found.get(moved, {})}
        return cls({path: tuple(kept.values()) for path, kept in found.items()})

    def below(self, root: str) -> dict[str, tuple[JSON, ...]]:
        """Return the hints for paths under a first name, without it."""
        head = f"{root}."
        hinted = {path: values for path, values in self.values.items() if path.startswith(head)}
        return {path.removeprefix(head): values for path, values in hinted.items()}

    def filled(self, root: str, value: JSON, choices: Choices) -> JSON:
        """Return a value with some of its hinted parts replaced by values worth trying.

        Args:
            root: first name of the paths, such as `result`.
            value: an ordinary value.
            choices: what to replace, and by what.
        """
        hints = self.below(root)
        own = self.values.get(root, ())
        if own and not hints:
            return choices.pick((value, *own))
        if not hints or not isinstance(value, dict | None):
            return value
        out: dict[str, Any] = dict(value or {})
        for path, values in hints.items():
            # Most parts stay ordinary, or hardly any run would come far.
            if _read(out, path) is None or choices.chance(30):
                _write(out, path, choices.pick(values))
        return out

    def word(self, path: str) -> tuple[JSON, ...]:
        """Return the ordinary values of a path that has some, and those worth trying."""
        return (*_ORDINARY.get(path, ()), *self.values.get(path, ()))


def _sources(workflow: Workflow) -> Iterator[tuple[str, str]]:
    """Yield (path, where its value comes from): bound arguments first, then what rows assign."""
    for binding in workflow.bindings.values():
        for name, expression in binding.bind:
            if isinstance(expression.root, Path) and (source := _text(expression.root)):
                yield f"args.{name}", source
    for row in workflow.grid.rows:
        for target, value in row.assigns:
            if not target.steps and isinstance(value.root, Path) and (source := _text(value.root)):
                yield f"context.{target.root}", source


def sampled(schema: Mapping[str, JSON] | None, facts: Mapping[str, JSON], seed: int) -> JSON:
    """Return an ordinary value for a schema; null without one."""
    if schema is None:
        return None
    return Sampler(schema, facts, seed).value(schema)


def _expressions(workflow: Workflow) -> Iterator[Expression]:
    for row in workflow.grid.rows:
        if row.guard is not None:
            yield row.guard
    for binding in workflow.bindings.values():
        yield from (part for part in (binding.when, binding.approve) if part is not None)
        yield from (part for _, part in binding.bind)
    for rule in workflow.rules.rules:
        yield from (atom.where for atom in rule.atoms() if atom.where is not None)
    for row in workflow.grid.rows:
        yield from (value for _, value in row.assigns)


def _compared(root: Node) -> Iterator[tuple[str, tuple[JSON, ...]]]:
    """Yield every path of a tree with the values next to what it is compared with."""
    pending: list[Node] = [root]
    while pending:
        node = pending.pop()
        pending += children(node)
        match node:
            case Path():
                text = _text(node)
                if text:
                    yield text, (True, None, False)
            case (
                Binary(left=Path() as path, right=right)
                | Binary(left=Literal() as right, right=Path() as path)
            ):
                text = _text(path)
                values = tuple(near for value in _constants(right) for near in _near(value))
                if text and values:
                    yield text, values


def _constants(node: Node) -> Iterator[JSON]:
    if isinstance(node, Literal):
        yield node.value
    elif isinstance(node, ListDisplay):
        yield from (item.value for item in node.items if isinstance(item, Literal))


def _near(value: JSON) -> tuple[JSON, ...]:
    if isinstance(value, bool) or value is None:
        return (value,)
    if isinstance(value, int | float):
        return (value, value + 1, value - 1)
    return (value,) if isinstance(value, str) else ()


def _text(path: Path) -> str:
    steps = [step.name for step in path.steps if isinstance(step, Key)]
    if len(steps) < len(path.steps):
        return ""
    return ".".join((path.root, *steps))


def _read(value: Mapping[str, JSON], path: str) -> JSON:
    inside: JSON = value
    for part in path.split("."):
        inside = inside.get(part) if isinstance(inside, Mapping) else None
    return inside


def _write(value: dict[str, Any], path: str, new: JSON) -> None:
    *heads, last = path.split(".")
    inside = value
    for part in heads:
        lower = inside.get(part)
        inside[part] = dict(lower) if isinstance(lower, Mapping) else {}
        inside = inside[part]
    inside[last] = new
