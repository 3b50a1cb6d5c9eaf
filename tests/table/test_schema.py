"""The JSON Schema of the TOML form: an editor and the loader refuse the same things."""

from __future__ import annotations

import copy
import json
import tomllib
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import statemachine_agents
from statemachine_agents.errors import TableError
from statemachine_agents.table.model import Table
from tests.bad_input import ROOT
from tests.strategies import tables
from tests.tables import everything, refund

FILE = Path(statemachine_agents.__file__).with_name("table.schema.json")
SCHEMA = jsonschema_rs.validator_for(json.loads(FILE.read_text(encoding="utf-8")))
SHIPPED = sorted(ROOT.glob("workflows/*/table.toml"))
WHOLE = [refund().to_dict(), everything().to_dict()]
WHOLE += [tomllib.loads(path.read_text(encoding="utf-8")) for path in SHIPPED]
ODD: list[Any] = [
    "text",
    5,
    1.5,
    True,
    [],
    ["a"],
    [1],
    {},
    {"a": "b"},
    {"a": 1},
    {"odd": {}},
    -1,
    0,
]


def loads(data: Any) -> bool:
    try:
        Table.from_dict(data)
    except TableError:
        return False
    return True


def objects(data: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place of a value, the value itself left out."""
    inner = data.items() if isinstance(data, dict) else enumerate(data)
    out = []
    for key, value in inner:
        out.append((*path, key))
        if isinstance(value, dict | list):
            out += objects(value, (*path, key))
    return out


def put(data: Any, path: tuple[Any, ...], value: Any) -> None:
    for step in path[:-1]:
        data = data[step]
    data[path[-1]] = value


@given(tables())
@settings(max_examples=30, suppress_health_check=list(HealthCheck))
def test_random_tables_validate(table: Table):
    """What the loader writes is right in an editor, too."""
    assert SCHEMA.is_valid(table.to_dict())


@pytest.mark.parametrize("data", WHOLE, ids=lambda data: data["name"])
def test_whole_tables_validate(data: dict[str, Any]):
    """Tables that use every key, and those that ship, are right."""
    assert SCHEMA.is_valid(data)


@given(st.sampled_from(WHOLE), st.data())
@settings(max_examples=600, deadline=None)
def test_one_odd_value_is_judged_alike(whole: dict[str, Any], data: st.DataObject):
    """Whatever is put at any place of a table, the schema and the loader agree about it."""
    spoilt = copy.deepcopy(whole)
    place = data.draw(st.sampled_from(objects(whole)))
    put(spoilt, place, data.draw(st.sampled_from(ODD)))
    assert SCHEMA.is_valid(spoilt) == loads(spoilt), place


@given(st.sampled_from(WHOLE), st.data())
@settings(max_examples=300, deadline=None)
def test_one_key_more_or_less_is_judged_alike(whole: dict[str, Any], data: st.DataObject):
    """An unknown key or a missing one is refused by both, or by neither."""
    spoilt = copy.deepcopy(whole)
    places = [place for place in objects(whole) if isinstance(place[-1], str)]
    place = data.draw(st.sampled_from(places))
    holder: Any = spoilt
    for step in place[:-1]:
        holder = holder[step]
    if data.draw(st.booleans()):
        del holder[place[-1]]
    else:
        holder["unheard_of"] = holder[place[-1]]
    assert SCHEMA.is_valid(spoilt) == loads(spoilt), place


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.parent.name)
def test_shipped_tables_name_the_schema(path: Path):
    """An editor that opens a shipped table finds the schema beside the package."""
    mark, name = path.read_text(encoding="utf-8").splitlines()[0].split(" ", 1)
    assert mark == "#:schema"
    assert (path.parent / name).resolve() == FILE.resolve()
