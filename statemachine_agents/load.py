"""Find a workflow by name: a folder, a table file, `module:attribute`, or one that ships with us.

Rules.  1. A path wins over a bundled name.  2. A plain `.toml` is read, never executed.  3. A
folder is imported under a private name of its own, so that its modules import each other
relatively and never meet another package.  4. A name is looked up among known ones, never joined
to a path.  5. What breaks in somebody's module is reported with its file and line, and chained.
Not here: what a table means (`table`), binding it to functions (`kernel.workflow`).
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import itertools
import re
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any, Final, TypeAlias

import attrs

from statemachine_agents.errors import UsageError, WorkflowError
from statemachine_agents.kernel.workflow import Workflow, used_tools
from statemachine_agents.table.model import Table
from statemachine_agents.table.problems import suggest
from statemachine_agents.table.toolspec import ToolSpec

__all__ = ["bundled", "load_table", "load_workflow"]

TABLE: Final = "table.toml"
"""The file of a folder that holds the table."""

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ATTRIBUTE: Final = re.compile(
    r"([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)"
)


@attrs.frozen
class _Folder:
    path: Path


@attrs.frozen
class _File:
    path: Path


@attrs.frozen
class _Attribute:
    module: str
    attribute: str


_Place: TypeAlias = _Folder | _File | _Attribute


def load_workflow(name: str | Path, home: Path) -> Workflow:
    """Load a workflow, ready to run.

    Args:
        name: a folder with `workflow.py` (a function `build(home)`, or an attribute `workflow`), or
            with `table.toml` and `tools.py`, whose `@tool` functions are all bound; a `.toml` file,
            for a table that needs no functions; `module:attribute`; or a bundled name.
        home: the directory in which the run store lies; handed to `build`.

    Raises:
        UsageError: nothing of that name, or what was found is no workflow; or its code failed.
        TableError: the table has errors.

    Example:
        >>> load_workflow("refund", Path("."))  # doctest: +SKIP
    """
    match _find(name):
        case _Folder(path):
            return _from_folder(path, Path(home))
        case _File(path):
            return _without_functions(_read(path), path)
        case _Attribute(module, attribute):
            label = f"{module}:{attribute}"
            return _as_workflow(_attribute(module, attribute), label, Path(home))


def load_table(name: str | Path) -> Table:
    """Load only the table, for pictures and checks; code runs only where no table lies in a file.

    Args:
        name: as for `load_workflow`.

    Raises:
        UsageError: nothing of that name, or no table in it; or its code failed.
        TableError: the table cannot be read.
    """
    match _find(name):
        case _File(path):
            return _read(path)
        case _Folder(path) if (path / TABLE).is_file():
            return _read(path / TABLE)
        case _Folder(path):
            with tempfile.TemporaryDirectory() as home:
                return _from_folder(path, Path(home)).table
        case _Attribute(module, attribute):
            found = _attribute(module, attribute)
            if isinstance(found, Table):
                return found
            with tempfile.TemporaryDirectory() as home:
                return _as_workflow(found, f"{module}:{attribute}", Path(home)).table


def bundled() -> dict[str, Path]:
    """Return the workflows that ship with the package: name -> folder."""
    package = Path(__file__).resolve().parent
    inside = package / "_workflows"
    beside = package.parent / "workflows"
    if inside.is_dir():
        root = inside
    elif (package.parent / "pyproject.toml").is_file() and beside.is_dir():
        # An editable install. In `site-packages` a folder `workflows` is somebody else's package.
        root = beside
    else:
        return {}
    return {
        path.name: path
        for path in sorted(root.iterdir())
        if _NAME.fullmatch(path.name) and _is_workflow(path)
    }


# ----------------------------------------------------------------------------------- what is meant


def _find(name: str | Path) -> _Place:
    """Return what a name means."""
    path = Path(name)
    text = str(name)
    known = bundled()
    # A folder that merely has the name of a bundled workflow does not hide it.
    if text and path.is_dir() and (_is_workflow(path) or text not in known):
        if _is_workflow(path):
            return _Folder(path.resolve())
        raise UsageError(
            f"{path} is a folder, but no workflow: it has neither workflow.py nor {TABLE}",
            path=text,
        )
    if text and path.is_file():
        if path.suffix == ".toml":
            return _File(path)
        advice = f"name the folder {path.absolute().parent}" if path.suffix == ".py" else ""
        raise UsageError(
            f"{path} is no table: expected a .toml file or a folder; {advice}".rstrip("; "),
            path=text,
        )
    if isinstance(name, str):
        if name in known:
            return _Folder(known[name])
        found = _ATTRIBUTE.fullmatch(name)
        if found is not None:
            return _Attribute(found[1], found[2])
    raise UsageError(_unknown(text, known), name=text, known=tuple(known))


def _unknown(text: str, known: dict[str, Path]) -> str:
    looked = f"no workflow is named {text!r}: "
    if ":" in text:
        return f"{looked}not a path, and `module:attribute` is written like `shop.flows:refund`"
    if _NAME.fullmatch(text):
        near = suggest(text, known)
        return f"{looked}not a path here, and not among the bundled ones; {near}"
    return f"{looked}there is no such folder or file; bundled: {', '.join(known) or 'none'}"


def _is_workflow(path: Path) -> bool:
    return (path / "workflow.py").is_file() or (path / TABLE).is_file()


def _read(path: Path) -> Table:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}", path=str(path)) from error
    return Table.from_toml(text, source=str(path))


def _without_functions(table: Table, path: Path) -> Workflow:
    needed = used_tools(table)
    if needed:
        msg = (
            f"{path}: the table uses {', '.join(needed)}, and a file brings no functions; name a "
            f"folder that holds it as {TABLE}, with the functions in tools.py"
        )
        raise UsageError(msg, path=str(path), tools=needed)
    return Workflow(table)


# ----------------------------------------------------------------------------------- what runs code


def _from_folder(path: Path, home: Path) -> Workflow:
    if not (path / "workflow.py").is_file():
        table = _read(path / TABLE)
        has_tools = (path / "tools.py").is_file()
        return Workflow(table, _tools_of(_import_from(path, "tools")) if has_tools else ())
    module = _import_from(path, "workflow")
    label = str(path / "workflow.py")
    for name in ("build", "workflow"):
        if hasattr(module, name):
            return _as_workflow(getattr(module, name), label, home, path)
    msg = (
        f"{label}: expected a function build(home) that returns a Workflow, or an attribute "
        f"`workflow`; it has neither"
    )
    raise UsageError(msg, path=str(path))


def _tools_of(module: ModuleType) -> list[Callable[..., Any]]:
    """Return a module's tools, in its order, each once."""
    found = {
        id(value): value
        for value in vars(module).values()
        if inspect.isroutine(value) and isinstance(getattr(value, "__sma_tool__", None), ToolSpec)
    }
    return list(found.values())


def _attribute(module: str, attribute: str) -> Any:
    label = f"{module}:{attribute}"
    here = str(Path.cwd())
    if here not in sys.path and "" not in sys.path:
        # As `python -m` would find it; last, so that it can hide nothing that is installed.
        sys.path.append(here)
    with _somebodys(label, Path.cwd()):
        try:
            found: Any = importlib.import_module(module)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{module}.".startswith(f"{error.name}."):
                raise
            msg = f"{label}: no module is named {error.name!r}, neither installed nor in {here}"
            raise UsageError(msg, module=module) from error
    for part in attribute.split("."):
        if not hasattr(found, part):
            near = suggest(part, (name for name in dir(found) if not name.startswith("_")))
            msg = f"{label}: {module} was imported, but has no {part!r}; {near}"
            raise UsageError(msg, module=module, attribute=attribute)
        found = getattr(found, part)
    return found


def _as_workflow(found: Any, label: str, home: Path, folder: Path | None = None) -> Workflow:
    """Return a workflow from what somebody's module gives: one, a table, or a `build(home)`."""
    if isinstance(found, Table):
        return Workflow(found)
    name = getattr(found, "__name__", "")
    # Only what says that it builds is called: a slip of the pen may name any function there is.
    if inspect.isroutine(found) and re.match(r"build(_|$)", name):
        _refuse_uncallable(found, name, label)
        with _somebodys(f"{label}, {name}(home)", folder or Path.cwd()):
            found = found(home)
    if not isinstance(found, Workflow):
        got = "None" if found is None else f"a {type(found).__name__}"
        msg = f"{label}: expected a Workflow, or a function build(home) that returns one; got {got}"
        raise UsageError(msg, label=label)
    return found


def _refuse_uncallable(found: Callable[..., Any], name: str, label: str) -> None:
    if inspect.iscoroutinefunction(found):
        msg = f"{label}: {name} is async; write def {name}(home: Path) -> Workflow"
        raise UsageError(msg, label=label)
    try:
        inspect.signature(found).bind(Path())
    except (TypeError, ValueError) as error:
        msg = f"{label}: {name} is called with one argument, the directory `home`: {error}"
        raise UsageError(msg, label=label) from error


_NUMBERS: Final = itertools.count(1)


def _import_from(folder: Path, name: str) -> ModuleType:
    """Import one module of a folder, with the folder as a package of its own.

    Each load gets a new name: what an earlier load gave stays whole, also what it imports late.
    """
    stem = re.sub(r"\W", "_", folder.name)
    package = f"_sma_{stem}_{next(_NUMBERS)}"
    init = folder / "__init__.py"
    spec: ModuleSpec | None
    if init.is_file():
        inside = [str(folder)]
        spec = importlib.util.spec_from_file_location(
            package, init, submodule_search_locations=inside
        )
    else:
        spec = ModuleSpec(package, None, is_package=True)
        spec.submodule_search_locations = [str(folder)]
    assert spec is not None  # a `.py` file has a loader
    importlib.invalidate_caches()  # the folder may have been written a moment ago
    with _somebodys(f"workflow folder {folder.name!r}", folder):
        try:
            module = sys.modules[package] = importlib.util.module_from_spec(spec)
            if init.is_file() and spec.loader is not None:
                spec.loader.exec_module(module)
            return importlib.import_module(f"{package}.{name}")
        except BaseException:
            for loaded in [each for each in sys.modules if f"{each}.".startswith(f"{package}.")]:
                del sys.modules[loaded]
            raise


@contextmanager
def _somebodys(label: str, folder: Path) -> Iterator[None]:
    """Report what breaks in code that is not ours with the file and line where it broke.

    Args:
        label: what was being loaded.
        folder: where the code lies; of a traceback, the last line in it is named.
    """
    try:
        yield
    except WorkflowError as error:
        # It says what to do already; where it came from may help.
        place = _place(error, folder)
        if place:
            error.add_note(f"{label}: raised at {place}")
        raise
    except (Exception, SystemExit) as error:
        place = _place(error, folder)
        what = f"{type(error).__name__}: {error}".rstrip(": ")
        msg = f"{label}: {place + ': ' if place else ''}{what}{_advice(error, folder)}"
        raise UsageError(msg, label=label, place=place) from error


def _place(error: BaseException, folder: Path) -> str:
    """Return `file:line` of the last line of somebody's code on the way to an error."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno or 1}"
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename != __file__ and not frame.filename.startswith("<frozen importlib")
    ]
    inside = [frame for frame in frames if Path(frame.filename).is_relative_to(folder)]
    last = (inside or frames)[-1:]
    return "".join(f"{frame.filename}:{frame.lineno}" for frame in last)


def _advice(error: BaseException, folder: Path) -> str:
    """Return what helps when a module of the folder was imported as if it stood alone."""
    name = error.name if isinstance(error, ModuleNotFoundError) else None
    if name and _NAME.fullmatch(name) and (folder / f"{name}.py").is_file():
        return f"; the folder is a package, write `from .{name} import ...`"
    return ""
