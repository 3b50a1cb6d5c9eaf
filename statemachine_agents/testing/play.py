"""Play a workflow with a script and doubles for its tools: a whole run in a few lines of a test.

Rules.  1. The real driver, the real journal, the memory store; only the model and the tools are
doubles, and time and noise are seeded.  2. A script step that was not used fails the test, and so
does a tool that was called without a double.
Not here: the scripted model (`models.scripted`), the fake Messages API (`messages_api`).
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import attrs

from statemachine_agents.driver import Driver
from statemachine_agents.errors import ToolError, UsageError
from statemachine_agents.journal.journal import Journal
from statemachine_agents.journal.outcome import Outcome
from statemachine_agents.journal.replay import Replayed
from statemachine_agents.kernel.workflow import Workflow
from statemachine_agents.models.scripted import ScriptedModel
from statemachine_agents.stores.memory import MemoryStore
from statemachine_agents.system import SeededEntropy, SteppingClock
from statemachine_agents.table.toolspec import ToolSpec
from statemachine_agents.tools.decorator import attach
from statemachine_agents.values import JSON


@attrs.frozen(kw_only=True)
class Played:
    """A played run.

    Args:
        outcome: how it stands.
        journal: every record, with the definition.
        calls: (tool, arguments) of every call that was made, in order.
        requests: what the scripted model was asked.
    """

    outcome: Outcome
    journal: Journal = attrs.field(repr=False)
    calls: tuple[tuple[str, Mapping[str, JSON]], ...]
    requests: tuple[Any, ...] = attrs.field(repr=False)

    @property
    def path(self) -> tuple[str, ...]:
        """States visited, in order."""
        return self.outcome.path

    def replay(self) -> Replayed:
        """Decide the whole journal again."""
        return self.journal.replay()

    def kinds(self) -> list[str]:
        """Record kinds, in order."""
        return [record.kind for record in self.journal.records]


def play(
    workflow: Workflow,
    inputs: Mapping[str, JSON] | None = None,
    *,
    script: Iterable[Any] = (),
    tools: Mapping[str, Any] | None = None,
    messages: Sequence[str | Mapping[str, JSON]] = (),
    approve: Sequence[bool] = (),
    timers: int = 0,
    strict: bool = True,
) -> Played:
    """Run a workflow to its end, or to where nobody is left to speak.

    Args:
        workflow: bound or from a definition.
        inputs: values for declared context keys.
        script: turns of the model, see `models.scripted` (`use`, `say`, ...).
        tools: tool -> value it returns, exception it raises, function `(arguments) -> value`, or
            a list of these, one per call; the last one stays. None uses the workflow's functions.
        messages: customer messages, each sent when the run waits for one.
        approve: answers to approvals, in order.
        timers: how many timers run out: when nobody else speaks, time moves on to the next one.
        strict: fail when script steps, messages, approvals or timers are left over.

    Returns:
        The played run.

    Raises:
        AssertionError: something of the script was left over.

    Example:
        >>> play(refund, {"order_id": "A1"}, script=[use("fetch_order")])  # doctest: +SKIP
    """
    return asyncio.run(
        _play(
            workflow,
            inputs or {},
            list(script),
            tools,
            list(messages),
            list(approve),
            timers,
            strict=strict,
        )
    )


async def _play(
    workflow: Workflow,
    inputs: Mapping[str, JSON],
    script: list[Any],
    tools: Mapping[str, Any] | None,
    messages: list[Any],
    approve: list[bool],
    timers: int,
    *,
    strict: bool,
) -> Played:
    calls: list[tuple[str, Mapping[str, JSON]]] = []
    stage = workflow if tools is None else _doubled(workflow, tools, calls)
    model = ScriptedModel(script, strict=False)
    store = MemoryStore()
    clock = SteppingClock()
    driver = Driver(stage, model=model, store=store, clock=clock, entropy=SeededEntropy())
    async with driver:
        run_id = await driver.start(inputs, wait=False)
        outcome = await driver.result(run_id)
        while outcome.status == "waiting":
            if "message" in outcome.waiting and messages:
                said = messages.pop(0)
                extra = dict(said) if isinstance(said, Mapping) else {"text": said}
                text = str(extra.pop("text"))
                outcome = await driver.send(run_id, text, attributes=extra)
            elif "approval" in outcome.waiting and approve:
                outcome = await driver.approve(run_id, granted=approve.pop(0), by="test")
            elif timers and (due := (await store.row(run_id)).wake_at) is not None:
                timers -= 1
                clock.at = max(clock.at, due)
                outcome = await driver.resume(run_id)
            else:
                break
        records = await driver.records(run_id)
    left = [*model.unused, *messages, *approve, *["a timer"] * timers]
    if strict and left:
        msg = f"the run ended in {outcome.state!r} ({outcome.status}) and left over: {left!r}"
        raise AssertionError(msg)
    return Played(
        outcome=outcome,
        journal=Journal(stage.definition.data, tuple(records)),
        calls=tuple(calls),
        requests=tuple(model.requests),
    )


def _doubled(
    workflow: Workflow,
    tools: Mapping[str, Any],
    calls: list[tuple[str, Mapping[str, JSON]]],
) -> Workflow:
    """Return the workflow with doubles for its functions; specs and definition stay the same."""
    unknown = sorted(set(tools) - set(workflow.definition.tools))
    if unknown:
        msg = f"play: {workflow.table.name!r} uses no tools named {unknown}"
        raise UsageError(msg)
    functions: dict[str, Callable[..., Any]] = {}
    for name, spec in workflow.definition.tools.items():
        functions[name] = _double(name, spec, tools.get(name, _MISSING), calls)
    return Workflow.from_definition(workflow.definition, functions, workflow.children)


_MISSING = object()


def _double(
    name: str, spec: ToolSpec, given: Any, calls: list[tuple[str, Mapping[str, JSON]]]
) -> Callable[..., Any]:
    answers = list(given) if isinstance(given, list) else [given]

    async def double(**arguments: JSON) -> JSON:
        calls.append((name, arguments))
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if answer is _MISSING:
            msg = f"play: {name!r} was called, but `tools` has no double for it"
            raise ToolError(msg, kind="no_double")
        if isinstance(answer, BaseException):
            raise answer
        if callable(answer):
            answer = answer(arguments)
            if inspect.isawaitable(answer):
                answer = await answer
        return answer

    return attach(double, spec)
