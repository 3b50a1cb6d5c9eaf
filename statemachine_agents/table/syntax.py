"""Read tokens into the tree of an expression: a precedence parser.

Rules.  1. From loose to tight: `or`, `and`, `not`, comparisons (which do not chain), `+ -`, minus,
paths and calls.  2. Whatever parses is small: 1,000 characters, 32 deep, 1,000 nodes with
definitions expanded, list functions inside one another 3 deep; so nothing that walks a tree can
run out of stack or time.  3. An error names the place, and what to write instead.
4. A reader of a larger text (`table.rules`) uses the same tokens: `expression()` stops at the
`,` `)` `]` it does not own.
Not here: characters (`tokens`), meaning (`evaluation`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any, TypeVar

from statemachine_agents.errors import ExpressionError
from statemachine_agents.table.evaluation import Expression
from statemachine_agents.table.nodes import (
    COMPARISON_LEVEL,
    LEVELS,
    MAX_DEPTH,
    MAX_NODES,
    MINUS_LEVEL,
    NOT_LEVEL,
    Binary,
    Call,
    Index,
    Key,
    ListDisplay,
    Literal,
    Node,
    ObjectDisplay,
    Path,
    Quantifier,
    Unary,
    excess,
    respan,
    size_of,
)
from statemachine_agents.table.operations import seconds_of
from statemachine_agents.table.tokens import (
    ADVICE,
    Token,
    complaint,
    number_of,
    text_of,
    tokenize,
)

MAX_LENGTH = 1_000
"""Characters of the longest expression."""

FUNCTIONS: Mapping[str, str] = {
    "len": "len(x)", "exists": "exists(path)", "default": "default(x, y)",
    "lower": "lower(text)", "ago": "ago('24h')",
    "any": "any(x, list, condition)", "all": "all(x, list, condition)",
    "count": "count(x, list, condition)", "first": "first(x, list, condition)",
}  # fmt: skip
"""Every function, and how it is written."""

CONSTANTS: Mapping[str, bool | None] = {"true": True, "false": False, "null": None}
WORDS = frozenset({"and", "or", "not", "in", *CONSTANTS, *FUNCTIONS})
"""Names with a meaning of their own: never a path's first name nor a variable."""

_QUANTIFIERS = ("any", "all", "count", "first")
_NOTHING: Mapping[str, Expression] = MappingProxyType({})
_Part = TypeVar("_Part")


class Parser:
    """A cursor over tokens that reads expressions.

    Args:
        text: the whole text, for spans and messages.
        tokens: its tokens, if somebody has cut them already.
        define: names that stand for expressions.
    """

    __slots__ = (
        "_bound",
        "_brackets",
        "_expanded",
        "_limit",
        "_signs",
        "at",
        "define",
        "text",
        "tokens",
    )

    def __init__(
        self,
        text: str,
        tokens: tuple[Token, ...] | None = None,
        define: Mapping[str, Expression] = _NOTHING,
    ) -> None:
        self.text = text
        self.tokens = tokenize(text) if tokens is None else tokens
        self.define = define
        self.at = 0
        self._limit = len(text)
        self._brackets = self._signs = self._expanded = 0
        self._bound: tuple[str, ...] = ()

    @property
    def peek(self) -> Token:
        """The next token, not yet taken; at the end always the one of kind `end`."""
        return self.tokens[self.at]

    def take(self) -> Token:
        """Return the next token and move past it."""
        token = self.tokens[self.at]
        if token.end > self._limit:
            problem = f"this expression is over {MAX_LENGTH:,} characters; name parts in [define]"
            raise self.error(problem, token)
        if token.kind != "end":
            self.at += 1
        return token

    def expect(self, op: str) -> Token:
        """Take the next token if it is this one; else raise `ExpressionError`."""
        if self.peek.text != op:
            raise self.unexpected(f"`{op}`")
        return self.take()

    def error(self, problem: str, token: Token | None = None) -> ExpressionError:
        """Return the error for a token (the next one by default), for the caller to raise."""
        token = token or self.peek
        return complaint(self.text, token.start, token.end, problem)

    def unexpected(self, wanted: str) -> ExpressionError:
        """Return the error for a next token that is not what was wanted, with advice if known."""
        token = self.peek
        advice = f"; {ADVICE[token.text]}" if token.text in ADVICE else ""
        got = "the end" if token.kind == "end" else f"`{token.text[:40]}`"
        return self.error(f"expected {wanted}, got {got}{advice}")

    def expression(self) -> Node:
        """Read one expression, up to the end or a `,` `)` `]` that is not its own.

        Raises:
            ExpressionError: it does not parse, or is larger than an expression may be.
        """
        self._begin()
        if self.peek.kind == "end":
            raise self.error("an expression is missing here; for the empty text write ''")
        node = self._binary(1)
        if self.peek.kind != "end" and self.peek.text not in (",", ")", "]"):
            raise self.unexpected("an operator or the end")
        self._measure(node)
        self._limit = len(self.text)
        return node

    def path(self) -> Path:
        """Read a name and its steps, and nothing else: the key of an assign.

        Raises:
            ExpressionError: it does not begin with a name, or an index does not parse.
        """
        if self.peek.kind != "name":
            raise self.unexpected("a name")
        self._begin()
        path = self._path(self.take())
        self._measure(path)
        self._limit = len(self.text)
        return path

    def _begin(self) -> None:
        self._limit = self.peek.start + MAX_LENGTH
        self._brackets = self._signs = self._expanded = 0
        self._bound = ()

    def _binary(self, floor: int) -> Node:
        start = self.peek.start
        left = self._operand(floor)
        while (level := LEVELS.get(self.peek.text, 0)) >= floor:
            op: Any = self.take().text  # one of LEVELS, which mypy cannot see
            right = self._binary(level + 1)
            if level == COMPARISON_LEVEL and LEVELS.get(self.peek.text) == level:
                raise self.error(
                    "comparisons do not chain; write `a < b and b < c`, or put brackets"
                )
            left = Binary(op, left, right, start=start, end=self._end)
        return left

    def _operand(self, floor: int) -> Node:
        token = self.peek
        if token.text not in ("not", "-"):
            return self._atom()
        level = NOT_LEVEL if token.text == "not" else MINUS_LEVEL
        if level < floor:
            raise self.unexpected("a value")
        self.take()
        if token.text == "-" and self.peek.kind == "number":
            value = -number_of(self.take(), self.text)
            self._no_steps("a number")
            return Literal(value, start=token.start, end=self._end)
        self._signs += 1
        if self._signs > MAX_DEPTH:
            raise self.error(f"over {MAX_DEPTH} signs inside one another", token)
        operand = self._binary(level)
        self._signs -= 1
        op: Any = token.text  # "not" or "-": checked above
        return Unary(op, operand, start=token.start, end=self._end)

    def _atom(self) -> Node:
        token = self.peek
        if token.kind == "name":
            return self._name()
        if token.kind == "number":
            number = number_of(self.take(), self.text)
            self._no_steps("a number")
            return Literal(number, start=token.start, end=token.end)
        if token.kind == "text":
            text = text_of(self.take(), self.text)
            self._no_steps("a text")
            return Literal(text, start=token.start, end=token.end)
        node: Node
        match token.text:
            case "(":
                node = self._enclosed(")", self._bracketed)
            case "[":
                items = self._enclosed("]", lambda: self._sequence("]", lambda: self._binary(1)))
                node = ListDisplay(items, start=token.start, end=self._end)
            case "{":
                members = self._enclosed("}", lambda: self._sequence("}", self._member))
                self._no_twins(members, token)
                node = ObjectDisplay(members, start=token.start, end=self._end)
            case _:
                raise self.unexpected("a value")
        self._no_steps("a value in brackets")
        return node

    def _bracketed(self) -> Node:
        node = self._binary(1)
        if self.peek.text == ",":
            raise self.error("round brackets hold one value; a list is written `[a, b]`")
        return node

    def _name(self) -> Node:
        token = self.take()
        name, following = token.text, self.peek.text
        if name in CONSTANTS:
            self._no_steps(f"`{name}`")
            return Literal(CONSTANTS[name], start=token.start, end=token.end)
        if following == "(" and name not in ADVICE and name not in LEVELS:
            node = self._call(token)
            self._no_steps("the value of a function")
            return node
        if name in FUNCTIONS:
            raise self.error(f"`{name}` is a function; write `{FUNCTIONS[name]}`", token)
        if name in WORDS or name in ADVICE:
            self.at -= 1
            raise self.unexpected("a value")
        if name in self.define and name not in self._bound and following not in (".", "["):
            return self._defined(token)
        return self._path(token)

    def _defined(self, token: Token) -> Node:
        meant = self.define[token.text]
        # While reading, not after: five hundred names of large definitions fit into one text.
        self._expanded += size_of(meant.root)
        if self._expanded > MAX_NODES:
            problem = f"over {MAX_NODES:,} parts, definitions included; simplify them"
            raise self.error(problem, token)
        if caught := sorted(meant.names() & set(self._bound)):
            raise self.error(
                f"`{token.text}` stands for {meant.text!r}, which reads `{caught[0]}`: here that "
                "is the variable of a list function; choose another variable",
                token,
            )
        return respan(meant.root, token.start, token.end)

    def _path(self, token: Token) -> Path:
        steps: list[Key | Index] = []
        while (opening := self.peek).text in (".", "["):
            if len(steps) == MAX_DEPTH:
                raise self.error(f"a path has at most {MAX_DEPTH} steps")
            if opening.text == "[":
                node = self._enclosed("]", lambda: self._binary(1))
                steps.append(_step(node, opening.start, self._end))
                continue
            self.take()
            if self.peek.kind == "number":
                raise self.error(f"write `[{self.peek.text}]` for a place in a list")
            if self.peek.kind != "name":
                raise self.unexpected("the name of a member")
            steps.append(Key(self.take().text, start=opening.start, end=self._end))
        if self.peek.text == "(":
            raise self.error("values have no methods; functions stand in front, as in `len(x)`")
        return Path(token.text, tuple(steps), start=token.start, end=self._end)

    def _call(self, token: Token) -> Node:
        name: Any = token.text  # one of FUNCTIONS, which mypy cannot see
        if name not in FUNCTIONS:
            near = get_close_matches(name, FUNCTIONS, n=1)
            meant = f", did you mean `{FUNCTIONS[near[0]]}`?" if near else ""
            problem = f"no function `{name}`{meant}; the functions are {', '.join(FUNCTIONS)}"
            raise self.error(problem, token)
        if name in _QUANTIFIERS:
            inside = self._enclosed(")", lambda: self._quantified(token))
            return Quantifier(name, *inside, start=token.start, end=self._end)
        args = self._enclosed(")", lambda: self._sequence(")", lambda: self._binary(1)))
        usage = FUNCTIONS[name]
        if len(args) != usage.count(",") + 1:
            raise self.error(f"`{name}` is written `{usage}`, got {len(args)} values", token)
        if name == "ago" and isinstance(args[0], Literal) and seconds_of(args[0].value) is None:
            problem = "a duration is a text of a whole number and one of s m h d w, such as '24h'"
            raise complaint(self.text, args[0].start, args[0].end, problem)
        return Call(name, args, start=token.start, end=self._end)

    def _quantified(self, function: Token) -> tuple[str, Node, Node]:
        usage = f"`{FUNCTIONS[function.text]}`"
        variable = self.take()
        if variable.kind != "name" or self.peek.text != ",":
            problem = f"{usage} begins with a new name for the item, then a comma"
            raise self.error(problem, variable)
        name = variable.text
        if name in WORDS or name in ADVICE or name == "now":
            raise self.error(f"`{name}` has a meaning already; choose another name", variable)
        if name in self._bound:
            raise self.error(f"`{name}` is the item of the list outside; choose another", variable)
        self.take()
        items = self._binary(1)
        if self.peek.text != ",":
            raise self.unexpected(f"`,` and a condition, as in {usage}")
        self.take()
        self._bound = (*self._bound, name)
        condition = self._binary(1)
        self._bound = self._bound[:-1]
        return name, items, condition

    def _member(self) -> tuple[str, Node]:
        token = self.peek
        if token.kind not in ("name", "text"):
            raise self.unexpected("a key: a name or a text")
        self.take()
        key = token.text if token.kind == "name" else text_of(token, self.text)
        self.expect(":")
        return key, self._binary(1)

    def _no_twins(self, members: tuple[tuple[str, Node], ...], token: Token) -> None:
        keys = [key for key, _ in members]
        twice = next((key for key in keys if keys.count(key) > 1), None)
        if twice is not None:
            raise self.error(f"the key {twice!r} stands twice in this object", token)

    def _enclosed(self, closing: str, read: Callable[[], _Part]) -> _Part:
        opening = self.take()
        self._brackets += 1
        if self._brackets > MAX_DEPTH:
            raise self.error(f"over {MAX_DEPTH} brackets inside one another", opening)
        part = read()
        if self.peek.text != closing:
            raise self.unexpected(f"`{closing}` for the `{opening.text}` at {opening.start + 1}")
        self.take()
        self._brackets -= 1
        return part

    def _sequence(self, closing: str, read: Callable[[], _Part]) -> tuple[_Part, ...]:
        parts: list[_Part] = []
        while parts or self.peek.text != closing:
            parts.append(read())
            if self.peek.text != ",":
                break
            self.take()
        return tuple(parts)

    def _no_steps(self, what: str) -> None:
        if self.peek.text in (".", "[", "("):
            raise self.error(f"{what} has no members; steps follow a name, as in `context.order`")

    @property
    def _end(self) -> int:
        return self.tokens[self.at - 1].end

    def _measure(self, root: Node) -> None:
        if found := excess(root):
            node, problem = found
            raise complaint(self.text, node.start, node.end, problem)


def _step(node: Node, start: int, end: int) -> Key | Index:
    # `a['b']` is `a.b`: one spelling for everything that analyses paths.
    if isinstance(node, Literal) and isinstance(node.value, str):
        return Key(node.value, start=start, end=end)
    return Index(node, start=start, end=end)
