"""The options that several commands share, each with its help, written once.

Not here: what they mean (`finding`), the commands (`driving`, `reading`, `checking`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, TypeAlias

from cyclopts import Parameter

STORE: Final = Path("sma-runs.db")
"""The store when none is named."""

Store: TypeAlias = Annotated[
    Path, Parameter(name="--store", help="SQLite file that keeps the runs.", show_default=True)
]
Json: TypeAlias = Annotated[
    bool,
    Parameter(
        name="--json",
        negative="",
        show_default=False,
        help="One JSON object a line on stdout, the outcome last; messages on stderr.",
    ),
]
Model: TypeAlias = Annotated[
    str | None,
    Parameter(
        name="--model",
        help="A Claude model id, `rehearsal` (no key needed), or `scripted:FILE`. "
        "Default: claude-sonnet-5-5 when ANTHROPIC_API_KEY is set, else rehearsal.",
    ),
]
BaseURL: TypeAlias = Annotated[
    str | None,
    Parameter(name="--base-url", help="Where the Messages API is, when not at its usual place."),
]
Named: TypeAlias = Annotated[
    str | None,
    Parameter(
        name="--workflow",
        help="Folder, module:attribute or name of the run's workflow, where its functions are. "
        "Default: found by the name in the run.",
    ),
]
RunId: TypeAlias = Annotated[
    str, Parameter(help="A run id, a beginning that fits only one, or `last`.")
]
By: TypeAlias = Annotated[str | None, Parameter(name="--by", help="Who says so. Default: you.")]
