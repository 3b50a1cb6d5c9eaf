"""A model without a model: it walks any table, so that a workflow can be tried with no key.

Rules.  1. It proposes the first legal tool, with arguments made from its schema and the facts in
view.  2. What just failed, or was just done with the same arguments, is not proposed again while
another tool is legal.  3. A request alone decides the reply: nothing is remembered, so many runs
can share one.
Not here: fixed scripts (`scripted`), making values (`samples`).

It understands nothing: it shows that a table can be walked, not that an agent would walk it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import attrs

from statemachine_agents.models.samples import Sampler
from statemachine_agents.turn.ports import Layout, ModelReply, ModelRequest
from statemachine_agents.values import JSON

__all__ = ["RehearsalModel"]

_NO_USAGE = {
    "input_tokens": 0,
    "output_tokens": 0,
    "cache_creation_input_tokens": 0,
    "cache_read_input_tokens": 0,
}
_LAYOUT = Layout("rehearsal")


@attrs.frozen
class RehearsalModel:
    """A `Model` that needs no key, no network and no script.

    Args:
        seed: 0 begins with the first legal tool and the first listed value; another number begins
            that many further on, and so takes another way through the same table.

    Example:
        >>> import asyncio
        >>> tool = {
        ...     "name": "fetch_order",
        ...     "input_schema": {
        ...         "type": "object",
        ...         "properties": {"order_id": {"type": "string"}},
        ...         "required": ["order_id"],
        ...     },
        ... }
        >>> request = ModelRequest(
        ...     run="r",
        ...     agent="desk",
        ...     model=None,
        ...     system=[],
        ...     tools=[tool],
        ...     messages=[],
        ...     offered=("fetch_order",),
        ...     facts={"order": {"order_id": "A1"}},
        ... )
        >>> asyncio.run(RehearsalModel().complete(request)).content[0]["input"]
        {'order_id': 'A1'}
    """

    seed: int = 0

    def layout(self, model: str | None) -> Layout:
        """Return the plain layout, under the id asked for."""
        return _LAYOUT if model is None else attrs.evolve(_LAYOUT, model=model)

    async def complete(
        self, request: ModelRequest, *, on_text: Callable[[str], None] | None = None
    ) -> ModelReply:
        """Propose a legal tool, or say a few words where none is legal."""
        block: dict[str, JSON]
        if request.offered:
            name, arguments = self._proposal(request)
            # The transcript grows with every turn, so its length makes the id new.
            call_id = f"rehearsal_{len(request.messages)}"
            block = {"type": "tool_use", "id": call_id, "name": name, "input": arguments}
        else:
            block = {"type": "text", "text": "This is a rehearsal; there is nothing to call here."}
            if on_text is not None:
                on_text(block["text"])
        return ModelReply(
            content=[block],
            stop_reason="tool_use" if request.offered else "end_turn",
            usage=_NO_USAGE,
            model=request.model or "rehearsal",
        )

    async def aclose(self) -> None:
        """Do nothing: there is nothing to let go of."""

    def _proposal(self, request: ModelRequest) -> tuple[str, dict[str, JSON]]:
        schemas = {tool["name"]: tool.get("input_schema") for tool in request.tools}
        spent, errors = _spent(request)
        offered = request.offered

        def made(index: int) -> tuple[str, dict[str, JSON]]:
            name = offered[(index + self.seed) % len(offered)]
            return name, Sampler(schemas.get(name) or {}, request.facts, self.seed).arguments()

        proposals = (made(index) for index in range(len(offered)))
        fresh = next((proposal for proposal in proposals if proposal not in spent), None)
        # All of them were tried: go round, one further for every failure in a row.
        return fresh or made(errors % len(offered))


def _spent(request: ModelRequest) -> tuple[list[tuple[str, JSON]], int]:
    """Return the calls not worth repeating, and how many failures in a row the last ones are."""
    calls: list[tuple[str, JSON]] = []
    errors = 0
    for name, arguments, failed in _answered(request):
        calls.append((name, arguments))
        if not failed:
            break
        errors += 1
    return calls, errors


def _answered(request: ModelRequest) -> Iterator[tuple[str, JSON, bool]]:
    """Yield the calls that have a result, newest first, with whether it was an error."""
    results: dict[str, bool] = {}
    for message in reversed(request.messages):
        content = message.get("content")
        blocks: list[Any] = content if isinstance(content, list) else []
        for block in reversed(blocks):
            if not isinstance(block, Mapping):
                continue
            if block.get("type") == "tool_result":
                results[block["tool_use_id"]] = bool(block.get("is_error"))
            elif block.get("type") == "tool_use" and block["id"] in results:
                yield block["name"], block["input"], results.pop(block["id"])
