"""Regions: what is decided is right, against every combination of values of small domains."""

from __future__ import annotations

from itertools import product
from random import Random

import pytest

from statemachine_agents.errors import EvaluationError
from statemachine_agents.proof.atoms import ERROR
from statemachine_agents.proof.names import Names, names_at
from statemachine_agents.proof.regions import implies, regions, satisfiable
from statemachine_agents.table.expressions import parse
from statemachine_agents.table.model import State, Table
from statemachine_agents.table.toolspec import ToolSpec

TABLE = Table(
    name="t",
    initial="a",
    states=[State("a", ask="x", tools=["look"])],
    context={"n": "integer", "name": "string?", "flag": "boolean", "thing": "object?", "x": "any"},
)
LOOK = ToolSpec(
    name="look",
    arguments={"type": "object", "properties": {"k": {"enum": [1, 2]}}, "required": ["k"]},
    result={
        "type": "object",
        "properties": {
            "ok": {"type": "boolean"},
            "n": {"type": "integer", "minimum": 0, "maximum": 3},
            "m": {"anyOf": [{"type": "integer", "minimum": 0, "maximum": 2}, {"type": "null"}]},
            "kind": {"enum": ["a", "b", "c"]},
        },
        "required": ["ok", "n", "m", "kind"],
        "additionalProperties": False,
    },
)
NAMES = names_at(TABLE, {"look": LOOK}, "look.ok")
UNKNOWN = Names(TABLE, {"result": {}})
DOMAIN = [
    {"ok": ok, "n": n, "m": m, "kind": kind}
    for ok, n, m, kind in product((True, False), range(4), (0, 1, 2, None), "abc")
]
"""Every result the schema allows."""

ATOMS = (
    "result.ok", "result.n <= 1", "result.n > 2", "result.n == 3", "result.n != 0",
    "result.m < 2", "result.m == null", "result.m != 1", "exists(result.m)", "result.n >= result.m",
    "default(result.m, 5) > 3", "result.kind == 'b'", "result.kind in ['a', 'b']",
    "result.kind < 'b'", "result.kind != 'z'", "result.n == result.m", "result.none",
    "result.kind == 1", "not result.ok", "result.n < 'x'", "args.k == 1", "len(result.kind) == 1",
    "result.ok == true", "result.n in [1, 2]", "result.kind", "true", "false",
)  # fmt: skip


def random_condition(random, depth=2):
    if depth == 0 or random.random() < 0.3:
        return random.choice(ATOMS)
    left, right = (random_condition(random, depth - 1) for _ in range(2))
    match random.randrange(5):
        case 0 | 1:
            return f"({left}) and ({right})"
        case 2 | 3:
            return f"({left}) or ({right})"
    return f"not ({left})"


def truth(expression, scope):
    try:
        return expression.holds(scope)
    except EvaluationError:
        return ERROR


def scopes():
    return [{"result": value, "args": {"k": k}} for value in DOMAIN for k in (1, 2)]


SCOPES = scopes()


@pytest.mark.parametrize("part", range(4))
def test_every_outcome_is_found_and_none_is_made_up(part):
    """1 to 3 conditions at once, 1,000 sets a part: the same outcomes as trying all values."""
    random = Random(part)
    for _ in range(1000):
        expressions = [
            parse(random_condition(random, random.choice((0, 1, 2))))
            for _ in range(random.choice((1, 2, 3)))
        ]
        cut = regions(expressions, NAMES)
        assert cut.complete
        real = {tuple(truth(each, scope) for each in expressions) for scope in SCOPES}
        assert set(cut.found) == real, [each.text for each in expressions]
        for outcomes, witness in cut.found.items():
            assert witness is not None
            assert tuple(truth(each, witness) for each in expressions) == outcomes


def test_implication_agrees_with_trying_all_values():
    """1,500 pairs; nothing is undecided over a closed schema."""
    random = Random("implies")
    seen = set()
    for _ in range(1500):
        left, right = (parse(random_condition(random)) for _ in range(2))
        found = implies([(left, True)], right, NAMES)
        real = all(truth(right, s) is True for s in SCOPES if truth(left, s) is True)
        assert found == ("yes" if real else "no"), (left.text, right.text)
        seen.add(found)
    assert seen == {"yes", "no"}


VALUES = (
    None, True, False, -1, 0, 1, 2, 2.5, 3, 4, 5, 6, 50_000, 50_001, "", "a", "a\x00", "ab", "b",
    "b ", "z", "A", "abc", [], [1], ["a"], ["a", "b"], [None], {}, {"a": 1}, {"a": 1, "b": 2},
)  # fmt: skip
LOOSE = (
    "result.v < 3", "result.v <= 3", "result.v == 3", "result.v > 2.5", "result.v == 'a'",
    "result.v < 'b'", "result.v >= 'ab'", "result.v in [1, 'a', null]", "exists(result.v)",
    "result.v", "result.v == true", "result.v == null", "default(result.v, 4) > 3",
    "lower(result.v) == 'a'", "result.v == ['a']", "result.v == {a: 1}", "result.v == result.w",
    "result.v < result.w", "result.w == 3", "result.w < 'b'", "result.w", "exists(result.w)",
)  # fmt: skip


def test_unknown_values_of_every_kind():
    """Without a schema: what some tried value shows is found, and every witness is real."""
    random = Random("loose")
    tried = [{"result": {"v": v, "w": w}} for v in VALUES for w in VALUES]
    for _ in range(300):
        expressions = [parse(random.choice(LOOSE)) for _ in range(random.choice((1, 2, 3)))]
        if random.random() < 0.5:
            expressions[0] = parse(f"not ({expressions[0].text})")
        cut = regions(expressions, UNKNOWN)
        if not cut.complete or cut.reason:
            continue
        real = {tuple(truth(each, scope) for each in expressions) for scope in tried}
        assert real <= set(cut.found), [each.text for each in expressions]
        for outcomes, witness in cut.found.items():
            assert tuple(truth(each, witness) for each in expressions) == outcomes


@pytest.mark.parametrize(
    ("texts", "verdict"),
    [
        (["len(result.v) > 3", "len(result.v) < 5"], "yes"),
        (["len(result.v) > 3", "len(result.v) < 4"], "no"),
        (["'a' in result.v", "not ('b' in result.v)"], "yes"),
        (["result.v == 'a'", "result.v == 'b'"], "no"),
        (["result.v > 1", "result.v < 2"], "yes"),  # 1.5
        (["context.n > 1", "context.n < 2"], "no"),  # an integer
        (["context.flag == 'x'"], "no"),
        (["context.name == null"], "yes"),
        (["context.n == null"], "no"),
        (["context.n + 1 > 3"], "undecided"),
        (["context.n + 1 > 3", "context.flag", "not context.flag"], "no"),
        (["any(x, context.x, x.open)"], "undecided"),
        (["now > '2026'"], "undecided"),
        (["ago('1h') < now or true"], "undecided"),
        (["context.thing.a[0] == 1"], "undecided"),
        (["exists(context.thing)", "context.thing.kind == 'a'"], "yes"),
        (["not exists(context.thing)", "context.thing.kind == 'a'"], "no"),
        (["len(context.thing) == 1", "context.thing.kind == 'a'"], "undecided"),
        (["visits.a > 3"], "yes"),
        (["visits.a < 0"], "no"),
        (["visits.nowhere == 1"], "no"),
        (["error.kind == 'x'"], "no"),  # no error on `.ok`
        (["args.k == 3"], "no"),
        (["result.kind == 'x'"], "no"),
        (["'x' in result.v", "len(result.v) == 3"], "undecided"),
    ],
)
def test_what_can_hold_together(texts, verdict):
    """Yes with values that show it, no, or undecided with the reason."""
    names = NAMES if any("result.kind" in text or "args" in text for text in texts) else UNKNOWN
    found = satisfiable([(parse(text), True) for text in texts], names)
    assert found.verdict == verdict
    if verdict == "yes":
        assert all(parse(text).holds(found.witness) for text in texts)
    if verdict == "undecided":
        assert found.reason


def test_errors_are_outcomes_too():
    """A guard that meets null where it wants a number says so, with the values."""
    found = satisfiable([(parse("result.m < 2"), ERROR)], NAMES)
    assert found.verdict == "yes"
    assert found.witness.get("result", {}).get("m") is None
    assert satisfiable([(parse("result.n < 2"), ERROR)], NAMES).verdict == "no"


def test_a_pattern_leaves_a_witness_in_doubt():
    """A made-up text may be one the schema forbids."""
    spec = {"type": "object", "properties": {"id": {"type": "string", "pattern": "^A"}},
            "required": ["id"]}  # fmt: skip
    names = Names(TABLE, {"args": spec})
    assert satisfiable([(parse("args.id == 'B'"), True)], names).verdict == "undecided"
    assert satisfiable([(parse("args.id == null"), True)], names).verdict == "no"


def test_too_many_regions_are_not_looked_at():
    """Eight conditions on as many unknown values in one comparison each are refused, not slow."""
    text = " and ".join(f"result.v{i} == result.v{i + 1}" for i in range(9))
    found = satisfiable([(parse(text), True)], UNKNOWN)
    assert found.verdict == "undecided"
    assert "regions" in found.reason


def test_references_and_choices_of_schemas():
    """`$ref` and `anyOf` are followed; a nullable object is there as a whole or not at all."""
    line = {
        "type": "object",
        "properties": {"n": {"type": "integer"}, "m": {"type": "integer"}},
        "required": ["n", "m"],
        "additionalProperties": False,
    }
    schema = {
        "$defs": {"Line": line},
        "type": "object",
        "properties": {"line": {"anyOf": [{"$ref": "#/$defs/Line"}, {"type": "null"}]}},
        "required": ["line"],
        "additionalProperties": False,
    }
    names = Names(TABLE, {"result": schema})

    def can(*texts):
        return satisfiable([(parse(text), True) for text in texts], names).verdict

    assert can("result.line.n == 1", "result.line.m == 2") == "yes"
    assert can("result.line.n == null") == "yes"
    assert can("result.line.n == 'x'") == "no"
    assert can("result.line.z == 1") == "no"
    assert can("result.line.n == null", "result.line.m == 2") != "yes"
