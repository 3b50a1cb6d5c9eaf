"""Effects a run asks for, and the facts that answer them.

Rules.  1. An effect carries everything the shell needs; a fact carries everything the run needs.
2. `id` is stable, so a shell knows which effects it has started.
Not here: carrying effects out (`driver`), turning facts into records (`turn.run`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias

import attrs

from statemachine_agents.journal.outcome import Outcome
from statemachine_agents.table.toolspec import ToolSpec
from statemachine_agents.turn.ports import ModelReply, ModelRequest, Signal
from statemachine_agents.values import JSON


@attrs.frozen(kw_only=True)
class AskModel:
    """Ask the model once; answer with `Replied` or `AskFailed`."""

    id: str
    request: ModelRequest


@attrs.frozen(kw_only=True)
class CallTool:
    """Call a tool; answer with `Returned`, `Failed` or `Doubted`.

    `not_before` and `deadline` are UTC microseconds.
    """

    id: str
    no: int
    tool: str
    spec: ToolSpec
    arguments: Mapping[str, JSON]
    key: str
    attempt: int
    deadline: int
    not_before: int = 0


@attrs.frozen(kw_only=True)
class VerifyCall:
    """Ask a tool's verifier what became of a call in doubt; answer with `Checked`."""

    id: str
    no: int
    tool: str
    spec: ToolSpec
    arguments: Mapping[str, JSON]
    key: str
    attempt: int
    deadline: int


@attrs.frozen(kw_only=True)
class Recover:
    """A dead owner's call is open; when `not_before` has passed, answer with `Doubted`."""

    id: str
    no: int
    tool: str
    not_before: int = 0


@attrs.frozen(kw_only=True)
class Say:
    """Deliver a reply; answer with `Sent`."""

    id: str
    reply_id: str
    text: str
    seq: int


@attrs.frozen(kw_only=True)
class StartChild:
    """Run a child workflow to its end; answer with `ChildEnded`.

    `root` is the run at the top of the tree; `over` says that the parent has ended without this
    child, which is then asked to stop.
    """

    id: str
    child: str
    workflow: str
    input: Mapping[str, JSON]
    root: str = ""
    over: bool = False


@attrs.frozen(kw_only=True)
class Wait:
    """Nothing to do until a signal arrives, or `until` (UTC microseconds) passes."""

    id: str
    waiting: tuple[str, ...]
    reason: str
    until: int | None = None


@attrs.frozen(kw_only=True)
class End:
    """The run has ended."""

    id: str
    outcome: Outcome


Effect: TypeAlias = AskModel | CallTool | VerifyCall | Recover | Say | StartChild | Wait | End


@attrs.frozen
class Replied:
    """The model answered."""

    reply: ModelReply


@attrs.frozen
class AskFailed:
    """The model could not be asked, after all retries."""

    kind: str
    text: str


@attrs.frozen
class Returned:
    """A tool returned a value."""

    no: int
    value: JSON


@attrs.frozen
class Failed:
    """A tool said that its effect did not happen; `detail` is for the journal alone."""

    no: int
    kind: str
    text: str
    detail: str = ""


@attrs.frozen
class Doubted:
    """Nobody knows whether a call had its effect."""

    no: int
    why: str
    detail: str = ""


@attrs.frozen
class Checked:
    """A verifier's answer."""

    no: int
    verdict: Literal["done", "not_done", "unknown"]
    value: JSON = None
    detail: str = ""


@attrs.frozen
class Sent:
    """A reply was delivered."""

    reply_id: str


@attrs.frozen
class ChildEnded:
    """A child workflow ended: `outcome` is `success`, `failure` or `cancelled`."""

    child: str
    outcome: str
    value: JSON = None
    reason: str = ""


@attrs.frozen
class Resumed:
    """Somebody takes the run up again: an operator, or a worker after a crash."""

    reason: str
    by: str = ""


Fact: TypeAlias = (
    Replied
    | AskFailed
    | Returned
    | Failed
    | Doubted
    | Checked
    | Sent
    | ChildEnded
    | Resumed
    | Signal
)
