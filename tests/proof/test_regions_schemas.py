"""Regions over random schemas: no outcome that can come is missed, none is made up."""

from __future__ import annotations

from itertools import product
from random import Random

import jsonschema_rs
import pytest

from statemachine_agents.errors import EvaluationError
from statemachine_agents.proof.atoms import ERROR
from statemachine_agents.proof.names import Names
from statemachine_agents.proof.regions import implies, regions, satisfiable
from statemachine_agents.table.expressions import parse
from statemachine_agents.table.model import State, Table

TABLE = Table(name="t", initial="a", states=[State("a", ask="x", tools=["look"])])
PARTS, SCHEMAS, SETS = 8, 125, 20
"""Together 20,000 sets of conditions."""

FIELDS = (
    ({"type": "integer", "minimum": 0, "maximum": 3}, [0, 1, 2, 3]),
    ({"type": "integer", "minimum": -2.5, "maximum": 1.5}, [-2, -1, 0, 1]),
    ({"type": ["integer", "null"], "minimum": 1, "maximum": 3}, [1, 2, 3, None]),
    ({"type": "boolean"}, [True, False]),
    ({"enum": ["a", "b", 1, None]}, ["a", "b", 1, None]),
    ({"const": 2}, [2]),
    ({"type": "integer", "multipleOf": 2, "minimum": 0, "maximum": 4}, [0, 2, 4]),
    ({"enum": [1, 2, 3], "minimum": 2}, [2, 3]),
    (
        {"anyOf": [{"type": "integer", "minimum": low, "maximum": low + 1} for low in (0, 5)]},
        [0, 1, 5, 6],
    ),
    (
        {"type": "string", "minLength": 2, "maxLength": 2, "pattern": "^[ab]+$"},
        ["aa", "ab", "ba", "bb"],
    ),
    (
        {"type": "array", "items": {"enum": ["a", "b"]}, "maxItems": 2},
        [list(items) for size in range(3) for items in product("ab", repeat=size)],
    ),
)
"""Schemas of one field, each with every value it allows."""

CONSTANTS = ("0", "1", "2", "1.5", "-0.5", "2.5", "5", "'a'", "'b'", "'ab'", "'bb'", "null", "true")


def closed(**members):
    return {
        "type": "object",
        "properties": members,
        "required": list(members),
        "additionalProperties": False,
    }


def random_schema(random):
    """Return a schema, all values it allows, the way to its fields, and their names."""
    chosen = {name: random.choice(FIELDS) for name in "xyz"[: random.choice((1, 2, 3))]}
    inner = closed(**{name: schema for name, (schema, _) in chosen.items()})
    inner["required"] = [name for name in chosen if random.random() < 0.7]
    missing = object()
    domains = [
        [*values, *([] if name in inner["required"] else [missing])]
        for name, (_, values) in chosen.items()
    ]
    values = [
        {name: value for name, value in zip(chosen, each, strict=True) if value is not missing}
        for each in product(*domains)
    ]
    match random.randrange(4):
        case 0:
            return inner, values, "result.", list(chosen)
        case 1:
            schema, more = closed(o=inner), []
        case 2:
            schema, more = closed(o={"anyOf": [inner, {"type": "null"}]}), [{"o": None}]
        case _:
            schema = {**closed(o={"$ref": "#/$defs/I"}), "required": [], "$defs": {"I": inner}}
            more = [{}]
    return schema, [{"o": value} for value in values] + more, "result.o.", list(chosen)


def random_condition(random, way, names, depth=2):
    if depth and random.random() < 0.65:
        left, right = (random_condition(random, way, names, depth - 1) for _ in range(2))
        texts = (f"({left}) and ({right})", f"({left}) or ({right})", f"not ({left})")
        return random.choice(texts)
    one, other = (way + random.choice(names) for _ in range(2))
    constant, size = random.choice(CONSTANTS), random.choice("012")
    compared = f"{one} {random.choice(('==', '!=', '<', '<=', '>', '>='))} {constant}"
    texts = [
        compared, compared, f"{one} {random.choice(('==', '<'))} {other}", f"exists({one})",
        f"{one} in [1, 'a', 2.5, 'ab']", one, f"default({one}, 2) > {constant}", f"'a' in {one}",
        f"len({one}) {random.choice(('>', '==', '<'))} {size}", f"lower({one}) == 'a'",
    ]  # fmt: skip
    return random.choice(texts + (["exists(result.o)"] if way == "result.o." else []))


def truth(expression, scope):
    try:
        return expression.holds(scope)
    except EvaluationError:
        return ERROR


@pytest.mark.parametrize("part", range(PARTS))
def test_regions_agree_with_trying_every_value_a_schema_allows(part):
    """2,500 sets a part: what can come is found, and what is shown with values can come."""
    random = Random(f"schemas {part}")
    shown = refused = 0
    for _ in range(SCHEMAS):
        schema, values, way, fields = random_schema(random)
        names = Names(TABLE, {"result": schema})
        for _ in range(SETS):
            count = random.choice((1, 1, 2, 3))
            expressions = [parse(random_condition(random, way, fields)) for _ in range(count)]
            real = {
                tuple(truth(each, {"result": value}) for each in expressions) for value in values
            }
            cut = regions(expressions, names)
            context = [each.text for each in expressions], schema
            if not cut.complete:  # a dozen free conditions at once
                assert "regions" in cut.reason
                refused += 1
                continue
            assert real <= set(cut.found), context
            for outcomes, witness in cut.found.items():
                if witness is not None:
                    shown += 1
                    assert outcomes in real, context
                    assert tuple(truth(each, witness) for each in expressions) == outcomes, context
    assert shown > SCHEMAS * SETS  # undecided is no way out
    assert refused * 100 < SCHEMAS * SETS


def test_the_values_of_the_fields_are_all_there_are():
    """The oracle's own lists fit their schemas, and near ones do not."""
    near = [*range(-4, 8), True, False, None, "a", "b", "c", "aa", "ab", "ba", "bb", "aaa", [], {}]
    for schema, values in FIELDS:
        validator = jsonschema_rs.validator_for(schema)
        assert all(validator.is_valid(value) for value in values), schema
        listed = {repr(value) for value in values}
        assert {repr(value) for value in near if validator.is_valid(value)} <= listed, schema


TEXT = {"type": "string"}
WHOLE = {"type": "integer"}


@pytest.mark.parametrize(
    ("field", "texts", "verdict"),
    [
        (WHOLE, ["result.v > 2.5"], "yes"),
        (WHOLE, ["result.v > 2.5", "result.v < 3"], "no"),
        ({"type": "integer", "minimum": 0.5}, ["result.v > 0"], "yes"),
        ({**TEXT, "minLength": 3}, ["result.v < 'b'"], "yes"),
        ({**TEXT, "maxLength": 1}, ["result.v > 'ab'", "result.v < 'b'"], "no"),
        ({"type": ["string", "integer"], "minLength": 10}, ["result.v >= 'a'"], "yes"),
        (TEXT, ["lower(result.v) == 'ab'", "result.v != 'ab'", "result.v != 'AB'"], "yes"),
        (TEXT, ["lower(result.v) == 'k'", "result.v != 'k'", "result.v != 'K'"], "yes"),
        (TEXT, ["lower(result.v) == '1'", "result.v != '1'"], "no"),
        (TEXT, ["'ab' in result.v", "'bc' in result.v", "not (' ' in result.v)"], "yes"),
        ({"type": "array", "minItems": 2}, ["'a' in result.v"], "yes"),
        ({"type": "array"}, ["len(result.v) == 2", "result.v != [null, null]"], "yes"),
        ({"type": "array", "items": WHOLE}, ["len(result.v) > 0"], "yes"),
        ({"type": "array", "items": {"enum": ["a"]}}, ["'x' in result.v"], "undecided"),
        (closed(x=WHOLE), ["len(result.v) == 0"], "undecided"),
        (closed(x=WHOLE), ["result.v == {y: 1}"], "undecided"),
        ({"enum": [1, 2], "minimum": 2}, ["result.v == 1"], "undecided"),
        ({"type": "number", "exclusiveMinimum": 0}, ["result.v <= 0"], "undecided"),
    ],
)
def test_bounds_and_insides_of_one_value(field, texts, verdict):
    """What bounds, items and members allow is found; what only a schema can refuse is no yes."""
    schema = closed(v=field)
    found = satisfiable([(parse(text), True) for text in texts], Names(TABLE, {"result": schema}))
    assert found.verdict == verdict
    if verdict == "yes":
        assert all(parse(text).holds(found.witness) for text in texts)
        assert jsonschema_rs.validator_for(schema).is_valid(found.witness["result"])


def test_choices_that_go_together_are_not_mixed():
    """A schema that ties two members to each other never lends a witness that unties them."""
    choices = [closed(kind={"const": kind}, n={"const": n}) for kind, n in (("a", 1), ("b", 2))]
    names = Names(TABLE, {"result": {"anyOf": choices}})
    mixed = [(parse("result.kind == 'a'"), True), (parse("result.n == 2"), True)]
    assert satisfiable(mixed, names).verdict != "yes"
    assert implies(mixed[:1], parse("result.n == 1"), names) != "no"
    tied = [(parse("result.kind == 'a'"), True), (parse("result.n == 1"), True)]
    assert satisfiable(tied, names).verdict == "yes"


def test_names_by_pattern_may_be_there():
    """A closed object still has the members its patterns allow."""
    schema = {
        "type": "object",
        "patternProperties": {"^x": WHOLE},
        "additionalProperties": False,
    }
    found = satisfiable([(parse("result.x1 == 1"), True)], Names(TABLE, {"result": schema}))
    assert found.verdict == "yes"


def test_a_reference_to_elsewhere_is_never_fetched():
    """A `$ref` to another document leaves everything open, and nothing is asked of a network."""
    names = Names(TABLE, {"result": closed(v={"$ref": "https://example.invalid/schema.json"})})
    assert satisfiable([(parse("result.v == 1"), True)], names).verdict == "undecided"


@pytest.mark.parametrize(
    "schema",
    [{"$ref": "#/a", "a": {"$ref": "#/a"}}, {"type": "nonsense"}, {"const": 2**60}],
)
def test_a_schema_that_says_nothing_sound_is_no_crash(schema):
    """A circle of references, or what is no schema, leaves conditions undecided."""
    names = Names(TABLE, {"result": closed(v=schema)})
    assert satisfiable([(parse("result.v == 1"), True)], names).verdict in ("undecided", "no")
