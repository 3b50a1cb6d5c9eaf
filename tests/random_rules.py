"""Rules by chance, over the tools and events of a table: every form, with `where` and `per`."""

from __future__ import annotations

from random import Random

from statemachine_agents.kernel.workflow import Workflow
from statemachine_agents.table.automata import FORMS

_ENGINE = ("user.message", "approval.granted", "approval.rejected", "model.done", "timer.fired")
_WHERE = {
    "intent": ("args.n == 1", "exists(args.n)", "context.count > 1", "args.n < 'x'"),
    "ok": ("result.n == 1", "result.eligible", "args.n == 2", "exists(result)"),
    "error": ("error.kind == 'busy'", "error.attempts > 1"),
    "user.message": ("message.text == 'yes'",),
}
_PER = ("args.n", "result.n", "args.order", "context.count")


def random_rules(workflow: Workflow, random: Random, count: int) -> list[str]:
    """Return so many rule texts that fit a table's tools and events."""
    tools = sorted(name for name in workflow.bindings)
    return [random_rule(tools, random) for _ in range(count)]


def random_rule(tools: list[str], random: Random) -> str:
    """Return one rule text."""
    form = FORMS[random.choice(list(FORMS))]
    parts = [
        _side(tools, random) if kind == "atom" else str(random.randrange(4))
        for kind in form.arguments
    ]
    if form.per and random.random() < 0.3:
        parts.append(f"per={random.choice(_PER)}")
    return f"{form.name}({', '.join(parts)})"


def _side(tools: list[str], random: Random) -> str:
    atoms = [_atom(tools, random) for _ in range(random.choice((1, 1, 1, 2)))]
    return atoms[0] if len(atoms) == 1 else f"[{', '.join(atoms)}]"


def _atom(tools: list[str], random: Random) -> str:
    chance = random.random()
    if chance < 0.35 and tools:
        name, kind = random.choice(tools), "intent"
    elif chance < 0.85 and tools:
        kind = random.choice(("ok", "ok", "error"))
        name = f"{random.choice(tools)}.{kind}"
    else:
        name = kind = random.choice(_ENGINE)
    conditions = _WHERE.get(kind, ())
    if conditions and random.random() < 0.35:
        return f"{name} where {random.choice(conditions)}"
    return name
