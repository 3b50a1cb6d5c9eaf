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

_ADVICE: Final = (
    "drawing SVG and PNG needs the extra `diagrams`: pip install 'statemachine-agents[diagrams]'; "
    "Mermaid, DOT and Markdown need nothing"
)
_CONFIG: Final = {
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
        UsageError: the extra is not installed, or it could not draw this table.
    """
    return str(_drawn(mermaid(table, path, defaults=defaults)).svg())


def png(
    table: Table, path: Sequence[str] = (), *, defaults: bool = False, scale: float = 2.0
) -> bytes:
    """Draw a table as PNG on white; `scale` 1 is the natural size, 2 reads well on any screen.

    Raises:
        UsageError: as `svg`.
    """
    drawn = _drawn(mermaid(table, path, defaults=defaults))
    return bytes(drawn.png(scale=scale, background="#ffffff"))


def bundle(table: Table) -> dict[str, str]:
    """Return a table in the forms a notebook can choose from; SVG where it can be drawn."""
    forms = {
        "text/vnd.mermaid": mermaid(table),
        "text/markdown": markdown(table),
        "text/plain": repr(table),
    }
    if can_draw():
        try:
            forms["image/svg+xml"] = svg(table)
        except UsageError:
            # The other forms still show the table; a notebook cell is no place for a refusal.
            return forms
    return forms


def _drawn(text: str) -> Any:
    try:
        from mermaidx import render
    except ImportError as error:
        raise UsageError(_ADVICE, extra="diagrams") from error
    drawn = render(text, config=_CONFIG)
    try:
        drawn.svg()
    except (RuntimeError, ValueError) as error:
        msg = f"mermaidx could not draw this table: {error}; `--as mermaid` gives its text"
        raise UsageError(msg, extra="diagrams") from error
    return drawn
