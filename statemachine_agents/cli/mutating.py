"""The command `mutate`: who would notice a mistake in a table?

Rules.  1. The table itself is never touched; tests run on a copy of its folder.  2. Survivors are
listed one a line, with a run in which they show where one was found.
Not here: the mutants (`proof.mutate`), who notices them (`testing.mutation`).
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from statemachine_agents.cli import options as o
from statemachine_agents.cli.failures import FINDINGS, SUCCESS
from statemachine_agents.cli.finding import home_of, inputs_of
from statemachine_agents.cli.paper import Paper
from statemachine_agents.cli.text import plural
from statemachine_agents.errors import JournalDamaged, UsageError
from statemachine_agents.journal.journal import Journal
from statemachine_agents.load import bundled, load_workflow
from statemachine_agents.testing.mutation import WHO, Score, Verdict, score

_GOLDEN = "golden"


def mutate(
    workflow: Annotated[
        str, Parameter(help="A folder, table file, module:attribute, or a bundled name.")
    ],
    /,
    *,
    goldens: Annotated[
        Path | None,
        Parameter(help="Folder of golden journals. Default: `golden` in the workflow's folder."),
    ] = None,
    tests: Annotated[
        str | None,
        Parameter(help="Command that fails when the workflow is wrong, such as 'pytest -q -x'."),
    ] = None,
    runs: Annotated[
        int, Parameter(help="Explored runs in which survivors are looked for; 0 looks at none.")
    ] = 300,
    keep: Annotated[
        Path | None, Parameter(help="Write the runs that show survivors here, as journals.")
    ] = None,
    inputs: o.Inputs = (),
    json: o.Json = False,
) -> int:
    """Put mistakes into a table, one at a time, and see who notices."""
    if runs < 0:
        raise UsageError(f"--runs {runs}: expected 0 or more")
    paper = Paper(json=json)
    found = load_workflow(workflow, home_of(o.STORE))
    folder = _folder(workflow)
    kept = _goldens(goldens, folder)
    result = score(
        found,
        kept,
        folder=folder,
        tests=shlex.split(tests or ""),
        runs=runs,
        inputs=inputs_of(found.table, inputs, None) if inputs else None,
    )
    for verdict in result.verdicts:
        paper.object({"event": "mutant", **_plain(verdict)})
    for verdict in result.survivors:
        paper.line(("survives ", "bold red"), str(verdict.mutant), (_hint(verdict), "dim"))
    if keep is not None:
        _write(keep, result, paper)
    _close(paper, result, len(kept))
    return FINDINGS if result.survivors else SUCCESS


def _folder(name: str) -> Path | None:
    path = Path(name)
    if path.is_dir():
        return path
    return path.parent if path.is_file() else bundled().get(name)


def _goldens(named: Path | None, folder: Path | None) -> list[Journal]:
    place = named
    if place is None:
        place = None if folder is None else folder / _GOLDEN
        if place is None or not place.is_dir():
            return []
    if not place.is_dir():
        raise UsageError(f"--goldens {place}: there is no such folder", path=str(place))
    out = []
    for path in sorted(place.rglob("*.jsonl")):
        try:
            out.append(Journal.loads(path.read_bytes()).verify())
        except (OSError, JournalDamaged) as error:
            raise UsageError(f"{path}: {error}", path=str(path)) from error
    return out


def _plain(verdict: Verdict) -> dict[str, object]:
    mutant = verdict.mutant
    out: dict[str, object] = {
        "kind": mutant.kind,
        "where": mutant.where,
        "what": mutant.what,
        "noticed": list(verdict.noticed),
    }
    if verdict.lived is not None:
        out["script"] = list(verdict.lived.script)
    return out


def _hint(verdict: Verdict) -> str:
    if verdict.lived is None:
        return ""
    return f"  (shows in a run of {plural(len(verdict.lived.script), 'line')})"


def _write(keep: Path, result: Score, paper: Paper) -> None:
    """Write each run that shows a survivor once."""
    journals = {
        verdict.lived.journal.dumps(): verdict.lived.path
        for verdict in result.survivors
        if verdict.lived is not None
    }
    try:
        keep.mkdir(parents=True, exist_ok=True)
        for number, (data, path) in enumerate(journals.items(), 1):
            Path(keep, f"explored_{number:02}_{path[-1]}.jsonl").write_bytes(data)
    except OSError as error:
        raise UsageError(f"--keep {keep}: {error.strerror}", path=str(keep)) from error
    paper.note(f"{plural(len(journals), 'journal')} in {keep}")


def _close(paper: Paper, result: Score, goldens: int) -> None:
    total, survivors = len(result.verdicts), len(result.survivors)
    paper.table(("noticed by", "mutants"), ((who, str(result.count(who))) for who in WHO))
    verdict = plural(survivors, "survivor")
    style = "bold red" if survivors else "green"
    paper.line(
        f"{plural(total, 'mutant')}, {plural(goldens, 'golden journal')}: ", (verdict, style)
    )
    paper.object(
        {
            "event": "mutated",
            "mutants": total,
            "survivors": survivors,
            "noticed": {who: result.count(who) for who in WHO},
        }
    )
