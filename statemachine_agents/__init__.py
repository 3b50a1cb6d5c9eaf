"""Explicit state machines for LLM agents.

A workflow is a table; a run is a fold over its journal; the model only proposes; everything that
touches the world was written down first.  Start reading at `table/model.py`, then
`kernel/step.py`, then `driver.py`: three files, the whole idea.

The names below are loaded when first used, so `import statemachine_agents` stays light.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from loguru import logger

if TYPE_CHECKING:
    from statemachine_agents.driver import Driver as Driver
    from statemachine_agents.errors import ReplayMismatch as ReplayMismatch
    from statemachine_agents.errors import TableError as TableError
    from statemachine_agents.errors import ToolError as ToolError
    from statemachine_agents.errors import WorkflowError as WorkflowError
    from statemachine_agents.journal.conform import conform as conform
    from statemachine_agents.journal.journal import Journal as Journal
    from statemachine_agents.journal.outcome import Outcome as Outcome
    from statemachine_agents.journal.replay import replay as replay
    from statemachine_agents.kernel.step import begin as begin
    from statemachine_agents.kernel.step import step as step
    from statemachine_agents.kernel.workflow import Workflow as Workflow
    from statemachine_agents.load import load_workflow as load_workflow
    from statemachine_agents.proof.structure import check as check
    from statemachine_agents.stores.memory import MemoryStore as MemoryStore
    from statemachine_agents.stores.sqlite import SQLiteStore as SQLiteStore
    from statemachine_agents.table.model import Agent as Agent
    from statemachine_agents.table.model import Key as Key
    from statemachine_agents.table.model import Limits as Limits
    from statemachine_agents.table.model import Signal as Signal
    from statemachine_agents.table.model import State as State
    from statemachine_agents.table.model import Table as Table
    from statemachine_agents.table.model import Transition as Transition
    from statemachine_agents.table.model import Use as Use
    from statemachine_agents.table.toolspec import Breaker as Breaker
    from statemachine_agents.table.toolspec import Retry as Retry
    from statemachine_agents.tools.decorator import Call as Call
    from statemachine_agents.tools.decorator import tool as tool

    from statemachine_agents.kernel.exits import exits as exits  # isort: skip

__version__ = "0.1.0"

_HOME: Final = {
    "Agent": "table.model",
    "Breaker": "table.toolspec",
    "Call": "tools.decorator",
    "Driver": "driver",
    "Journal": "journal.journal",
    "Key": "table.model",
    "Limits": "table.model",
    "MemoryStore": "stores.memory",
    "Outcome": "journal.outcome",
    "ReplayMismatch": "errors",
    "Retry": "table.toolspec",
    "SQLiteStore": "stores.sqlite",
    "Signal": "table.model",
    "State": "table.model",
    "Table": "table.model",
    "TableError": "errors",
    "ToolError": "errors",
    "Transition": "table.model",
    "Use": "table.model",
    "Workflow": "kernel.workflow",
    "WorkflowError": "errors",
    "begin": "kernel.step",
    "check": "proof.structure",
    "conform": "journal.conform",
    "exits": "kernel.exits",
    "load_workflow": "load",
    "replay": "journal.replay",
    "step": "kernel.step",
    "tool": "tools.decorator",
}

__all__ = sorted(_HOME)  # noqa: PLE0605 - the one list of names is `_HOME`; a test compares

# A library stays silent until its application says `logger.enable("statemachine_agents")`.
logger.disable("statemachine_agents")


def __getattr__(name: str) -> Any:
    """Load a public name from its module on first use."""
    home = _HOME.get(name)
    if home is None:
        msg = f"module {__name__!r} has no attribute {name!r}; it offers {', '.join(__all__)}"
        raise AttributeError(msg)
    value = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
