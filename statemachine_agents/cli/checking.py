"""The command that judges tables: check. It runs nothing.

Rules.  1. Every problem of every path is listed, errors and warnings, with its line where the file
is known.  2. A folder is bound to its functions too: a missing one is a problem like any other.
Not here: the checks (`proof.structure`), pictures (`drawing`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Final, Literal, TypeAlias

import attrs
from cyclopts import Parameter

from statemachine_agents.cli import baseline as baselines
from statemachine_agents.cli import options as o
from statemachine_agents.cli import proving
from statemachine_agents.cli.diagnostics import Sources, draw
from statemachine_agents.cli.explaining import schema_text, tell_meaning
from statemachine_agents.cli.failures import FINDINGS, SUCCESS, USAGE
from statemachine_agents.cli.finding import home_of
from statemachine_agents.cli.formats import github, sarif
from statemachine_agents.cli.paper import Paper, Part
from statemachine_agents.cli.text import clean, plural
from statemachine_agents.errors import TableError, UsageError
from statemachine_agents.kernel.workflow import Workflow
from statemachine_agents.load import bundled, load_table, load_workflow
from statemachine_agents.proof import allow
from statemachine_agents.proof.product import Proofs
from statemachine_agents.proof.structure import check as check_table
from statemachine_agents.table.grid import Cell, Grid, expand
from statemachine_agents.table.model import Table
from statemachine_agents.table.places import Places
from statemachine_agents.table.problems import Problem
from statemachine_agents.values import JSON

_TABLE: Final = "table.toml"

Format: TypeAlias = Literal["text", "json", "github", "sarif"]


@attrs.frozen
class Checked:
    """What was found about one path.

    Args:
        path: as it was named.
        table: the table, or None when it could not be built.
        grid: its grid, with what the tools add where they are known.
        problems: errors and warnings, each once.
        workflow: the table bound to its functions, where that was possible.
        verdicts: on its rules; None where there are none, or errors come first.
        unread: why it could not be read at all, or an empty text.
    """

    path: str
    table: Table | None = None
    grid: Grid | None = None
    problems: tuple[Problem, ...] = ()
    unread: str = ""
    verdicts: Proofs | None = None
    workflow: Workflow | None = None

    def count(self, severity: str) -> int:
        """Return how many problems have a severity."""
        return sum(problem.severity == severity for problem in self.problems)


# -------------------------------------------------------------------------------------------- check


def check(
    *path: Annotated[
        str, Parameter(help="Folders, table files, module:attribute, or bundled names.")
    ],
    grid: Annotated[
        bool,
        Parameter(
            negative="",
            show_default=False,
            help="List every state x event: the rows that take it, or what happens without one.",
        ),
    ] = False,
    everything: Annotated[
        bool,
        Parameter(
            name="--all",
            negative="",
            show_default=False,
            help="Show what is worth knowing, too, not only errors and warnings.",
        ),
    ] = False,
    strict: Annotated[
        bool,
        Parameter(negative="", show_default=False, help="Let warnings fail, too."),
    ] = False,
    format_: Annotated[
        Format | None,
        Parameter(name="--format", help="How to write findings. Default: text; json with --json."),
    ] = None,
    baseline: Annotated[
        Path | None,
        Parameter(show_default=False, help="Leave out the findings that this file knows."),
    ] = None,
    write_baseline: Annotated[
        Path | None,
        Parameter(show_default=False, help="Write the findings of today to this file, as known."),
    ] = None,
    why: Annotated[
        int | None,
        Parameter(
            show_default=False,
            help="Show how this rule, counted from 1, fares: the run that breaks it, as a script.",
        ),
    ] = None,
    explain: Annotated[
        str | None,
        Parameter(show_default=False, help="Say what a code or a check such as T01 means."),
    ] = None,
    schema: Annotated[
        bool,
        Parameter(negative="", show_default=False, help="Print the JSON Schema of a table."),
    ] = False,
    json: o.Json = False,
) -> int:
    """Check tables and their tools, and prove their rules; list every problem at once."""
    if schema:
        Paper().raw(schema_text())
        return SUCCESS
    if explain is not None:
        tell_meaning(Paper(json=json), explain)
        return SUCCESS
    if not path:
        msg = f"check needs a path or a name; bundled: {', '.join(bundled()) or 'none'}"
        raise UsageError(msg)
    known = Counter() if baseline is None else baselines.read(baseline)
    results = [_ruled(_checked(each, info=everything), info=everything) for each in path]
    if why is not None:
        return _explained(Paper(json=json or format_ == "json"), results, why)
    if write_baseline is not None:
        baselines.write(
            write_baseline, [(each.path, problem) for each in results for problem in each.problems]
        )
    results = [
        attrs.evolve(each, problems=baselines.fresh(each.path, each.problems, known))
        for each in results
    ]
    if format_ in ("github", "sarif"):
        _program(format_, results)
    else:
        _tell_all(Paper(json=json or format_ == "json"), results, grid=grid)
    if any(result.unread for result in results):
        return USAGE
    fails = ("error", "warning") if strict else ("error",)
    found = any(result.count(severity) for result in results for severity in fails)
    return FINDINGS if found else SUCCESS


def _tell_all(paper: Paper, results: Sequence[Checked], *, grid: bool) -> None:
    sources = Sources()
    for result in results:
        _tell(paper, result, sources, grid=grid)
    paper.object(
        {
            "event": "checked",
            "paths": len(results),
            "errors": sum(result.count("error") for result in results),
            "warnings": sum(result.count("warning") for result in results),
            "unread": sum(bool(result.unread) for result in results),
        }
    )


def _program(format_: str, results: Sequence[Checked]) -> None:
    paper = Paper()
    problems = [problem for result in results for problem in result.problems]
    if format_ == "sarif":
        paper.raw(sarif(problems) + "\n")
    else:
        paper.raw("".join(f"{github(problem)}\n" for problem in problems))
    for result in results:
        if result.unread and not result.problems:
            paper.complain(result.unread)


def _checked(path: str, *, info: bool) -> Checked:
    try:
        table = load_table(path)
    except (UsageError, TableError) as error:
        problems: tuple[Problem, ...] = tuple(error.facts.get("problems", ()))
        read = problems and problems[0].code != "not-toml"
        return Checked(path, problems=problems, unread="" if read else str(error))
    found = check_table(table, info=info)
    grid, _ = expand(table)
    file = _file_of(path)
    if Path(path).is_file():
        return Checked(path, table, grid, _placed(found, file))
    try:
        bound = load_workflow(path, home_of(o.STORE))
    except TableError as error:
        more = error.facts.get("problems") or (_unbound(str(error)),)
        found = tuple(dict.fromkeys((*found, *more)))
        return Checked(path, table, grid, _placed(found, file))
    except UsageError as error:
        return Checked(path, table, grid, _placed((*found, _unbound(str(error))), file))
    definition = bound.definition
    found = check_table(
        bound.table, definition.tools, children=tuple(definition.children), info=info
    )
    return Checked(path, bound.table, bound.grid, _placed(found, file), workflow=bound)


def _ruled(result: Checked, *, info: bool) -> Checked:
    """Return what was found, with the verdicts on the rules."""
    bound = result.workflow or result.table
    if bound is None or result.count("error"):
        return result
    verdicts = proving.verdicts_of(bound)
    if verdicts is None:
        return result
    table = bound if isinstance(bound, Table) else bound.table
    found = allow.kept(table, proving.findings(verdicts))
    more = [each for each in found if info or each.severity != "info"]
    problems = (*result.problems, *_placed(more, _file_of(result.path)))
    return attrs.evolve(result, problems=problems, verdicts=verdicts)


def _explained(paper: Paper, results: Sequence[Checked], number: int) -> int:
    if len(results) != 1:
        raise UsageError("--why is about one rule of one table: name one path")
    (result,) = results
    if result.table is None:
        paper.complain(result.unread or f"{result.path} has errors; check it without --why first")
        return USAGE
    proving.explain(paper, result.table, result.verdicts, number)
    proofs = () if result.verdicts is None else result.verdicts.proofs
    refuted = any(
        each.verdict == "refuted" and not each.gated for each in proofs if each.index + 1 == number
    )
    return FINDINGS if refuted else SUCCESS


def _unbound(why: str) -> Problem:
    return Problem("unbound", "tools", why)


def _file_of(path: str) -> Path | None:
    if Path(path).is_file():
        return Path(path)
    folder = Path(path) if Path(path).is_dir() else bundled().get(path)
    file = None if folder is None else folder / _TABLE
    return file if file is not None and file.is_file() else None


def _placed(problems: Iterable[Problem], file: Path | None) -> tuple[Problem, ...]:
    """Return the problems with their positions, where those are known."""
    found = tuple(problems)
    if file is None or not found:
        return found
    places = Places(file.read_text(encoding="utf-8"), str(file))
    return tuple(places.placed(problem) for problem in found)


def _tell(paper: Paper, result: Checked, sources: Sources, *, grid: bool) -> None:
    for problem in result.problems:
        paper.object({"event": "problem", "path": result.path, **problem.to_dict()})
        for line in () if paper.json else draw(problem, sources, paper.width):
            paper.exact(*line)
    if result.unread:
        paper.object({"event": "unread", "path": result.path, "text": result.unread})
        if not result.problems:
            paper.complain(result.unread)
            return
    if grid and result.grid is not None:
        _tell_grid(paper, result)
    errors, warnings = result.count("error"), result.count("warning")
    sizes = ""
    if result.table is not None:
        states, rows = len(result.table.states), len(result.table.transitions)
        sizes = f"{plural(states, 'state')}, {plural(rows, 'row')}, "
    verdict = f"{plural(errors, 'error')}, {plural(warnings, 'warning')}"
    remarks = result.count("info")
    if remarks:
        verdict += f", {plural(remarks, 'remark')}"
    style = "bold red" if errors else "green"
    rules = "" if result.verdicts is None else f"; {proving.summary(result.verdicts)}"
    paper.line((result.path, "bold"), f": {sizes}", (verdict, style), rules)
    if result.verdicts is not None:
        for proof in result.verdicts.proofs:
            paper.object(
                {
                    "event": "rule",
                    "path": result.path,
                    "rule": proof.index + 1,
                    "text": proof.rule.text,
                    "verdict": proof.verdict,
                    "gated": proof.gated,
                    "vacuous": proof.vacuous,
                }
            )


def _tell_grid(paper: Paper, result: Checked) -> None:
    assert result.grid is not None
    cells = [cell for row in result.grid.cells.values() for cell in row.values()]
    for cell in cells:
        paper.object({"event": "cell", "path": result.path, **_plain(cell)})
    paper.table(
        ("state", "event", "what happens"),
        (((cell.state, "cyan"), cell.event, _meaning(cell)) for cell in cells),
    )


def _plain(cell: Cell) -> dict[str, JSON]:
    return {
        "state": cell.state,
        "event": cell.event,
        "notes": [entry.row.index for entry in cell.notes],
        "rows": [entry.row.index for entry in cell.moves],
        "default": cell.default if _can_fall(cell) and not cell.late else None,
    }


def _can_fall(cell: Cell) -> bool:
    return all(entry.row.guard is not None or entry.needs for entry in cell.moves)


def _meaning(cell: Cell) -> Part:
    parts = [f"{entry.row.label} notes" for entry in cell.notes]
    for entry in cell.moves:
        guard = f" [{entry.row.transition.guard}]" if entry.row.guard is not None else ""
        parts.append(f"{entry.row.label}{guard} -> {entry.row.transition.target}")
    if cell.late:
        return (f"{'; '.join(parts)}, should it come late", "dim")
    if not _can_fall(cell):
        return clean("; ".join(parts))
    parts.append(f"default: {cell.default}")
    return ("; ".join(parts), "" if cell.moves else "dim")
