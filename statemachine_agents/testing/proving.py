"""Show that a rule breaks: a run that takes the way a proof found, with the gate's rules off.

Rules.  1. A way becomes a script: turns of the model, results of tools, messages, decisions.
2. The script is played on the same table without its rules; the journal must then break the rule
by `conform`.  Only then is the rule refuted; else it is undecided, and says why.  3. Nothing of the
workflow is called: every tool has a double.
Not here: finding the way (`proof.product`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import attrs

from statemachine_agents.errors import ToolError, WorkflowError
from statemachine_agents.journal.conform import conform
from statemachine_agents.kernel.workflow import Workflow
from statemachine_agents.models.samples import Sampler
from statemachine_agents.models.scripted import Turn, say, stop, use, use_all
from statemachine_agents.proof.names import names_at
from statemachine_agents.proof.place import Hop
from statemachine_agents.proof.product import Proof, Proofs
from statemachine_agents.proof.product import prove as prove_table
from statemachine_agents.table.definition import Definition
from statemachine_agents.table.expressions import Path
from statemachine_agents.table.nodes import Key
from statemachine_agents.table.rules import TURN
from statemachine_agents.testing.explore import inputs_for
from statemachine_agents.testing.play import Played, play
from statemachine_agents.values import JSON

_NO_SUCH: Final = "no_such_tool"


class CannotBeScripted(WorkflowError):
    """A way needs something that `play` cannot make happen: a cancel, children, a spent budget."""


@attrs.frozen(kw_only=True)
class Script:
    """A way as arguments of `play`.

    Args:
        inputs: context of the run.
        turns: what the model replies.
        tools: tool -> its results, one a call: a value, a `ToolError`, or another exception.
        messages: what the customer writes.
        approve: what people decide.
        timers: how many timers run out.
    """

    inputs: Mapping[str, JSON]
    turns: tuple[Turn, ...]
    tools: Mapping[str, list[Any]]
    messages: tuple[Mapping[str, JSON], ...] = ()
    approve: tuple[bool, ...] = ()
    timers: int = 0

    def played(self, workflow: Workflow) -> Played:
        """Play it on the workflow's table without rules."""
        return play(
            unruled(workflow),
            self.inputs,
            script=self.turns,
            tools={name: list(answers) for name, answers in self.tools.items()},
            messages=self.messages,
            approve=self.approve,
            timers=self.timers,
            strict=False,
        )

    def __str__(self) -> str:
        """Return it as a Python test: `workflow` is the one whose rule is broken."""
        tools = "".join(
            f"        {name!r}: [{', '.join(map(_answer, answers))}],\n"
            for name, answers in self.tools.items()
        )
        turns = "".join(f"        {_turn(turn)},\n" for turn in self.turns)
        more = "".join(
            f"    {name}={value!r},\n"
            for name, value in (
                ("messages", [dict(each) for each in self.messages]),
                ("approve", list(self.approve)),
                ("timers", self.timers),
            )
            if value
        )
        return (
            "from statemachine_agents import ToolError, conform\n"
            "from statemachine_agents.models.scripted import say, stop, use, use_all\n"
            "from statemachine_agents.testing.play import play\n"
            "from statemachine_agents.testing.proving import unruled\n\n"
            "played = play(\n"
            "    unruled(workflow),\n"
            f"    {dict(self.inputs)!r},\n"
            f"    script=[\n{turns}    ],\n"
            f"    tools={{\n{tools}    }},\n"
            f"{more}"
            "    strict=False,\n"
            ")\n"
            "assert not conform(played.journal, workflow.rules).kept\n"
        )


def prove(workflow: Workflow) -> Proofs:
    """Return a verdict on every rule; each refuted one carries a script that broke it.

    Args:
        workflow: bound or from a definition; its functions are never called.

    Example:
        >>> prove(refund).proofs[0].verdict  # doctest: +SKIP
        'proven'
    """
    definition = workflow.definition
    proofs = prove_table(workflow.table, definition.tools, children=tuple(definition.children))
    return show(workflow, proofs)


def show(workflow: Workflow, proofs: Proofs) -> Proofs:
    """Return proofs with a run for each rule that is said to be refuted, or undecided without."""
    shown = tuple(_shown(workflow, proof) for proof in proofs.proofs)
    return attrs.evolve(proofs, proofs=shown)


def unruled(workflow: Workflow) -> Workflow:
    """Return the workflow without rules: the gate then lets pass what they would refuse."""
    definition = workflow.definition
    table = attrs.evolve(workflow.table, rules=())
    return Workflow.from_definition(
        Definition(table, definition.tools, definition.children), {}, workflow.children
    )


def _shown(workflow: Workflow, proof: Proof) -> Proof:
    if proof.verdict != "refuted":
        return proof
    try:
        script = script_of(workflow, proof.hops)
        journal = script.played(workflow).journal
        if not conform(journal, [proof.rule.text]).kept:
            return attrs.evolve(proof, script=str(script))
        why = "a run with such values took another way: what is read earlier may prevent it"
    except CannotBeScripted as error:
        why = str(error)
    except WorkflowError as error:
        why = f"the run that should show it did not start: {error}"
    reason = f"the rows allow a way, but it could not be shown: {why}"
    return attrs.evolve(proof, verdict="undecided", reason=reason)


# ------------------------------------------------------------------------------- from way to script


def script_of(workflow: Workflow, hops: Iterable[Hop]) -> Script:
    """Return a script that takes a way.

    Raises:
        CannotBeScripted: a fact on the way cannot be brought about by `play`.
    """
    writer = _Writer(workflow)
    for hop in hops:
        writer.take(hop)
    return writer.close()


class _Writer:
    """Writes a script, fact by fact."""

    def __init__(self, workflow: Workflow) -> None:
        self.workflow = workflow
        self.table = workflow.table
        self.inputs: dict[str, JSON] = inputs_for(workflow)
        self.turns: list[Turn] = []
        self.calls: list[Turn] = []
        self.made: list[str] = []
        self.tools: dict[str, list[Any]] = {}
        self.messages: list[Mapping[str, JSON]] = []
        self.approve: list[bool] = []
        self.timers = 0
        self.origins: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {}
        first = self.table.states[self.table.initial]
        if first.talk:
            self.messages.append({"text": "hello"})

    def take(self, hop: Hop) -> None:
        """Write what brings one fact about."""
        self._context(hop)
        head, _, outcome = hop.fact.partition(".")
        if hop.fact == TURN:
            self._flush()
        elif hop.fact in self.workflow.bindings:
            self._call(hop.fact, hop)
        elif head in self.workflow.bindings:
            if head not in self.made:
                self._call(head, hop)
            if outcome != "unknown":
                self.made.remove(head)
            self._result(head, outcome, hop)
        elif hop.fact not in ("entered", "settled", "guard.error"):
            self._engine(hop)

    def close(self) -> Script:
        """Return what was written."""
        self._flush()
        for turns in self.tools.values():
            turns[:] = turns or [None]
        return Script(
            inputs=self.inputs,
            turns=tuple(self.turns),
            tools=self.tools,
            messages=tuple(self.messages),
            approve=tuple(self.approve),
            timers=self.timers,
        )

    def _flush(self) -> None:
        if self.calls:
            self.turns.append(self.calls[0] if len(self.calls) == 1 else use_all(*self.calls))
        self.calls = []

    def _call(self, tool: str, hop: Hop) -> None:
        binding = self.workflow.bindings[tool]
        known = hop.scope.get("args")
        facts = dict(known) if isinstance(known, Mapping) else {}
        arguments = {**Sampler(binding.shown, facts, 0 if hop.mine else 1).arguments()}
        shown: Any = binding.shown.get("properties", {})
        arguments |= {name: value for name, value in facts.items() if name in shown}
        self.made.append(tool)
        self.tools.setdefault(tool, [])
        if self.table.states[hop.state].verb == "ask":
            self.calls.append(use(tool, **arguments))

    def _result(self, tool: str, outcome: str, hop: Hop) -> None:
        if tool in self.table.signals:
            return
        answers = self.tools.setdefault(tool, [])
        if outcome == "ok":
            answers.append(self._value(hop))
            self._remember(hop, answers[-1])
        elif outcome == "error":
            error = hop.scope.get("error")
            kind = error.get("kind") if isinstance(error, Mapping) else None
            answers.append(ToolError("it did not work", kind=str(kind or "broken")))
        else:
            answers.append(RuntimeError("the connection was lost"))

    def _value(self, hop: Hop) -> JSON:
        names = names_at(self.table, self.workflow.definition.tools, hop.fact, hop.state)
        known = hop.scope.get("result")
        schema = names.given.get("result")
        if known is None:
            return Sampler(schema).value(schema) if schema else {}
        whole = names.possible({"result": known})
        return known if whole is None else whole["result"]

    def _engine(self, hop: Hop) -> None:
        limits = self.table.limits
        self._flush()
        match hop.fact:
            case "model.done":
                reply = hop.scope.get("reply")
                text = reply.get("text") if isinstance(reply, Mapping) else None
                self.turns.append(say(str(text or "done")))
            case "model.refused":
                self.turns.append(stop("refusal"))
            case "user.message":
                said = hop.scope.get("message")
                known = dict(said) if isinstance(said, Mapping) else {}
                self.messages.append({"text": "hello", **known})
            case "approval.granted" | "approval.rejected":
                self.approve.append(hop.fact.endswith("granted"))
            case "timer.fired":
                self.timers += 1
            case "limit.refusals":
                self.turns += [use(_NO_SUCH)] * limits.refusals
            case "limit.nudges" if not self.table.states[hop.state].talk:
                self.turns += [say("hm")] * limits.nudges
            case _:
                msg = f"{hop.fact} in state {hop.state!r} cannot be scripted"
                raise CannotBeScripted(msg, fact=hop.fact)

    # ------------------------------------------------------------------------------- the context

    def _remember(self, hop: Hop, value: JSON) -> None:
        """Note which context keys this result is assigned to, to put later wishes into it."""
        if not isinstance(value, dict):
            return
        for row in self.workflow.grid.rows:
            entry = self.workflow.grid.cell(hop.state, hop.fact)
            if row.index not in {each.row.index for each in (*entry.notes, *entry.moves)}:
                continue
            for target, expression in row.assigns:
                root = expression.root
                if target.steps or not isinstance(root, Path) or root.root != "result":
                    continue
                steps = tuple(step.name for step in root.steps if isinstance(step, Key))
                if len(steps) == len(root.steps):
                    self.origins[target.root] = (value, steps)

    def _context(self, hop: Hop) -> None:
        """Make context values that the way asks for come true where they come from."""
        wanted = hop.scope.get("context")
        if not isinstance(wanted, Mapping):
            return
        for name, value in wanted.items():
            if name in self.origins:
                place, steps = self.origins[name]
                _put(place, steps, value)
            elif name in self.table.context and not self.workflow.wrong_type(name, value):
                self.inputs[name] = value


def _put(place: dict[str, Any], steps: tuple[str, ...], value: JSON) -> None:
    inside: Any = place
    for step in steps[:-1]:
        inside = inside.setdefault(step, {})
        if not isinstance(inside, dict):
            return
    if steps:
        known = inside.get(steps[-1])
        if isinstance(known, dict) and isinstance(value, Mapping):
            known.update(value)
        else:
            inside[steps[-1]] = value
    elif isinstance(value, Mapping):
        place.update(value)


def _answer(answer: Any) -> str:
    if isinstance(answer, ToolError):
        return f"ToolError({str(answer)!r}, kind={answer.kind!r})"
    return repr(answer)


def _turn(turn: Turn) -> str:
    calls = [
        f"use({call.name!r}" + "".join(f", {_pair(pair)}" for pair in call.arguments.items()) + ")"
        for call in turn.calls
    ]
    if len(calls) > 1:
        return f"use_all({', '.join(calls)})"
    if calls:
        return calls[0]
    return (
        f"say({turn.text!r})" if turn.stop_reason == "end_turn" else f"stop({turn.stop_reason!r})"
    )


def _pair(pair: tuple[str, JSON]) -> str:
    name, value = pair
    return f"{name}={value!r}" if name.isidentifier() else f"**{{{name!r}: {value!r}}}"
