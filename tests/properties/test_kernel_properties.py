"""The kernel against its oracle, on thousands of random tables."""

from __future__ import annotations

import copy
from random import Random
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from statemachine_agents.kernel.exits import exits
from statemachine_agents.kernel.snapshot import Snapshot
from statemachine_agents.kernel.step import Event, Step, begin, step
from statemachine_agents.kernel.workflow import Workflow
from statemachine_agents.table.events import alphabet
from tests import oracle
from tests.driving import TOOLS, bound
from tests.random_tables import random_event, random_workflow
from tests.strategies import SPECS, scenarios, tables

TABLES = 2_400
WALK = 6


def drawn_event(random: Random, workflow: Workflow, snapshot: Snapshot) -> Event:
    """Draw an event the run may meet where it stands, or a result of an earlier visit."""
    state = workflow.state(snapshot.state)
    can = sorted(oracle.meets(workflow.table, state, TOOLS))
    table = workflow.table
    tools = sorted({tool for other in table.states.values() for tool in table.tools_in(other)})
    late = bool(tools) and random.random() < 0.12
    tail = random.choice(("ok", "error"))
    cells = workflow.grid.cells.get(snapshot.state, {})
    moving = [event for event in can if cells[event].moves]  # or most events meet no row
    likely = moving if moving and random.random() < 0.6 else can
    name = f"{random.choice(tools)}.{tail}" if late else random.choice(likely)
    scope = random_event(random, name)
    fact = scope.get("result", scope.get("error"))
    visit = snapshot.visit - 1 if late else random.choice((None, snapshot.visit))
    resolved = random.random() < 0.5 if late and name in can else False
    return Event(name, "", scope, fact, visit, resolved, 1)


def plain(snapshot: Snapshot) -> dict[str, Any]:
    """Return a snapshot as the oracle writes it."""
    return {
        "state": snapshot.state,
        "context": snapshot.context,
        "status": snapshot.status,
        "visit": snapshot.visit,
        "visits": snapshot.visits,
        "facts": snapshot.facts,
    }


def said(done: Step) -> dict[str, Any]:
    """Return a step as the oracle writes it."""
    return {
        "outcome": done.outcome,
        "row": None if done.row is None else done.row.index,
        "default": done.default,
        "notes": list(done.notes),
        "verdicts": [(v.row, v.value) for v in done.verdicts if not v.missing],
        "after": plain(done.after),
    }


@pytest.mark.parametrize("part", range(4))
def test_the_kernel_agrees_with_the_dictionary_interpreter(part):
    """On 2,400 random tables every step of a walk is what the plainest reading of the table says.

    The same walk shows that a step is deterministic and leaves what it was given untouched.
    """
    steps = moved = failed = 0
    for seed in range(part, TABLES, 4):
        random = Random(seed)
        workflow = random_workflow(random)
        context = {name: key.default for name, key in workflow.table.context.items()}
        snapshot = begin(workflow, context).after
        expected = oracle.begin(workflow.table, context)
        assert plain(snapshot) == expected
        for _ in range(WALK):
            event = drawn_event(random, workflow, snapshot)
            kept = copy.deepcopy((attrs.asdict(snapshot), attrs.asdict(event)))
            late = event.visit not in (None, snapshot.visit) and not event.resolved
            plainly = {"name": event.name, "scope": event.scope, "fact": event.fact, "late": late}
            done = step(workflow, snapshot, event)
            want = oracle.step(workflow.table, TOOLS, expected, plainly)
            assert said(done) == want, f"seed {seed}, {event}\n{workflow.table}"
            assert step(workflow, snapshot, event) == done
            assert (attrs.asdict(snapshot), attrs.asdict(event)) == kept
            steps += 1
            moved += done.outcome in ("moved", "ended") and done.row is not None
            failed += done.default == "guard.error"
            if done.after.ended:
                over = step(workflow, done.after, event)
                assert said(over) == oracle.step(workflow.table, TOOLS, want["after"], plainly)
            else:  # an end is looked at, and the walk goes on from before it
                snapshot, expected = done.after, want["after"]
    assert steps == WALK * TABLES / 4
    assert moved > steps / 5
    assert failed > steps / 100


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_steps_of_shrinkable_tables_are_pure_and_total(data):
    """No event of any table raises; the same step twice is equal; inputs stay as they were."""
    table = data.draw(tables())
    workflow = bound(table, SPECS)
    snapshot = begin(workflow, workflow.bind_context({})).after
    for name, scope in data.draw(scenarios(table)):
        event = Event(name, "", scope, scope.get("result"))
        kept = copy.deepcopy(attrs.asdict(snapshot))
        done = step(workflow, snapshot, event)
        assert done == step(workflow, snapshot, event)
        assert attrs.asdict(snapshot) == kept
        assert done.before is snapshot
        if done.row is not None and not done.row.stays:
            assert done.row.transition in exits(workflow, snapshot)
        snapshot = done.after


def test_what_a_state_can_meet_is_what_the_design_lists():
    """The alphabets of 300 random tables equal the oracle's, which is written from the design."""
    compared = 0
    for seed in range(300):
        workflow = random_workflow(Random(seed))
        for state in workflow.table.states.values():
            mine = set(alphabet(workflow.table, state, TOOLS))
            assert mine == oracle.meets(workflow.table, state, TOOLS)
            compared += 1
    assert compared > 900
