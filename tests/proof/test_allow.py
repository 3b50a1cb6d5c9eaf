"""Findings that a table allows, each with a reason."""

import pytest

from statemachine_agents.errors import TableError
from statemachine_agents.proof.structure import check
from statemachine_agents.table.definition import Definition
from statemachine_agents.table.model import Table
from statemachine_agents.table.toolspec import ToolSpec

TEXT = """\
name = "t"
version = "1"
initial = "one"
transitions = [
  { source = "one", event = "pay.ok", target = "done" },
]

[states]
one = { ask = "Pay.", tools = ["pay"] }
done = { final = "success" }
"""
SPECS = {"pay": ToolSpec(name="pay", effect="manual")}
CODE = "effect-unknown-unhandled"


def table(*allowances):
    """Return the table with allowances."""
    lines = "".join(f"  {each},\n" for each in allowances)
    return Table.from_toml(f"{TEXT}\n[check]\nallow = [\n{lines}]\n" if allowances else TEXT)


def found(*allowances, info=False):
    """Return (code, severity) of the findings."""
    return [(each.code, each.severity) for each in check(table(*allowances), SPECS, info=info)]


def test_an_allowed_warning_is_a_remark_with_its_reason():
    """Everywhere, or only where it is allowed."""
    assert found() == [(CODE, "warning")]
    assert found(f'{{ code = "{CODE}", reason = "staff look daily" }}') == []
    here = f'{{ code = "{CODE}", reason = "staff look daily", where = "states.one" }}'
    assert found(here) == []
    said = [str(each) for each in check(table(here), SPECS, info=True)]
    assert any(f"{CODE} is allowed: staff look daily" in each for each in said)


def test_an_allowance_for_another_place_allows_nothing_and_is_told():
    """`states.on` is no beginning of `states.one`: places are compared by whole names."""
    other = f'{{ code = "{CODE}", reason = "x", where = "states.on" }}'
    assert found(other) == [(CODE, "warning"), ("allow-unused", "warning")]


def test_errors_and_unknown_codes_cannot_be_allowed():
    """With the nearest code that exists."""
    (problem,) = [each for each in check(table('{ code = "no-ends", reason = "x" }'), SPECS)
                  if each.code == "allow-unknown"]  # fmt: skip
    assert "did you mean 'no-end'?" in problem.next
    text = TEXT.replace('target = "done" }', 'target = "dome" }')
    broken = Table.from_toml(
        text + '\n[check]\nallow = [{ code = "unknown-state", reason = "x" }]\n'
    )
    assert "allow-error" in [each.code for each in check(broken, SPECS)]
    assert "unknown-state" in [each.code for each in check(broken, SPECS)]


def test_a_reason_is_needed_and_other_keys_are_refused():
    """Like everywhere in a table, all together."""
    with pytest.raises(TableError) as caught:
        table(f'{{ code = "{CODE}" }}', '{ code = "no-end", reason = "x", why = "y" }')
    places = [problem.where for problem in caught.value.facts["problems"]]
    assert places == ["check.allow[0].reason", "check.allow[1].why"]
    with pytest.raises(TableError) as caught:
        table(f'{{ code = "{CODE}", reason = "" }}', '{ code = "", reason = "x" }')
    places = [problem.where for problem in caught.value.facts["problems"]]
    assert places == ["check.allow[0].reason", "check.allow[1].code"]


def test_allowances_survive_both_forms_and_decide_no_run():
    """Text and plain form round-trip; the definition and its hash are those without."""
    allowed = table(
        f'{{ code = "{CODE}", reason = "staff look daily" }}',
        '{ code = "no-end", reason = "x", where = "states.one" }',
    )
    assert Table.from_toml(allowed.to_toml()) == allowed
    assert Table.from_dict(allowed.to_dict()) == allowed
    assert Definition(allowed, SPECS).hash == Definition(table(), SPECS).hash
