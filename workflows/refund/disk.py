"""One way to make a file appear: whole, once, and still there after a power cut.

Rules.  1. A file is written under a temporary name in the same folder and gets its name when it is
complete.  2. Whoever comes second finds the name taken and changes nothing.
Not here: what is in the files (`shop`, `mail`).
"""

from __future__ import annotations

import os
from pathlib import Path


def publish(temporary: Path, final: Path) -> bool:
    """Give a finished file its name and drop the temporary one.

    Args:
        temporary: the finished file, on the same file system.
        final: its name from now on.

    Returns:
        Whether the name was free; if it was taken, the file that has it stays as it is.
    """
    try:
        os.link(temporary, final)
        fresh = True
    except FileExistsError:
        fresh = False
    finally:
        temporary.unlink(missing_ok=True)
    # Also after losing: the winner may not have come this far when the power goes.
    folder = os.open(final.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return fresh
