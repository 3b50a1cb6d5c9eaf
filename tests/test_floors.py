"""The house: who may import whom, read from the source itself."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "statemachine_agents"

FLOORS = [
    {"errors", "values"},
    {"table"},
    {"proof"},
    {"kernel"},
    {"journal"},
    {"turn"},
    {"tools", "models", "stores"},
    {
        "moments",
        "system",
        "load",
        "act",
        "advance",
        "archive",
        "dispatch",
        "driver",
        "bot",
        "engines",
    },
    {"testing"},  # docs/decisions/007
    {"web", "cli"},
    {"__main__"},
]
"""Lowest first; a module imports its own floor's part, or lower floors."""

HEIGHT = {name: height for height, floor in enumerate(FLOORS) for name in floor}

PURE = {"errors", "values", "table", "proof", "kernel", "journal", "turn"}
"""Everything up to `turn/`: no clock, randomness, environment, network, files."""

IMPURE_MODULES = {
    "asyncio", "anyio", "anthropic", "builtins", "httpx2", "io", "loguru", "multiprocessing", "os",
    "pathlib", "random", "secrets", "shutil", "socket", "sqlite3", "ssl", "subprocess", "sys",
    "tempfile", "threading", "time", "urllib", "uuid",
}  # fmt: skip

BANNED_MODULES = {"pickle", "marshal", "dill", "shelve", "yaml", "cattrs", "langchain"}
BANNED_CALLS = {"eval", "exec", "compile", "__import__"}


def modules():
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        if parts[0] != "_workflows":
            yield path, parts


def imports_of(path):
    """Every absolute import in a file, late ones too, with its line."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            yield node.module, node.lineno


def test_every_module_stands_on_a_floor():
    """A new module must be given a floor here before it is used."""
    homes = {parts[0] for _, parts in modules()} - {"__init__"}
    assert homes <= set(HEIGHT)


def test_imports_go_down_only():
    """A module imports from lower floors or from its own room, never from above."""
    wrong = []
    for path, parts in modules():
        here = parts[0]
        if here == "__init__":
            continue
        for name, line in imports_of(path):
            if not name.startswith("statemachine_agents."):
                continue
            there = name.split(".")[1]
            same_floor = HEIGHT[there] == HEIGHT[here]
            doors = HEIGHT[here] == HEIGHT["driver"]
            if there != here and (
                HEIGHT[there] > HEIGHT[here] or (same_floor and not doors and HEIGHT[here] > 0)
            ):
                wrong.append(f"{path.relative_to(PACKAGE.parent)}:{line} imports {name}")
    assert wrong == []


def test_no_import_circles():
    """Following top-level imports never leads back."""
    trees = {
        ".".join(("statemachine_agents", *parts)).removesuffix(".__init__"): ast.parse(
            path.read_text()
        )
        for path, parts in modules()
    }
    graph = {}
    for name, tree in trees.items():
        graph[name] = {
            # `from package import module` needs the module, not what the package exports
            full if (full := f"{node.module}.{alias.name}") in trees else node.module
            for node in tree.body
            if isinstance(node, ast.ImportFrom) and node.module
            for alias in node.names
        }
    done, path = set(), []

    def visit(name):
        if name in path:
            pytest.fail(" -> ".join([*path[path.index(name) :], name]))
        if name in done or name not in graph:
            return
        path.append(name)
        for other in graph[name]:
            visit(other)
        path.pop()
        done.add(name)

    for name in graph:
        visit(name)
    assert len(done) == len(graph)


def test_only_one_module_knows_transitions():
    """`kernel/machine.py` is the only door to the library."""
    users = {
        str(path.relative_to(PACKAGE))
        for path, _ in modules()
        for name, _ in imports_of(path)
        if name.split(".")[0] == "transitions"
    }
    assert users == {"kernel/machine.py"}


def test_the_lower_floors_are_pure():
    """No clock, randomness, environment, network or files up to `turn/`."""
    wrong = [
        f"{path.relative_to(PACKAGE.parent)}:{line} imports {name}"
        for path, parts in modules()
        if parts[0] in PURE
        for name, line in imports_of(path)
        if name.split(".")[0] in IMPURE_MODULES
    ]
    assert wrong == []


def test_the_lower_floors_are_synchronous():
    """Up to `turn/` everything is `def`; only the ports describe what is awaited."""
    wrong = [
        f"{path.name}:{node.lineno}"
        for path, parts in modules()
        if parts[0] in PURE and parts != ("turn", "ports")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.AsyncFunctionDef | ast.Await)
    ]
    assert wrong == []


def test_nothing_dangerous_is_used():
    """No eval, exec, pickle or yaml anywhere in the package or in the shipped workflows."""
    wrong = []
    shipped = (PACKAGE.parent / "workflows").rglob("*.py")
    for path in [*(path for path, _ in modules()), *shipped]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                if node.func.id in BANNED_CALLS:
                    wrong.append(f"{path.name}:{node.lineno} calls {node.func.id}")
            elif isinstance(node, ast.Import | ast.ImportFrom):
                names = (
                    [node.module]
                    if isinstance(node, ast.ImportFrom)
                    else [a.name for a in node.names]
                )
                wrong += [
                    f"{path.name}:{node.lineno} imports {name}"
                    for name in names
                    if name and name.split(".")[0] in BANNED_MODULES
                ]
    assert wrong == []


def test_files_stay_readable():
    """A file stays under about 400 lines."""
    long = {
        str(path.relative_to(PACKAGE)): n
        for path, _ in modules()
        if (n := len(path.read_text().splitlines())) > 420
    }
    assert long == {}
