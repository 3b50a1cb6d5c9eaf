"""The stores every test of this folder runs on: memory, and SQLite in a real file."""

import pytest

from statemachine_agents.stores.memory import MemoryStore
from statemachine_agents.stores.sqlite import SQLiteStore


@pytest.fixture(params=["memory", "sqlite"])
def make(request, tmp_path):
    """Open the store again and again: the same runs are in it."""
    memory = MemoryStore()

    def open_store():
        return memory if request.param == "memory" else SQLiteStore(tmp_path / "runs.db")

    return open_store
