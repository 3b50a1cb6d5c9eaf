"""Find what a command line names: a store, a run, its workflow, the inputs, a model.

Rules.  1. What cannot be found is said with what could.  2. Looking never creates: only `run` makes
a store.  3. The functions of a stored run are taken from a workflow with the same tools, never from
one that merely has its name.
Not here: loading a workflow (`load`), who holds a run (`holding`).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs

from statemachine_agents.errors import TableError, UsageError, ValueRefused
from statemachine_agents.kernel.workflow import Workflow, used_tools
from statemachine_agents.load import bundled, load_workflow
from statemachine_agents.models.capabilities import DEFAULT_MODEL
from statemachine_agents.table.definition import Definition
from statemachine_agents.table.model import Limits, Table
from statemachine_agents.turn.ports import Model, RunRow
from statemachine_agents.values import JSON, parse

if TYPE_CHECKING:
    # Only the commands that open a store pay for loading it.
    from statemachine_agents.stores.sqlite import SQLiteStore

_MANY: Final = 1_000_000
"""More runs than a person compares by the beginnings of their ids."""


def home_of(store: Path) -> Path:
    """Return the directory a workflow lives in: where the store lies."""
    return store.absolute().parent


def existing_store(path: Path) -> SQLiteStore:
    """Return the store at a path.

    Raises:
        UsageError: there is no such file; opening it would make one.
    """
    from statemachine_agents.stores.sqlite import SQLiteStore

    if not path.exists():
        raise UsageError(
            f"{path}: there is no store; `sma run` makes one, --store names another",
            path=str(path),
        )
    return SQLiteStore(path)


async def find_run(store: SQLiteStore, text: str) -> RunRow:
    """Return the run that a text names: its id, a beginning of it, or `last`.

    Raises:
        UsageError: no run, or several.
    """
    if text == "last":
        for row in await store.runs(limit=_MANY):
            if row.parent is None:
                return row
        raise UsageError(f"{store.path}: there is no run in this store yet", path=str(store.path))
    rows = {row.run: row for row in await store.runs(limit=_MANY)}
    if text in rows:
        return rows[text]
    found = [row for row in rows.values() if text and row.run.startswith((text, f"r-{text}"))]
    # A run's children carry its id in front of their own; the run itself is meant.
    named = {row.run for row in found}
    found = [row for row in found if row.parent not in named]
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(row.run for row in found[:5])
        msg = f"{text!r} is the beginning of {len(found)} runs: {names}; write more of it"
        raise UsageError(msg, run=text, runs=[row.run for row in found])
    msg = f"no run {text!r} in {store.path}; `sma runs --store {store.path}` lists them"
    raise UsageError(msg, run=text, path=str(store.path))


def with_iterations(workflow: Workflow, iterations: int | None) -> Workflow:
    """Return the workflow with another limit of iterations, as a definition of its own."""
    if iterations is None:
        return workflow
    if iterations < 1:
        msg = f"--max-iterations {iterations}: expected 1 or more"
        raise UsageError(msg, got=iterations)
    limits = attrs.evolve(workflow.table.limits, iterations=iterations)
    return Workflow.from_definition(
        _limited(workflow.definition, limits), workflow.functions, workflow.children
    )


def _limited(definition: Definition, limits: Limits) -> Definition:
    return Definition(
        attrs.evolve(definition.table, limits=limits), definition.tools, definition.children
    )


# --------------------------------------------------------------------------- whose functions to use


async def workflow_of(store: SQLiteStore, row: RunRow, named: str | None) -> Workflow:
    """Return the workflow whose functions go on with a run.

    Args:
        store: where the run is.
        row: the run; a child's workflow is found through the run at the top of its tree.
        named: what `--workflow` says, or None to look: `./NAME`, `./workflows/NAME`, bundled.

    Raises:
        UsageError: none was found, or the one named lacks a tool.
    """
    top = row
    while top.parent is not None:
        top = await store.row(top.parent)
    stored = Definition.from_data(await store.definition(top.definition))
    home = home_of(store.path)
    if named is not None:
        found = load_workflow(named, home)
        lacking = _lacking(stored, found)
        if lacking:
            msg = (
                f"run {top.run} is of workflow {stored.table.name!r} and needs the tools "
                f"{', '.join(lacking)}, which {named} does not have"
            )
            raise UsageError(msg, run=top.run, tools=lacking)
        return found
    near: list[Workflow] = []
    for place in _places(stored.table.name):
        try:
            found = load_workflow(place, home)
        except (UsageError, TableError):
            continue  # looked for, not named: what is wrong with it is not asked
        if _limited(found.definition, stored.table.limits).hash == stored.hash:
            return found
        if not _lacking(stored, found) and _same_tools(stored, found):
            near.append(found)
    if near:
        return near[0]
    msg = (
        f"run {top.run} is of workflow {stored.table.name!r}, and none with its tools was found "
        f"here; name its folder or module:attribute with --workflow"
    )
    raise UsageError(msg, run=top.run, workflow=stored.table.name)


def _places(name: str) -> Iterator[str | Path]:
    yield Path(name)
    yield Path("workflows", name)
    if name in bundled():
        yield bundled()[name]


def _lacking(stored: Definition, found: Workflow) -> list[str]:
    return [name for name in used_tools(stored.table) if name not in found.functions]


def _same_tools(stored: Definition, found: Workflow) -> bool:
    """Whether the tools are the very ones: the table around them may have changed since."""
    known = found.definition.tools
    return all(known.get(name) == spec for name, spec in stored.tools.items())


# ------------------------------------------------------------------------------------------- inputs


def inputs_of(table: Table, pairs: Sequence[str], text: str | None) -> dict[str, JSON]:
    """Return the inputs of a run, each as the type its context key declares.

    Args:
        table: whose `[context]` says what the keys are.
        pairs: `k=v` texts.
        text: a JSON object, or None.

    Raises:
        UsageError: names every pair that is wrong.
    """
    inputs: dict[str, JSON] = {}
    faults = []
    if text is not None:
        try:
            inputs = parse(text, where="--input-json")
        except ValueRefused as error:
            raise UsageError(str(error)) from error
        if not isinstance(inputs, dict):
            raise UsageError(f"--input-json: expected an object, got {text[:80]!r}")
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            faults.append(f"--input {pair!r}: expected KEY=VALUE, such as order_id=A1")
        elif name in inputs:
            faults.append(f"input {name!r} is given twice")
        else:
            try:
                inputs[name] = _typed(table, name, value)
            except ValueRefused as error:
                faults.append(str(error))
    if faults:
        raise UsageError(f"workflow {table.name!r}: {'; '.join(faults)}", faults=faults)
    return inputs


def attributes_of(pairs: Sequence[str]) -> dict[str, JSON]:
    """Return facts about a message: JSON where a value reads as that, else text.

    Raises:
        UsageError: names every pair that is wrong.
    """
    out: dict[str, JSON] = {}
    faults = []
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name or name == "text":
            faults.append(f"--attribute {pair!r}: expected KEY=VALUE, such as confirms=true")
        elif name in out:
            faults.append(f"attribute {name!r} is given twice")
        else:
            try:
                out[name] = parse(value, where=f"attribute {name!r}")
            except ValueRefused:
                out[name] = value
    if faults:
        raise UsageError("; ".join(faults), faults=faults)
    return out


def _typed(table: Table, name: str, text: str) -> JSON:
    """Return a value as its key's type reads it; an undeclared key is refused later, by name."""
    key = table.context.get(name)
    kind = "string" if key is None else key.type.rstrip("?")
    if kind == "string":
        return text
    try:
        return parse(text, where=f"input {name!r}")
    except ValueRefused:
        if kind == "any":
            return text
        raise


# -------------------------------------------------------------------------------------------- model


def model_of(name: str | None, base_url: str | None) -> tuple[Model, str]:
    """Return the model a command line asks for, and its name.

    Raises:
        UsageError: a script that cannot be read, or a model without a name.
    """
    wanted = name or _default_model(os.environ, base_url)
    if wanted == "rehearsal":
        from statemachine_agents.models.rehearsal import RehearsalModel

        return RehearsalModel(), wanted
    if wanted.startswith("scripted:"):
        from statemachine_agents.models.scripted import ScriptedModel

        return ScriptedModel.from_file(wanted.removeprefix("scripted:")), wanted
    from statemachine_agents.models.claude import Claude

    return Claude(wanted, base_url=base_url), wanted


def _default_model(environment: Mapping[str, str], base_url: str | None) -> str:
    asks = environment.get("ANTHROPIC_API_KEY") or base_url is not None
    return DEFAULT_MODEL if asks else "rehearsal"
