"""Findings for programs: GitHub annotations and SARIF.

Rules.  1. Every text is escaped as the format wants it; nothing a table says can end a line or add
a command.  2. Lines and columns are counted from 1.
Not here: JSON lines and drawings (`checking`, `diagnostics`).
Source: GitHub's workflow commands; SARIF 2.1.0 (OASIS).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any, Final

from statemachine_agents import __version__
from statemachine_agents.proof.catalogue import CATALOGUE
from statemachine_agents.table.problems import Problem

_LEVELS: Final = {"error": "error", "warning": "warning", "info": "notice"}
_SARIF: Final = {"error": "error", "warning": "warning", "info": "note"}
_SCHEMA: Final = "https://json.schemastore.org/sarif-2.1.0.json"


def github(problem: Problem) -> str:
    """Return one workflow command."""
    position = problem.position
    fields: dict[str, str | int] = {}
    if position is not None:
        fields = {"file": position.file, "line": position.line}
        if position.length:
            fields |= {"col": position.column, "endColumn": position.column + position.length}
    fields["title"] = problem.code
    told = ",".join(f"{name}={_field(str(value))}" for name, value in fields.items())
    return f"::{_LEVELS[problem.severity]} {told}::{_message(sentence(problem))}"


def sentence(problem: Problem) -> str:
    """Return a finding as one sentence: place, what, expected, got, help."""
    parts = [f"{problem.where}: {problem.what}" if problem.where else problem.what]
    for word, text in (("expected", problem.expected), ("got", problem.got)):
        if text:
            parts.append(f"{word} {text}")
    if problem.next:
        parts.append(problem.next)
    return "; ".join(parts)


def _message(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _field(text: str) -> str:
    return _message(text).replace(":", "%3A").replace(",", "%2C")


def sarif(problems: Sequence[Problem]) -> str:
    """Return one SARIF log of all findings."""
    codes = list(dict.fromkeys(problem.code for problem in problems))
    log = {
        "$schema": _SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "sma check",
                        "version": __version__,
                        "rules": [_rule(code, problems) for code in codes],
                    }
                },
                "columnKind": "unicodeCodePoints",
                "results": [_result(problem, codes) for problem in problems],
            }
        ],
    }
    return json.dumps(log, ensure_ascii=True, indent=1)


def _rule(code: str, problems: Iterable[Problem]) -> dict[str, Any]:
    severity = next(problem.severity for problem in problems if problem.code == code)
    known = CATALOGUE.get(code)
    title = code.replace("-", " ") if known is None else known.title
    return {
        "id": code,
        "name": "".join(word.capitalize() for word in code.split("-")),
        "shortDescription": {"text": title},
        "defaultConfiguration": {"level": _SARIF[severity]},
    }


def _result(problem: Problem, codes: Sequence[str]) -> dict[str, Any]:
    out: dict[str, Any] = {
        "ruleId": problem.code,
        "ruleIndex": codes.index(problem.code),
        "level": _SARIF[problem.severity],
        "message": {"text": sentence(problem)},
    }
    position = problem.position
    if position is not None:
        region: dict[str, int] = {"startLine": position.line}
        if position.length:
            region["startColumn"] = position.column
            region["endColumn"] = position.column + position.length
        out["locations"] = [
            {
                "physicalLocation": {
                    "artifactLocation": {"uri": position.file.replace("\\", "/")},
                    "region": region,
                }
            }
        ]
    return out
