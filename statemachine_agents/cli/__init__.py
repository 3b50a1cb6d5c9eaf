"""The command line `sma`, also `python -m statemachine_agents`.

Rules.  1. A door like any other: it opens what lies below and decides nothing itself.  2. A user's
mistake is one sentence and an exit code, never a traceback.
Modules: `app` the commands' names, `options` what they share, `driving` `reading` `checking` the
commands, `session` one driven run, `live` and `ending` what is said of it, `records` past runs in
words, `finding` and `holding` what a command line names, `paper` and `text` writing, `failures`
exit codes.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line.

    Args:
        arguments: without the program's name; the process's own when None.

    Returns:
        The exit code (`failures` lists them).
    """
    from statemachine_agents.cli.app import call, enter

    if arguments is not None:
        return call(arguments)
    code = enter()
    if _somebody_works():
        # A tool that was given up may sit in its thread for minutes, and Python would wait for it.
        # Whatever it still does is in doubt in the journal, and recovery asks what became of it.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


def _somebody_works() -> bool:
    """Whether threads that Python would wait for are still at work after a moment."""
    for thread in threading.enumerate():
        if thread is not threading.main_thread() and not thread.daemon:
            thread.join(timeout=0.5)
            if thread.is_alive():
                return True
    return False
