"""The key of an assign and the writing of a value: copies along the path, nothing else."""

import copy

import pytest

from statemachine_agents.errors import EvaluationError, ExpressionError
from statemachine_agents.table.expressions import (
    Index,
    Key,
    Path,
    Target,
    parse,
    parse_target,
    write,
)

SCOPE = {"result": {"order_id": "A1", "place": 1, "odd": 1.0}, "args": {"n": None}}


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("order", ("order",)),
        ("a.b.c", ("a", "b", "c")),
        ("orders[result.order_id]", ("orders", "A1")),
        (
            "orders[result.order_id].items[result.place - 1]['sku']",
            ("orders", "A1", "items", 0, "sku"),
        ),
        ("list[0]", ("list", 0)),
        (" count . in ", ("count", "in")),
        ("context", ("context",)),
    ],
)
def test_a_target_resolves_to_a_concrete_path(text, path):
    """Names stay, indexes are evaluated: texts are keys, whole numbers are places."""
    target = parse_target(text)
    assert target.root == path[0]
    assert target.resolve(SCOPE) == path
    assert target == parse_target(text)


@pytest.mark.parametrize(
    ("text", "got"),
    [
        ("orders[args.n]", "null"),
        ("orders[true]", "a boolean"),
        ("orders[result.odd]", "a number"),
        ("orders[-1]", "a negative number"),
        ("orders[result]", "an object"),
    ],
)
def test_an_index_that_is_no_place_is_an_evaluation_error(text, got):
    """A null or a boolean never becomes a key; the error points at the index."""
    with pytest.raises(EvaluationError, match=f"from 0 on, got {got}") as caught:
        parse_target(text).resolve(SCOPE)
    assert caught.value.facts == {"span": (6, len(text)), "text": text}
    with pytest.raises(EvaluationError, match="two numbers"):
        parse_target("orders[1 - 'a']").resolve(SCOPE)


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("", "expected a name, got the end"),
        ("'a'", "expected a name"),
        ("a + b", "expected the end of the key, got `+`"),
        ("a b", "expected the end of the key"),
        ("len(a)", "values have no methods"),
        ("a[", "expected a value"),
        ("a[any(x, a)]", "and a condition"),
        ("a" + ".b" * 33, "at most 32 steps"),
        ("a" * 1_001, "at most 1,000"),
        ("context.order", "leave out `context`: 'order'"),
        ("context['order']", "leave out `context`"),
        ("a[any(w, b, any(x, b, any(y, b, any(z, b, z))))]", "at most 3 deep"),
    ],
)
def test_a_key_that_is_not_a_path_gets_advice(text, advice):
    """Only a name with steps can be assigned to."""
    with pytest.raises(ExpressionError) as caught:
        parse_target(text)
    assert advice in str(caught.value)
    assert caught.value.facts["text"] == text


def test_a_target_knows_what_its_indexes_read():
    """Checks ask a target for paths and names as they ask an expression."""
    target = parse_target("orders[result.id].lines[0][ago(wait)]", {"unused": parse("x")})
    assert isinstance(target, Target)
    assert target.steps[1] == Key("lines")
    assert isinstance(target.steps[0], Index)
    assert target.names() == {"result", "now", "wait"}
    assert target.paths()[0] == Path("result", (Key("id"),))
    named = parse_target("orders[key]", {"key": parse("result.order_id")})
    assert named.resolve(SCOPE) == ("orders", "A1")


@pytest.mark.parametrize(
    ("before", "path", "after"),
    [
        ({}, ("a",), {"a": 7}),
        ({"a": 1, "b": 2}, ("a",), {"a": 7, "b": 2}),
        ({}, ("a", "b", "c"), {"a": {"b": {"c": 7}}}),
        ({"a": None}, ("a", "b"), {"a": {"b": 7}}),
        ({"a": {"x": 1}}, ("a", "b"), {"a": {"x": 1, "b": 7}}),
        ({"a": [1, 2]}, ("a", 1), {"a": [1, 7]}),
        ({"a": [{"x": 1}, None]}, ("a", 0, "x"), {"a": [{"x": 7}, None]}),
        ({"a": [{"x": 1}, None]}, ("a", 1, "x"), {"a": [{"x": 1}, {"x": 7}]}),
    ],
)
def test_write_copies_along_the_path(before, path, after):
    """Missing levels and nulls become objects; the input stays as it was."""
    kept = copy.deepcopy(before)
    assert write(before, path, 7) == after
    assert before == kept


def test_write_shares_what_is_off_the_path():
    """Only the levels on the way are new objects."""
    before = {"a": {"b": {}, "c": []}, "d": {}}
    value = []
    after = write(before, ("a", "b", "x"), value)
    assert after["a"]["c"] is before["a"]["c"]
    assert after["d"] is before["d"]
    assert after["a"] is not before["a"]
    assert after["a"]["b"]["x"] is value


@pytest.mark.parametrize(
    ("container", "path", "message"),
    [
        ({}, (), "the path of a write is empty"),
        ({"a": "text"}, ("a", "b"), r"cannot write a\['b'\]: a text has no key"),
        ({"a": 5}, ("a", "b", "c"), r"cannot write a\['b'\]: a number has no key"),
        ({"a": True}, ("a", 0), r"cannot write a\[0\]: a boolean has no place"),
        ({"a": {}}, ("a", 0), "an object has no place"),
        ({}, ("a", 0), "an object has no place"),
        ({"a": []}, ("a", "b"), "a list has no key"),
        ({"a": [1]}, ("a", 1), r"the list has 1 items; append with `\+`"),
        ({"a": [1]}, ("a", -1), "the list has 1 items"),
        ({"a": [1]}, ("a", True), "a list has no place"),
        ({"a": [1]}, ("a", 0, "b"), r"cannot write a\[0\]\['b'\]: a number has no key"),
    ],
)
def test_write_refuses_a_step_that_leads_nowhere(container, path, message):
    """Nothing is overwritten on the way, and no list grows by an index."""
    kept = copy.deepcopy(container)
    with pytest.raises(EvaluationError, match=message) as caught:
        write(container, path, 7)
    assert caught.value.facts["path"] == path
    assert container == kept
