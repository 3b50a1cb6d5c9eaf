"""Sums for the model: numbers, + - * / and brackets, and nothing else."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from typing import Final

from statemachine_agents import ToolError

_OPERATORS: Final[dict[type[ast.operator], Callable[[float, float], float]]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
}  # fmt: skip
_LONGEST: Final = 200


def total(text: str) -> float:
    """Return what a sum comes to, to two decimals.

    Raises:
        ToolError: it is no sum, it is over 200 characters long, or it divides by nothing.
    """
    if len(text) > _LONGEST:
        raise ToolError(f"a sum of over {_LONGEST} characters", kind="arguments")
    try:
        return round(_value(ast.parse(text, mode="eval").body), 2)
    except (ValueError, SyntaxError, ZeroDivisionError, OverflowError, RecursionError) as error:
        msg = f"{text!r} is no sum of numbers"
        raise ToolError(msg, kind="arguments") from error


def _value(node: ast.expr) -> float:
    match node:
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            return float(value)
        case ast.UnaryOp(op=ast.USub(), operand=inner):
            return -_value(inner)
        case ast.BinOp(op=op, left=left, right=right) if type(op) in _OPERATORS:
            return _OPERATORS[type(op)](_value(left), _value(right))
    raise ValueError
