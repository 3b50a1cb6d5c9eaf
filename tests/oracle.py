"""The dictionary interpreter: what a table means, read from it directly, in the plainest way.

Written from design.md section 3.2. It uses neither the grid nor the machine nor `kernel.step`, only
the expression language. The whole state of a run is one dictionary.

Not here: rules, gates and limits, which stand around a step and not in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from statemachine_agents.errors import EvaluationError
from statemachine_agents.table.expressions import parse, parse_target, write
from statemachine_agents.table.model import State, Table, Transition
from statemachine_agents.table.toolspec import ToolSpec

ENGINE = {
    "entered",
    "settled",
    "model",
    "user",
    "approval",
    "timer",
    "undo",
    "limit",
    "run",
    "guard",
}
LIMITS = (
    "iterations", "calls", "visits", "refusals", "nudges", "idle", "requests", "tokens", "cost_usd",
    "seconds",
)  # fmt: skip
TYPES = {
    "string": str, "integer": int, "number": (int, float), "boolean": bool, "object": dict,
    "list": list, "any": object,
}  # fmt: skip


def begin(table: Table, context: Mapping[str, Any]) -> dict[str, Any]:
    """Return where a run stands that has just entered the initial state."""
    empty = {"context": dict(context), "visit": 0, "visits": dict.fromkeys(table.states, 0)}
    return _enter(table, empty, table.initial)


def meets(table: Table, state: State, specs: Mapping[str, ToolSpec]) -> set[str]:
    """Return the events a state can meet."""
    verb = state.verb
    if verb == "final":
        return set()
    out = {"entered", "run.cancelled", "guard.error", "limit.visits"}
    for tool in table.tools_in(state):
        out |= {f"{tool}.ok", f"{tool}.error"}
        if specs[tool].effect not in ("read", "transactional"):
            out.add(f"{tool}.unknown")
    if verb == "ask":
        out |= {"model.done", "model.refused", "model.failed"}
        out |= {f"limit.{name}" for name in LIMITS}
    if verb == "do":
        out |= {"settled", "limit.calls"}
    waits = state.wait or ()
    if state.talk or "message" in waits:
        out.add("user.message")
    if "approval" in waits:
        out |= {"approval.granted", "approval.rejected"}
    if state.after:
        out.add("timer.fired")
    return out


def step(
    table: Table, specs: Mapping[str, ToolSpec], before: dict[str, Any], event: dict[str, Any]
) -> dict[str, Any]:
    """Handle one event; return what happened, `after` included.

    Args:
        table: the table.
        specs: of its tools.
        before: where the run stands.
        event: `name`, `scope`, `fact`, `late`.
    """
    name, late = event["name"], event["late"]
    if before["status"] != "running":
        return _result("unhandled", before, default="stays")
    state = table.states[before["state"]]
    can = meets(table, state, specs)
    facts = before["facts"] if late else {**before["facts"], name: event["fact"]}
    scope = {
        "context": before["context"],
        "visits": before["visits"],
        "iterations": 0,
        **event["scope"],
    }
    context = before["context"]
    notes, verdicts = [], []
    taken = None
    try:
        for index, row in enumerate(table.transitions):
            if row.target is not None:
                continue
            for needs in _tries(table, row, state, name, can, late):
                if any(need not in facts for need in needs):
                    continue
                seen = {**scope, "context": context, **_results(needs, facts)}
                if _holds(row, seen, index, verdicts):
                    notes.append(index)
                    context = _assigned(table, row, seen, context)
        for index, row in enumerate(table.transitions):
            if row.target is None or late or taken is not None:
                continue
            for needs in _tries(table, row, state, name, can, late):
                if any(need not in facts for need in needs):
                    continue
                seen = {**scope, "context": context, **_results(needs, facts)}
                if _holds(row, seen, index, verdicts):
                    context = _assigned(table, row, seen, context)
                    taken = index
                    break
    except EvaluationError:
        if name == "guard.error":
            dead = {**before, "status": "failed", "facts": {**before["facts"], name: event["fact"]}}
            return _result("ended", dead, default="failed", verdicts=verdicts)
        return _result("unhandled", before, default="guard.error", verdicts=verdicts)
    noted = {**before, "context": context, "facts": facts}
    if taken is None:
        default = "stays" if late else _default(table, state, name)
        outcome = "unhandled"
        if default in ("failed", "cancelled"):
            outcome, noted = "ended", {**noted, "status": default}
        return _result(outcome, noted, default=default, notes=notes, verdicts=verdicts)
    target = table.transitions[taken].target
    if target == "stay":
        return _result("stayed", noted, row=taken, notes=notes, verdicts=verdicts)
    after = _enter(table, noted, str(target))
    outcome = "moved" if after["status"] == "running" else "ended"
    return _result(outcome, after, row=taken, notes=notes, verdicts=verdicts)


def _result(outcome: str, after: dict[str, Any], **more: Any) -> dict[str, Any]:
    plain = {"row": None, "default": "", "notes": [], "verdicts": []}
    return {**plain, **more, "outcome": outcome, "after": after}


def _enter(table: Table, before: dict[str, Any], name: str) -> dict[str, Any]:
    final = table.states[name].final
    status = {None: "running", "success": "succeeded", "failure": "failed"}[final]
    visits = {**before["visits"], name: before["visits"].get(name, 0) + 1}
    return {
        "state": name,
        "context": before["context"],
        "status": status,
        "visit": before["visit"] + 1,
        "visits": visits,
        "facts": {},
    }


def _tries(
    table: Table, row: Transition, state: State, event: str, can: set[str], late: bool
) -> list[list[str]]:
    """Return, for each event text of a row that fits, the facts it needs."""
    named = row.source == state.name
    if not named and row.source != "*" and state.name not in table.groups.get(row.source, ()):
        return []
    # A late result is met by every note; whatever else meets only what can happen.
    if event not in can and not (late and row.target is None):
        return []
    found = []
    for text in row.event:
        members = [part.strip() for part in text.split("&")]
        if len(members) > 1:
            if event in members and can.issuperset(members):
                found.append(members)
        elif _fits(text, event):
            found.append([])
    return found


def _fits(text: str, event: str) -> bool:
    head, star, tail = text.partition("*")
    if not star:
        return text == event
    if not head and event.partition(".")[0] in ENGINE:
        return False
    return event.startswith(head) and event.endswith(tail) and len(event) >= len(head + tail)


def _results(needs: list[str], facts: Mapping[str, Any]) -> dict[str, Any]:
    return {"results": {need.partition(".")[0]: facts[need] for need in needs}} if needs else {}


def _holds(row: Transition, scope: dict[str, Any], index: int, verdicts: list[Any]) -> bool:
    if row.guard is None:
        return True
    try:
        held = parse(row.guard).evaluate(scope)
    except EvaluationError:
        verdicts.append((index, None))
        raise
    if not isinstance(held, bool):
        verdicts.append((index, None))
        raise EvaluationError("no boolean")
    verdicts.append((index, held))
    return held


def _assigned(
    table: Table, row: Transition, scope: dict[str, Any], context: Mapping[str, Any]
) -> Mapping[str, Any]:
    found = []
    for key, text in sorted(row.assign.items()):
        target = parse_target(key)
        found.append((target.root, target.resolve(scope), parse(text).evaluate(scope)))
    for root, path, value in found:
        context = write(context, path, value)
        declared = table.context[root].type
        if context[root] is None and declared.endswith("?"):
            continue
        wanted = TYPES[declared.rstrip("?")]
        number = wanted in (int, (int, float)) and isinstance(context[root], bool)
        if not isinstance(context[root], wanted) or number:
            raise EvaluationError("wrong type")
    return context


def _default(table: Table, state: State, event: str) -> str:
    """Return what an event does without a row, by the list in section 3.2."""
    verb = state.verb
    exact = {
        "model.done": "waits" if state.talk else "nudged",
        "model.failed": "parked",
        "model.refused": "failed",
        "guard.error": "failed",
        "run.cancelled": "cancelled",
        "user.message": "stays" if state.talk else "kept",
        "approval.rejected": "shown" if verb == "ask" else "failed",
        "approval.granted": "stays",
        "timer.fired": "stays",
        "settled": "failed",
        "entered": "failed" if state.do == () else "stays",
    }
    if event in exact:
        return exact[event]
    head, _, outcome = event.partition(".")
    if head == "limit":
        return "failed"
    if outcome == "error" and verb == "do":
        # With a row for `settled` the table collects: it waits for all results, then decides.
        collects = any(
            row.target is not None
            and any(_fits(text, "settled") for text in row.event)
            and (row.source in (state.name, "*") or state.name in table.groups.get(row.source, ()))
            for row in table.transitions
        )
        return "stays" if collects else "failed"
    return {"ok": "stays", "error": "shown", "unknown": "parked"}[outcome]
