"""A journal in words: one line for each record, for people who look for what happened.

Rules.  1. Every kind of record has a line; an unknown or erased one says so.  2. Long values are
cut: `--json` has them whole.  3. Rows and guards are named as the table writes them.
Not here: printing (`reading`), deciding again (`journal.replay`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from statemachine_agents.cli.live import style_of, verdicts_of
from statemachine_agents.cli.paper import Part
from statemachine_agents.cli.text import brief, short, time_of
from statemachine_agents.journal.records import Record
from statemachine_agents.journal.replies import calls_of, text_of
from statemachine_agents.kernel.workflow import Workflow
from statemachine_agents.values import JSON

Body: TypeAlias = Mapping[str, Any]

_WIDTH: Final = 200


class Words:
    """Says what each record of one run means, remembering the tools of numbered calls.

    Args:
        workflow: of the run, for the names of rows.
    """

    def __init__(self, workflow: Workflow) -> None:
        self._rows = workflow.grid.rows
        self._tools: dict[int, str] = {}

    def of(self, record: Record) -> tuple[str, str]:
        """Return a record in words, and the style of the line."""
        if record.erased:
            return "its body was erased", "dim"
        body = record.body
        if record.kind in ("call_intended", "approval_asked") and body.get("tool"):
            self._tools[body["no"]] = str(body["tool"])
        if record.kind == "stepped":
            return self._stepped(body), "bold" if body["outcome"] in ("moved", "ended") else ""
        say = _SAY.get(record.kind)
        if say is None:
            return brief(dict(body), _WIDTH), ""
        return say(body, self._tools.get(body.get("no") or 0, "")), _style(record.kind, body)

    def _stepped(self, body: Body) -> str:
        if not body["from"]:
            return f"enters {body['to']}"
        text = f"{body['event']}: "
        if "row" in body:
            row = self._rows[body["row"]]
            guard = f" [{row.transition.guard}]" if row.guard is not None else ""
            where = "stays" if body["outcome"] == "stayed" else f"{body['from']} -> {body['to']}"
            text += f"{row.label} fires{guard}: {where}"
        else:
            text += f"no row takes it in {body['from']}: {body.get('default') or body['outcome']}"
        if body.get("late"):
            text += " (a late result)"
        if body.get("notes"):
            text += f"; notes: {', '.join(self._rows[index].label for index in body['notes'])}"
        if body.get("verdicts"):
            text += f"; guards: {verdicts_of(body['verdicts'])}"
        if body.get("reason"):
            text += f"; {body['reason']}"
        if body.get("set"):
            text += f"; sets {', '.join(_change(change) for change in body['set'])}"
        return short(text, 2 * _WIDTH)


def _change(change: Any) -> str:
    path, value = change
    return f"{'.'.join(str(step) for step in path)} = {brief(value, 60)}"


def _style(kind: str, body: Body) -> str:
    match kind:
        case "call_returned":
            return "" if body["ok"] else style_of("error")
        case "call_refused" | "call_doubted":
            return style_of("doubted" if kind == "call_doubted" else "refused")
        case "run_ended":
            return style_of(str(body["status"]))
        case "run_parked" | "approval_asked":
            return style_of("waiting")
        case "model_asked" | "timer_set" | "reply_sent":
            return "dim"
    return ""


def _started(body: Body, _tool: str) -> str:
    given = {key: value for key, value in body["context"].items() if value is not None}
    return f"{body['workflow']}@{body['version']} with {brief(given, _WIDTH)}"


def _asked(body: Body, _tool: str) -> str:
    offered = ", ".join(body["offered"]) or "nothing"
    return f"turn {body['turn']}, {body['agent']}: offered {offered}"


def _replied(body: Body, _tool: str) -> str:
    if body.get("stop") == "error":
        return f"could not be asked: {short(body.get('detail', ''), _WIDTH)}"
    calls = [f"{call['name']} {brief(call['input'], 80)}" for call in calls_of(body)]
    said = short(text_of(body["content"]), 100)
    parts = [f"asks for {', '.join(calls)}"] if calls else []
    parts += [f'says "{said}"'] if said else []
    parts += [] if body["usable"] else ["not usable"]
    stop = body.get("stop")
    parts += [f"stop: {stop}"] if stop not in ("tool_use", "end_turn") else []
    return "; ".join(parts) or "says nothing"


def _refused(body: Body, _tool: str) -> str:
    call = f"call {body['no']} {body['tool']} {brief(body.get('arguments', {}), 80)}"
    return f"{call}: {body['code']}: {short(body['text'], _WIDTH)}"


def _intended(body: Body, _tool: str) -> str:
    again = f", attempt {body['attempt']}" if body["attempt"] > 1 else ""
    arguments = brief(body["arguments"], _WIDTH)
    return f"call {body['no']} {body['tool']} {arguments} ({body['effect']}{again})"


def _returned(body: Body, tool: str) -> str:
    if body["ok"]:
        return f"call {body['no']} {tool}: {brief(body['value'], _WIDTH)}"
    error = body["error"]
    again = "; tried again" if body.get("again") else ""
    return f"call {body['no']} {tool}: error {error['kind']}: {short(error['text'], _WIDTH)}{again}"


def _doubted(body: Body, tool: str) -> str:
    return f"call {body['no']} {tool}: outcome not known ({body['why']}); then: {body['then']}"


def _resolved(body: Body, tool: str) -> str:
    who = body.get("who") or body["by"]
    value = f" {brief(body['value'], _WIDTH)}" if "value" in body else ""
    return f"call {body['no']} {tool}: {who} says {body['verdict']}{value}"


def _approval_asked(body: Body, _tool: str) -> str:
    what = f": {body['tool']} {brief(body['arguments'], _WIDTH)}" if body.get("tool") else ""
    return f"{body['approval']}: {short(body['question'], _WIDTH)}{what}"


def _approval_decided(body: Body, _tool: str) -> str:
    answer = "yes" if body["granted"] else "no"
    note = f": {short(body['note'], _WIDTH)}" if body.get("note") else ""
    return f"{body['approval']}: {answer} by {body.get('by') or 'somebody'}{note}"


def _parked(body: Body, _tool: str) -> str:
    owed = f"; owed: {brief(body['owed'], _WIDTH)}" if body.get("owed") else ""
    return f"waits for {', '.join(body['waiting'])}: {short(body['reason'], _WIDTH)}{owed}"


def _ended(body: Body, _tool: str) -> str:
    text = f"{body['status']} in {body['state']}"
    if body.get("limit"):
        text += f" by limit {body['limit']}"
    if body.get("reason"):
        text += f": {short(body['reason'], _WIDTH)}"
    if body.get("value") is not None and body["value"] != body.get("reason"):
        text += f"; value {brief(body['value'], _WIDTH)}"
    if body.get("broken"):
        text += f"; broken: {brief(body['broken'], _WIDTH)}"
    if body.get("owed"):
        text += f"; owed: {brief(body['owed'], _WIDTH)}"
    return text


def _said_by(body: Body, _tool: str) -> str:
    why = f": {short(body['reason'], _WIDTH)}" if body.get("reason") else ""
    return f"by {body.get('by') or 'somebody'}{why}"


def _child_ended(body: Body, _tool: str) -> str:
    value = body.get("value") if body["outcome"] == "success" else body.get("reason")
    return f"{body['child']}: {body['outcome']} {brief(value, _WIDTH)}"


_SAY: Final[Mapping[str, Callable[[Body, str], str]]] = {
    "run_started": _started,
    "run_forked": lambda body, _: brief(dict(body), _WIDTH),
    "message_received": lambda body, _: f'"{short(body["text"], _WIDTH)}"',
    "model_asked": _asked,
    "model_replied": _replied,
    "call_refused": _refused,
    "call_intended": _intended,
    "call_returned": _returned,
    "call_doubted": _doubted,
    "call_resolved": _resolved,
    "approval_asked": _approval_asked,
    "approval_decided": _approval_decided,
    "timer_set": lambda body, _: f"due {time_of(body['due'])}",
    "timer_fired": lambda body, _: f"was due {time_of(body['due'])}",
    "child_started": lambda body, _: f"{body['child']}: {brief(body['input'], _WIDTH)}",
    "child_ended": _child_ended,
    "reply_queued": lambda body, _: f'to the customer: "{short(body["text"], _WIDTH)}"',
    "reply_sent": lambda body, _: str(body["id"]),
    "cancel_asked": _said_by,
    "run_parked": _parked,
    "run_resumed": _said_by,
    "run_quarantined": lambda body, _: short(body.get("reason", ""), _WIDTH),
    "run_ended": _ended,
}


def plain(record: Record) -> dict[str, JSON]:
    """Return a whole record for programs."""
    return {
        "seq": record.seq,
        "at": record.at,
        "kind": record.kind,
        "run": record.run,
        "rid": record.rid,
        "fence": record.fence,
        "hash": record.hash,
        "body": None if record.erased else record.body,
    }


def row_of(record: Record, words: Words, clock: str) -> tuple[Part, ...]:
    """Return a record as the cells of a line: seq, time, kind, what happened."""
    text, style = words.of(record)
    kind = (record.kind, "cyan" if record.kind == "stepped" else "dim")
    return (str(record.seq), "dim"), (clock, "dim"), kind, (text, style)
