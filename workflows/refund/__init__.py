"""The refund desk: a workflow that moves money at most once, and says so.

Read `table.toml` first, then `tools.py`. Loaded by folder (`statemachine_agents.load`), so every
import in here is relative.
"""
