"""Cut the text of an expression into tokens, and say what to write instead of other languages.

Rules.  1. Only ASCII names; only what the grammar or a piece of advice knows becomes a token.
2. Linear in the text: one pattern, no alternative can match what another one matched.  3. Words are
names here (`and`, `true`, `len`): after a dot they are ordinary member names.
Not here: the order of tokens (`syntax`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import attrs

from statemachine_agents.errors import ExpressionError
from statemachine_agents.values import MAX_INT

ADVICE: Mapping[str, str] = {
    "=": "write `==` to compare; an expression cannot assign",
    "===": "write `==`, which knows types already",
    "!==": "write `!=`, which knows types already",
    "<>": "write `!=`",
    "!": "write `not`",
    "&&": "write `and`",
    "&": "write `and`",
    "||": "write `or`",
    "|": "write `or`",
    "??": "write `default(x, y)`",
    "?.": "write `.`: a step into nothing is null here",
    "?": "there is no `a ? b : c`; use two rows with guards, or `default(x, y)`",
    "*": "there is no multiplication; let a tool compute it",
    "**": "there is no power; let a tool compute it",
    "/": "there is no division; let a tool compute it",
    "//": "there is no division; let a tool compute it",
    "%": "there is no remainder and no formatting; join texts with `+`",
    "^": "write `and`, `or`, `!=`",
    "~": "write `not`",
    "None": "write `null`",
    "True": "write `true`",
    "False": "write `false`",
    "is": "write `==`; for a missing value `== null` or `exists(x)`",
    "lambda": "there are no functions of your own; use `any(x, list, condition)`",
    "if": "there is no `if`; use two rows with guards, or `default(x, y)`",
    "else": "there is no `if`; use two rows with guards, or `default(x, y)`",
    "for": "there is no comprehension; use `any/all/count/first(x, list, condition)`",
    "not": "write `not a in b`, or put brackets: `a == (not b)`",
}
"""What to write instead of a token the grammar has no place for."""

_STRANGE: Mapping[str, str] = {
    "\u2018": "use the straight quote '", "\u2019": "use the straight quote '",
    "\u201c": 'use the straight quote "', "\u201d": 'use the straight quote "',
    "`": "use the straight quote '", "\u00a0": "this is a no-break space; use a plain one",
    "#": "there are no comments inside an expression", ";": "one expression has one value",
    "$": "names stand alone: `context.name`", "@": "names stand alone: `context.name`",
    "\\": "backslashes belong inside quotes",
}  # fmt: skip

_TOKEN = re.compile(
    r"""
    (?P<space>[ \t\r\n]+)
  | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
  | (?P<number>[0-9]+(?:\.[0-9]+)?)
  | (?P<text>'(?:[^'\\\x00-\x1f]|\\[^\x00-\x1f])*' | "(?:[^"\\\x00-\x1f]|\\[^\x00-\x1f])*")
  | (?P<op>===|!==|\*\*|&&|\|\||//|\?\?|\?\.|==|!=|<=|>=|<>|[-+<>=()\[\]{},.:*/%!&|?^~])
    """,
    re.VERBOSE,
)
_ESCAPE = re.compile(r"\\(?:u([0-9A-Fa-f]{4})|(.))")
_PLAIN = {"\\": "\\", "'": "'", '"': '"', "n": "\n", "t": "\t"}
_WORD = re.compile(r"[A-Za-z0-9_]+")


@attrs.frozen
class Token:
    """A piece of the text: `text` is exactly `source[start:end]`, quotes included.

    `kind` is one of `name number text op end`.
    """

    kind: str
    text: str
    start: int
    end: int


def complaint(text: str, start: int, end: int, problem: str) -> ExpressionError:
    """Return the error for one place of an expression: the place, then what is wrong there."""
    shown = text if len(text) <= 80 else f"{text[max(0, start - 40) : start + 40]}..."
    message = f"in {shown!r}, character {start + 1}: {problem}"
    return ExpressionError(message, span=(start, end), text=text)


def tokenize(text: str) -> tuple[Token, ...]:
    """Cut a text into tokens; the last one is always of kind `end`.

    Raises:
        ExpressionError: a character no token begins with, a text that is not closed, a number
            glued to a word (`facts`: span, text).
    """
    tokens = []
    at = 0
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            raise _strange(text, at)
        end = found.end()
        if found.lastgroup == "number" and (glued := _WORD.match(text, end)):
            problem = f"{text[at : glued.end()]!r} is neither a number nor a name"
            if found[0].isdigit() and glued[0].startswith("_"):
                problem += "; write digits only, without `_`"
            elif glued[0][0] in "eE":
                problem += "; write numbers out, without an exponent"
            raise complaint(text, at, glued.end(), problem)
        if found.lastgroup != "space":
            tokens.append(Token(found.lastgroup or "op", found[0], at, end))
        at = end
    tokens.append(Token("end", "", at, at))
    return tuple(tokens)


def _strange(text: str, at: int) -> ExpressionError:
    char = text[at]
    if char in "'\"":
        return complaint(
            text, at, len(text),
            f"this text does not end: close it with {char}; a line break inside is written \\n",
        )  # fmt: skip
    advice = _STRANGE.get(char, "names are made of ASCII letters, digits and `_`; quote a text")
    return complaint(text, at, at + 1, f"{char!r} has no place here; {advice}")


def number_of(token: Token, source: str) -> int | float:
    """Return the value of a number token.

    Raises:
        ExpressionError: leading zeros, a whole number beyond 2**53, a decimal beyond a double.
    """
    digits = token.text
    if len(digits) > 1 and digits[0] == "0" and digits[1] != ".":
        fixed = digits.lstrip("0") or "0"
        problem = f"a number has no leading zero; write {'0' + fixed if fixed[0] == '.' else fixed}"
        raise complaint(source, token.start, token.end, problem)
    if "." in digits:
        value = float(digits)
        if value == float("inf"):
            raise complaint(source, token.start, token.end, "this number is not finite")
        return value
    # The length first: Python refuses to read very long digits with an error of its own.
    if len(digits) > len(str(MAX_INT)) or int(digits) > MAX_INT:
        problem = "a whole number beyond 2**53, which JSON readers round; write it as a text"
        raise complaint(source, token.start, token.end, problem)
    return int(digits)


def text_of(token: Token, source: str) -> str:
    r"""Return the value of a text token: quotes off, `\\ \' \" \n \t \uXXXX` read.

    Raises:
        ExpressionError: another escape, or half of a surrogate pair.
    """

    def plain(found: re.Match[str]) -> str:
        code, char = found.groups()
        if code is not None:
            return chr(int(code, 16))
        if char in _PLAIN:
            return _PLAIN[char]
        start = token.start + 1 + found.start()
        problem = f"`\\{char}` is no escape; the escapes are \\\\ \\' \\\" \\n \\t \\uXXXX"
        raise complaint(source, start, start + 2, problem)

    value = _ESCAPE.sub(plain, token.text[1:-1])
    try:
        # Joins \ud83d\ude00 into one character, as JSON does.
        return value.encode("utf-16", "surrogatepass").decode("utf-16")
    except UnicodeDecodeError as error:
        problem = "half of a surrogate pair is not a character; write both halves"
        raise complaint(source, token.start, token.end, problem) from error
