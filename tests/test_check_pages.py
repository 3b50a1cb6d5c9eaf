"""The page of every check: its bad table shows what the page is about, its good one does not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from statemachine_agents.cli.proving import findings, verdicts_of
from statemachine_agents.kernel.workflow import Workflow
from statemachine_agents.proof.catalogue import CATALOGUE, CHECKS
from statemachine_agents.proof.product import prove
from statemachine_agents.proof.structure import check
from statemachine_agents.table.definition import Definition
from statemachine_agents.table.model import Table
from statemachine_agents.table.toolspec import ToolSpec

PAGES = Path(__file__).parent.parent / "docs" / "checks"


def _spec(name: str, effect: str, *texts: str) -> ToolSpec:
    arguments = {
        "type": "object",
        "properties": {text: {"type": "string"} for text in texts},
        "required": list(texts),
        "additionalProperties": False,
    }
    return ToolSpec(name=name, effect=effect, arguments=arguments)


SPECS = {
    "look": _spec("look", "read"),
    "pay": _spec("pay", "manual"),
    "mail": _spec("mail", "transactional"),
    "login": _spec("login", "idempotent", "password"),
    "transfer": _spec("transfer", "idempotent", "account"),
}


def codes(text: str) -> set[str]:
    """Return the codes that checks and prover find in a table."""
    table = Table.from_toml(text)
    used = {name: spec for name, spec in SPECS.items() if f'"{name}"' in text}
    found = list(check(table, used, info=True))
    if table.rules and all(each.severity != "error" for each in found):
        verdicts = verdicts_of(Workflow.from_definition(Definition(table, used)))
        assert verdicts is not None
        found += findings(verdicts)
        assert prove(table, used).proofs
    return {each.code for each in found}


@pytest.mark.parametrize("name", CHECKS)
def test_the_bad_table_shows_the_finding_and_the_good_one_does_not(name):
    """Both tables are run through the checks; the page names only codes that exist."""
    page = (PAGES / f"{name}.md").read_text(encoding="utf-8")
    (line,) = re.findall(r"^Codes: (.*)\.$", page, re.MULTILINE)
    named = set(re.findall(r"`([a-z-]+)`", line))
    assert named <= set(CATALOGUE), named - set(CATALOGUE)
    bad, good = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    assert codes(bad) & named
    left = codes(good)
    assert not left & named - {"rule-by-gate", "guard-overlap"}
    grave = {code for code in left if CATALOGUE[code].severity == "error"}
    assert not grave
