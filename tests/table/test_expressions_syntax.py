"""How expressions are written: tokens, precedence, bounds, and errors that say what to write."""

import inspect
import sys

import pytest

from statemachine_agents.errors import ExpressionError
from statemachine_agents.table.expressions import (
    FUNCTIONS,
    WORDS,
    Binary,
    Call,
    Expression,
    Index,
    Key,
    ListDisplay,
    Literal,
    ObjectDisplay,
    Parser,
    Path,
    Quantifier,
    Token,
    Unary,
    children,
    parse,
    tokenize,
    unparse,
)

A, B, C = Path("a"), Path("b"), Path("c")

TREES = [
    ("a or b and c", Binary("or", A, Binary("and", B, C))),
    ("a and b or c", Binary("or", Binary("and", A, B), C)),
    ("(a or b) and c", Binary("and", Binary("or", A, B), C)),
    ("not a and b", Binary("and", Unary("not", A), B)),
    ("not a == b", Unary("not", Binary("==", A, B))),
    ("(not a) == b", Binary("==", Unary("not", A), B)),
    ("not a in b", Unary("not", Binary("in", A, B))),
    ("a == b + c", Binary("==", A, Binary("+", B, C))),
    ("(a == b) == c", Binary("==", Binary("==", A, B), C)),
    ("a - b - c", Binary("-", Binary("-", A, B), C)),
    ("a - (b - c)", Binary("-", A, Binary("-", B, C))),
    ("-a + b", Binary("+", Unary("-", A), B)),
    ("-(a + b)", Unary("-", Binary("+", A, B))),
    ("a - -b", Binary("-", A, Unary("-", B))),
    ("a - -1", Binary("-", A, Literal(-1))),
    ("a -1", Binary("-", A, Literal(1))),
    ("-1", Literal(-1)),
    ("--1", Unary("-", Literal(-1))),
    ("-(1)", Unary("-", Literal(1))),
    ("-a.b", Unary("-", Path("a", (Key("b"),)))),
    ("a['b'].c", Path("a", (Key("b"), Key("c")))),
    ("a[b][0]", Path("a", (Index(B), Index(Literal(0))))),
    ("[a, 1]", ListDisplay((A, Literal(1)))),
    ("{a: b, 'c d': 1}", ObjectDisplay((("a", B), ("c d", Literal(1))))),
    ("len(a)", Call("len", (A,))),
    ("default(a, b)", Call("default", (A, B))),
    ("first(b, a, b == c)", Quantifier("first", "b", A, Binary("==", B, C))),
    ("a.true.len.not.in.None", Path("a", tuple(map(Key, ["true", "len", "not", "in", "None"])))),
]

ADVISED = [
    ("", "an expression is missing"),
    ("   ", "an expression is missing"),
    ("a = 1", "write `==` to compare"),
    ("a === 1", "write `==`"),
    ("a !== 1", "write `!=`"),
    ("a <> 1", "write `!=`"),
    ("a && b", "write `and`"),
    ("a & b", "write `and`"),
    ("a || b", "write `or`"),
    ("a | b", "write `or`"),
    ("!a", "write `not`"),
    ("~a", "write `not`"),
    ("a ?? b", "write `default(x, y)`"),
    ("a?.b", "write `.`"),
    ("a ? b : c", "two rows with guards"),
    ("a * b", "no multiplication"),
    ("a ** b", "no power"),
    ("a / b", "no division"),
    ("a // b", "no division"),
    ("a % b", "no remainder"),
    ("a ^ b", "`!=`"),
    ("None", "write `null`"),
    ("a == None", "write `null`"),
    ("True", "write `true`"),
    ("False and a", "write `false`"),
    ("a is null", "for a missing value `== null` or `exists(x)`"),
    ("a is not null", "write `==`"),
    ("lambda x: x", "no functions of your own"),
    ("a if b else c", "there is no `if`"),
    ("if a", "there is no `if`"),
    ("[x for x in a]", "no comprehension"),
    ("any(x.ok for x in a)", "`any(x, list, condition)` begins with a new name"),
    ("a not in b", "write `not a in b`"),
    ("a == not b", "put brackets"),
    ("a < b < c", "comparisons do not chain; write `a < b and b < c`"),
    ("a in b == c", "comparisons do not chain"),
    ("a in (1, 2)", "a list is written `[a, b]`"),
    ("lenn(a)", "did you mean `len(x)`?"),
    ("exist(a)", "did you mean `exists(path)`?"),
    ("zzz(a)", "no function `zzz`; the functions are len, exists, default"),
    ("and(a, b)", "expected a value, got `and`"),
    ("lambda(a)", "no functions of your own"),
    ("len a", "`len` is a function; write `len(x)`"),
    ("count > 3", "`count` is a function; write `count(x, list, condition)`"),
    ("len()", "`len` is written `len(x)`, got 0 values"),
    ("len(a, b)", "got 2 values"),
    ("default(a)", "`default` is written `default(x, y)`"),
    ("len(a,)", "expected a value, got `)`"),
    ("any(a)", "begins with a new name for the item, then a comma"),
    ("any('x', a, b)", "begins with a new name"),
    ("any(x, a)", "and a condition, as in `any(x, list, condition)`"),
    ("any(x, a, b, c)", "expected `)` for the `(` at 4, got `,`"),
    ("any(now, a, b)", "`now` has a meaning already"),
    ("any(true, a, b)", "`true` has a meaning already"),
    ("any(len, a, b)", "`len` has a meaning already"),
    ("any(None, a, b)", "`None` has a meaning already"),
    ("any(x, a, any(x, b, c))", "`x` is the item of the list outside"),
    ("ago('yesterday')", "such as '24h'"),
    ("ago(5)", "such as '24h'"),
    ("ago('24h\\n')", "such as '24h'"),
    ("a.b.lower()", "values have no methods"),
    ("a.0", "write `[0]`"),
    ("a.'b'", "expected the name of a member"),
    ("a.", "expected the name of a member, got the end"),
    ("a[", "expected a value, got the end"),
    ("a[]", "expected a value, got `]`"),
    ("a[1", "expected `]` for the `[` at 2, got the end"),
    ("(a).b", "a value in brackets has no members"),
    ("[a][0]", "a value in brackets has no members"),
    ("len(a).b", "the value of a function has no members"),
    ("'a'.b", "a text has no members"),
    ("1.b", "a number has no members"),
    ("-1.b", "a number has no members"),
    ("null.b", "`null` has no members"),
    ("true(a)", "`true` has no members"),
    ("(a", "expected `)` for the `(` at 1"),
    ("(a b)", "expected `)`"),
    ("[a b]", "expected `]`"),
    ("[a,]", "expected a value, got `]`"),
    ("{a}", "expected `:`"),
    ("{1: 2}", "expected a key: a name or a text, got `1`"),
    ("{a: 1,}", "expected a key"),
    ("{a: 1, 'a': 2}", "the key 'a' stands twice"),
    ("{'': 1, '': 2}", "the key '' stands twice"),
    ("a b", "expected an operator or the end, got `b`"),
    ("a)", "expected an operator or the end, got `)`"),
    ("a, b", "expected an operator or the end, got `,`"),
    ("a +", "expected a value, got the end"),
    ("not", "expected a value, got the end"),
    ("+a", "expected a value, got `+`"),
    ("in", "expected a value, got `in`"),
    ("- not a", "expected a value, got `not`"),
    ("'abc", "this text does not end: close it with '"),
    ('"abc', 'close it with "'),
    ("'a\nb'", "a line break inside is written \\n"),
    ("'a\\", "this text does not end"),
    (r"'\q'", r"`\q` is no escape"),
    (r"'\u12'", r"`\u` is no escape"),
    (r"'\ud800'", "half of a surrogate pair"),
    ("'\ud800'", "half of a surrogate pair"),
    ("007", "no leading zero; write 7"),
    ("00", "no leading zero; write 0"),
    ("00.5", "no leading zero; write 0.5"),
    ("1_000", "write digits only, without `_`"),
    ("1e5", "without an exponent"),
    ("1.5E3", "without an exponent"),
    ("12abc", "neither a number nor a name"),
    (".5", "expected a value, got `.`"),
    ("9007199254740993", "beyond 2**53"),
    ("-9007199254740993", "beyond 2**53"),
    ("9" * 900, "beyond 2**53"),
    ("9" * 400 + ".0", "not finite"),
    ("\u201ca\u201d", 'use the straight quote "'),
    ("\u2018a\u2019", "use the straight quote '"),
    ("`a`", "use the straight quote"),
    ("a\u00a0== b", "no-break space"),
    ("a # b", "no comments"),
    ("a; b", "one value"),
    ("${a}", "names stand alone"),
    ("a \\ b", "backslashes belong inside quotes"),
    ("prénom", "'é' has no place here; names are made of ASCII letters"),
    ("\x00", "has no place here"),
]


@pytest.mark.parametrize(("text", "tree"), TREES, ids=[text for text, _ in TREES])
def test_a_text_reads_as_this_tree(text, tree):
    """Precedence and shapes are those of the table, and the canonical text reads back equal."""
    assert parse(text).root == tree
    assert parse(unparse(tree)).root == tree


@pytest.mark.parametrize(("text", "advice"), ADVISED, ids=[text[:30] for text, _ in ADVISED])
def test_a_text_that_does_not_parse_gets_advice(text, advice):
    """Whatever people bring from other languages is refused with what to write here."""
    with pytest.raises(ExpressionError) as caught:
        parse(text)
    assert advice in str(caught.value)
    start, end = caught.value.facts["span"]
    assert 0 <= start <= end <= len(text)
    assert caught.value.facts["text"] == text


def test_tokens_carry_their_place():
    """A token is the piece of the text it spans, quotes included; the last one is the end."""
    text = "at_most(process_credit, 1.5, per=args['x y'])"
    tokens = tokenize(text)
    assert [token.text for token in tokens] == [
        "at_most", "(", "process_credit", ",", "1.5", ",", "per", "=", "args", "[", "'x y'",
        "]", ")", "",
    ]  # fmt: skip
    assert {token.kind for token in tokens} == {"name", "op", "number", "text", "end"}
    assert all(text[token.start : token.end] == token.text for token in tokens)
    assert tokenize("") == (Token("end", "", 0, 0),)


def test_spans_are_those_of_the_parts():
    """Every node knows its place; brackets belong to what they are an operand of."""
    text = "not (a.b + [1, len(c)]) == {k: -a[0]}"
    seen = []
    pending = [parse(text).root]
    while pending:
        node = pending.pop(0)
        seen.append(text[node.start : node.end])
        pending.extend(children(node))
    assert seen == [
        text, text[4:], "a.b + [1, len(c)]", "{k: -a[0]}", "a.b", "[1, len(c)]", "-a[0]", "1",
        "len(c)", "a[0]", "c", "0",
    ]  # fmt: skip
    path = parse("ab.cd['e'][f]").root
    assert [(step.start, step.end) for step in path.steps] == [(2, 5), (5, 10), (10, 13)]


def test_a_parser_stops_where_a_larger_text_goes_on():
    """A reader of rules shares tokens and parser: an expression ends at a `,` `)` `]`."""
    text = "at_most([credit where result.ok, mail], 1, per=args.id)"
    parser = Parser(text, tokenize(text))
    for word in ("at_most", "(", "[", "credit", "where"):
        assert parser.peek.text == word
        assert parser.take().text == word
    assert unparse(parser.expression()) == "result.ok"
    assert parser.expect(",").start == 31
    assert parser.at == 9
    assert parser.expression() == Path("mail")
    parser.expect("]")
    with pytest.raises(ExpressionError, match=r"expected `\)`, got `,`") as caught:
        parser.expect(")")
    assert caught.value.facts["span"] == (38, 39)
    parser.expect(",")
    assert parser.expression() == Literal(1)
    assert [parser.take().text for _ in range(3)] == [",", "per", "="]
    assert unparse(parser.expression()) == "args.id"
    parser.expect(")")
    assert parser.peek.kind == parser.take().kind == parser.take().kind == "end"
    assert "my problem" in str(parser.error("my problem"))


def test_a_parser_bounds_each_expression_of_a_longer_text():
    """The 1,000 characters are those of one expression, wherever it stands."""
    long = "'" + "x" * 990 + "'"
    parser = Parser(f"{long}, {long}, {long} + {long})")
    assert parser.expression() == Literal("x" * 990)
    parser.expect(",")
    parser.expression()
    parser.expect(",")
    with pytest.raises(ExpressionError, match="over 1,000 characters"):
        parser.expression()


def test_a_thousand_characters_are_the_limit():
    """1,000 characters parse, 1,001 do not, blanks included."""
    assert parse("a" * 1_000).root == Path("a" * 1_000)
    for text in ("a" * 1_001, "a" + " " * 1_000, "(" * 100_000):
        with pytest.raises(ExpressionError, match="at most 1,000; name parts in") as caught:
            parse(text)
        assert caught.value.facts["span"] == (0, len(text))


NESTS = [
    ("(", "a", ")"),
    ("[", "a", "]"),
    ("{a:", "a", "}"),
    ("not ", "a", ""),
    ("-", "a", ""),
    ("len(", "a", ")"),
    ("a[", "a", "]"),
    ("a + ", "a", ""),
    ("a or ", "a", ""),
    ("1 + (", "a", ")"),
    ("a == [", "a", "]"),
    ("- (", "a", ")"),
]


def _refusal(text):
    try:
        parse(text)
    except ExpressionError as error:
        return str(error)
    return None


@pytest.mark.parametrize("nest", NESTS, ids=[nest[0] for nest in NESTS])
def test_what_is_too_deep_is_refused(nest):
    """No shape goes past 32 levels, and none runs out of stack on the way there."""
    before, inner, after = nest
    levels = [n for n in range(200) if len(before + after) * n < 990]
    refusals = {n: _refusal(before * n + inner + after * n) for n in levels}
    fits = [n for n, refusal in refusals.items() if refusal is None]
    assert all("over 32" in refusal for refusal in refusals.values() if refusal is not None)
    assert fits == list(range(len(fits)))
    assert 16 <= len(fits) - 1 <= 32
    if len(before + after) < 5:
        assert fits[-1] == 32


def test_the_deepest_parse_needs_little_stack():
    """The worst nesting stays within 400 of Python's thousand frames."""
    text = "not " * 32 + "a or b and c == d + (" * 31 + "a" + ")" * 31
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack()) + 400)
    try:
        with pytest.raises(ExpressionError, match="over 32"):
            parse(text)
    finally:
        sys.setrecursionlimit(before)


def test_paths_are_bounded():
    """A path has at most 32 steps."""
    assert len(parse("a" + ".b" * 32).root.steps) == 32
    with pytest.raises(ExpressionError, match="at most 32 steps"):
        parse("a" + ".b" * 33)


def test_a_row_of_operators_counts_as_depth_and_brackets_help():
    """32 operators in a row parse; 33 get the advice that makes them parse."""
    row = " or ".join(["a"] * 33)
    assert parse(row).evaluate({"a": False}) is False
    with pytest.raises(ExpressionError, match="put brackets round halves of the row"):
        parse(f"{row} or a")
    half = " or ".join(["a"] * 32)
    assert parse(f"({half}) or ({half})").evaluate({"a": True}) is True


def test_list_functions_nest_three_deep():
    """Three list functions inside one another are a search; four are refused."""
    three = "any(x, a, any(y, x, any(z, y, {}z.ok)))"
    assert parse(three.format("")).names() == {"a"}
    with pytest.raises(ExpressionError, match="at most 3 deep inside one another"):
        parse(three.format("any(w, z, w.ok) and "))
    inner = parse("any(w, b, w.ok)")
    with pytest.raises(ExpressionError, match="at most 3 deep inside one another"):
        parse(three.format("inner and "), {"inner": inner})
    assert parse("inner and inner and inner and inner", {"inner": inner}).names() == {"b"}


def test_definitions_cannot_grow_without_bound():
    """Doubling definitions are stopped by size and depth, soon and without much work."""
    define = {"d0": parse("a + a + a + a")}  # 7 nodes, then 22, 67, 202, 607
    for n in range(4):
        define[f"d{n + 1}"] = parse(f"[d{n}, d{n}, d{n}]", define)
    largest = define["d4"]
    with pytest.raises(ExpressionError, match="over 1,000 parts, definitions included"):
        parse("[d4, d4, d4]", define)
    with pytest.raises(ExpressionError, match="over 1,000 parts"):
        parse("[" + ",".join(["d"] * 499) + "]", {"d": largest})
    almost = {"p": parse("[" + ",".join("a" * 490) + "]")}
    assert parse("p == p", almost).evaluate({}) is True
    with pytest.raises(ExpressionError, match="over 1,000 parts"):
        parse("p == p and [" + ",".join("a" * 30) + "] == b", almost)
    deep = {"d0": parse("[" * 20 + "a" + "]" * 20)}
    with pytest.raises(ExpressionError, match="over 32 deep"):
        parse("[" * 13 + "d0" + "]" * 13, deep)
    assert isinstance(parse("[" * 12 + "d0" + "]" * 12, deep), Expression)


def test_the_words_of_the_language_are_closed():
    """Nothing joins the language unnoticed: these are its words and functions."""
    assert set(FUNCTIONS) == {
        "len", "exists", "default", "lower", "ago", "any", "all", "count", "first",
    }  # fmt: skip
    assert {"and", "or", "not", "in", "true", "false", "null"} | set(FUNCTIONS) == WORDS


@pytest.mark.parametrize(
    ("node", "text"),
    [
        (Literal(1e-7), "0.0000001"),
        (Literal(1e16), "10000000000000000.0"),
        (Literal(-0.5), "-0.5"),
        (Literal("it's \\ \n\t\x01\u2028 é"), r"'it\'s \\ \n\t\u0001\u2028 é'"),
        (Path("a", (Key("b c"), Key("d"))), "a['b c'].d"),
        (Unary("-", Literal(1)), "-(1)"),
        (Unary("-", Literal(-1)), "--1"),
        (Unary("-", Unary("-", A)), "--a"),
        (Unary("-", Unary("not", A)), "-(not a)"),
        (Unary("not", Unary("not", A)), "not not a"),
        (Unary("not", Binary("and", A, B)), "not (a and b)"),
        (Binary("-", A, Literal(-1)), "a - -1"),
        (Binary("in", Binary("<", A, B), Binary("<", B, C)), "(a < b) in (b < c)"),
        (Binary("and", A, Binary("and", B, C)), "a and (b and c)"),
        (Binary("and", Unary("not", A), Unary("not", B)), "not a and not b"),
        (ObjectDisplay((("in", A), ("x y", B))), "{in: a, 'x y': b}"),
    ],
)
def test_unparse_is_canonical(node, text):
    """Minimal brackets, single quotes, no exponents; and it reads back as the same tree."""
    assert unparse(node) == text
    assert parse(text).root == node


def test_a_static_path_is_shown_with_a_star():
    """Reports can print what `paths()` returns."""
    assert unparse(parse("context.orders[args.id].sku").paths()[0]) == "context.orders[*].sku"
