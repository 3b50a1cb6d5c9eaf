"""Random tables by the thousand: drawn by a seeded generator, about a millisecond each.

Rules.  1. `check` finds no error in any of them.  2. Names are few, so rows of different kinds meet
in one cell.  3. Guards and assigns fail on some values.
Not here: tables that shrink to a smallest failing one (`strategies`).
"""

from __future__ import annotations

from random import Random
from typing import Any

from statemachine_agents.kernel.workflow import Workflow
from statemachine_agents.table.events import alphabet
from statemachine_agents.table.model import Key, State, Table, Transition, Use
from tests.driving import TOOLS, bound

CONTEXT = {
    "count": Key(type="integer", default=0),
    "flag": Key(type="boolean", default=False),
    "items": Key(type="list", default=[]),
    "data": Key(type="object?"),
    "why": Key(type="string?"),
}

GUARDS = (
    "context.count < 2",
    "context.flag",
    "not context.flag and context.count >= 0",
    "visits.s0 < 2 or iterations > 0",
    "exists(context.data.n)",
    "context.data.n > 1",  # cannot be told while `data` is null
    "context.why < 'm'",
    "len(context.items)",  # is no boolean
    "any(x, context.items, x == 1)",
)
ASSIGNS = (
    {"count": "context.count + 1"},
    {"count": "context.count + 1", "flag": "context.count > 0"},
    {"items": "context.items + [context.count]"},
    {"data": "{n: context.count, why: context.why}"},
    {"data.deep.n": "context.count"},
    {"data[context.why]": "true"},  # no key while `why` is null
    {"items[0]": "7"},  # no such place while the list is empty
    {"why": "'x'", "flag": "not context.flag"},
    {"count": "context.why"},  # no integer
)
BY_HEAD = {
    "result": ({"data": "result"}, {"why": "result.why"}, {"count": "result.n"}),
    "error": ({"why": "error.text"},),
    "message": ({"why": "message.text"},),
    "approval": ({"flag": "approval.granted"},),
    "reply": ({"why": "reply.text"},),
}
BY_HEAD_GUARDS = {
    "result": ("result.n > 0", "result.ok"),
    "error": ("error.kind == 'busy'",),
    "message": ("message.text == 'yes'",),
    "approval": ("approval.granted",),
    "reply": ("reply.text == 'done'",),
}
TESTED = ("look", "fetch", "pay", "send")


def given_by(event: str) -> str | None:
    """Return the name an event gives to guards, besides `args`."""
    head, _, tail = event.partition(".")
    if tail in ("ok", "success") and head != "undo":
        return "result"
    if tail in ("error", "unknown") or head in ("limit", "guard"):
        return "error"
    return {"user": "message", "approval": "approval"}.get(head) or (
        "reply" if event == "model.done" else None
    )


def random_table(random: Random) -> Table:
    """Return a table without errors: two to four states, some twenty rows."""
    names = [f"s{index}" for index in range(random.randint(2, 4))]
    states = [_state(random, name) for name in names]
    states += [State("done", final="success"), State("failed", final="failure")]
    table = Table(
        name="random",
        initial="s0",
        states=states,
        context=CONTEXT,
        tools={"pay": Use(bind={"n": "context.count"})},
        groups={"pair": names[:2]},
    )
    meets = {name: alphabet(table, table.states[name], TOOLS) for name in names}
    rows = []
    for name in names:
        rows += [_row(random, names, name, meets[name]) for _ in range(random.randint(1, 6))]
    rows += [_shared(random, names, meets) for _ in range(random.randint(0, 3))]
    random.shuffle(rows)
    for index, name in enumerate(names):
        target = names[index + 1] if index + 1 < len(names) else "done"
        event = {"ask": "model.done", "wait": "user.message"}.get(table.states[name].verb)
        rows.append(Transition(name, event or "settled", target))
        if table.states[name].do == ():
            rows.append(Transition(name, "entered", target))
    tools = {tool for state in states for tool in table.tools_in(state)}
    uses = {name: use for name, use in table.tools.items() if name in tools}
    return Table(
        name="random",
        initial="s0",
        states=states,
        context=CONTEXT,
        tools=uses,
        groups={"pair": names[:2]},
        transitions=rows,
    )


def random_workflow(random: Random) -> Workflow:
    """Return a workflow of a random table."""
    return bound(random_table(random))


def _state(random: Random, name: str) -> State:
    tools = random.sample(TESTED, random.randint(0, 3))
    after = random.choice((None, None, "1h"))
    match random.choice(("ask", "ask", "do", "wait")):
        case "do":
            return State(name, do=tools, after=after)
        case "wait":
            return State(name, wait=["message", "approval"], after=after)
    return State(name, ask="Go.", tools=tools, talk=random.random() < 0.3, after=after)


def _row(random: Random, names: list[str], name: str, meets: tuple[str, ...]) -> Transition:
    results = [event for event in meets if event.split(".")[0] in TESTED]
    form = random.random()
    if form < 0.2 and len(results) > 1:
        joined = random.sample(results, random.randint(2, min(3, len(results))))
        return _written(random, names, name, [" & ".join(joined)], None)
    if form < 0.35 and results:
        heads = sorted({event.split(".")[0] for event in results})
        pattern = random.choice(("*.ok", f"{random.choice(heads)}.*", "*"))
        if pattern == "*" or any(event.endswith(".ok") for event in results):
            return _written(random, names, name, [pattern], None)
    if form < 0.4 and any(event.startswith("limit.") for event in meets):
        return _written(random, names, name, ["limit.*"], "error")
    chosen = random.sample(meets, random.choice((1, 1, 1, 2)))
    offers = {given_by(event) for event in chosen}
    return _written(random, names, name, chosen, offers.pop() if len(offers) == 1 else None)


def _shared(random: Random, names: list[str], meets: dict[str, tuple[str, ...]]) -> Transition:
    events = sorted({event for found in meets.values() for event in found})
    event = random.choice([*events, "*.error", "*.ok"])
    return _written(random, names, random.choice(("*", "pair")), [event], given_by(event))


def _written(
    random: Random, names: list[str], source: str, events: list[str], given: str | None
) -> Transition:
    target = random.choice((None, None, "stay", *names, *names, "failed"))
    guards: tuple[str | None, ...] = (None, None, *GUARDS, *BY_HEAD_GUARDS.get(given or "", ()) * 4)
    assigns: tuple[Any, ...] = (*ASSIGNS, *BY_HEAD.get(given or "", ()) * 4)
    if target is not None:
        assigns = (*({},) * len(assigns), *assigns)
    return Transition(source, events, target, random.choice(guards), random.choice(assigns))


def random_event(random: Random, event: str) -> dict[str, Any]:
    """Return what an event gives to guards."""
    scope: dict[str, Any] = {}
    match given_by(event):
        case "result":
            value = random.choice(
                (
                    None,
                    {"n": random.randrange(3), "ok": random.random() < 0.5},
                    {"why": "z"},
                    {"n": 1},
                )
            )
            scope = {"result": value, "args": {"n": 1}}
        case "error":
            kind = random.choice(("busy", "other"))
            scope = {"error": {"kind": kind, "text": "no", "attempts": 1}, "args": {}}
        case "message":
            scope = {"message": {"text": random.choice(("yes", "no"))}}
        case "approval":
            scope = {"approval": {"granted": random.random() < 0.5, "by": "ann"}}
        case "reply":
            scope = {"reply": {"text": random.choice(("done", "so"))}}
    return scope
