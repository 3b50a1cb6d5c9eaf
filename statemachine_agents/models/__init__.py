"""The code that asks models: Claude, a script, a rehearsal.

Rules.  1. Importing this package, or any module of it, imports no SDK; the first request does.
Not here: what a request says (`turn.prompt`), what a reply may do (`kernel.gate`).
"""
