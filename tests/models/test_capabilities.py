"""The capability table: what the driver may ask of a model, and what a request costs."""

from __future__ import annotations

import pytest

from statemachine_agents.errors import UsageError
from statemachine_agents.models.capabilities import (
    DEFAULT_MODEL,
    MODELS,
    capabilities,
    cost,
    input_cost,
    note_role,
)

OBEYS = ["opus-5-5", "fable-5-1", "fable-5-2", "mythos-5-1", "mythos-5-2", "opus-5", "opus-4-8"]


@pytest.mark.parametrize("name", [*OBEYS, "fable-5", "mythos-5"])
def test_the_note_goes_into_the_system_role_where_that_is_obeyed(name):
    """Models that were measured to obey a system message get the state note there."""
    assert note_role(f"claude-{name}") == "system"


@pytest.mark.parametrize(
    "name",
    [
        "claude-sonnet-5-5",
        "claude-haiku-5-5",
        "claude-sonnet-5",
        "claude-opus-4-7",
        "claude-haiku-4-5-20251001",
        "claude-3-5-sonnet-20241022",
        "some-other-model",
    ],
)
def test_the_note_goes_into_the_user_role_elsewhere(name):
    """Where the system role is refused, ignored, credited to others or unknown: user."""
    assert note_role(name) == "user"


def test_accepted_and_usable_are_two_questions():
    """A model may take a system message without error and still not obey it."""
    weak, deaf, closed = map(
        capabilities, ("claude-sonnet-5-5", "claude-sonnet-5", "claude-opus-4-7")
    )
    assert (weak.role_system_accepted, weak.role_system_usable) == (True, False)
    assert (deaf.role_system, deaf.role_system_accepted) == ("ignored", True)
    assert not closed.role_system_accepted


def test_only_the_bound_generation_binds_and_refuses_force():
    """Prefix binding and forced tool choice follow the table of the specification, row by row."""
    bound = {name for name, row in MODELS.items() if row.prefix_bound}
    forced = {name for name, row in MODELS.items() if row.forced_tool_choice}
    new = ["opus-5-5", "sonnet-5-5", "fable-5-1", "fable-5-2", "mythos-5-1", "mythos-5-2"]
    assert bound == {f"claude-{name}" for name in [*new, "haiku-5-5"]}
    assert not forced & {f"claude-{name}" for name in new}
    assert "claude-haiku-5-5" in forced


def test_a_dated_id_is_its_family():
    """A date or `-latest` at the end changes nothing; a longer family wins over a shorter one."""
    assert capabilities("claude-haiku-4-5-20251001") is capabilities("claude-haiku-4-5")
    assert capabilities("claude-3-5-haiku-latest").lifecycle == "retired"
    assert capabilities("claude-opus-4-20250514").lifecycle == "retired"
    assert capabilities("claude-opus-4-8").lifecycle == "active"


def test_an_unknown_id_gets_cautious_values():
    """Nothing is assumed of a model nobody described, and it counts as the dearest one."""
    row = capabilities("claude-next-9")
    assert (row.model, row.known, row.priced) == ("claude-next-9", False, False)
    assert not row.role_system_accepted
    assert not row.forced_tool_choice
    assert row.prefix_bound
    assert row.input_usd == max(other.input_usd for other in MODELS.values())
    assert row.cache_minimum == max(other.cache_minimum for other in MODELS.values())


def test_the_default_model_is_known_and_alive():
    """The model asked when nobody names one is an active row of the table."""
    assert (capabilities(DEFAULT_MODEL).known, capabilities(DEFAULT_MODEL).lifecycle) == (
        True,
        "active",
    )


@pytest.mark.parametrize(
    ("model", "usage", "ttl", "dollars"),
    [
        ("claude-opus-5-5", {"input_tokens": 1000}, "5m", 0.004),
        ("claude-opus-5-5", {"cache_read_input_tokens": 1000}, "5m", 0.0002),
        ("claude-opus-5-5", {"cache_creation_input_tokens": 1000}, "5m", 0.005),
        ("claude-opus-5-5", {"cache_creation_input_tokens": 1000}, "1h", 0.008),
        ("claude-fable-5-1", {"cache_read_input_tokens": 1000}, "5m", 0.00025),
        ("claude-haiku-5-5", {"input_tokens": 100_000}, "5m", 0.01),
        (
            "claude-haiku-5-5",
            {"input_tokens": 1, "cache_read_input_tokens": 100_000},
            "5m",
            5.0005e-3,
        ),
        ("claude-opus-5-5", {"input_tokens": None, "cache_read_input_tokens": None}, "5m", 0.0),
        (
            "claude-opus-5-5",
            {
                "cache_creation_input_tokens": 3000,
                "cache_creation": {
                    "ephemeral_5m_input_tokens": 2000,
                    "ephemeral_1h_input_tokens": 1000,
                },
            },
            "5m",
            0.018,
        ),
    ],
)
def test_the_input_side_is_priced_by_kind(model, usage, ttl, dollars):
    """Fresh, written and read tokens have their own prices; the breakdown beats the argument."""
    assert input_cost(model, usage, ttl) == pytest.approx(dollars)


def test_output_is_added_at_its_own_price():
    """`cost` is the input side plus output, at the long-prompt price where that holds."""
    usage = {"input_tokens": 200_000, "output_tokens": 1000}
    assert cost("claude-haiku-5-5", usage) == pytest.approx(0.1 + 0.0025)
    assert cost("claude-sonnet-5-5", usage) == pytest.approx(0.4 + 0.01)


def test_a_wrong_lifetime_is_refused():
    """A lifetime that the cache does not know is the caller's mistake, named."""
    with pytest.raises(UsageError, match="ttl: got '2h', expected '5m' or '1h'"):
        input_cost("claude-opus-5-5", {}, "2h")
