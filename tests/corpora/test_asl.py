"""Tables of Amazon States Language: sound ones load, spoilt ones are refused, walks are walked."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest

from statemachine_agents.proof.structure import check
from tests.corpora.asl import first_wrong_step, imported, neutral

pytestmark = pytest.mark.corpus

FOUND = {
    "initial_not_a_state": {"unknown-state"},
    "dangling_target": {"unknown-state"},
    "unreachable_state": {"unreachable-state"},
    "no_terminal": {"no-final"},
    "ambiguous_transition": {"shadowed-row"},
    "dead_end": {"dead-end", "no-end"},
    "terminal_has_exit": {"row-from-final"},
}
"""The corpus's word for a fault -> our codes for it."""


def told(faults):
    """Without a beginning nothing can be reached; one typo is one finding."""
    return faults[:1] if "initial_not_a_state" in faults else faults


def test_sound_tables_load_without_an_error():
    """All of them; the few that carry a fault of their own have just that fault found."""
    seen = Counter()
    for data in neutral("tables"):
        problems = check(imported(data))
        codes = {problem.code for problem in problems}
        if not data["faults"]:
            assert [p for p in problems if p.severity == "error"] == [], data["id"]
        for fault in told(data["faults"]):
            assert FOUND[fault] & codes, (data["id"], fault, codes)
        seen[bool(data["faults"])] += 1
    assert seen == {False: 104, True: 4}


def test_spoilt_tables_are_refused_with_the_fault_that_was_planted():
    """12 tables x 7 faults: something is found in each, and what was spoilt is named."""
    seen = Counter()
    for data in neutral("defects"):
        problems = check(imported(data))
        codes = {problem.code for problem in problems}
        assert FOUND[data["fault"]] & codes, (data["id"], codes)
        for fault in told(data["faults"]):
            assert FOUND[fault] & codes, (data["id"], fault, codes)
        seen[data["fault"]] += 1
    assert seen == dict.fromkeys(FOUND, 12)


def test_real_walks_are_accepted_and_altered_ones_refused_at_their_first_wrong_step():
    """Every path AWS took is one of the kernel's; an altered one stops where it leaves it."""
    tables = {data["id"]: data for data in neutral("tables")}
    seen = Counter()
    for walk in neutral("walks"):
        data, path = tables[walk["table"]], walk["path"]
        wrong = first_wrong_step(data, path)
        if walk["ok"]:
            assert wrong is None, walk
        else:
            edges = {(row["from"], row["to"]) for row in data["transitions"]}
            pairs = list(pairwise(path))
            steps = [index for index, pair in enumerate(pairs, 1) if pair not in edges]
            expected = 0 if path[0] != data["initial"] else min(steps)
            assert wrong == expected, walk
        seen[walk["ok"]] += 1
    assert seen == {True: 364, False: 167}
