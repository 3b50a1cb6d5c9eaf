"""`sma check --explain` and `--schema`: answers that need no table."""

import json
from pathlib import Path

import statemachine_agents
from statemachine_agents.proof.catalogue import CHECKS, codes_of

SCHEMA = Path(statemachine_agents.__file__).with_name("table.schema.json")


def test_a_code_is_explained(sma):
    """Its severity, its check and its title, on one line."""
    said = sma("check", "--explain", "no-end")
    assert said.code == 0
    assert said.out == "error[no-end] (T02): no path leads from the state to a final state\n"


def test_a_check_lists_its_codes(sma):
    """Every check is explained with all of its codes, in either case of its letter."""
    for check in CHECKS:
        said = sma("check", "--explain", check.lower(), "--json")
        assert said.code == 0
        assert said.objects[0] == {"event": "check", "check": check, "title": CHECKS[check]}
        assert tuple(each["code"] for each in said.objects[1:]) == codes_of(check)


def test_a_check_shows_its_page(sma):
    """What it finds, why it matters, a bad table and a good one."""
    said = sma("check", "--explain", "T07")
    assert "# T07: Cycles without a declared bound" in said.out
    assert "## Bad" in said.out
    assert "## Good" in said.out


def test_a_name_nobody_knows_is_a_usage_error(sma):
    """With the nearest right one."""
    said = sma("check", "--explain", "no-ends")
    assert said.code == 2
    assert "did you mean 'no-end'?" in said.all


def test_the_schema_is_the_one_shipped(sma):
    """Byte for byte, so that an editor may be pointed at the output."""
    said = sma("check", "--schema")
    assert said.code == 0
    assert json.loads(said.out) == json.loads(SCHEMA.read_text(encoding="utf-8"))
