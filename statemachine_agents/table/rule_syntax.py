"""The text form of rules: `at_most(process_credit, 1, per=args.order_id)`.

Rules of this file.  1. The tokens are those of the expression language; conditions and `per=` are
expressions of it.  2. What does not parse is an `ExpressionError` that points at the token.
Not here: what a rule does (`rules`).
"""

from __future__ import annotations

from collections.abc import Mapping

from statemachine_agents.errors import ExpressionError
from statemachine_agents.table.automata import FORMS
from statemachine_agents.table.expressions import Expression, Parser, parse
from statemachine_agents.table.rules import Atom, Rule


def parse_rule(text: str, define: Mapping[str, Expression] | None = None) -> Rule:
    """Parse one rule, such as `at_most(process_credit, 1, per=args.order_id)`.

    Args:
        text: the rule.
        define: the table's named expressions.

    Raises:
        ExpressionError: says what was expected and where.
    """
    return _RuleParser(text, define or {}).rule()


class _RuleParser:
    def __init__(self, text: str, define: Mapping[str, Expression]) -> None:
        self.text = text
        self.define = define
        self.tokens = Parser(text, define=define)

    def fail(self, message: str) -> ExpressionError:
        token = self.tokens.peek
        span = (token.start, token.end)
        return ExpressionError(f"{self.text!r}: {message}", text=self.text, span=span)

    def name(self, what: str) -> str:
        token = self.tokens.peek
        if token.kind != "name":
            raise self.fail(f"expected {what}, got {token.text or 'the end'!r}")
        self.tokens.take()
        return token.text

    def sees(self, text: str) -> bool:
        return self.tokens.peek.text == text and self.tokens.peek.kind in ("op", "name")

    def expression(self) -> Expression:
        start = self.tokens.peek.start
        self.tokens.expression()
        # Parsed again on its own, so that spans and messages point into the part, not the rule.
        return parse(self.text[start : self.tokens.peek.start].rstrip(), self.define)

    def rule(self) -> Rule:
        form = self.tokens.peek.text
        if self.tokens.peek.kind == "name" and form not in FORMS:
            raise self.fail(f"no rule is named {form!r}; known: {', '.join(FORMS)}")
        self.name("a rule")
        self.tokens.expect("(")
        shape = FORMS[form]
        sides: list[tuple[Atom, ...]] = []
        count: int | None = None
        for index, kind in enumerate(shape.arguments):
            if index:
                self.tokens.expect(",")
            if kind == "atom":
                sides.append(self.side())
            else:
                count = self.count()
        per = None
        if self.sees(","):
            self.tokens.take()
            if self.name("`per=`") != "per":
                wanted = f"{form} takes {len(shape.arguments)} arguments"
                raise self.fail(wanted + (" and `per=expression`" if shape.per else ""))
            if not shape.per:
                raise self.fail(f"`per=` has no meaning for {form}: it is about the run as a whole")
            self.tokens.expect("=")
            per = self.expression()
        self.tokens.expect(")")
        if self.tokens.peek.kind != "end":
            raise self.fail(f"nothing may follow the rule, got {self.tokens.peek.text!r}")
        return Rule(self.text, form, tuple(sides), count, per)

    def count(self) -> int:
        token = self.tokens.peek
        if token.kind != "number" or not token.text.isdecimal():
            raise self.fail(f"expected a whole number, got {token.text or 'the end'!r}")
        self.tokens.take()
        return int(token.text)

    def side(self) -> tuple[Atom, ...]:
        if not self.sees("["):
            return (self.atom(),)
        self.tokens.take()
        atoms = [self.atom()]
        while self.sees(","):
            self.tokens.take()
            atoms.append(self.atom())
        self.tokens.expect("]")
        return tuple(atoms)

    def atom(self) -> Atom:
        name = self.name("a tool or an event")
        if self.sees("."):
            self.tokens.take()
            name = f"{name}.{self.name('an outcome such as ok')}"
        where = None
        if self.sees("where"):
            self.tokens.take()
            where = self.expression()
        return Atom(name, where)
