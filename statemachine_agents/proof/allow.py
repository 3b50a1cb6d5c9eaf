"""Findings that a table allows: `check = { allow = [{ code, reason, where }] }`.

Rules.  1. An allowed warning or remark is told as a remark with its reason.  2. An error cannot be
allowed; an allowance that nothing needs is reported, so that none outlives its reason.
Not here: findings known from before (the baseline of the command line).
"""

from __future__ import annotations

from collections.abc import Iterable

from statemachine_agents.proof.catalogue import CATALOGUE
from statemachine_agents.table.allowance import Allowance
from statemachine_agents.table.model import Table
from statemachine_agents.table.problems import Problem, suggest


def applied(table: Table, problems: Iterable[Problem], *, sure: bool) -> list[Problem]:
    """Return findings with what is allowed told as remarks, and what is wrong with allowances.

    Args:
        table: the table.
        problems: what was found.
        sure: whether the tools are known; without them an allowance may be for what they show.
    """
    found = list(problems)
    out = list(kept(table, found))
    for index, each in enumerate(table.allow):
        where = f"check.allow[{index}]"
        if each.code not in CATALOGUE:
            what, advice = f"no finding has the code {each.code!r}", suggest(each.code, CATALOGUE)
            out.append(Problem("allow-unknown", f"{where}.code", what, next=advice))
        elif (
            sure
            and not each.code.startswith("rule")
            and not any(_fits(each, problem) for problem in found)
        ):
            what = f"nothing is found that this allows: {each.code!r}"
            out.append(Problem("allow-unused", where, what, next="drop it", severity="warning"))
    return out


def kept(table: Table, problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """Return findings with those that the table allows told as remarks, and errors it cannot."""
    found = tuple(problems)
    refused = [
        Problem(
            "allow-error",
            f"check.allow[{index}].code",
            f"{each.code!r} is an error here, which cannot be allowed",
            next="mend it",
        )
        for index, each in enumerate(table.allow)
        if any(problem.severity == "error" for problem in found if _fits(each, problem))
    ]
    return (*(_told(table, problem) for problem in found), *refused)


def _told(table: Table, problem: Problem) -> Problem:
    if problem.severity == "error":
        return problem
    for each in table.allow:
        if _fits(each, problem):
            what = f"{problem.code} is allowed: {each.reason}"
            return Problem("allowed", problem.where, what, severity="info", span=problem.span)
    return problem


def _fits(each: Allowance, problem: Problem) -> bool:
    if each.code != problem.code:
        return False
    place, where = problem.where, each.where
    return not where or place == where or place.startswith((f"{where}.", f"{where}["))
