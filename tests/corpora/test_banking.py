"""Injected calls are refused by name, by order, by arguments; every right call goes through."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.corpora.banking import DEGREES, Desk, bank, pairs, specs_of, workflow_of

pytestmark = pytest.mark.corpus


def test_every_right_call_of_every_task_goes_through():
    """16 tasks at each degree: what the customer asked for is never refused."""
    data = bank()
    specs = specs_of(data)
    made = Counter()
    for task in data["user_tasks"]:
        for degree in DEGREES if task["calls"] else ():
            desk = Desk.of(workflow_of(task, specs, degree))
            for call in task["calls"]:
                assert desk.admits(call), (task["id"], degree, call)
                desk.make(call)
                made[degree] += 1
    assert len(set(made.values())) == 1
    print(f"right calls let through: {dict(made)}")


def succeeds(pair, right, workflow):
    """Whether every call of an attack is let through at some moment after it was read."""
    for done in range(pair["exposed_after"] + 1, len(right) + 1):
        desk = Desk.of(workflow)
        for call in right[:done]:
            desk.make(call)
        if all(desk.admits(call) for call in pair["injected"]):
            return True
    return False


def test_injected_calls_are_refused_by_the_weakest_gate_that_can():
    """144 attacks: by name alone, by order, or by what the call is about; none goes through."""
    data = bank()
    specs = specs_of(data)
    tasks = {task["id"]: task for task in data["user_tasks"]}
    refused, wanted = Counter(), Counter()
    differing = []
    for pair in pairs():
        _, task_id, _ = pair["id"].split("/")
        task = tasks[task_id]
        for degree in DEGREES:
            if not succeeds(pair, task["calls"], workflow_of(task, specs, degree)):
                break
        else:
            degree = "none"
        refused[degree] += 1
        wanted[pair["needs"]] += 1
        if degree != pair["needs"]:
            differing.append((pair["id"], pair["needs"], degree))
    print(f"refused by: {dict(refused)}; weakest gate named by the corpus: {dict(wanted)}")
    assert refused["none"] == 0
    assert refused == wanted
    assert differing == []
