"""What a decision leaves open, filled in before it is written: keys, deadlines, prompts, inputs.

Rules.  1. Whatever needs noise, wording or another workflow is made here, once, and read back from
the record ever after.  2. Nothing here decides whether; `journal.decide.FILLED` names the fields.
Not here: the decision (`journal.decide`), the wording (`turn.prompt`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from statemachine_agents.journal.records import Draft, Entropy
from statemachine_agents.journal.standing import Standing
from statemachine_agents.turn.ports import Layout
from statemachine_agents.turn.prompt import compose
from statemachine_agents.values import JSON, Redactor, keep_all


@attrs.frozen(kw_only=True)
class Settings:
    """What a run needs from its shell besides facts.

    Args:
        layout: model id or None -> prompt layout.
        entropy: noise for keys and nonces.
        redact: applied to everything from outside, before it is written.
        model: id for agents that name none; None leaves the choice to the model adapter.
        approval_seconds: how long an approval can be granted after it was asked; None: for ever.
    """

    layout: Callable[[str | None], Layout]
    entropy: Entropy
    redact: Redactor = keep_all
    model: str | None = None
    approval_seconds: float | None = None


def fill(s: Standing, settings: Settings, draft: Draft, at: int) -> None:
    """Fill in what a decision leaves open.

    Args:
        s: where the run stands, without the draft.
        settings: layouts and noise.
        draft: the decision; its body is completed in place.
        at: UTC microseconds.
    """
    body = draft.body
    if draft.kind == "call_intended" and body["effect"] != "signal":
        _timing(s, settings, body, at)
    elif draft.kind == "child_started":
        body["input"] = _child_input(s, body)
    elif draft.kind == "approval_asked":
        body["nonce"] = settings.entropy.take(16).hex()
        if settings.approval_seconds is not None:
            body["expires"] = at + int(settings.approval_seconds * 1_000_000)
    elif draft.kind == "model_asked":
        agent = s.workflow.table.agent_of(s.workflow.state(s.snap().state))
        addition = compose(s, body, settings.layout(agent.model or settings.model))
        body["epoch"] = addition.epoch
        body["model"] = addition.model
        if addition.blocks:
            body["blocks"] = [dict(block) for block in addition.blocks]
        if addition.shown:
            body["shown"] = list(addition.shown)


def _timing(s: Standing, settings: Settings, body: dict[str, Any], at: int) -> None:
    """Give an intent its key, the one it has if it is tried again, and its times."""
    spec = s.workflow.bindings[body["tool"]].spec
    wait = 0.0
    known = s.calls.get(body["no"])
    if known is not None and known.attempt:
        body["key"] = known.key
        if known.key_until is not None:
            body["key_until"] = known.key_until
        if spec.retry is not None:
            wait = spec.retry.wait(body["attempt"])
    else:
        noise = settings.entropy.take(8).hex()
        body["key"] = f"{s.root}/{body['no']}/{body['tool']}/{noise}"
        if spec.key_seconds is not None:
            body["key_until"] = at + int(spec.key_seconds * 1_000_000)
    if wait:
        body["not_before"] = at + int(wait * 1_000_000)
    body["deadline"] = at + int((wait + spec.timeout) * 1_000_000)


def _child_input(s: Standing, body: dict[str, Any]) -> dict[str, JSON]:
    """A child gets the context keys it declares itself, and `item` of an `each`."""
    child = s.workflow.children.get(body["workflow"])
    declared = {} if child is None else child.table.context
    context = s.snap().context
    given = {name: context[name] for name in declared if context.get(name) is not None}
    if "item" in body and "item" in declared:
        given["item"] = body["item"]
    return given
