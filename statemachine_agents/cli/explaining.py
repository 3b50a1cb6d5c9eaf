"""What a code or a check means, and the JSON Schema of a table, for `sma check`.

Rules.  1. All of it comes with the package; no table is read.
Not here: findings themselves (`checking`), the texts (`proof.catalogue`).
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from statemachine_agents.cli.paper import Paper
from statemachine_agents.errors import UsageError
from statemachine_agents.proof.catalogue import CATALOGUE, CHECKS, Entry, codes_of
from statemachine_agents.table.problems import suggest


def schema_text() -> str:
    """Return the JSON Schema of the table form."""
    text = files("statemachine_agents").joinpath("table.schema.json").read_text(encoding="utf-8")
    return text if text.endswith("\n") else text + "\n"


def _page(check: str) -> str:
    """Return the page of a check: shipped inside the wheel, or of a source checkout."""
    package = Path(str(files("statemachine_agents")))
    for folder in (package / "_checks", package.parent / "docs" / "checks"):
        path = folder / f"{check}.md"
        if path.is_file():
            return path.read_text(encoding="utf-8")
    return ""


def tell_meaning(paper: Paper, name: str) -> None:
    """Write what a code or a check means.

    Raises:
        UsageError: neither a code nor a check has that name.
    """
    if name in CATALOGUE:
        _tell(paper, CATALOGUE[name])
    elif name.upper() in CHECKS:
        check = name.upper()
        codes = codes_of(check)
        paper.object({"event": "check", "check": check, "title": CHECKS[check]})
        paper.line((check, "bold"), f": {CHECKS[check]}")
        if not codes:
            paper.line("no finding answers this check yet")
        for code in codes:
            _tell(paper, CATALOGUE[code])
        page = _page(check)
        if page and not paper.json:
            paper.raw(f"\n{page}")
    else:
        msg = f"no code or check is named {name!r}; {suggest(name, (*CATALOGUE, *CHECKS))}"
        raise UsageError(msg)


def _tell(paper: Paper, entry: Entry) -> None:
    paper.object(
        {
            "event": "code",
            "code": entry.code,
            "checks": list(entry.checks),
            "title": entry.title,
            "severity": entry.severity,
        }
    )
    checks = f" ({', '.join(entry.checks)})" if entry.checks else ""
    paper.line(f"{entry.severity}[{entry.code}]{checks}: {entry.title}")
