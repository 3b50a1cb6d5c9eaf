"""What is measured of the proofs: tables by size, the rules at the gate, a whole `sma check`.

The tables are a chain of states, each with a guarded row, an else row and a note, under as many
rules as asked for: what a large desk looks like, not what is kind to the checker.
"""

from statemachine_agents.kernel.workflow import Workflow
from statemachine_agents.table.definition import Definition
from statemachine_agents.table.model import State, Table, Transition
from statemachine_agents.table.rule_syntax import parse_rule
from statemachine_agents.table.rules import RuleSet
from statemachine_agents.table.toolspec import ToolSpec

LOOKED = {
    "type": "object",
    "properties": {"n": {"type": "integer"}, "ok": {"type": "boolean"}},
    "required": ["n", "ok"],
    "additionalProperties": False,
}
SPECS = {
    "look": ToolSpec(name="look", effect="read", result=LOOKED),
    "pay": ToolSpec(name="pay", effect="idempotent"),
}
RULES = (
    "at_most(pay, 3)",
    "only_after(pay, look.ok where result.ok)",
    "leads_to(pay.ok, look.ok)",
    "never_after(run.cancelled, pay)",
    "each_needs(pay, look.ok)",
) * 4


def chain(states, rules=RULES):
    """Return a table of so many states in a row."""
    names = [f"s{number}" for number in range(states)]
    rows = []
    for name, following in zip(names, [*names[1:], "done"], strict=True):
        rows += [
            Transition(name, "look.ok", following, guard=f"result.ok and result.n <= {len(rows)}"),
            Transition(name, "look.ok", "failed"),
            Transition(name, "pay.ok", None, assign={"paid": "result"}),
        ]
    ends = [State("done", final="success"), State("failed", final="failure")]
    return Table(
        name="chain",
        initial="s0",
        states=[*(State(name, ask="x", tools=["look", "pay"]) for name in names), *ends],
        transitions=rows,
        rules=rules,
        context={"paid": "any"},
    )


def gate():
    """Return 20 rules that all look at one call, the states they stand in, and its scope."""
    texts = [
        "at_most(pay, 1000, per=args.order)",
        "only_after(pay, look.ok)",
        "never(pay where args.amount > 500)",
        "each_needs(pay, look.ok)",
        "not_both(pay, refund)",
    ] * 4
    rules = RuleSet.of(tuple(parse_rule(text) for text in texts))
    scope = {"args": {"order": "A1", "amount": 20}, "context": {}, "result": {}}
    return rules, rules.observe(rules.start(), "look.ok", scope, 1), scope


def workflow(states):
    """Return the chain as a workflow without functions."""
    return Workflow.from_definition(Definition(chain(states), SPECS))
