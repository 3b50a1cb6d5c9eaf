"""What each Claude model accepts, obeys and costs: one row per model.

Rules.  1. A row is a fact with a source, never a wish; what no source states is the cautious value.
2. An unknown id gets cautious values everywhere: nothing forced, nothing in the system role, prefix
bound, dearest price.  3. A dated id (`claude-haiku-4-5-20251001`) is its family's row.
Not here: how a request is built from a row (`claude`), who enforces it in tests
(`testing.messages_api`).

Source: docs/claude-api, section 2.1 (capabilities) and 5 (prices, USD per million tokens); the
cache minimum of older models is disputed between sources, so the largest published number stands.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import attrs

from statemachine_agents.errors import UsageError

__all__ = [
    "DEFAULT_MODEL",
    "MODELS",
    "Capabilities",
    "Lifecycle",
    "Support",
    "Thinking",
    "capabilities",
    "cost",
    "input_cost",
    "note_role",
]

DEFAULT_MODEL = "claude-sonnet-5-5"
"""The model a driver asks when nobody names one."""

Support: TypeAlias = Literal["obeyed", "weak", "ignored", "refused"]
"""`weak`: accepted, but measured to be credited to somebody else; `ignored`: 200, no effect."""

Thinking: TypeAlias = Literal["adaptive", "enabled", "disabled", "between_tools"]

Lifecycle: TypeAlias = Literal["active", "deprecated", "retired"]

_WRITE: dict[str, float] = {"5m": 1.25, "1h": 2.0}
_PER_MTOK = 1_000_000
_DATED = re.compile(r"^(?P<family>.+?)-\d{8}$")


@attrs.frozen(kw_only=True)
class Capabilities:
    """One model.

    Args:
        model: id, or the family prefix of dated ids.
        known: False only on the row made for an id that is not in the table.
        role_system: what happens to a mid-conversation `role: "system"` message.
        clear_at: what happens to `clear_at: "next_user_message"` on such a message.
        tool_change: accepts `tool_removal` / `tool_addition` blocks.
        forced_tool_choice: accepts `tool_choice` of type `any` or `tool`.
        prefix_bound: thinking blocks are bound to the exact prefix they were made after, so an
            edit of `system`, `tools` or an earlier message is a 400.
        thinking: values of `thinking.type` that are accepted.
        prefill: accepted a final assistant message before API version 2026-10-21.
        cache_minimum: tokens a prefix needs before it is cached at all.
        input_usd: USD per million input tokens.
        output_usd: USD per million output tokens.
        cache_read: price of a cached token as a multiple of `input_usd`.
        priced: False when no source states a price and the dearest one stands in.
        long_prompt: input tokens above which the `long_*` prices hold; 0 when there is one price.
        long_input_usd: see `long_prompt`.
        long_output_usd: see `long_prompt`.
        context_tokens: size of the context window; 0 when no source states it.
        lifecycle: `retired` ids answer 404; `deprecated` ones make the client warn.
    """

    model: str
    known: bool = True
    role_system: Support = "refused"
    clear_at: Support = "refused"
    tool_change: bool = False
    forced_tool_choice: bool = False
    prefix_bound: bool = True
    thinking: tuple[Thinking, ...] = ("adaptive",)
    prefill: bool = False
    cache_minimum: int = 4096
    input_usd: float = 10.0
    output_usd: float = 50.0
    cache_read: float = 0.10
    priced: bool = True
    long_prompt: int = 0
    long_input_usd: float = 0.0
    long_output_usd: float = 0.0
    context_tokens: int = 0
    lifecycle: Lifecycle = "active"

    @property
    def role_system_accepted(self) -> bool:
        """Whether a mid-conversation system message is no error."""
        return self.role_system != "refused"

    @property
    def role_system_usable(self) -> bool:
        """Whether a mid-conversation system message is really obeyed as the operator's word."""
        return self.role_system == "obeyed"


_MODERN: tuple[Thinking, ...] = ("adaptive", "enabled", "disabled")


def _bound(model: str, **facts: Any) -> Capabilities:
    """A row of the generation whose thinking is bound to its prefix."""
    base: dict[str, Any] = {
        "role_system": "obeyed",
        "clear_at": "obeyed",
        "tool_change": True,
        "cache_minimum": 512,
    }
    return Capabilities(model=model, **{**base, **facts})


def _free(model: str, **facts: Any) -> Capabilities:
    """A row of the generation before: obeys system messages, binds nothing."""
    base: dict[str, Any] = {
        "forced_tool_choice": True,
        "prefix_bound": False,
        "thinking": _MODERN,
    }
    return _bound(model, **{**base, **facts})


def _older(model: str, **facts: Any) -> Capabilities:
    """A row of 4.7 and below: no system role, nothing bound."""
    base: dict[str, Any] = {
        "forced_tool_choice": True,
        "prefix_bound": False,
        "thinking": _MODERN,
    }
    return Capabilities(model=model, **{**base, **facts})


def _retired(model: str) -> Capabilities:
    return _older(model, lifecycle="retired", priced=False)


_SONNET_4: dict[str, Any] = {"input_usd": 3.0, "output_usd": 15.0, "context_tokens": 200_000}
_OPUS: dict[str, Any] = {"input_usd": 5.0, "output_usd": 25.0}
_OPUS_4: dict[str, Any] = {**_OPUS, "context_tokens": 200_000}
_FABLE: dict[str, Any] = {"input_usd": 10.0, "output_usd": 50.0}

_ROWS = (
    # ---- thinking bound to its prefix; no forced tool choice except on haiku-5-5
    _bound("claude-opus-5-5", input_usd=4.0, output_usd=20.0, cache_read=0.05),
    _bound(
        "claude-sonnet-5-5",
        role_system="weak",  # credited it to the user in tests
        thinking=("adaptive", "between_tools"),  # between_tools is how it is turned off
        input_usd=2.0,
        output_usd=10.0,
        cache_read=0.05,
    ),
    _bound(
        "claude-haiku-5-5",
        role_system="weak",  # after a tool result it may be read as tool output
        forced_tool_choice=True,
        thinking=_MODERN,
        input_usd=0.10,
        output_usd=0.50,
        long_prompt=100_000,
        long_input_usd=0.50,
        long_output_usd=2.50,
    ),
    _bound("claude-fable-5-1", **_FABLE, cache_read=0.025),
    _bound("claude-fable-5-2", priced=False),
    # No source says that mythos-5-1 is bound, or that it is not: the stricter reading.
    _bound("claude-mythos-5-1", priced=False),
    _bound("claude-mythos-5-2", priced=False),
    # ---- obeys system messages, nothing bound
    _free("claude-opus-5", **_OPUS),
    _free("claude-opus-4-8", **_OPUS, cache_minimum=4096),
    _free("claude-fable-5", priced=False),
    _free("claude-mythos-5", priced=False),
    # ---- accepted with 200 and ignored
    _free(
        "claude-sonnet-5",
        role_system="ignored",
        clear_at="ignored",
        tool_change=False,
        input_usd=2.0,
        output_usd=10.0,
    ),
    # ---- 4.7 and below
    _older("claude-opus-4-7", **_OPUS),
    _older("claude-opus-4-6", **_OPUS_4),
    _older("claude-opus-4-5", **_OPUS_4, prefill=True, thinking=("enabled", "disabled")),
    _older("claude-sonnet-4-6", **_SONNET_4, cache_minimum=2048),
    _older(
        "claude-sonnet-4-5",
        **_SONNET_4,
        cache_minimum=1024,
        prefill=True,
        thinking=("enabled", "disabled"),
        lifecycle="deprecated",  # ends 2026-11-30
    ),
    _older(
        "claude-haiku-4-5",
        input_usd=1.0,
        output_usd=5.0,
        context_tokens=200_000,
        prefill=True,
        thinking=("enabled", "disabled"),
    ),
    # ---- gone: 404
    *map(
        _retired,
        (
            "claude-mythos-preview",
            "claude-opus-4-0",
            "claude-sonnet-4-0",
            "claude-opus-4",
            "claude-sonnet-4",
            "claude-3-7-sonnet",
            "claude-3-5-sonnet",
            "claude-3-5-haiku",
            "claude-3-opus",
            "claude-3-sonnet",
            "claude-2.0",
            "claude-2.1",
        ),
    ),
)

MODELS: Mapping[str, Capabilities] = {row.model: row for row in _ROWS}
"""Every known row by id, in the order of the table above."""


def capabilities(model: str) -> Capabilities:
    """Return the row of a model id.

    Args:
        model: an id such as `claude-opus-5-5`, a dated id (`-YYYYMMDD`) or a `-latest` alias.

    Returns:
        The row; for an unknown id a cautious one with `known=False`.

    Example:
        >>> capabilities("claude-haiku-4-5-20251001").cache_minimum
        4096
        >>> capabilities("claude-next").known
        False
    """
    row = MODELS.get(model)
    if row is None:
        dated = _DATED.match(model)
        row = MODELS.get(dated["family"] if dated else model.removesuffix("-latest"))
    return row or Capabilities(model=model, known=False, priced=False)


def note_role(model: str) -> Literal["system", "user"]:
    """Return where the state note goes: `system` only where that role is really obeyed.

    Example:
        >>> note_role("claude-opus-5-5"), note_role("claude-sonnet-5-5")
        ('system', 'user')
    """
    return "system" if capabilities(model).role_system_usable else "user"


def input_cost(model: str, usage: Mapping[str, Any], ttl: Literal["5m", "1h"] = "5m") -> float:
    """Return what the input side of one request cost.

    Args:
        model: id that answered.
        usage: `input_tokens`, `cache_creation_input_tokens`, `cache_read_input_tokens` as the
            Messages API reports them; absent or null counts as 0. A `cache_creation` breakdown by
            lifetime, where there is one, is used instead of `ttl`.
        ttl: lifetime the cache was written with, when `usage` does not say it: a write costs 1.25
            times the base price for `5m`, twice for `1h`.

    Returns:
        US dollars.

    Raises:
        UsageError: `ttl` is neither `5m` nor `1h`.

    Example:
        >>> input_cost("claude-opus-5-5", {"input_tokens": 1_000_000})
        4.0
    """
    if ttl not in _WRITE:
        raise UsageError(f"ttl: got {ttl!r}, expected '5m' or '1h'", ttl=ttl)
    row = capabilities(model)
    price = row.long_input_usd if _is_long(row, usage) else row.input_usd
    fresh, read = _tokens(usage, "input_tokens"), _tokens(usage, "cache_read_input_tokens")
    parts = usage.get("cache_creation") or {}
    by_ttl = {life: _tokens(parts, f"ephemeral_{life}_input_tokens") for life in _WRITE}
    rest = _tokens(usage, "cache_creation_input_tokens") - sum(by_ttl.values())
    by_ttl[ttl] += max(rest, 0)
    written = sum(count * _WRITE[life] for life, count in by_ttl.items())
    return (fresh + written + read * row.cache_read) * price / _PER_MTOK


def cost(model: str, usage: Mapping[str, Any], ttl: Literal["5m", "1h"] = "5m") -> float:
    """Return what one request cost in US dollars, output included (see `input_cost`).

    Example:
        >>> cost("claude-opus-5-5", {"input_tokens": 0, "output_tokens": 1_000_000})
        20.0
    """
    row = capabilities(model)
    price = row.long_output_usd if _is_long(row, usage) else row.output_usd
    spent = _tokens(usage, "output_tokens") * price / _PER_MTOK
    return input_cost(model, usage, ttl) + spent


def _is_long(row: Capabilities, usage: Mapping[str, Any]) -> bool:
    keys = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
    return 0 < row.long_prompt < sum(_tokens(usage, key) for key in keys)


def _tokens(usage: Mapping[str, Any], key: str) -> int:
    return int(usage.get(key) or 0)
