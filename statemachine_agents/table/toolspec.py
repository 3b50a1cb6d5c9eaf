"""What the engine knows about a tool without its function: names, schemas, effect class, timing.

Rules.  1. A spec is data: it is hashed into the definition, so recovery, `check` and replay need no
Python function.  2. An effect class that nobody declared is `manual`, the safest: never called
again while in doubt.
Not here: the functions (`tools.decorator`), how a table uses a tool (`table.model.Use`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal, TypeAlias

import attrs

from statemachine_agents.errors import TableError
from statemachine_agents.values import JSON

EffectClass: TypeAlias = Literal["read", "idempotent", "verifiable", "transactional", "manual"]

EFFECT_CLASSES: Final[tuple[EffectClass, ...]] = (
    "read",
    "idempotent",
    "verifiable",
    "transactional",
    "manual",
)

TOOL_NAME: Final = r"[a-zA-Z0-9_-]{1,128}"
"""What the Messages API accepts as a tool name. Source: claude-api.md section 3."""


def _kinds(value: str | Iterable[str]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


@attrs.frozen
class Retry:
    """Call again after an `.error` of one of these kinds, inside the same call.

    Args:
        attempts: calls in all, the first included; 1 to 20.
        delay: seconds before the second attempt.
        backoff: factor on the delay for each further attempt.
        on: kinds of `ToolError` worth another try; a timeout of a `read` tool has kind `timeout`.
    """

    attempts: int = attrs.field(
        default=3, validator=[attrs.validators.ge(1), attrs.validators.le(20)]
    )
    delay: float = attrs.field(default=0.5, converter=float, validator=attrs.validators.ge(0))
    backoff: float = attrs.field(default=2.0, converter=float, validator=attrs.validators.ge(1))
    on: tuple[str, ...] = attrs.field(default=("busy", "timeout", "open"), converter=_kinds)

    def wait(self, attempt: int) -> float:
        """Return the seconds to wait before attempt number `attempt` (2 is the first retry)."""
        return self.delay * self.backoff ** (attempt - 2)


@attrs.frozen
class Breaker:
    """Stop calling a tool that keeps failing: after `failures` in a row, `.error` of kind `open`.

    Args:
        failures: errors in a row that open the breaker.
        reset: seconds until one call is let through again.
    """

    failures: int = attrs.field(default=5, validator=attrs.validators.ge(1))
    reset: float = attrs.field(default=30.0, converter=float, validator=attrs.validators.gt(0))


@attrs.frozen(kw_only=True)
class ToolSpec:
    """One tool as data.

    Args:
        name: as the model and the table write it.
        description: for the model.
        arguments: JSON Schema of the arguments, an object schema with `additionalProperties` false.
        result: JSON Schema of the result; None when nothing is declared.
        effect: what a crash or timeout means, see `design.md` section 6.
        timeout: seconds an attempt may take.
        retry: which errors are tried again, or None.
        breaker: when to stop trying, or None.
        undo: name of the tool that undoes this one, or None.
        key_seconds: how long the receiver honours an idempotency key; None means for ever.
        verifies: whether the function has a verifier (class `verifiable`, or an expired key).
        wants_call: whether the function takes a `Call` (run id, key, attempt, deadline).
    """

    name: str = attrs.field(validator=attrs.validators.matches_re(TOOL_NAME))
    description: str = ""
    arguments: Mapping[str, JSON] = attrs.field(
        factory=lambda: {"type": "object", "properties": {}, "additionalProperties": False}
    )
    result: Mapping[str, JSON] | None = None
    effect: EffectClass = attrs.field(
        default="manual", validator=attrs.validators.in_(EFFECT_CLASSES)
    )
    timeout: float = attrs.field(default=30.0, converter=float, validator=attrs.validators.gt(0))
    retry: Retry | None = None
    breaker: Breaker | None = None
    undo: str | None = None
    key_seconds: float | None = None
    verifies: bool = False
    wants_call: bool = False

    def to_dict(self) -> dict[str, JSON]:
        """Return the spec as plain JSON; absent options are left out."""
        out: dict[str, Any] = {
            "name": self.name,
            "description": self.description,
            "arguments": self.arguments,
            "effect": self.effect,
            "timeout": self.timeout,
        }
        if self.result is not None:
            out["result"] = self.result
        if self.retry is not None:
            out["retry"] = {**attrs.asdict(self.retry), "on": list(self.retry.on)}
        if self.breaker is not None:
            out["breaker"] = attrs.asdict(self.breaker)
        for key in ("undo", "key_seconds"):
            if getattr(self, key) is not None:
                out[key] = getattr(self, key)
        for key in ("verifies", "wants_call"):
            if getattr(self, key):
                out[key] = True
        return out

    @classmethod
    def from_dict(cls, data: Mapping[str, JSON]) -> ToolSpec:
        """Read a spec back from `to_dict`."""
        known = {field.name for field in attrs.fields(cls)}
        unknown = sorted(set(data) - known)
        if unknown:
            name = data.get("name")
            msg = f"tool {name!r}: unknown keys {unknown}; expected some of {sorted(known)}"
            raise TableError(msg, tool=data.get("name"), keys=unknown)
        values = dict(data)
        if values.get("retry") is not None:
            values["retry"] = Retry(**values["retry"])
        if values.get("breaker") is not None:
            values["breaker"] = Breaker(**values["breaker"])
        return cls(**values)
