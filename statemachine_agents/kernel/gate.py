"""The gate: may this proposed call run, here and now?

Rules.  1. Order: offered here, limits, schema, bind, rules, `when`, `approve`; the first "no" wins.
2. The gate trusts nothing the model says; bound arguments come from the context alone.  3. Several
calls of one reply are judged one after the other, each against a snapshot that already holds what
was admitted before it (the caller folds each intent).  4. A condition that cannot be evaluated
refuses.
Not here: telling the model (`turn.prompt`), counting refusals (`journal.fold`).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

import attrs

from statemachine_agents.errors import EvaluationError
from statemachine_agents.kernel import limits
from statemachine_agents.kernel.snapshot import Snapshot
from statemachine_agents.kernel.workflow import Binding, Workflow
from statemachine_agents.values import JSON, dumps

MAX_FAULTS: Final = 5
"""Schema faults shown at once."""


@attrs.frozen
class Proposal:
    """A call somebody proposes: the model in an `ask` state, the engine in a `do` state.

    Args:
        tool: name.
        arguments: what the proposer gives; bound arguments are not among them.
    """

    tool: str
    arguments: Mapping[str, JSON]


@attrs.frozen
class Admission:
    """What the gate says.

    Args:
        code: `ok`, `approve` (a person must agree first), or why not: `not_offered`, `limit`,
            `arguments`, `bind`, `rule`, `when`.
        text: the reason, for model and journal.
        arguments: final arguments, model's and bound, when admitted.
        rule: index of the refusing rule, or None.
    """

    code: str
    text: str = ""
    arguments: Mapping[str, JSON] = attrs.field(factory=dict)
    rule: int | None = None

    @property
    def admitted(self) -> bool:
        """Whether it may run, perhaps after an approval."""
        return self.code in ("ok", "approve")


def judge(
    workflow: Workflow, snapshot: Snapshot, call: Proposal, *, now: str = "", approved: bool = False
) -> Admission:
    """Judge one proposed call.

    Args:
        workflow: the workflow.
        snapshot: where the run stands, with what this reply already admitted.
        call: the proposal.
        now: recorded time as text, for `now` in conditions.
        approved: a person has agreed to these very arguments.

    Returns:
        The admission, with the final arguments.
    """
    table = workflow.table
    state = table.states[snapshot.state]
    offered = table.tools_in(state)
    if snapshot.ended or call.tool not in offered:
        return Admission("not_offered", _not_offered(call.tool, snapshot, offered))
    if limits.before_calls(workflow.limits, snapshot):
        return Admission("limit", limits.describe(workflow.limits, "calls", snapshot.state))
    binding = workflow.bindings[call.tool]
    faults = schema_faults(binding.shown, call.arguments)
    if faults:
        return Admission("arguments", f"arguments of {call.tool!r} do not fit its schema: {faults}")
    final, wrong = _bind(snapshot, binding, call.arguments, now)
    if wrong:
        return Admission("bind", wrong)
    scope = gate_scope(snapshot, final, now)
    forbidden = workflow.rules.forbids(snapshot.rules, call.tool, scope)
    if forbidden is not None:
        index, rule = forbidden
        return Admission("rule", f"the rule {rule.text} forbids it now", final, index)
    return _conditions(binding, final, scope, approved=approved)


def gate_scope(snapshot: Snapshot, arguments: Mapping[str, JSON], now: str) -> dict[str, JSON]:
    """Return the names that `when`, `approve` and rules may read about an intent."""
    return {
        "context": snapshot.context,
        "args": arguments,
        "visits": snapshot.visits,
        "iterations": snapshot.counters.iterations,
        "now": now,
    }


def _conditions(
    binding: Binding, final: Mapping[str, JSON], scope: Mapping[str, JSON], *, approved: bool
) -> Admission:
    if binding.when is not None:
        try:
            held, text = binding.when.holds(scope), binding.why or ""
        except EvaluationError as error:
            held, text = False, str(error)
        if not held:
            text = text or f"its condition does not hold: {binding.when.text}"
            return Admission("when", text, final)
    if binding.approve is not None and not approved:
        try:
            asks = binding.approve.holds(scope)
        except EvaluationError as error:
            return Admission("when", f"whether a person must approve is unclear: {error}", final)
        if asks:
            return Admission("approve", binding.approve.text, final)
    return Admission("ok", "", final)


def _bind(
    snapshot: Snapshot,
    binding: Binding,
    given: Mapping[str, JSON],
    now: str,
) -> tuple[Mapping[str, JSON], str]:
    """Return the final arguments, or what is wrong with a bound one."""
    if not binding.bind:
        return given, ""
    scope = {
        "context": snapshot.context,
        "visits": snapshot.visits,
        "iterations": snapshot.counters.iterations,
        "now": now,
    }
    final = dict(given)
    try:
        for name, expression in binding.bind:
            final[name] = expression.evaluate(scope)
    except EvaluationError as error:
        return given, f"an argument of {binding.name!r} cannot be bound: {error}"
    faults = schema_faults(binding.spec.arguments, final)
    if faults:
        return given, f"bound arguments of {binding.name!r} do not fit: {faults}"
    return final, ""


def _not_offered(tool: str, snapshot: Snapshot, offered: tuple[str, ...]) -> str:
    legal = ", ".join(offered) or "none"
    return f"{tool!r} is not legal in state {snapshot.state!r}; legal here: {legal}"


@lru_cache(maxsize=4096)
def _validator(schema: bytes) -> Any:
    """Compile a schema once; jsonschema-rs is loaded with the first call, not at import."""
    import jsonschema_rs
    import orjson

    return jsonschema_rs.validator_for(orjson.loads(schema))


_BY_ID: Final[dict[int, tuple[Any, Any]]] = {}


def schema_faults(schema: Mapping[str, JSON], value: JSON) -> str:
    """Return what is wrong with a value by a JSON Schema, at most five faults, or an empty text."""
    cached = _BY_ID.get(id(schema))
    if cached is None or cached[0] is not schema:
        # The schema object is kept beside its validator, so its id cannot be used again.
        cached = (schema, _validator(dumps(schema)))
        if len(_BY_ID) > 4096:
            _BY_ID.clear()
        _BY_ID[id(schema)] = cached
    validator = cached[1]
    if validator.is_valid(value):
        return ""
    faults = []
    for number, error in enumerate(validator.iter_errors(value)):
        if number == MAX_FAULTS:
            faults.append("...")
            break
        place = ".".join(str(part) for part in error.instance_path)
        faults.append(f"{place}: {error.message}" if place else error.message)
    return "; ".join(faults)
