"""A picture of a table as SVG or PNG, drawn by the optional package `mermaidx`.

Rules.  1. The extra `diagrams` brings it: Mermaid itself in an embedded JavaScript engine; no
browser, no network, nothing installed beside Python.  2. It is imported when a picture is wanted,
never before.  3. The same table gives the same bytes.
Not here: the Mermaid text (`diagram`), files (`cli.drawing`).
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any, Final

from statemachine_agents.errors import UsageError
from statemachine_agents.table.diagram import markdown, mermaid
from statemachine_agents.table.model import Table
from statemachine_agents.table.picture import picture

_ADVICE: Final = (
    "drawing SVG and PNG needs the extra `diagrams`: pip install 'statemachine-agents[diagrams]'; "
    "Mermaid, DOT and Markdown need nothing"
)
MOST_ARROWS: Final = 300
"""More cannot be read, take minutes, and Mermaid itself refuses 500."""

QUICK_ARROWS: Final = 80
"""Up to so many, a notebook shows the drawn picture: about five seconds."""

_CONFIG: Final = {
    "maxTextSize": 1_000_000,
    "handDrawnSeed": 1,  # outlines are sketched from a seed; 0 means a new one each time
    "flowchart": {"nodeSpacing": 40, "rankSpacing": 50, "wrappingWidth": 320},
    "themeVariables": {"fontSize": "13px", "edgeLabelBackground": "#ffffff"},
}


def can_draw() -> bool:
    """Return whether the extra `diagrams` is installed."""
    return find_spec("mermaidx") is not None


def svg(table: Table, path: Sequence[str] = (), *, defaults: bool = False) -> str:
    """Draw a table as SVG.

    Args:
        table: the table; it need not be free of problems.
        path: states of one run in order, highlighted.
        defaults: also show which events end or park a run where no row takes them.

    Raises:
        UsageError: the extra is not installed, the table has more than `MOST_ARROWS` arrows, or
            Mermaid could not draw it.
    """
    return str(_drawn(table, path, defaults=defaults).svg())


def png(
    table: Table, path: Sequence[str] = (), *, defaults: bool = False, scale: float = 2.0
) -> bytes:
    """Draw a table as PNG on white; `scale` 1 is the natural size, 2 reads well on any screen.

    Raises:
        UsageError: as `svg`.
    """
    drawn = _drawn(table, path, defaults=defaults)
    return bytes(drawn.png(scale=scale, background="#ffffff"))


def bundle(table: Table) -> dict[str, str]:
    """Return a table in the forms a notebook can choose from; SVG where it can be drawn soon."""
    forms = {
        "text/vnd.mermaid": mermaid(table),
        "text/markdown": markdown(table),
        "text/plain": repr(table),
    }
    if can_draw() and len(picture(table).arrows) <= QUICK_ARROWS:
        try:
            forms["image/svg+xml"] = svg(table)
        except UsageError:
            # The other forms still show the table; a notebook cell is no place for a refusal.
            return forms
    return forms


def _drawn(table: Table, path: Sequence[str], *, defaults: bool) -> Any:
    try:
        from mermaidx import render
    except ImportError as error:
        raise UsageError(_ADVICE, extra="diagrams") from error
    arrows = len(picture(table, path, defaults=defaults).arrows)
    if arrows > MOST_ARROWS:
        msg = (
            f"{table.name}: {arrows} arrows are more than can be drawn so that a person can read "
            f"them (at most {MOST_ARROWS}); `--as dot` or `--as markdown` gives all of them"
        )
        raise UsageError(msg, arrows=arrows)
    drawn = render(mermaid(table, path, defaults=defaults), config=_CONFIG)
    try:
        drawn.svg()
    except (RuntimeError, ValueError) as error:
        msg = f"mermaidx could not draw this table: {error}; `--as mermaid` gives its text"
        raise UsageError(msg, extra="diagrams") from error
    return drawn
