"""Texts with `{context.key}` in them: instructions, questions, greetings.

Rules.  1. Only paths on the context stand between braces; anything else in braces is plain text.
2. A filled-in value is data: the caller decides which role may see it.
Not here: the roles (`turn.prompt`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from statemachine_agents.table.expressions import Expression, parse
from statemachine_agents.values import JSON, dumps

_HOLE: Final = re.compile(r"\{(context(?:\.[A-Za-z_][A-Za-z0-9_]*|\[[^\[\]{}]{1,40}\])+)\}")


@lru_cache(maxsize=1024)
def parse_template(text: str) -> tuple[str | Expression, ...]:
    """Split a text into plain parts and expressions.

    Raises:
        ExpressionError: a hole is not a path.
    """
    parts: list[str | Expression] = []
    end = 0
    for hole in _HOLE.finditer(text):
        if hole.start() > end:
            parts.append(text[end : hole.start()])
        parts.append(parse(hole.group(1)))
        end = hole.end()
    if end < len(text):
        parts.append(text[end:])
    return tuple(parts)


def has_holes(text: str) -> bool:
    """Whether a text depends on the context."""
    return _HOLE.search(text) is not None


def render(text: str, context: Mapping[str, JSON]) -> str:
    """Fill in a text; null gives nothing, texts stand as they are, other values as JSON."""
    scope = {"context": context}
    out = []
    for part in parse_template(text):
        if isinstance(part, str):
            out.append(part)
            continue
        value = part.evaluate(scope)
        if isinstance(value, str):
            out.append(value)
        elif value is not None:
            out.append(dumps(value).decode())
    return "".join(out)
