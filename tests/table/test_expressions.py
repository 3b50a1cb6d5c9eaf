"""What expressions mean: values in, values out, and what is refused with a place."""

import copy
import pickle

import pytest

from statemachine_agents.errors import EvaluationError, ExpressionError, WorkflowError
from statemachine_agents.table.expressions import (
    Expression,
    Index,
    Item,
    Key,
    Literal,
    Path,
    kind_of,
    parse,
    same,
)
from statemachine_agents.table.operations import MAX_ITEMS, MAX_TEXT

SCOPE = {
    "context": {
        "order": {"id": "A1", "cents": 4_900, "paid": True, "note": None, "and": "a member"},
        "orders": {"A1": {"status": "pending", "items": [{"sku": "x", "n": 2}, {"sku": "y"}]}},
        "tags": ["red", 1, True, None, [1, {"k": 1.0}]],
        "empty": [],
        "17": "a text key",
    },
    "result": {"eligible": True, "amount_cents": 4_900, "reason": None, "ratio": 0.5},
    "args": {"order_id": "A1", "place": 1},
    "error": {"kind": "not_found", "attempts": 2},
    "visits": {"fetching": 3},
    "iterations": 4,
    "now": "2026-11-20T19:48:00Z",
}

VALUES = [
    # literals and displays
    ("null", None),
    ("true", True),
    ("false", False),
    ("12", 12),
    ("12.50", 12.5),
    ("-3", -3),
    ("- 3", -3),
    ("9007199254740992", 2**53),
    ("-9007199254740992", -(2**53)),
    ("''", ""),
    (r"'a\'b\"c\\d\n\t\u00e9'", "a'b\"c\\d\n\té"),
    (r'"it\'s \"so\""', 'it\'s "so"'),
    (r"'\ud83d\ude00'", "😀"),
    ("'😀é'", "😀é"),
    ("[]", []),
    ("[1, 'a', [null]]", [1, "a", [None]]),
    ("{}", {}),
    ("{id: result.ratio, 'with space': [1], in: 2}", {"id": 0.5, "with space": [1], "in": 2}),
    ("((1))", 1),
    (" \t\r\n1\n", 1),
    # paths
    ("context.order.id", "A1"),
    ("context.order.and", "a member"),
    ("context . order . id", "A1"),
    ("context['order'][\"id\"]", "A1"),
    ("context['17']", "a text key"),
    ("context[17]", None),
    ("context.orders[args.order_id].items[0].sku", "x"),
    ("context.orders[args.order_id].items[args.place].sku", "y"),
    ("context.orders.A1.items[1 - 1].n", 2),
    ("context.tags[2]", True),
    ("context.tags[4][1].k", 1.0),
    ("context.tags[4][args.place].k", 1.0),
    ("context.tags[-1]", None),
    ("context.tags[5]", None),
    ("context.tags[1.0]", None),
    ("context.tags[true]", None),
    ("context.tags[null]", None),
    ("context.tags['0']", None),
    ("context.orders[[1]]", None),
    ("context.missing", None),
    ("context.missing.deeper[3].still", None),
    ("context.order.id.deeper", None),
    ("context.order.id[0]", None),
    ("context.order.cents.deeper.still", None),
    ("nobody", None),
    ("nobody.at.home", None),
    ("visits.fetching", 3),
    ("now", "2026-11-20T19:48:00Z"),
    # equality knows types and goes deep
    ("true == 1", False),
    ("1 == true", False),
    ("false == 0", False),
    ("true != 1", True),
    ("1 == 1.0", True),
    ("1.0 == 1", True),
    ("1 != 2", True),
    ("null == false", False),
    ("null == nobody", True),
    ("nobody == null", True),
    ("nobody != null", False),
    ("result.eligible == true", True),
    ("result.amount_cents == true", False),
    ("result.eligible != false", True),
    ("'1' == 1", False),
    ("1 == '1'", False),
    ("error.kind == 'not_found'", True),
    ("error.kind != 'not_found'", False),
    ("error.attempts == 'not_found'", False),
    ("error.kind == error.kind", True),
    ("[1, true] == [1.0, true]", True),
    ("[1] == [true]", False),
    ("[1] == [1, 2]", False),
    ("[1] == {}", False),
    ("{a: 1} == {}", False),
    ("{a: 1} == {b: 1}", False),
    ("{a: 1, b: [2]} == {b: [2.0], a: 1}", True),
    ("{a: 1} == {a: true}", False),
    ("[[1], 'a'] == [[1], 'b']", False),
    ("context == context", True),
    ("[context, 1] == [context, 2]", False),
    # order
    ("1 < 2", True),
    ("2 <= 2.0", True),
    ("'a' < 'b'", True),
    ("'b' >= 'a'", True),
    ("1 > 2", False),
    ("now > '2026-01-01T00:00:00Z'", True),
    # booleans, left to right
    ("true and false", False),
    ("true and true", True),
    ("false or true", True),
    ("false or false", False),
    ("false and 1", False),
    ("true or 1", True),
    ("false and 1 < 'a'", False),
    ("not false", True),
    ("not not true", True),
    ("not result.eligible", False),
    # membership
    ("'red' in context.tags", True),
    ("1.0 in context.tags", True),
    ("0 in context.tags", False),
    ("true in [1]", False),
    ("null in context.tags", True),
    ("[1, {k: 1}] in context.tags", True),
    ("'ell' in 'hello'", True),
    ("'' in 'hello'", True),
    ("'id' in context.order", True),
    ("'note' in context.order", True),
    ("'nope' in context.order", False),
    ("not 'x' in []", True),
    # sums
    ("1 + 2 - 4", -1),
    ("1 + 0.5", 1.5),
    ("0.5 - 1", -0.5),
    ("1 - (2 - 3)", 2),
    ("-context.order.cents", -4_900),
    ("--1", 1),
    ("-(1 + 1)", -2),
    ("'a' + 'b' + 'c'", "abc"),
    ("context.empty + [1] + [[2]]", [1, [2]]),
    ("9007199254740991 + 1", 2**53),
    ("-9007199254740991 - 1", -(2**53)),
    # functions
    ("len('é😀')", 2),
    ("len(context.tags)", 5),
    ("len({a: 1})", 1),
    ("exists(result.eligible)", True),
    ("exists(result.reason)", False),
    ("exists(nobody.at.home)", False),
    ("default(result.reason, 'none given')", "none given"),
    ("default(result.eligible, 1 < 'a')", True),
    ("default(false, true)", False),
    ("lower('ÀB')", "àb"),
    ("ago('0s')", "2026-11-20T19:48:00Z"),
    ("ago('90s')", "2026-11-20T19:46:30Z"),
    ("ago('15m')", "2026-11-20T19:33:00Z"),
    ("ago('24h')", "2026-11-19T19:48:00Z"),
    ("ago('1d') == ago('24h')", True),
    ("ago('2w')", "2026-11-06T19:48:00Z"),
    ("ago('2' + '4h')", "2026-11-19T19:48:00Z"),
    # list functions
    ("any(x, context.tags, x == 'red')", True),
    ("any(x, context.tags, x == 'blue')", False),
    ("all(x, context.orders.A1.items, exists(x.sku))", True),
    ("all(x, context.orders.A1.items, exists(x.n))", False),
    ("count(x, context.tags, exists(x))", 4),
    ("first(x, context.orders.A1.items, x.sku == 'y')", {"sku": "y"}),
    ("first(x, context.tags, x == 'blue')", None),
    ("any(x, [1, 'a'], x == 1 or x < 1)", True),
    ("any(x, nobody, x)", False),
    ("all(x, nobody, x)", True),
    ("count(x, nobody, x)", 0),
    ("first(x, nobody, x)", None),
    ("any(x, [], x)", False),
    ("all(x, [], x)", True),
    ("count(x, [], x)", 0),
    ("first(x, [], x)", None),
    ("any(x, [[1], [2]], any(y, x, y == 2))", True),
    ("count(x, [1, 2, 3], any(y, [2, 3], y == x))", 2),
    ("any(context, [5], context == 5) and exists(context.order)", True),
    ("any(x, [1], any(y, [2], any(z, [3], x + y == z)))", True),
    ("any(x, ['AB'], 'b' in lower(x) and x + '' == 'AB' and [x] + [] == ['AB'])", True),
]

REFUSED = [
    ("1 < '2'", "two numbers or two texts, got a number and a text"),
    ("null < 1", "got null and a number; give a missing value one with `default(...)`"),
    ("1 > nobody", "got a number and null; give a missing value"),
    ("true < false", "got a boolean and a boolean"),
    ("[1] < [2]", "got a list and a list"),
    ("1 and true", "`and` wants true or false, got a number; compare it"),
    ("true and nobody", "`and` wants true or false, got null; say what a missing value means"),
    ("false or 'yes'", "`or` wants true or false, got a text"),
    ("{} or true", "`or` wants true or false, got an object"),
    ("not null", "`not` wants true or false, got null"),
    ("-'a'", "`-` wants a number, got a text"),
    ("-true", "`-` wants a number, got a boolean"),
    ("1 in 12", "`in` wants a list on the right"),
    ("1 in '12'", "got a number in a text"),
    ("1 in {a: 1}", "got a number in an object"),
    ("'a' in null", "got a text in null"),
    ("true + 1", "`+` wants two numbers, two texts or two lists, got a boolean and a number"),
    ("'a' + 1", "got a text and a number"),
    ("[1] + 'a'", "got a list and a text"),
    ("{} + {}", "got an object and an object"),
    ("'a' - 'b'", "`-` wants two numbers, got a text and a text"),
    ("9007199254740992 + 1", "beyond 2**53"),
    ("-9007199254740992 - 1", "beyond 2**53"),
    ("len(null)", "`len` wants a text, a list or an object, got null"),
    ("len(3)", "got a number"),
    ("lower(null)", "`lower` wants a text, got null"),
    ("ago(nobody)", "`ago` wants a text of a whole number and one of s m h d w, such as '24h'"),
    ("ago('a' + 'b')", "got another text"),
    ("ago('999999w')", "no such moment"),
    ("ago('999999999w')", "no such moment"),
    ("any(x, 1, x)", "`any` wants a list, got a number"),
    ("any(x, {}, x)", "`any` wants a list, got an object"),
    ("any(x, [1], x)", "the condition of `any` wants true or false, got a number"),
    ("all(x, [null], x)", "the condition of `all` wants true or false, got null"),
    ("count(x, [true, 'a'], x)", "the condition of `count` wants true or false, got a text"),
    ("first(x, [false, 0], x)", "the condition of `first` wants true or false, got a number"),
]


@pytest.mark.parametrize(("text", "value"), VALUES, ids=[text for text, _ in VALUES])
def test_an_expression_has_this_value_and_leaves_its_scope_alone(text, value):
    """Each line of the table of meanings holds, types included, and the scope is not touched."""
    before = copy.deepcopy(SCOPE)
    got = parse(text).evaluate(SCOPE)
    assert (got, type(got)) == (value, type(value))
    assert same(got, value)
    assert before == SCOPE


@pytest.mark.parametrize(("text", "message"), REFUSED, ids=[text for text, _ in REFUSED])
def test_an_operator_without_a_meaning_for_its_values_is_an_evaluation_error(text, message):
    """The error says what was wanted and which kinds it got, and where in which text."""
    with pytest.raises(EvaluationError) as caught:
        parse(text).evaluate(SCOPE)
    assert message in str(caught.value)
    start, end = caught.value.facts["span"]
    assert caught.value.facts["text"] == text
    assert 0 <= start < end <= len(text)
    assert str(caught.value).startswith(repr(text[start:end]))


def test_an_error_points_at_the_part_that_failed():
    """The span is that of the smallest part which has no meaning, not of the whole text."""
    text = "exists(result) and (context.order.cents + 1) < error.kind"
    with pytest.raises(EvaluationError) as caught:
        parse(text).evaluate(SCOPE)
    start, end = caught.value.facts["span"]
    assert text[start:end] == "(context.order.cents + 1) < error.kind"


def test_an_error_never_quotes_a_value():
    """Values may be a customer's: only their kinds stand in a message."""
    with pytest.raises(EvaluationError) as caught:
        parse("context.mail < 3").evaluate({"context": {"mail": "ann@example.org"}})
    assert "ann@example.org" not in str(caught.value)


def test_holds_insists_on_a_boolean():
    """A guard that yields anything but true or false is an error, never truthiness."""
    assert parse("result.eligible and result.amount_cents <= 50000").holds(SCOPE) is True
    assert parse("not result.eligible").holds(SCOPE) is False
    for text in ("1", "null", "'yes'", "[]", "result.amount_cents", "nobody.at.home"):
        with pytest.raises(EvaluationError, match="a condition wants true or false") as caught:
            parse(text).holds(SCOPE)
        assert caught.value.facts == {"span": (0, len(text)), "text": text}


def test_now_must_be_a_moment_for_ago():
    """Without a recorded time, or with a broken one, `ago` is an error, not a guess."""
    ago = parse("ago('1h')")
    assert ago.evaluate({"now": "2026-03-01T00:30:00Z"}) == "2026-02-28T23:30:00Z"
    assert ago.evaluate({"now": "2026-03-01T00:30:00.250Z"}) == "2026-02-28T23:30:00.250Z"
    assert ago.evaluate({"now": "0001-01-01T01:00:00Z"}) == "0001-01-01T00:00:00Z"
    for now in (
        None,
        5,
        "yesterday",
        "2026-11-20",
        "2026-11-20T19:48:00+01:00",
        "2026-02-30T00:00:00Z",
    ):
        with pytest.raises(EvaluationError):
            ago.evaluate({"now": now})
    with pytest.raises(EvaluationError, match="got null"):
        ago.evaluate({})
    with pytest.raises(EvaluationError, match="no such moment"):
        ago.evaluate({"now": "0001-01-01T00:00:00Z"})


def test_sums_are_bounded():
    """A list of 1,000 items and a text of 65,536 characters can be made, nothing larger."""
    join = parse("a + b")
    assert len(join.evaluate({"a": [0] * (MAX_ITEMS - 1), "b": [1]})) == MAX_ITEMS
    assert len(join.evaluate({"a": "x" * (MAX_TEXT - 1), "b": "y"})) == MAX_TEXT
    with pytest.raises(EvaluationError, match="would make 1,001 items, at most 1,000"):
        join.evaluate({"a": [0] * MAX_ITEMS, "b": [1]})
    with pytest.raises(EvaluationError, match="would make 65,537 characters, at most 65,536"):
        join.evaluate({"a": "x" * MAX_TEXT, "b": "y"})
    with pytest.raises(EvaluationError, match="not a finite number"):
        join.evaluate({"a": 1.7e308, "b": 1.7e308})
    with pytest.raises(EvaluationError, match="not a finite number"):
        join.evaluate({"a": 10**400, "b": 0.5})


def test_a_result_may_share_structure_but_a_sum_is_new():
    """Reading a list gives the list itself; joining lists never extends one of them."""
    scope = {"a": [1], "b": [2]}
    assert parse("a").evaluate(scope) is scope["a"]
    joined = parse("a + b").evaluate(scope)
    joined.append(3)
    assert scope == {"a": [1], "b": [2]}
    assert parse("[]").evaluate(scope) is not parse("[]").evaluate(scope)


def test_work_inside_list_functions_is_bounded_and_counted():
    """Searches of a million steps stop with an error, at the same place each time."""
    scope = {"l": list(range(1_000)), "t": "x" * 65_000, "d": {str(n): n for n in range(2_000)}}
    assert parse("any(x, l, x == -1)").evaluate(scope) is False
    for text in (
        "any(x, l, any(y, l, x + y == -1))",
        "any(x, l, any(y, l, any(z, l, false)))",
        "any(x, l, l + [] == [])",
        "any(x, l, {a: d} != {a: e})",
        "any(x, l, [x, -2] in l)",
        "any(x, l, 'y' in t)",
        "any(x, l, lower(t) == '')",
        "any(x, l, t == u)",
        "any(x, l, t + '' == '')",
    ):
        found = []
        for _ in range(2):
            with pytest.raises(EvaluationError, match="over 1,000,000 steps") as caught:
                parse(text).evaluate({**scope, "e": dict(scope["d"]), "u": scope["t"][:-1] + "y"})
            found.append(caught.value.facts)
        assert found[0] == found[1] == {"span": (0, len(text)), "text": text}
    # Each evaluation has its own account.
    once = parse("count(x, l, x >= 0)")
    assert [once.evaluate(scope) for _ in range(3)] == [1_000] * 3


def test_deep_values_are_compared_without_recursion():
    """Two values a hundred thousand levels deep can be compared."""
    deep, other, longer = [], [], [0]
    for _ in range(100_000):
        deep, other, longer = [deep], [other], [longer]
    assert parse("a == b").evaluate({"a": deep, "b": other}) is True
    assert parse("a == b").evaluate({"a": deep, "b": longer}) is False


def test_paths_and_names_are_what_an_expression_reads():
    """Each path once, in the order of the text; computed indexes are some item."""
    read = parse(
        "context.orders[args.id].items[0]['sku'] == result or exists(context.orders[args.id])"
    )
    assert read.paths() == (
        Path("context", (Key("orders"), Item(), Key("items"), Index(Literal(0)), Key("sku"))),
        Path("args", (Key("id"),)),
        Path("result"),
        Path("context", (Key("orders"), Item())),
    )
    assert read.names() == {"context", "args", "result"}
    assert parse("1 + 2").paths() == ()
    first = read.paths()[0]
    assert read.text[first.start : first.end] == "context.orders[args.id].items[0]['sku']"


def test_ago_reads_now():
    """The recorded time is a dependency of `ago` as of `now`."""
    assert parse("context.at > ago('1h')").names() == {"context", "now"}
    assert parse("now == 'x'").names() == {"now"}


def test_variables_of_list_functions_are_reported_as_items_of_their_list():
    """A variable is no name; what is read of it is a path into the list it ranges over."""
    nested = parse(
        "any(o, default(context.orders, []), o.id == args.id and all(i, o.items, i.sku in o.skus))"
    )
    assert nested.paths() == (
        Path("context", (Key("orders"),)),
        Path("context", (Key("orders"), Item(), Key("id"))),
        Path("args", (Key("id"),)),
        Path("context", (Key("orders"), Item(), Key("items"))),
        Path("context", (Key("orders"), Item(), Key("items"), Item(), Key("sku"))),
        Path("context", (Key("orders"), Item(), Key("skus"))),
    )
    assert nested.names() == {"context", "args"}
    looked_up = parse("any(x, context.skus, exists(context.prices[x.sku]))")
    assert looked_up.paths() == (
        Path("context", (Key("skus"),)),
        Path("context", (Key("prices"), Item())),
        Path("context", (Key("skus"), Item(), Key("sku"))),
    )
    made = parse("any(x, [context.a] + context.b, x.id == 1 and any(y, x.parts, y.z))")
    assert made.paths() == (Path("context", (Key("a"),)), Path("context", (Key("b"),)))


def test_a_static_path_is_for_reading_not_for_running():
    """A path with an `Item` in it cannot be made into an expression by mistake."""
    with pytest.raises(ExpressionError, match="cannot be evaluated"):
        Expression("x", Path("x", (Item(),)))


def test_expressions_are_values():
    """Equal text and tree, equal expression; copies, pickles and `str` work."""
    text = "result.ok and any(x, context.items, x == 1)"
    one = parse(text)
    assert one == parse(text)
    assert hash(one) == hash(parse(text))
    assert one != parse("result.ok")
    assert str(one) == text
    back = pickle.loads(pickle.dumps(one))
    assert back == one == copy.deepcopy(one)
    assert back.evaluate({"result": {"ok": True}, "context": {"items": [1]}}) is True


def test_literals_of_different_types_are_different_nodes():
    """`1`, `1.0` and `true` are equal in Python, but not as nodes of a tree."""
    assert len({Literal(1), Literal(1.0), Literal(True)}) == 3
    assert parse("[1]").root != parse("[true]").root


def test_kinds_have_names():
    """The words of the errors cover every JSON kind, and admit what is none."""
    words = [kind_of(value) for value in (None, True, 1, 1.5, "", [], {}, ())]
    assert words == [
        "null", "a boolean", "a number", "a number", "a text", "a list", "an object", "a tuple",
    ]  # fmt: skip


def test_definitions_stand_for_expressions():
    """A bare name is replaced, a name with steps is not; later definitions may use earlier ones."""
    pending = parse("context.orders[args.order_id].status == 'pending'")
    both = parse("pending and result.eligible", {"pending": pending})
    define = {"pending": pending, "both": both}
    used = parse("not (both or false)", define)
    assert used.evaluate(SCOPE) is False
    assert used.names() == {"context", "args", "result"}
    assert parse("pending.x", define).root == Path("pending", (Key("x"),))
    assert parse("pending['x']", define).root == Path("pending", (Key("x"),))
    assert parse("any(pending, [1], pending == 1)", define).evaluate({}) is True


def test_an_error_inside_a_definition_points_at_its_use():
    """The spans of an expanded definition are those of the name that stands for it."""
    define = {"large": parse("any(x, context.items, x.cents > 100) or {a: -b} == [c[0]]")}
    text = "exists(result) and large"
    with pytest.raises(EvaluationError) as caught:
        parse(text, define).evaluate({"result": 1, "context": {"items": [{}]}})
    assert caught.value.facts == {"span": (19, 24), "text": text}
    assert isinstance(caught.value, WorkflowError)


def test_a_definition_is_not_captured_by_a_variable():
    """A list function whose variable is a name the definition reads is refused."""
    define = {"open": parse("order.status == 'open'")}
    with pytest.raises(ExpressionError, match="which reads `order`") as caught:
        parse("any(order, context.orders, open)", define)
    assert caught.value.facts["span"] == (27, 31)
    assert parse("any(o, context.orders, open)", define).names() == {"context", "order"}
