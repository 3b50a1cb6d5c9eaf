"""Verdicts on rules, as `sma check` tells them: findings, a summary, and why one is broken.

Rules.  1. A rule that only the gate keeps is worth knowing; one that a run may end without keeping
is a warning.  2. A way is believed when a run has taken it, see `testing.proving`.
Not here: the search (`proof.product`), the other findings (`checking`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from statemachine_agents.cli.paper import Paper
from statemachine_agents.cli.text import clean, plural
from statemachine_agents.errors import TableError, UsageError
from statemachine_agents.kernel.workflow import Workflow, used_tools
from statemachine_agents.proof.product import Proof, Proofs, prove
from statemachine_agents.table.definition import Definition
from statemachine_agents.table.diagram import mermaid
from statemachine_agents.table.model import Table
from statemachine_agents.table.problems import Problem
from statemachine_agents.table.toolspec import ToolSpec

KEPT = "kept by the gate"


def verdicts_of(bound: Workflow | Table) -> Proofs | None:
    """Return the verdicts on all rules; None when there are none, or the table is not usable."""
    table = bound if isinstance(bound, Table) else bound.table
    if not table.rules:
        return None
    if isinstance(bound, Table):
        tools = {name: ToolSpec(name=name) for name in used_tools(table)}
        try:
            bound = Workflow.from_definition(Definition(table, tools))
        except TableError:
            return None
    definition = bound.definition
    proofs = prove(table, definition.tools, children=tuple(definition.children))
    if all(proof.verdict != "refuted" for proof in proofs.proofs):
        return proofs
    # Runs need a driver, a store and a model: nothing to load for a table whose rules are proven.
    from statemachine_agents.testing.proving import show

    return show(bound, proofs)


def findings(verdicts: Proofs) -> tuple[Problem, ...]:
    """Return what the verdicts say against a table, and what is worth knowing."""
    found = [problem for proof in verdicts.proofs for problem in _of(proof)]
    if verdicts.contradiction:
        what = "runs can succeed, but none that keeps every rule"
        found.append(
            Problem("rules-contradict", "rules", what, next="drop or loosen one of the rules")
        )
    return tuple(found)


def _of(proof: Proof) -> list[Problem]:
    where = f"rules[{proof.index}]"
    number = proof.index + 1
    if proof.vacuous:
        what = "nothing this rule is about can happen, so it says nothing"
        advice = "name an event or a call that some state can meet"
        return [Problem("rule-vacuous", where, what, next=advice, severity="warning")]
    if proof.verdict == "undecided":
        return [Problem("rule-undecided", where, proof.reason, severity="info")]
    if proof.verdict == "proven":
        return []
    way = "; ".join(proof.lines()[-4:])
    advice = f"`sma check PATH --why {number}` shows the whole run"
    if proof.gated:
        what = f"the rows allow runs that break it; the gate refuses what would: {way}"
        return [Problem("rule-by-gate", where, what, next=advice, severity="info")]
    what = f"a run can break it, and no gate can prevent that: {way}"
    return [Problem("rule-refuted", where, what, next=advice, severity="warning")]


def summary(verdicts: Proofs) -> str:
    """Return how many rules are proven, kept by the gate, refuted, undecided."""
    count = Counter(KEPT if proof.gated else proof.verdict for proof in verdicts.proofs)
    kinds = ("proven", KEPT, "refuted", "undecided")
    told = [f"{count[kind]} {kind}" for kind in kinds if count[kind]]
    return f"{plural(len(verdicts.proofs), 'rule')}: {', '.join(told)}"


def explain(paper: Paper, table: Table, verdicts: Proofs | None, number: int) -> None:
    """Tell how a rule fares: the way in words, on the diagram, and as a script.

    Raises:
        UsageError: there is no such rule.
    """
    every: Sequence[Proof] = () if verdicts is None else verdicts.proofs
    proof = next((each for each in every if each.index + 1 == number), None)
    if proof is None:
        msg = f"--why {number}: {table.name!r} has {plural(len(table.rules), 'rule')}, from 1 on"
        raise UsageError(msg, rule=number)
    drawn = mermaid(table, proof.path) if proof.hops else ""
    paper.object(
        {
            "event": "rule",
            "rule": number,
            "text": proof.rule.text,
            "verdict": proof.verdict,
            "gated": proof.gated,
            "reason": proof.reason,
            "way": list(proof.lines()),
            "mermaid": drawn,
            "script": proof.script,
        }
    )
    if paper.json:
        return
    verdict = f"{proof.verdict}, {KEPT}" if proof.gated else proof.verdict
    paper.line(clean(f"rule {number}: {proof.rule.text}"), ": ", (verdict, "bold"))
    if proof.reason:
        paper.line(clean(proof.reason))
    for place, line in enumerate(proof.lines(), 1):
        paper.line(clean(f"  {place}. {line}"))
    if proof.fact == "end":
        paper.line(clean("  Then the run is over, and what the rule asks for is still due."))
    for part in (drawn, proof.script):
        if part:
            paper.raw(f"\n{part}")
