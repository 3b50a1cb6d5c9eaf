"""The last word on a run: how it stands, why, and what to type next.

Rules.  1. Everything is read from the outcome and the records, so a run that is looked at later
gets the same last word.  2. A parked run names the very commands that go on with it.
Not here: exit codes (`failures`), the moments before (`live`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from statemachine_agents.cli.live import style_of
from statemachine_agents.cli.paper import Paper, Part
from statemachine_agents.cli.text import brief, command
from statemachine_agents.driver import Driver
from statemachine_agents.journal.outcome import Outcome
from statemachine_agents.journal.records import Record
from statemachine_agents.values import JSON

_TOKENS: Final[Mapping[str, str]] = {
    "input_tokens": "in",
    "output_tokens": "out",
    "cache_read_input_tokens": "from cache",
    "cache_creation_input_tokens": "to cache",
}


def tell(
    paper: Paper,
    outcome: Outcome,
    records: Sequence[Record],
    pending: Sequence[Mapping[str, JSON]],
    lines: Sequence[str],
) -> None:
    """Write the last word: a panel for people; for programs the outcome object, last.

    Args:
        paper: where to.
        outcome: how the run stands.
        records: its journal.
        pending: what it waits for people to say.
        lines: the commands that go on.
    """
    paper.panel(
        (f"{outcome.status} in {outcome.state}", style_of(outcome.status)),
        rows_of(outcome, records, pending),
        lines,
    )
    if lines:
        paper.object(
            {
                "event": "pending",
                "run_id": outcome.run_id,
                "pending": [dict(each) for each in pending],
                "next": lines,
            }
        )
    paper.object(outcome.to_dict())


async def waits_for(
    driver: Driver, outcome: Outcome, options: Sequence[str]
) -> tuple[list[dict[str, JSON]], list[str]]:
    """Return what a run waits for people to say, and the commands that go on with it.

    A run that waits for its children waits for what they wait for.

    Args:
        driver: of the run's store; it need not have functions.
        outcome: how the run stands.
        options: what the next commands need besides the run: `--store`, `--workflow`.
    """
    if outcome.status not in ("running", "waiting"):
        return [], []
    pending = await driver.pending(outcome.run_id)
    lines = next_commands(outcome, pending, options)
    if "child" in outcome.waiting:
        below: list[str] = []
        for child in _open_children(await driver.records(outcome.run_id)):
            more, commands = await waits_for(driver, (await driver.load(child)).outcome, options)
            pending += [{"run_id": child, **each} for each in more]
            below += commands
        lines = below or lines
    return pending, lines


def _open_children(records: Iterable[Record]) -> list[str]:
    found: dict[str, None] = {}
    for record in records:
        if record.kind == "child_started":
            found[str(record.body["child"])] = None
        elif record.kind == "child_ended":
            found.pop(str(record.body["child"]), None)
    return list(found)


def rows_of(
    outcome: Outcome,
    records: Sequence[Record],
    pending: Iterable[Mapping[str, JSON]],
) -> list[tuple[str, Part]]:
    """Return the named values of the last word; empty ones are left out by `Paper.panel`."""
    rows: list[tuple[str, Part]] = [("path", " -> ".join(outcome.path))]
    if outcome.limit:
        said = f"{outcome.limit} reached in state {limited_in(records) or outcome.state}"
        rows.append(("limit", (said, "bold red")))
    rows.append(("reason", outcome.reason))
    if "resume" in outcome.waiting:
        rows.append(("model", (trouble_in(records), "red")))
    for each in pending:
        rows += _asked(each, outcome.reason)
    if outcome.value is not None and outcome.value != outcome.reason:
        rows.append(("value", brief(outcome.value, 600)))
    rows += [("broken", brief(each, 400)) for each in outcome.broken]
    rows += [("owed", brief(each, 400)) for each in outcome.owed]
    if outcome.iterations:
        rows.append(("turns", str(outcome.iterations)))
    spent = (f"{amount} {_TOKENS.get(name, name)}" for name, amount in outcome.usage.items())
    rows.append(("tokens", ", ".join(spent)))
    rows.append(("run", outcome.run_id))
    return rows


def limited_in(records: Iterable[Record]) -> str:
    """Return the state in which the last limit was reached."""
    found = ""
    for record in records:
        if record.kind == "stepped" and str(record.body.get("event")).startswith("limit."):
            found = str(record.body["from"])
    return found


def trouble_in(records: Iterable[Record]) -> str:
    """Return why the model could not be asked the last time it was."""
    found = ""
    for record in records:
        if record.kind == "model_replied":
            found = str(record.body.get("detail", ""))
    return found


def next_commands(
    outcome: Outcome, pending: Sequence[Mapping[str, JSON]], options: Sequence[str]
) -> list[str]:
    """Return the commands that go on with a parked run; none for one that has ended."""
    run, lines = outcome.run_id, []
    approvals = [each for each in pending if "approval" in each]
    doubts = [each for each in pending if "call" in each]
    for each in approvals:
        which = ("--approval", str(each["approval"])) if len(approvals) > 1 else ()
        lines.append(command("approve", run, *which, *options))
        lines.append(command("approve", run, *which, "--reject", *options))
    for each in doubts:
        which = ("--call", str(each["call"])) if len(doubts) > 1 else ()
        lines.append(command("resolve", run, *which, "--done", "RESULT-AS-JSON", *options))
        lines.append(command("resolve", run, *which, "--not-done", *options))
    if "message" in outcome.waiting:
        lines.append(command("send", run, "TEXT", *options))
    if not lines and (outcome.waiting or outcome.status in ("running", "waiting")):
        lines.append(command("resume", run, *options))
    return lines


def _asked(each: Mapping[str, JSON], reason: str) -> list[tuple[str, Part]]:
    rows: list[tuple[str, Part]] = []
    if each.get("question") and each["question"] != reason:
        rows.append(("question", str(each["question"])))
    if "tool" in each:
        call = f"{each['tool']} {brief(each['arguments'], 400)}"
        rows.append(("approve" if "approval" in each else "in doubt", call))
    rows += [(name, brief(value, 400)) for name, value in (each.get("shows") or {}).items()]
    if each.get("digest"):
        rows.append(("digest", str(each["digest"])))
    return rows
