"""What holds of every run: chain, fold at every prefix, replay, history, one end for each call.

`Hand.audit` asks it; here it is asked of runs in which everything happens by chance.
"""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from statemachine_agents.journal.records import KINDS
from tests.driving import bound
from tests.lively_tables import LIVELY
from tests.random_runs import random_run
from tests.strategies import SPECS, tables

RUNS = 50
ADMINISTRATION = {"run_forked", "run_migrated", "run_quarantined"}
"""Kinds no run writes by itself; `test_fold` has them."""


@pytest.mark.parametrize("role", ["system", "user"])
@pytest.mark.parametrize("name", LIVELY)
def test_runs_by_chance_hold_together(name, role):
    """The fold equals the live run at every prefix, and replay decides the same."""
    make, inputs = LIVELY[name]
    workflow = make()
    ends = Counter()
    for seed in range(RUNS):
        hand = random_run(workflow, seed, inputs=inputs, role=role)
        hand.audit()
        ends[hand.outcome.status] += 1
    assert len(ends) > 1, ends


@settings(max_examples=60, deadline=None)
@given(tables(), st.integers(0, 2**32))
def test_runs_by_chance_of_any_table_hold_together(table, seed):
    """The same on random tables, which shrink to the smallest one that fails."""
    random_run(bound(table, SPECS), seed, things=25).audit()


def test_runs_by_chance_write_every_kind_of_record():
    """The runs above would not prove much if some kind of record never came up in them."""
    kinds: set[str] = set()
    for make, inputs in LIVELY.values():
        workflow = make()
        for seed in range(RUNS):
            kinds |= set(random_run(workflow, seed, inputs=inputs).kinds)
    assert kinds == KINDS - ADMINISTRATION


@pytest.mark.parametrize("name", LIVELY)
def test_a_loaded_run_is_the_live_one(name):
    """Loading from the file form gives the same standing and the same next effects, at any time."""
    make, inputs = LIVELY[name]
    for seed in range(12):
        hand = random_run(make(), seed, inputs=inputs, things=seed)
        before = [effect.id.replace("recover:", "call:") for effect in hand.open()]
        messages = {agent: t.messages for agent, t in hand.run.standing.transcripts.items()}
        hand.reload()
        after = [effect.id.replace("recover:", "call:") for effect in hand.open()]
        assert after == before
        loaded = hand.run.standing.transcripts
        assert {agent: t.messages for agent, t in loaded.items()} == messages
        # Equal is not enough: a resumed run must send the same bytes, key order included.
        assert repr({agent: t.messages for agent, t in loaded.items()}) == repr(messages)
