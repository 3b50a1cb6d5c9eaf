"""What importing the package costs and offers."""

import subprocess
import sys

import pytest

import statemachine_agents

HEAVY = ["anthropic", "pydantic", "sqlite3", "rich", "starlette"]


def loaded_after(statement):
    code = f"{statement}\nimport sys\nprint(' '.join(m for m in {HEAVY!r} if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_importing_the_package_loads_nothing_heavy():
    """`import statemachine_agents` leaves anthropic, pydantic, sqlite3, rich, starlette out."""
    assert loaded_after("import statemachine_agents") == []


def test_the_core_loads_nothing_heavy():
    """Tables, workflows, the driver and the test kit need none of the heavy packages either."""
    names = "Table, Workflow, Driver, Journal, check, replay, tool"
    assert loaded_after(f"from statemachine_agents import {names}") == []
    assert loaded_after("from statemachine_agents.testing.play import play") == []


def test_every_public_name_resolves():
    """All names of `__all__` load, and an unknown one is refused with what there is."""
    for name in statemachine_agents.__all__:
        assert getattr(statemachine_agents, name) is not None
    assert len(statemachine_agents.__all__) <= 32
    with pytest.raises(AttributeError, match="Table"):
        statemachine_agents.Tabel  # noqa: B018


def test_the_declared_names_are_the_loaded_ones():
    """The names type checkers see are the names that are loaded late."""
    import ast
    import inspect

    tree = ast.parse(inspect.getsource(statemachine_agents))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    declared = {alias.asname for node in block.body for alias in node.names}
    assert declared == set(statemachine_agents.__all__)
