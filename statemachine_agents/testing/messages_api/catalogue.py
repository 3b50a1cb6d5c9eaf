"""GET /v1/models: the capability table as the API would list it.

Rules.  1. What the table does not know is null or an epoch date, as the API allows.
Not here: the table (`models.capabilities`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from statemachine_agents.models.capabilities import Capabilities
from statemachine_agents.testing.messages_api.wire import Fault, bad

__all__ = ["model_info", "model_list"]

_LINES = ("haiku", "sonnet", "opus", "fable", "mythos")
_EPOCH = "1970-01-01T00:00:00Z"


def model_info(name: str, row: Capabilities) -> dict[str, Any]:
    """Return one model object.

    Raises:
        Fault: 404, the id is not in the table.
    """
    if not row.known:
        raise Fault(404, f"model: {name}")
    line = next((word for word in _LINES if f"-{word}" in row.model), None)

    def says(value: bool) -> dict[str, bool]:
        return {"supported": value}

    kinds = ("adaptive", "between_tools", "disabled", "enabled")
    levels = ("high", "low", "max", "medium", "xhigh")
    return {
        "type": "model",
        "id": name,
        "display_name": name.replace("-", " ").title(),
        "created_at": _EPOCH,
        "lifecycle": row.lifecycle,
        "deprecated_at": None if row.lifecycle == "active" else _EPOCH,
        "retires_at": None,
        "line": line,
        "max_input_tokens": row.context_tokens or None,
        "max_tokens": None,
        "capabilities": {
            "batch": says(True),
            "citations": says(True),
            "code_execution": says(False),
            "context_management": says(False),
            "effort": {**says(True), **{level: says(True) for level in levels}},
            "image_input": says(True),
            "pdf_input": says(True),
            "server_tools": {
                **says(False),
                "code_execution": says(False),
                "web_search": says(False),
            },
            "structured_outputs": says(True),
            "thinking": {
                **says(bool(row.thinking)),
                "types": {kind: says(kind in row.thinking) for kind in kinds},
            },
        },
    }


def model_list(rows: Sequence[Capabilities], query: dict[str, str]) -> dict[str, Any]:
    """Return one page of models.

    Args:
        rows: every model, in order.
        query: `limit` (1 to 1000, default 20), `after_id` or `before_id`.
    """
    text = query.get("limit", "20")
    if not text.isdigit() or not 1 <= int(text) <= 1000:
        raise bad("limit: Input should be an integer between 1 and 1000")
    limit = int(text)
    ids = [row.model for row in rows]
    start, end = 0, len(rows)
    if after := query.get("after_id"):
        start = _place(ids, after, "after_id") + 1
    if before := query.get("before_id"):
        end = _place(ids, before, "before_id")
        start = max(end - limit, 0)
    page = rows[start : min(start + limit, end)]
    more = start > 0 if before else start + len(page) < end
    return {
        "data": [model_info(row.model, row) for row in page],
        "has_more": more,
        "first_id": page[0].model if page else None,
        "last_id": page[-1].model if page else None,
    }


def _place(ids: Sequence[str], wanted: str, field: str) -> int:
    if wanted not in ids:
        raise bad(f"{field}: no model {wanted}")
    return ids.index(wanted)
