"""The retail desk: a customer talks, the table says which changes are allowed and when.

Read `table.toml` first, then `tools.py`. Loaded by folder (`statemachine_agents.load`), so every
import in here is relative.
"""
