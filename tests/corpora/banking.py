"""A bank's assistant under attack: one table a task, in three degrees of strictness.

Rules.  1. A task's table knows the procedure (which tools, in which order) and what its calls may
be about; it knows nothing of any attack.  2. `names` offers the tools of the task all the time,
`order` one after the other, `arguments` also says which recipients, ids and words a call may name.
3. Read results go into the context as they came, injected text and all: nothing in them decides.
Not here: counting what is refused (`test_banking`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import attrs
import pytest

from statemachine_agents.kernel.gate import Proposal, gate_scope, judge
from statemachine_agents.kernel.snapshot import Snapshot
from statemachine_agents.kernel.step import Event, begin, step
from statemachine_agents.kernel.workflow import Workflow
from statemachine_agents.table.definition import Definition
from statemachine_agents.table.model import Key, State, Table, Transition, Use
from statemachine_agents.table.toolspec import ToolSpec
from tests.corpora.recorded import data_directory

DEGREES = ("name", "order", "arguments")
WATCHED = ("recipient", "id", "password", "file_path", "amount")
"""Arguments that decide whom or what a call is about."""


def bank() -> dict[str, Any]:
    """Return tools and tasks; the test is skipped by name without the corpus."""
    path = data_directory() / "agentdojo" / "banking.json"
    if not path.is_file():
        pytest.skip("the corpus agentdojo/banking.json is absent")
    return json.loads(path.read_text(encoding="utf-8"))


def pairs() -> list[dict[str, Any]]:
    """Return every task with an attack on it."""
    path = data_directory() / "agentdojo" / "banking_pairs.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def specs_of(data: Mapping[str, Any]) -> dict[str, ToolSpec]:
    """Return the bank's tools; what only looks is `read`."""
    out = {}
    for tool in data["tools"]:
        name = tool["name"]
        effect = "read" if name.startswith(("get_", "read_")) else "manual"
        schema = {**tool["parameters"], "additionalProperties": False}
        out[name] = ToolSpec(
            name=name, description=tool["description"], arguments=schema, effect=effect
        )
    return out


def workflow_of(task: Mapping[str, Any], specs: Mapping[str, ToolSpec], degree: str) -> Workflow:
    """Return the workflow of one task, as strict as asked."""
    calls = task["calls"]
    plan = [call["name"] for call in calls]
    if degree == "name":
        states = [State("working", ask="Do what the customer asked for.", tools=_unique(plan))]
        rows = [Transition("*", "*.ok", assign={"seen": "result"})]
    else:
        names = [f"step{number}" for number in range(len(plan))]
        states = [
            State(name, ask=f"Call {tool}.", tools=[tool])
            for name, tool in zip(names, plan, strict=True)
        ]
        rows = [
            Transition(name, f"{tool}.ok", following, assign={"seen": "result"})
            for name, tool, following in zip(names, plan, [*names[1:], "done"], strict=True)
        ]
    rows.append(Transition("*", "model.done", "done"))
    uses = _uses(calls) if degree == "arguments" else {}
    table = Table(
        name="bank",
        initial=states[0].name,
        states=[*states, State("done", final="success")],
        transitions=rows,
        tools=uses,
        context={"seen": Key(type="any")},
    )
    used = {name: specs[name] for name in _unique(plan)}
    return Workflow.from_definition(Definition(table, used))


def _unique(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))


def _uses(calls: Sequence[Mapping[str, Any]]) -> dict[str, Use]:
    """Return what each tool's calls may be about: what the task itself names."""
    allowed: dict[str, dict[str, list[Any]]] = {}
    for call in calls:
        mine = allowed.setdefault(call["name"], {})
        for name in WATCHED:
            if name in call["arguments"]:
                mine.setdefault(name, []).append(call["arguments"][name])
    out = {}
    for tool, values in allowed.items():
        parts = [f"args.{name} in {_listed(known)}" for name, known in values.items()]
        if tool == "update_scheduled_transaction" and "recipient" not in values:
            parts.append("args.recipient == null")
        if parts:
            out[tool] = Use(when=" and ".join(parts), why="this is not what the customer asked for")
    return out


def _listed(values: Iterable[Any]) -> str:
    return "[" + ", ".join(json.dumps(value) for value in values) + "]"


@attrs.define
class Desk:
    """One task under way: calls are judged, and what they gave is taken."""

    workflow: Workflow
    snapshot: Snapshot
    calls: int = 0

    @classmethod
    def of(cls, workflow: Workflow) -> Desk:
        """Begin a task."""
        return cls(workflow, begin(workflow, {"seen": None}).after)

    def admits(self, call: Mapping[str, Any]) -> bool:
        """Whether the gate lets a call through here and now."""
        proposal = Proposal(call["name"], call["arguments"])
        if call["name"] not in self.workflow.bindings:
            return False
        return judge(self.workflow, self.snapshot, proposal).admitted

    def make(self, call: Mapping[str, Any]) -> None:
        """Make a call: its intent moves the rules, its recorded result the table."""
        self.calls += 1
        scope = gate_scope(self.snapshot, call["arguments"], "")
        rules = self.workflow.rules.observe(self.snapshot.rules, call["name"], scope, self.calls)
        before = attrs.evolve(self.snapshot, rules=rules)
        given = {"result": call["result"], "args": call["arguments"]}
        event = Event(f"{call['name']}.ok", scope=given, fact=call["result"], call=self.calls)
        self.snapshot = step(self.workflow, before, event).after
