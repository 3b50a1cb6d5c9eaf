"""A baseline: the findings that are known, so that only new ones are told.

Rules.  1. A finding is known by path, code, place and what it says, never by its line.  2. It is
known as often as it was written down: a second one of the same words is new.
Not here: finding them (`proof.structure`), drawing them (`diagnostics`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TypeAlias

import orjson

from statemachine_agents.errors import UsageError
from statemachine_agents.table.problems import Problem

Mark: TypeAlias = tuple[str, str, str, str]
_KEYS = ("path", "code", "where", "what")


def read(file: Path) -> Counter[Mark]:
    """Return what a baseline file knows, each with how often.

    Raises:
        UsageError: it cannot be read, or is no baseline.
    """
    advice = f"write it with `sma check PATH --write-baseline {file}`"
    try:
        plain = orjson.loads(file.read_bytes())
    except (OSError, orjson.JSONDecodeError) as error:
        raise UsageError(f"{file} cannot be read as a baseline: {error}; {advice}") from error
    found = plain.get("findings") if isinstance(plain, dict) else None
    if not isinstance(found, list) or plain.get("format") != 1:
        raise UsageError(f"{file} is no baseline of format 1; {advice}")
    marks: Counter[Mark] = Counter()
    for item in found:
        if not isinstance(item, dict) or not all(isinstance(item.get(key), str) for key in _KEYS):
            raise UsageError(f"{file} is no baseline: a finding in it lacks its words; {advice}")
        marks[item["path"], item["code"], item["where"], item["what"]] += 1
    return marks


def write(file: Path, found: Iterable[tuple[str, Problem]]) -> int:
    """Write findings down as known, sorted; return how many.

    Raises:
        UsageError: the file cannot be written.
    """
    marks = sorted(_mark(path, problem) for path, problem in found)
    items = [dict(zip(_KEYS, mark, strict=True)) for mark in marks]
    data = orjson.dumps({"format": 1, "findings": items}, option=orjson.OPT_INDENT_2)
    try:
        file.write_bytes(data + b"\n")
    except OSError as error:
        raise UsageError(f"{file} cannot be written: {error}") from error
    return len(items)


def fresh(path: str, problems: Iterable[Problem], known: Counter[Mark]) -> tuple[Problem, ...]:
    """Return the findings of one path that are not known; uses up what is."""
    out = []
    for problem in problems:
        mark = _mark(path, problem)
        if known[mark] > 0:
            known[mark] -= 1
        else:
            out.append(problem)
    return tuple(out)


def _mark(path: str, problem: Problem) -> Mark:
    return path, problem.code, problem.where, problem.what
