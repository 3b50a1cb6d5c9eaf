"""The expression language of guards, assigns, bindings, conditions and rules: its public face.

Rules.  1. One closed language, its own tokenizer and parser, values in and values out: no Python is
compiled, no attribute is read, nothing can be called but nine functions.  2. What does not parse
is an `ExpressionError` with its place; what meets a value it has no meaning for is an
`EvaluationError`.  3. Never another exception, whatever the text.

Follow a text: `tokens` cuts it, `syntax` reads it into `nodes`, `evaluation` makes closures of
them which apply `operations`. This module adds the key of an assign and the writing of a value.
Not here: which names an event offers (`kernel`), proofs over guards (`proof.guards`).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import attrs

from statemachine_agents.errors import EvaluationError
from statemachine_agents.table.evaluation import Expression, Scope
from statemachine_agents.table.nodes import (
    Binary,
    Call,
    Index,
    Item,
    Key,
    ListDisplay,
    Literal,
    Node,
    ObjectDisplay,
    Path,
    Quantifier,
    Unary,
    children,
    paths_of,
    unparse,
)
from statemachine_agents.table.operations import kind_of, same
from statemachine_agents.table.syntax import FUNCTIONS, MAX_LENGTH, WORDS, Parser
from statemachine_agents.table.tokens import Token, complaint, tokenize
from statemachine_agents.values import JSON

__all__ = [
    "FUNCTIONS",
    "WORDS",
    "Binary",
    "Call",
    "Expression",
    "Index",
    "Item",
    "Key",
    "ListDisplay",
    "Literal",
    "Node",
    "ObjectDisplay",
    "Parser",
    "Path",
    "Quantifier",
    "Target",
    "Token",
    "Unary",
    "children",
    "kind_of",
    "parse",
    "parse_target",
    "same",
    "tokenize",
    "unparse",
    "write",
]

_NOTHING: Mapping[str, Expression] = MappingProxyType({})


def parse(text: str, define: Mapping[str, Expression] = _NOTHING) -> Expression:
    """Read a text that is one expression and nothing else.

    Args:
        text: at most 1,000 characters.
        define: names that stand for expressions; a bare name found here is replaced, its span
            stays that of the name.

    Raises:
        ExpressionError: it does not parse, or is too long, too deep, too large
            (`facts`: span, text).

    Example:
        >>> parse("result.eligible and result.amount_cents <= 50000").holds(
        ...     {"result": {"eligible": True, "amount_cents": 4900}}
        ... )
        True
    """
    parser = _parser(text, define)
    root = parser.expression()
    if parser.peek.kind != "end":
        raise parser.unexpected("an operator or the end")
    return Expression(text, root)


@attrs.frozen
class Target:
    """The key of an assign: where in the context a value is written.

    Args:
        text: what the author wrote, such as `orders[result.order_id]`.
        root: the first name, a declared key of the context.
        steps: what follows it.
    """

    text: str
    root: str
    steps: tuple[Key | Index, ...] = ()
    _indexes: tuple[str | Expression, ...] = attrs.field(init=False, eq=False, repr=False)

    @_indexes.default
    def _compiled(self) -> tuple[str | Expression, ...]:
        return tuple(
            step.name if isinstance(step, Key) else Expression(self.text, step.node)
            for step in self.steps
        )

    def resolve(self, scope: Scope) -> tuple[str | int, ...]:
        """Return the concrete path, its indexes evaluated, for `write`.

        Raises:
            EvaluationError: an index is neither a text nor a whole number from 0 on.
        """
        path: list[str | int] = [self.root]
        for step, index in zip(self.steps, self._indexes, strict=True):
            part = index.evaluate(scope) if isinstance(index, Expression) else index
            if type(part) is not str and (type(part) is not int or part < 0):
                got = "a negative number" if type(part) is int else kind_of(part)
                raise EvaluationError(
                    f"{self.text!r}: `{self.text[step.start : step.end]}` must be a text or a "
                    f"whole number from 0 on, got {got}",
                    span=(step.start, step.end),
                    text=self.text,
                )
            path.append(part)
        return tuple(path)

    def paths(self) -> tuple[Path, ...]:
        """Return every path its indexes read, with static steps."""
        return paths_of(ListDisplay(children(Path(self.root, self.steps))))

    def names(self) -> frozenset[str]:
        """Return the root names its indexes read."""
        return frozenset(path.root for path in self.paths())


def parse_target(text: str, define: Mapping[str, Expression] = _NOTHING) -> Target:
    """Read the key of an assign: a name and steps, such as `order` or `orders[result.order_id]`.

    Raises:
        ExpressionError: anything else, or a path that begins with `context.`.
    """
    parser = _parser(text, define)
    path = parser.path()
    if parser.peek.kind != "end":
        raise parser.unexpected("the end of the key")
    if path.root == "context" and path.steps:
        problem = (
            f"an assign writes into the context; leave out `context`: {text[7:].lstrip('.')!r}"
        )
        raise complaint(text, path.start, path.start + len("context"), problem)
    steps = tuple(step for step in path.steps if not isinstance(step, Item))
    return Target(text, path.root, steps)


def _parser(text: str, define: Mapping[str, Expression]) -> Parser:
    if len(text) > MAX_LENGTH:
        problem = f"{len(text):,} characters, at most {MAX_LENGTH:,}; name parts in [define]"
        raise complaint(text, 0, len(text), problem)
    return Parser(text, None, define)


def write(
    container: Mapping[str, JSON], path: tuple[str | int, ...], value: JSON
) -> dict[str, JSON]:
    """Return a copy of an object with one place changed; only what lies on the way is copied.

    Args:
        container: the object; neither it nor anything inside is changed.
        path: keys of objects and places in lists, at least one; missing levels and nulls on the
            way become objects.
        value: what to put there; the copy shares it.

    Raises:
        EvaluationError: the path steps into a text, number or boolean, asks an object for a
            number, a list for a key or for a place it has not (`facts`: path, at).
    """
    if not path:
        raise EvaluationError("the path of a write is empty; name a key first", path=path, at=0)
    copy = dict(container)
    level: Any = copy
    for at, part in enumerate(path[:-1]):
        _insist(level, path, at)
        inside = level.get(part) if isinstance(part, str) else level[part]
        if inside is None:
            inside = {}
        elif isinstance(inside, dict | list):
            inside = inside.copy()
        level[part] = inside
        level = inside
    _insist(level, path, len(path) - 1)
    level[path[-1]] = value
    return copy


def _insist(level: JSON, path: tuple[str | int, ...], at: int) -> None:
    part = path[at]
    if type(part) is str and type(level) is dict:
        return
    problem = f"{kind_of(level)} has no {'key' if type(part) is str else 'place'} to write to"
    if type(part) is int and type(level) is list:
        if 0 <= part < len(level):
            return
        problem = f"the list has {len(level)} items; append with `+`"
    place = str(path[0]) + "".join(f"[{step!r}]" for step in path[1 : at + 1])
    raise EvaluationError(f"cannot write {place}: {problem}", path=path, at=at)
