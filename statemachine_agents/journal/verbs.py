"""What each verb does when nothing else is due: `ask`, `do`, `wait`, `run`.

Rules.  1. `ask` asks the model unless a limit, a person or the customer must come first.  2. `do`
calls its tools once per visit and settles when all have ended.  3. `wait` and everything that needs
a person parks.  4. A limit that was routed in this stretch forbids another model request.
Not here: facts and proposals, which come before (`decide`).
"""

from __future__ import annotations

from statemachine_agents.errors import EvaluationError
from statemachine_agents.journal.drafts import (
    approval_of,
    fail,
    filled_in,
    intend,
    limit,
    park,
    plain,
    raised,
    refuse,
)
from statemachine_agents.journal.records import Draft
from statemachine_agents.journal.standing import Done, OpenCall, Standing
from statemachine_agents.kernel import limits
from statemachine_agents.kernel.gate import Proposal, judge
from statemachine_agents.table.model import State
from statemachine_agents.values import JSON


def beginning(s: Standing, state: State) -> bool:
    """Whether a `do` state has begun some of its calls and not yet all: they run together."""
    return state.verb == "do" and state.do != ("undo",) and 0 < s.begun < len(state.do or ())


def act(s: Standing) -> Draft | None:
    """Return what the current state's verb adds, or None when the world must speak."""
    state = s.workflow.state(s.snap().state)
    if state.verb == "do" and state.do != ("undo",) and s.begun < len(state.do or ()):
        return _do(s, state)
    held = _held(s)
    if held is not None:
        return held if s.parked is None else None
    if state.verb == "ask":
        return _ask(s, state)
    if state.verb == "wait":
        return _wait(s, state)
    if state.verb == "run":
        return _run(s, state)
    if state.do == ("undo",):
        return _undo(s, state)
    return _do(s, state)


def _held(s: Standing) -> Draft | None:
    """Park while calls of this visit wait for a person."""
    visit = s.snap().visit
    here = [call for call in s.calls.values() if call.visit == visit]
    asked = [call.tool for call in here if call.status == "approval"]
    doubted = [call.tool for call in here if call.status == "unknown"]
    if doubted:
        return _parked(s, f"the outcome of {', '.join(doubted)} is not known", "resolution")
    if asked:
        return _parked(s, f"a person must approve {', '.join(asked)}", "approval")
    return None


def _parked(s: Standing, reason: str, *waiting: str) -> Draft:
    """As `park`, for callers that look at `s.parked` themselves."""
    return park(s, reason, *waiting) or Draft("run_parked", {})


def _ask(s: Standing, state: State) -> Draft | None:
    snapshot = s.snap()
    if s.stalled:
        return park(s, "the model could not be asked; resume to try again", "resume")
    if s.listening or (state.talk and snapshot.visit == 1 and not s.heard and not s.path[1:]):
        return park(s, "waits for the customer", "message")
    idle = snapshot.counters.idle + (0 if s.news else 1)
    name = limits.before_request(s.workflow.limits, snapshot, idle=idle)
    if s.raised:
        past = ", ".join(sorted(s.raised))
        reason = f"{past} was routed to state {snapshot.state!r}, which would ask the model again"
        return fail(s, min(s.raised), reason)
    if name is not None:
        return limit(s, name)
    agent = s.workflow.table.agent_of(state).name
    transcript = s.transcript(agent)
    body: dict[str, JSON] = {
        "agent": agent,
        "turn": snapshot.counters.iterations + 1,
        "offered": list(s.workflow.table.tools_in(state)),
    }
    results = [no for no, _ in transcript.owed if no in s.results]
    if results:
        body["results"] = results
    unheard = len(s.heard) - transcript.heard
    if unheard:
        body["heard"] = unheard
    return Draft("model_asked", body)


def _wait(s: Standing, state: State) -> Draft | None:
    waits = state.wait or ()
    visit = s.snap().visit
    question = filled_in(state.question or "", s.snap().context)
    if "approval" in waits and s.question is None:
        body: dict[str, JSON] = {
            "no": None,
            "approval": f"q{visit}.{s.answered + 1}" if s.answered else f"q{visit}",
            "question": question or f"Approve {state.name}?",
            "shows": list(state.shows),
            "visit": visit,
        }
        return Draft("approval_asked", body)
    can_come = {
        "message": True,
        "approval": s.question is not None,
        "resolution": bool(s.doubts),
        "timer": s.timer is not None,
    }
    if s.timer is None and not any(can_come[wait] for wait in waits):
        what = " or ".join(waits)
        return fail(s, "settled", f"state {state.name!r} waits for {what}, which cannot come")
    return park(s, question or f"waits in {state.name}", *waits)


def _do(s: Standing, state: State) -> Draft | None:
    snapshot = s.snap()
    plan = state.do or ()
    if s.begun < len(plan):
        name = limits.before_calls(s.workflow.limits, snapshot)
        if name is not None:
            if f"limit.{name}" in s.raised:
                return fail(s, f"limit.{name}", limits.describe(
                    s.workflow.limits, name, state.name))  # fmt: skip
            return limit(s, name)
        return _call(s, plan[s.begun])
    return _settle(s, state)


def _settle(s: Standing, state: State) -> Draft | None:
    if s.settled_visit != s.snap().visit:
        return plain(s, "settled")
    if s.timer is not None:
        return park(s, f"waits in {state.name}", "timer")
    return fail(s, "settled", f"everything in state {state.name!r} has ended and no row moved on")


def _call(s: Standing, tool: str) -> Draft:
    """Judge and intend one call of the engine's own; bound arguments are all it has."""
    snapshot = s.snap()
    call = OpenCall(s.next_call, tool, "", {}, snapshot.visit, "approved")
    admission = judge(s.workflow, snapshot, Proposal(tool, {}), now=s.now)
    if not admission.admitted:
        return refuse(call, admission.code, admission.text)
    call.arguments = admission.arguments
    return approval_of(call) if admission.code == "approve" else intend(s, call)


def _undo(s: Standing, state: State) -> Draft | None:
    """Undo completed effects, newest first, one after the other; one that fails stops no other."""
    snapshot = s.snap()
    if s.doubts:
        names = ", ".join(sorted({call.tool for call in s.doubts}))
        return park(s, f"the outcome of {names} is not known", "resolution")
    if s.undo_visit == snapshot.visit:
        return _settle(s, state)
    for done in reversed(s.completed):
        if done.no not in s.undone and done.no not in s.undo_tried:
            name = s.workflow.bindings[done.tool].undo
            assert name is not None
            arguments = _undo_arguments(s, name, done)
            call = OpenCall(
                s.next_call, name, "", arguments, snapshot.visit, "approved", undoes=done.no
            )
            return intend(s, call)
    if s.undo_failed:
        return raised(s, "undo.error", "; ".join(s.undo_failed), kind="undo")
    return plain(s, "undo.ok")


def _undo_arguments(s: Standing, undo: str, done: Done) -> dict[str, JSON]:
    """An undo gets what it has parameters for: the call's arguments, then fields of its result."""
    wanted = s.workflow.bindings[undo].spec.arguments.get("properties", {})
    known = {**(done.value if isinstance(done.value, dict) else {}), **done.arguments}
    return {name: known[name] for name in wanted if name in known}


def _run(s: Standing, state: State) -> Draft | None:
    """Start child workflows, `at_once` at a time; settle when enough have ended."""
    snapshot = s.snap()
    items, wrong = _items(s, state)
    if wrong:
        if "guard.error" in snapshot.facts:  # a row took it and stayed: it would fail again
            return fail(s, "settled", wrong)
        return raised(s, "guard.error", wrong, kind="guard")
    plan = [(name, item) for item in items for name in state.run or ()]
    here = [child for child in s.children.values() if child.visit == snapshot.visit]
    running = sum(not child.ended for child in here)
    ended = len(here) - running
    needed = {"any": min(1, len(plan)), "all": len(plan)}.get(str(state.join or "all"), state.join)
    if ended >= int(needed or 0) or ended == len(plan):
        if s.settled_visit != snapshot.visit:
            return plain(s, "settled")
        if running:
            return park(s, "waits for child workflows", "child")
        return fail(s, "settled", f"all children of {state.name!r} have ended and no row moved on")
    if len(here) < len(plan) and running < (state.at_once or len(plan)):
        workflow, item = plan[len(here)]
        body: dict[str, JSON] = {
            "child": f"{s.run}-c{s.child_count + 1}",
            "workflow": workflow,
            "index": len(here),
        }
        if state.each is not None:
            body["item"] = item
        return Draft("child_started", body)
    return park(s, "waits for child workflows", "child")


def _items(s: Standing, state: State) -> tuple[list[JSON], str]:
    """Return what `each` gives, one nothing without it; or what is wrong with it."""
    expression = s.workflow.each.get(state.name)
    if expression is None:
        return [None], ""
    try:
        found = expression.evaluate({"context": s.snap().context})
    except EvaluationError as error:
        return [], str(error)
    if found is None:
        return [], ""
    if not isinstance(found, list):
        return [], f"state {state.name!r}: each = {expression.text} gives no list"
    return found, ""
