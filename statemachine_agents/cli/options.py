"""The options that several commands share, each with its help, written once.

Not here: what they mean (`finding`), the commands (`driving`, `reading`, `checking`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, TypeAlias

import attrs
from cyclopts import Parameter

STORE: Final = Path("sma-runs.db")
"""The store when none is named."""

Store: TypeAlias = Annotated[Path, Parameter(name="--store", help="SQLite file with the runs.")]
Json: TypeAlias = Annotated[
    bool,
    Parameter(
        name="--json",
        negative="",
        show_default=False,
        help="One JSON object a line on stdout, the outcome last; messages on stderr.",
    ),
]
Text: TypeAlias = str | None
Flag: TypeAlias = Annotated[bool, Parameter(negative="", show_default=False)]
RunId: TypeAlias = Annotated[
    str, Parameter(help="A run id, a beginning that fits only one, or `last`.")
]
Inputs: TypeAlias = Annotated[
    tuple[str, ...],
    Parameter(
        name="--input",
        negative="",
        show_default=False,
        help="One input of the workflow, KEY=VALUE; may be given several times.",
    ),
]
By: TypeAlias = Annotated[Text, Parameter(name="--by", help="Who says so. Default: you.")]


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class Means:
    """What every command that drives a run can be told: where it is and who answers."""

    store: Store = STORE
    model: Annotated[
        Text,
        Parameter(
            name="--model",
            help="A Claude model id, `rehearsal` (no key needed), or `scripted:FILE`. Default: "
            "claude-sonnet-5-5 when ANTHROPIC_API_KEY is set, else rehearsal.",
        ),
    ] = None
    base_url: Annotated[
        Text,
        Parameter(name="--base-url", help="Where the Messages API is, if not at its usual place."),
    ] = None
    json: Json = False


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class Further(Means):
    """The same for a run that exists: its functions may have to be found."""

    workflow: Annotated[
        Text,
        Parameter(
            name="--workflow",
            help="Folder, module:attribute or name of the run's workflow, where its functions "
            "are. Default: found by the name in the run.",
        ),
    ] = None


START: Final = Means()
GO_ON: Final = Further()
