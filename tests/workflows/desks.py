"""What the tests of the two talking desks share: runs on the real shop, README, golden journals."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import attrs

from statemachine_agents.journal.journal import Journal
from statemachine_agents.kernel.workflow import Workflow
from statemachine_agents.load import load_workflow
from statemachine_agents.table.diagram import markdown, mermaid
from statemachine_agents.testing.play import Played, play

WORKFLOWS = Path(__file__).parents[2] / "workflows"
YES = {"text": "Yes, please.", "confirms": True}


@attrs.frozen
class Talk:
    """One conversation: what the customer says, and what the model does after each message."""

    script: Sequence[Any]
    messages: Sequence[Any]

    def held(self, workflow: Workflow) -> Played:
        """Have it on the workflow's own tools."""
        return play(workflow, script=list(self.script), messages=list(self.messages))


def desk(name: str, home: Path) -> Workflow:
    """Return a desk with a shop of its own."""
    return load_workflow(WORKFLOWS / name, home)


def refusals(played: Played) -> list[tuple[str, str]]:
    """Return (tool, code) of every call that the gate refused."""
    return [
        (record.body["tool"], record.body["code"])
        for record in played.journal.records
        if record.kind == "call_refused"
    ]


def readme_is_current(name: str, workflow: Workflow) -> None:
    """Insist that picture and rows in the README are of this table; SMA_UPDATE=1 writes them."""
    path = WORKFLOWS / name / "README.md"
    text = path.read_text(encoding="utf-8")
    start, end = "<!-- generated: table -->\n", "<!-- /generated -->"
    before, _, rest = text.partition(start)
    assert end in rest, f"{path}: the markers {start!r} and {end!r} are missing"
    table = workflow.table
    made = f"```mermaid\n{mermaid(table)}```\n\n{markdown(table)}"
    wanted = f"{before}{start}\n{made}\n{end}{rest.partition(end)[2]}"
    if os.environ.get("SMA_UPDATE") == "1":
        path.write_text(wanted, encoding="utf-8")
        text = wanted
    assert text == wanted, f"{path} is old; SMA_UPDATE=1 pytest rewrites it"


def recorded(name: str, talk: str, made: Callable[[], Played]) -> Journal:
    """Return a golden journal; SMA_UPDATE=1 records it anew."""
    if os.environ.get("SMA_UPDATE") == "1":
        path = _path(name, talk)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(made().journal.dumps())
    return golden(name, talk)


def golden(name: str, talk: str) -> Journal:
    """Return a golden journal as it was recorded."""
    return Journal.loads(_path(name, talk).read_bytes()).verify()


def _path(name: str, talk: str) -> Path:
    return WORKFLOWS / name / "golden" / f"{talk}.jsonl"
