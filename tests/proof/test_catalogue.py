"""The catalogue: every code that is said, and no other."""

from __future__ import annotations

import ast
from pathlib import Path

import statemachine_agents
from statemachine_agents.proof.catalogue import CATALOGUE, CHECKS, ENTRIES, index

PACKAGE = Path(statemachine_agents.__file__).parent
PARTS = ("proof", "table", "kernel", "cli")
AT = {"say": 0, "warn": 0, "remark": 0, "Problem": 0, "_known": 1}


def said() -> set[str]:
    """Collect the codes of every call that makes a finding."""
    out = set()
    for part in PARTS:
        for path in (PACKAGE / part).glob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if not isinstance(node, ast.Call):
                    continue
                at = AT.get(getattr(node.func, "attr", getattr(node.func, "id", "")))
                wanted = node.args[at] if at is not None and len(node.args) > at else None
                if isinstance(wanted, ast.Constant) and isinstance(wanted.value, str):
                    out.add(wanted.value)
    return out | {"too-many"}  # `table.reading` puts it in the place of another code


def test_every_code_said_is_in_the_catalogue_and_no_other():
    """A new finding needs an entry; a finding that is gone leaves none behind."""
    assert said() == set(CATALOGUE)


def test_codes_stand_once_and_answer_known_checks():
    """No entry hides another, and each names checks that exist."""
    assert len(CATALOGUE) == len(ENTRIES)
    assert {name for entry in ENTRIES for name in entry.checks} <= set(CHECKS)


def test_the_page_says_what_the_catalogue_says():
    """`docs/checks/README.md` is written from the catalogue and never behind it."""
    page = PACKAGE.parent / "docs" / "checks" / "README.md"
    assert page.read_text(encoding="utf-8") == index()
