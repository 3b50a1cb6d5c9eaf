"""Who notices a mutant: checks, golden journals, tests on a copy; and what shows a survivor."""

from __future__ import annotations

import sys

import pytest

from statemachine_agents.errors import UsageError
from statemachine_agents.journal.replay import replay
from statemachine_agents.kernel.workflow import Workflow
from statemachine_agents.load import load_workflow
from statemachine_agents.models.scripted import use
from statemachine_agents.table.definition import Definition
from statemachine_agents.testing.mutation import score
from statemachine_agents.testing.play import play

TABLE = """
name = "desk"
initial = "here"
transitions = [
  { source = "here", event = "look.ok", target = "done", guard = "result.n <= 5" },
  { source = "here", event = "look.ok", target = "failed" },
]
[states]
here   = { ask = "Look.", tools = ["look"] }
done   = { final = "success" }
failed = { final = "failure" }
"""
TOOLS = '''
from statemachine_agents import tool

@tool(effect="read")
def look() -> dict:
    """Look."""
    return {"n": 5}
'''
TESTS = """
import sys
from pathlib import Path
from statemachine_agents.load import load_workflow
from statemachine_agents.models.scripted import use
from statemachine_agents.testing.play import play

played = play(load_workflow(Path("."), Path(".")), script=[use("look")])
sys.exit(played.path != ("here", "done"))
"""


@pytest.fixture
def folder(tmp_path):
    """A workflow in a folder of its own, with a test beside it."""
    place = tmp_path / "desk"
    place.mkdir()
    (place / "table.toml").write_text(TABLE)
    (place / "tools.py").write_text(TOOLS)
    (place / "check.py").write_text(TESTS)
    return place


@pytest.fixture
def desk(folder, tmp_path):
    return load_workflow(folder, tmp_path)


def golden(workflow, n):
    return play(workflow, script=[use("look")], tools={"look": {"n": n}}).journal


def test_golden_journals_notice_what_they_have_seen(desk):
    """A run through the first row notices its loss; the second row needs a run of its own."""
    one, both = (score(desk, [golden(desk, n) for n in some]) for some in ((5,), (5, 6)))
    assert one.count("goldens") > 0
    unseen = {v.mutant.row for v in one.verdicts if "goldens" not in v.noticed}
    assert unseen >= {1}
    assert both.count("goldens") > one.count("goldens")
    assert both.survivors == ()


def test_checks_notice_what_no_run_needs_to_show(desk):
    """A state that nobody reaches any more is a finding, whatever was recorded."""
    found = score(desk)
    noticed = [verdict for verdict in found.verdicts if "checks" in verdict.noticed]
    assert any("dropped" in verdict.mutant.what for verdict in noticed)


def test_tests_run_on_a_copy(desk, folder):
    """The command fails for a mutant and passes for the table; the folder stays as it is."""
    before = (folder / "table.toml").read_text()
    command = [sys.executable, "check.py"]
    with_tests = score(desk, folder=folder, tests=command)
    without = score(desk)
    assert with_tests.count("tests") > 0
    assert len(with_tests.survivors) < len(without.survivors)
    assert (folder / "table.toml").read_text() == before
    assert {path.name for path in folder.iterdir() if path.suffix} == {
        "table.toml", "tools.py", "check.py",
    }  # fmt: skip


def test_a_survivor_comes_with_a_short_run_that_shows_it(desk):
    """The run is decided otherwise by the mutant, and as recorded by the table."""
    survivors = score(desk, runs=150).survivors
    assert survivors
    for verdict in survivors:
        lived = verdict.lived
        assert lived is not None, verdict.mutant
        assert len(lived.script) <= 4
        definition = Definition(verdict.mutant.table, desk.definition.tools)
        changed = Workflow.from_definition(definition)
        assert not replay(changed, lived.run.standing.run, lived.records).same
        assert lived.journal.replay().same


def test_golden_journals_of_another_table_are_refused(desk):
    """A journal this table decides otherwise could notice nothing."""
    other = Definition(desk.table.from_toml(TABLE.replace("<= 5", "<= 4")), desk.definition.tools)
    with pytest.raises(UsageError, match="record it anew"):
        score(desk, [golden(Workflow.from_definition(other), 5)])


def test_tests_that_fail_anyway_are_refused(desk, folder):
    """They could not tell a mutant from the table."""
    with pytest.raises(UsageError, match="without any mutant"):
        score(desk, folder=folder, tests=[sys.executable, "-c", "raise SystemExit(1)"])
    with pytest.raises(UsageError, match="folder"):
        score(desk, tests=["true"])
