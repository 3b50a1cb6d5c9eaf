"""Canonical JSON: same value, same bytes; what would change silently is refused."""

from __future__ import annotations

import datetime as dt
import enum
import json
import math
from collections import OrderedDict
from decimal import Decimal
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from statemachine_agents.errors import ValueRefused
from statemachine_agents.values import (
    MAX_DEPTH,
    MAX_INT,
    ROOM,
    dumps,
    hash_of,
    ingest,
    keep_all,
    loads,
    parse,
    sha256,
)

texts = st.text(st.characters(), max_size=8)  # lone surrogates among them
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-MAX_INT, MAX_INT)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)


def nested(depth: int) -> object:
    value: object = 1
    for level in range(depth):
        value = [value] if level % 2 else {"a": value}
    return value


@given(values)
def test_what_is_taken_in_comes_back_equal(value):
    """For every JSON value: write it, read it, and it is the one that was taken in."""
    try:
        taken = ingest(value)
    except ValueRefused as refused:
        assert "twice" in str(refused)  # noqa: PT017 - two keys that are one after repair
        return
    assert loads(dumps(taken.value)) == taken.value
    assert dumps(loads(dumps(taken.value))) == dumps(taken.value)
    assert taken.repaired or taken.value == value
    again = ingest(taken.value)
    assert again == type(again)(taken.value, repaired=False)


@given(st.dictionaries(texts.filter(lambda text: text.isascii()), scalars, min_size=2, max_size=6))
def test_key_order_does_not_matter(value):
    """Equal objects have equal bytes, and what is taken in has its keys in that order."""
    turned = dict(reversed(value.items()))
    assert dumps(ingest(value).value) == dumps(ingest(turned).value)
    assert hash_of(ingest(value).value) == hash_of(ingest(turned).value)
    assert list(ingest(turned).value) == list(loads(dumps(ingest(value).value)))


def test_bytes_are_stable():
    """The very bytes, so that a hash made today holds for ever."""
    value = {"b": [1, 1.5, -0.0, 1e22, True, None], "a": 'ü\u2028\x00"\\/', "": {}}
    data = b'{"":{},"a":"\xc3\xbc\xe2\x80\xa8\\u0000\\"\\\\/","b":[1,1.5,-0.0,1e+22,true,null]}'
    assert dumps(value) == data
    assert hash_of(value) == sha256(data)
    assert loads(data) == value


@pytest.mark.parametrize("value", [MAX_INT, -MAX_INT, MAX_INT - 1, [{"n": MAX_INT}], (MAX_INT,)])
def test_integers_up_to_two_to_the_53rd_pass(value):
    """The bound itself is a legal integer, in and out."""
    plain = ingest(value).value
    assert loads(dumps(plain)) == plain


@pytest.mark.parametrize(
    ("value", "place", "found"),
    [
        (float("nan"), "value", "nan"),
        ({"a": [1, math.inf]}, "value.a[1]", "inf"),
        ([-math.inf], "value[0]", "-inf"),
        (MAX_INT + 1, "value", "beyond 2**53"),
        ({"a": {"b": -MAX_INT - 1}}, "value.a.b", "beyond 2**53"),
        ({1: "a"}, "value", "the key 1"),
        ({"a": {None: 1}}, "value.a", "the key None"),
        (dict.fromkeys(["\ud800", "\ufffd"], 1), "value", "twice"),
        (b"bytes", "value", "bytes"),
        ([{1, 2}], "value[0]", "set"),
        (Decimal("1.5"), "value", "Decimal"),
        (dt.datetime(2026, 1, 1, tzinfo=dt.UTC), "value", "datetime"),
        (object(), "value", "object"),
        (nested(MAX_DEPTH - ROOM + 1), "value", "nesting over"),
    ],
)
def test_what_json_would_change_is_refused_with_its_place(value, place, found):
    """NaN, infinities, huge integers, other keys and other types: where, what, and what instead."""
    with pytest.raises(ValueRefused) as caught:
        ingest(value)
    assert str(caught.value).startswith(place)
    assert found in str(caught.value)
    assert "expected" in str(caught.value)


def test_depth_is_counted_from_the_outside():
    """The deepest value allowed passes, also in a body that adds levels of its own."""
    value = nested(MAX_DEPTH - ROOM)
    assert ingest(value).value == value
    assert loads(dumps({"body": {"more": [value]}}))
    with pytest.raises(ValueRefused):
        ingest([[1]], depth=1)


def test_a_value_that_holds_itself_is_refused():
    """A circle has no end, so it is too deep."""
    circle: list[object] = []
    circle.append(circle)
    with pytest.raises(ValueRefused, match="nesting"):
        ingest(circle)


@pytest.mark.parametrize(
    ("text", "repaired"),
    [
        ("a\ud800b", "a\ufffdb"),
        ("\udfff", "\ufffd"),
        ("\ud83d\ude00", "\U0001f600"),  # two halves that belong together
        ("\ufeffx\udc00", "\ufeffx\ufffd"),
    ],
)
def test_lone_surrogates_are_replaced_once_and_said_so(text, repaired):
    """Text that cannot be UTF-8 is repaired where it enters, in keys as in values."""
    taken = ingest({text: [text]})
    assert taken.repaired
    assert taken.value == {repaired: [repaired]}
    assert not ingest(taken.value).repaired
    with pytest.raises(ValueRefused):
        dumps(text)


def test_containers_and_enumerations_become_plain():
    """Tuples, mappings of any kind and texts of any class are taken as what they are in JSON."""

    class Colour(enum.StrEnum):
        RED = "red"

    class Old(str, enum.Enum):  # noqa: UP042 - people still have these
        BLUE = "blue"

    value = OrderedDict(z=(1, Colour.RED), a=MappingProxyType({Old.BLUE: Old.BLUE}))
    plain = ingest(value).value
    assert plain == {"a": {"blue": "blue"}, "z": [1, "red"]}
    assert list(plain) == ["a", "z"]
    assert {type(item) for item in (*plain["z"], *plain["a"], *plain["a"].values())} == {int, str}


def test_a_fresh_copy_is_given():
    """What was taken in no longer belongs to whoever gave it."""
    inner = [1]
    taken = ingest({"a": inner}).value
    inner.append(2)
    assert taken == {"a": [1]}


@pytest.mark.parametrize("value", [{1: 2}, {"a": {1, 2}}, object(), MAX_INT + 1, [2**63], "\ud800"])
def test_dumps_refuses_what_is_not_plain(value):
    """Nothing that reads back differently is written, gate or no gate."""
    with pytest.raises(ValueRefused, match="ingest"):
        dumps(value)


@pytest.mark.parametrize(
    "data",
    [
        b'{"b":1,"a":2}', b'{"a":1,"a":1}', b'{"a": 1}', b"[1,2 ]", b"1.0e0", b'"\\u00fc"',
        b"9007199254740993", b"NaN", b"", b"\xff", b"[" * 2000, b"1 2", b'{"a":1}\n',
    ],
)  # fmt: skip
def test_loads_takes_canonical_bytes_only(data):
    """Another spelling of the same value was not written by us."""
    with pytest.raises(ValueRefused):
        loads(data)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ('{"a":1,"b":2,"a":3}', "the key 'a' stands twice"),
        ("[NaN]", "NaN is not JSON"),
        ("-Infinity", "-Infinity is not JSON"),
        ("1e999", "inf"),
        ("123456789012345678901234567890", "beyond 2**53"),
        ("1" * 5_000, "not JSON"),
        ("{", "not JSON"),
        ("", "not JSON"),
        (b"\xff", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[" * 80 + "]" * 80, "nesting over"),
    ],
)
def test_parse_refuses_what_would_change_silently(text, what):
    """Foreign JSON is read strictly, and the fault is named."""
    with pytest.raises(ValueRefused) as caught:
        parse(text, where="body")
    assert str(caught.value).startswith("body")
    assert what in str(caught.value)


@given(values)
def test_parse_reads_what_anybody_else_wrote(value):
    """Any spelling of a value gives what taking it in gives."""
    try:
        want = ingest(value).value
    except ValueRefused:
        return
    assert parse(json.dumps(want, indent=1)) == want
    assert parse(json.dumps(want).encode()) == want


def test_the_default_redactor_keeps_everything():
    """Without a redactor values are written as they are."""
    value = {"a": 1}
    assert keep_all("result", value) is value
