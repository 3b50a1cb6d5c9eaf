"""State tables that other people wrote for Amazon States Language, as tables of ours.

Rules.  1. A neutral table says from, on, to and which states are terminal; here every `on` is a
signal that its state offers, so that a table is nothing but its rows.  2. Names that no table of
ours may have are rewritten, each to one of its own.  3. Nothing is mended on the way.
Not here: the checks they must pass or fail (`test_asl`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import pytest

from statemachine_agents.kernel.step import Event, begin, step
from statemachine_agents.kernel.workflow import Workflow
from statemachine_agents.table.definition import Definition
from statemachine_agents.table.model import Signal, State, Table, Transition
from tests.corpora.recorded import data_directory

Neutral = Mapping[str, Any]


def neutral(name: str) -> list[dict[str, Any]]:
    """Return the rows of one file of the corpus; the test is skipped by name without it."""
    path = data_directory() / "asl" / f"{name}.jsonl"
    if not path.is_file():
        pytest.skip(f"the corpus asl/{name}.jsonl is absent")
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def state_name(text: str) -> str:
    """Return a name a table may have: other characters become `_` and their code."""
    return re.sub(r"[^A-Za-z0-9_]", lambda found: f"_{ord(found[0]):x}", f"s_{text}")


def signal_name(text: str) -> str:
    """Return the signal of an `on`."""
    return re.sub(r"[^A-Za-z0-9_]", lambda found: f"_{ord(found[0]):x}", f"on_{text}")


def imported(data: Neutral) -> Table:
    """Return a neutral table as a table of ours."""
    rows = data["transitions"]
    terminal = set(data["terminal"])
    states = []
    for name in data["states"]:
        if name in terminal:
            states.append(State(state_name(name), final="success"))
        else:
            offers = dict.fromkeys(signal_name(row["on"]) for row in rows if row["from"] == name)
            states.append(State(state_name(name), ask="Go on.", tools=list(offers)))
    return Table(
        name="asl",
        initial=state_name(data["initial"]),
        states=states,
        transitions=[
            Transition(
                state_name(row["from"]), f"{signal_name(row['on'])}.ok", state_name(row["to"])
            )
            for row in rows
        ],
        signals={signal_name(row["on"]): Signal() for row in rows},
    )


def first_wrong_step(data: Neutral, path: list[str]) -> int | None:
    """Walk a path through the kernel; return the index of the first state it refuses, or None."""
    workflow = Workflow.from_definition(Definition(imported(data), {}))
    snapshot = begin(workflow, {}).after
    if snapshot.state != state_name(path[0]):
        return 0
    for index, name in enumerate(path[1:], 1):
        for transition in workflow.table.transitions:
            event = transition.event[0]
            if transition.source != snapshot.state or transition.target != state_name(name):
                continue
            done = step(workflow, snapshot, Event(event, scope={"result": {}}))
            if done.after.state == state_name(name) and done.row is not None:
                snapshot = done.after
                break
        else:
            return index
    return None
