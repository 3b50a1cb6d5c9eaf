"""What holds for every text and every tree, tried on random ones against independent readers.

`interpret` walks the nodes by the book, with none of the short cuts of the closures; Python's own
`ast` is the referee of precedence for the operators both languages share.
"""

import ast
import copy
import math
from datetime import datetime, timedelta

from hypothesis import assume, event, example, given, settings
from hypothesis import strategies as st

from statemachine_agents.errors import EvaluationError, ExpressionError
from statemachine_agents.table.expressions import (
    Binary,
    Call,
    Expression,
    Index,
    Key,
    ListDisplay,
    Literal,
    ObjectDisplay,
    Path,
    Quantifier,
    Unary,
    children,
    parse,
    parse_target,
    same,
    tokenize,
    unparse,
    write,
)

# -- values ------------------------------------------------------------------------------------

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-4, 4)
    | st.integers(-(2**53), 2**53)
    | st.sampled_from([0.0, 0.5, 1.0, -2.0, 1.7e308])
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["", "a", "b", "ab", "é", "2h", "items"])
    | st.text(max_size=5)
)
keys = st.sampled_from(["a", "b", "items", "c d", "in"])
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=12,
)
scopes = st.fixed_dictionaries(
    {"context": values, "result": values, "items": st.lists(values, max_size=4)},
    optional={
        "args": values,
        "now": st.sampled_from(["2026-11-20T19:48:00Z", "0001-01-01T00:00:30Z", "soon", None]),
    },
)

# -- trees -------------------------------------------------------------------------------------

roots = st.sampled_from(["context", "result", "items", "args", "now", "x", "y"])
numbers = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
characters = st.characters(exclude_categories=["Cs"])
literals = st.builds(
    Literal,
    st.none() | st.booleans() | numbers | st.integers(-3, 3) | st.text(characters, max_size=6),
)


def _index(node):
    # A text in brackets is a key: the parser knows one spelling only.
    if isinstance(node, Literal) and isinstance(node.value, str):
        return Key(node.value)
    return Index(node)


def _paths(inner):
    step = st.builds(Key, keys | st.text(characters, max_size=3)) | st.builds(_index, inner)
    return st.builds(Path, roots, st.lists(step, max_size=3).map(tuple))


def _negated(node):
    # `-5` reads as a literal; the tree of `-(5)` is another one.
    return Unary("-", node)


def _quantifier(function, variable, items, condition):
    bound, pending = [], [items, condition]
    while pending:
        node = pending.pop()
        bound += [node.variable] if isinstance(node, Quantifier) else []
        pending.extend(children(node))
    return items if variable in bound else Quantifier(function, variable, items, condition)


def _compounds(inner):
    operators = ["or", "and", "==", "!=", "<", "<=", ">", ">=", "in", "+", "-"]
    members = st.lists(st.tuples(keys | st.text(characters, max_size=3), inner), max_size=3)
    return (
        _paths(inner)
        | st.builds(ListDisplay, st.lists(inner, max_size=3).map(tuple))
        | st.builds(ObjectDisplay, members.map(lambda pairs: tuple(dict(pairs).items())))
        | st.builds(Unary, st.just("not"), inner)
        | st.builds(_negated, inner)
        | st.builds(Binary, st.sampled_from(operators), inner, inner)
        | st.builds(Call, st.sampled_from(["len", "exists", "lower"]), inner.map(lambda n: (n,)))
        | st.builds(Call, st.just("default"), st.tuples(inner, inner))
        | st.builds(Call, st.just("ago"), st.tuples(_paths(inner) | st.just(Literal("2h"))))
        | st.builds(
            _quantifier,
            st.sampled_from(["any", "all", "count", "first"]),
            st.sampled_from(["x", "y"]),
            inner,
            inner,
        )
    )


trees = st.recursive(literals | _paths(literals), _compounds, max_leaves=10)


# -- the book ----------------------------------------------------------------------------------


class NoMeaning(Exception):
    """The book has no meaning for this."""


def _insist(holds):
    if not holds:
        raise NoMeaning


def _is_number(value):
    return isinstance(value, int | float) and not isinstance(value, bool)


def _equal(a, b):
    if _is_number(a) and _is_number(b):
        return a == b
    if type(a) is not type(b):
        return False
    if isinstance(a, list):
        return len(a) == len(b) and all(map(_equal, a, b))
    if isinstance(a, dict):
        return sorted(a) == sorted(b) and all(_equal(a[key], b[key]) for key in a)
    return a == b


def _condition(node, scope):
    value = interpret(node, scope)
    _insist(isinstance(value, bool))
    return value


def _add(a, b):
    if isinstance(a, list) and isinstance(b, list):
        _insist(len(a + b) <= 1_000)
        return a + b
    if isinstance(a, str) and isinstance(b, str):
        _insist(len(a + b) <= 65_536)
        return a + b
    _insist(_is_number(a) and _is_number(b))
    total = a + b
    _insist(abs(total) <= 2**53 if isinstance(total, int) else math.isfinite(total))
    return total


def _binary(node, scope):
    if node.op in ("and", "or"):
        left = _condition(node.left, scope)
        return left if left is (node.op == "or") else _condition(node.right, scope)
    a, b = interpret(node.left, scope), interpret(node.right, scope)
    if node.op in ("==", "!="):
        return _equal(a, b) is (node.op == "==")
    if node.op == "+":
        return _add(a, b)
    if node.op == "-":
        _insist(_is_number(a) and _is_number(b))
        return _add(a, -b)
    if node.op == "in":
        if isinstance(b, list):
            return any(_equal(a, item) for item in b)
        _insist(isinstance(a, str) and isinstance(b, str | dict))
        return a in b
    _insist((_is_number(a) and _is_number(b)) or (isinstance(a, str) and isinstance(b, str)))
    return {"<": a < b, "<=": a <= b, ">": a > b, ">=": a >= b}[node.op]


def _call(node, scope):
    args = [interpret(arg, scope) for arg in node.args[:1]]
    first = args[0]
    if node.function == "exists":
        return first is not None
    if node.function == "default":
        return interpret(node.args[1], scope) if first is None else first
    if node.function == "len":
        _insist(isinstance(first, str | list | dict))
        return len(first)
    if node.function == "lower":
        _insist(isinstance(first, str))
        return first.lower()
    _insist(first == "2h" and isinstance(first, str) and isinstance(scope.get("now"), str))
    try:
        moment = datetime.strptime(scope["now"], "%Y-%m-%dT%H:%M:%SZ") - timedelta(hours=2)  # noqa: DTZ007
    except (ValueError, OverflowError):
        raise NoMeaning from None
    return moment.isoformat() + "Z"


def _quantified(node, scope):
    items = interpret(node.items, scope)
    _insist(items is None or isinstance(items, list))
    found = []
    for item in items or []:
        verdict = _condition(node.condition, {**scope, node.variable: item})
        if node.function == "all" and not verdict:
            return False
        if verdict and node.function == "any":
            return True
        if verdict and node.function == "first":
            return item
        found += [item] if verdict else []
    return {"any": False, "all": True, "first": None, "count": len(found)}[node.function]


def interpret(node, scope):
    """Return the value of a tree, by the book."""
    match node:
        case Literal():
            return node.value
        case Path():
            value = scope.get(node.root)
            for step in node.steps:
                part = step.name if isinstance(step, Key) else interpret(step.node, scope)
                known = (isinstance(value, dict) and isinstance(part, str) and part in value) or (
                    isinstance(value, list)
                    and isinstance(part, int)
                    and not isinstance(part, bool)
                    and 0 <= part < len(value)
                )
                value = value[part] if known else None
            return value
        case ListDisplay():
            return [interpret(item, scope) for item in node.items]
        case ObjectDisplay():
            return {key: interpret(value, scope) for key, value in node.members}
        case Unary(op="not"):
            return not _condition(node.operand, scope)
        case Unary():
            value = interpret(node.operand, scope)
            _insist(_is_number(value))
            return -value
        case Binary():
            return _binary(node, scope)
        case Call():
            return _call(node, scope)
        case Quantifier():
            return _quantified(node, scope)


def _attempt(kind, do, *args):
    try:
        return do(*args), None
    except kind as error:
        return None, error


# -- properties --------------------------------------------------------------------------------


@settings(max_examples=600, deadline=None)
@given(trees, scopes)
def test_closures_agree_with_the_book(tree, scope):
    """Compiled and interpreted evaluation give the same value, or both none; no scope changes."""
    before = copy.deepcopy(scope)
    expression = Expression(unparse(tree), tree)
    expected, unknown = _attempt(NoMeaning, interpret, tree, scope)
    got, refused = _attempt(EvaluationError, expression.evaluate, scope)
    event("no meaning" if unknown else "a value")
    assert (refused is None) is (unknown is None)
    assert same(got, expected)
    assert type(got) is type(expected)
    assert scope == before


@settings(max_examples=600, deadline=None)
@given(trees)
@example(Unary("-", Literal(-0.0)))
def test_unparse_and_parse_are_inverse(tree):
    """The canonical text of a tree reads back as an equal tree, and unparses to itself."""
    text = unparse(tree)
    assume(len(text) <= 1_000)
    back, refused = _attempt(ExpressionError, parse, text)
    if refused is not None:
        # The only trees that do not read back are beyond the bounds of a text.
        event("beyond the bounds")
        assert "at most 3 deep" in str(refused)
        return
    assert back.root == tree
    assert unparse(back.root) == text


WORDS = [
    "a", "b", "context.x", "and", "or", "not", "in", "==", "!=", "<", "<=", ">", ">=", "+", "-",
    "(", ")", "[", "]", "{", "}", ",", ":", ".", "1", "2.5", "'t'", '"u"', "true", "null", "len",
    "any", "any(x,", "first", "default", "exists(", "ago('1h')", "now", "=", "&&", "!", "?", "*",
    "is", "None", "lambda", "for", "if", "\\", "\u201c", "x", "[0]", "'", "007", "\n", "#",
]  # fmt: skip


def _fine_or_refused(text):
    for read in (parse, parse_target):
        found, refused = _attempt(ExpressionError, read, text)
        if refused is None:
            assert found.text == text
            assert found.names() == {path.root for path in found.paths()}
            run = found.evaluate if read is parse else found.resolve
            _, refused = _attempt(EvaluationError, run, {})
        if refused is not None:
            start, end = refused.facts["span"]
            assert 0 <= start <= end <= len(text)
            assert refused.facts["text"] == text


@settings(max_examples=1_000, deadline=None)
@given(st.lists(st.sampled_from(WORDS), max_size=30), st.sampled_from(["", " "]))
def test_token_soup_is_read_or_refused(words, glue):
    """Whatever the order of tokens: an expression or an `ExpressionError` with its place."""
    _fine_or_refused(glue.join(words))


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=60).map(lambda data: data.decode("utf-8", "surrogateescape")))
def test_random_bytes_are_read_or_refused(text):
    """No byte sequence raises anything else."""
    _fine_or_refused(text)


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=60) | st.text("'\"\\u0dD8n ", max_size=20))
def test_random_text_is_read_or_refused(text):
    """No text raises anything else, whatever its quotes and escapes."""
    _fine_or_refused(text)


@settings(max_examples=300, deadline=None)
@given(trees, st.data())
def test_a_damaged_expression_is_read_or_refused(tree, data):
    """One character changed, dropped or doubled in a good text never raises anything else."""
    text = unparse(tree)[:1_000]
    at = data.draw(st.integers(0, len(text) - 1))
    put = data.draw(st.sampled_from(["", text[at] * 2, "(", "]", "'", "\\", " ", "-", ".", "\x00"]))
    _fine_or_refused(text[:at] + put + text[at + 1 :])


@settings(max_examples=500, deadline=None)
@given(st.text(max_size=60))
def test_tokens_cover_the_text(text):
    """Tokens are the text, in order, with only blanks between them."""
    try:
        tokens = tokenize(text)
    except ExpressionError:
        return
    at = 0
    for token in tokens:
        assert text[at : token.start].strip(" \t\r\n") == ""
        assert text[token.start : token.end] == token.text
        at = token.end
    assert (tokens[-1].kind, at) == ("end", len(text))


@settings(max_examples=300, deadline=None)
@given(st.text(characters, max_size=40))
def test_every_text_can_be_written_as_a_literal(text):
    """Unparsing a text and parsing it gives the text."""
    written = unparse(Literal(text))
    assume(len(written) <= 1_000)
    assert parse(written).evaluate({}) == text
    double = '"' + written[1:-1].replace("\\'", "'").replace('"', '\\"') + '"'
    assert parse(double).evaluate({}) == text


def _by_python(tree):
    """Return our tree for Python's, or None for a chain of comparisons, which we refuse."""
    binary = {ast.Add: "+", ast.Sub: "-"}
    compare = {ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.In: "in"}
    match tree:
        case ast.Name():
            return Path(tree.id)
        case ast.Constant():
            return Literal(tree.value)
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=value)):
            return Literal(-value)
        case ast.UnaryOp(op=ast.USub() | ast.Not() as op):
            inner = _by_python(tree.operand)
            return inner and Unary("-" if isinstance(op, ast.USub) else "not", inner)
        case ast.BinOp() if type(tree.op) in binary:
            left, right = _by_python(tree.left), _by_python(tree.right)
            return left and right and Binary(binary[type(tree.op)], left, right)
        case ast.Compare(ops=[op]) if type(op) in compare:
            left, right = _by_python(tree.left), _by_python(tree.comparators[0])
            return left and right and Binary(compare[type(op)], left, right)
        case ast.BoolOp():
            op = "and" if isinstance(tree.op, ast.And) else "or"
            parts = list(map(_by_python, tree.values))
            if None in parts:
                return None
            joined = parts[0]
            for part in parts[1:]:
                joined = Binary(op, joined, part)
            return joined
        case _:
            return None


OPERANDS = st.sampled_from(["a", "b", "1", "-a", "- 1", "not a", "(a", "((b", "not (a", "-(a"])
OPERATORS = st.sampled_from(["and", "or", "==", "!=", "<", "<=", "in", "+", "-", ") and", ") +"])


@settings(max_examples=1_000, deadline=None)
@given(OPERANDS, st.lists(st.tuples(OPERATORS, OPERANDS), max_size=8), st.booleans())
def test_precedence_is_pythons(first, rest, close):
    """We read what Python reads, as the same tree, and refuse the rest and chained comparisons."""
    text = " ".join([first, *(part for pair in rest for part in pair)])
    text += ")" * max(0, text.count("(") - text.count(")")) * close
    theirs, _ = _attempt(SyntaxError, ast.parse, text, "text", "eval")
    expected = theirs and _by_python(theirs.body)
    ours, refused = _attempt(ExpressionError, parse, text)
    event("read" if expected else "refused")
    assert (refused is None) is (expected is not None)
    assert expected == (ours and ours.root)


@settings(max_examples=300, deadline=None)
@given(
    st.dictionaries(keys, values, max_size=4),
    st.lists(keys | st.integers(-1, 3), min_size=1, max_size=4).map(tuple),
    values,
)
def test_write_puts_the_value_there_and_changes_nothing_else(container, path, value):
    """Reading the path gives the value; writing again changes nothing; the input is untouched."""
    before = copy.deepcopy(container)
    if not isinstance(path[0], str):
        path = ("a", *path)
    after, refused = _attempt(EvaluationError, write, container, path, value)
    assert container == before
    if refused is not None:
        assert refused.facts["path"] == path
        return
    steps = tuple(Key(part) if isinstance(part, str) else Index(Literal(part)) for part in path[1:])
    read = Expression("read", Path(path[0], steps))
    assert read.evaluate(after) is value
    assert write(after, path, value) == after
    assert {key: after[key] for key in after if key != path[0]} == {
        key: before[key] for key in before if key != path[0]
    }


@given(values, values)
def test_same_is_an_equivalence_that_knows_types(a, b):
    """`same` agrees with the book, is symmetric and reflexive through a copy."""
    assert same(a, b) is same(b, a) is _equal(a, b)
    assert same(a, copy.deepcopy(a)) is True
