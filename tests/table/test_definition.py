"""A definition: one hash for what decides, readable without any Python of the author's."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given

from statemachine_agents.errors import TableError, ValueRefused
from statemachine_agents.table.definition import Definition
from statemachine_agents.table.model import Table
from statemachine_agents.table.toolspec import Breaker, Retry, ToolSpec
from statemachine_agents.values import dumps, loads
from tests.strategies import SPECS, tables
from tests.tables import everything, refund, refund_specs


def refund_definition() -> Definition:
    return Definition(refund(), refund_specs(), {"child": "0" * 64})


def test_reading_back_gives_the_same_bytes_and_values():
    """What recovery reads is what was stored: table, specs, children, and the order of states."""
    for definition in (refund_definition(), Definition(everything())):
        again = Definition.from_data(definition.data)
        assert again.data == definition.data
        assert again.hash == definition.hash
        assert again == definition
        for section in ("states", "define", "tools", "context"):
            written = list(getattr(definition.table, section))
            assert list(getattr(again.table, section)) == written


@given(tables())
def test_random_definitions_read_back(table: Table):
    """The same for random tables; their states keep the author's order."""
    definition = Definition(table, SPECS)
    again = Definition.from_data(definition.data)
    assert again.data == definition.data
    assert again.table == table
    assert list(again.table.states) == list(table.states)


def test_the_hash_is_the_same_everywhere():
    """The hash names stored definitions for ever: this one must never change by accident."""
    assert refund_definition().hash == (
        "336d01d4c1c7ee836b42ba028f1303e20dd65204d1aa7b16f4a4bf8640f375a2"
    )


def test_how_a_table_was_written_does_not_matter():
    """TOML, dict and Python forms of one table have one hash."""
    table = refund()
    for same in (Table.from_dict(table.to_dict()), Table.from_toml(table.to_toml())):
        assert Definition(same).hash == Definition(table).hash


@pytest.mark.parametrize("part", ["version", "instructions", "rules", "transitions", "states"])
def test_what_decides_changes_the_hash(part: str):
    """Another version, text, rule, row order or state order is another definition."""
    table = refund()
    value = getattr(table, part)
    changed = {
        "version": "2",
        "instructions": value,
        "rules": value,
        "transitions": value,
        "states": value,
    }
    if part == "instructions":
        changed[part] = value + "!"
    elif part in ("rules", "transitions"):
        changed[part] = value[::-1]
    elif part == "states":
        changed[part] = dict(reversed(value.items()))
    other = attrs.evolve(table, **{part: changed[part]})
    assert Definition(other).hash != Definition(table).hash


def test_specs_and_children_change_the_hash():
    """A tool's effect class or a child's definition is part of what decides."""
    base = refund_definition()
    specs = refund_specs()
    specs["send_email"] = attrs.evolve(specs["send_email"], effect="manual")
    assert Definition(base.table, specs, base.children).hash != base.hash
    assert Definition(base.table, base.tools, {"child": "1" * 64}).hash != base.hash


def test_the_order_of_specs_and_children_does_not_matter():
    """They are found by name."""
    base = refund_definition()
    reordered = Definition(base.table, dict(reversed(base.tools.items())), base.children)
    assert reordered.hash == base.hash


def test_specs_read_back_whole():
    """Every option of a tool survives, the absent ones stay out."""
    spec = ToolSpec(
        name="f",
        description="Does it.",
        arguments={"type": "object", "properties": {"a": {"type": "string"}}},
        result={"type": "object"},
        effect="verifiable",
        timeout=3,
        retry=Retry(attempts=2, delay=0, on=["busy"]),
        breaker=Breaker(failures=1, reset=2),
        undo="g",
        key_seconds=60.0,
        verifies=True,
        wants_call=True,
    )
    assert ToolSpec.from_dict(loads(dumps(spec.to_dict()))) == spec
    assert set(ToolSpec(name="f").to_dict()) == {
        "name", "description", "arguments", "effect", "timeout",
    }  # fmt: skip


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "a b"},
        {"name": ""},
        {"name": "f", "effect": "harmless"},
        {"name": "f", "timeout": 0},
    ],
)
def test_a_spec_checks_its_values(wrong: dict[str, object]):
    """Names the Messages API refuses, unknown effects and timeouts of nothing are refused here."""
    with pytest.raises(ValueError):
        ToolSpec(**wrong)


def test_a_spec_refuses_unknown_keys():
    """A spec of a newer version is not read as if it said less."""
    with pytest.raises(TableError, match="unknown keys") as caught:
        ToolSpec.from_dict({"name": "f", "colour": "red"})
    assert caught.value.facts["keys"] == ["colour"]


def test_retries_back_off():
    """The wait before attempt n grows by the factor."""
    retry = Retry(attempts=4, delay=0.5, backoff=3)
    assert [retry.wait(attempt) for attempt in (2, 3, 4)] == [0.5, 1.5, 4.5]


def test_bytes_of_another_format_are_refused():
    """A newer format is refused in words; bytes that are not canonical are refused as such."""
    plain = loads(refund_definition().data)
    with pytest.raises(TableError, match="newer version"):
        Definition.from_data(dumps({**plain, "format": 2}))
    with pytest.raises(TableError, match="newer version"):
        Definition.from_data(b"[]")
    with pytest.raises(ValueRefused):
        Definition.from_data(refund_definition().data + b" ")
