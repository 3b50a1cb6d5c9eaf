"""Secrets, approvals and waits: what is found, and what is left alone."""

from __future__ import annotations

import pytest

from statemachine_agents.proof.structure import check
from statemachine_agents.table.model import State, Table, Transition, Use
from statemachine_agents.table.toolspec import ToolSpec
from tests.tables import refund, refund_specs

CODES = {"secret-from-model", "approval-without-arguments", "wait-without-timer"}


def spec(parameter: str, effect: str = "manual") -> ToolSpec:
    properties = {parameter: {"type": "string"}}
    return ToolSpec(
        name="pay",
        effect=effect,
        arguments={"type": "object", "properties": properties, "additionalProperties": False},
    )


def table(use: Use | None = None, *, after: str | None = None, **acting: object) -> Table:
    acting = acting or {"ask": "Pay.", "tools": ["pay"]}
    return Table(
        name="t",
        initial="asking",
        states=[
            State("asking", wait="approval", after=after),
            State("paying", **acting),
            State("done", final="success"),
        ],
        transitions=[
            Transition("asking", "approval.granted", "paying"),
            Transition("paying", "pay.ok", "done"),
        ],
        tools={} if use is None else {"pay": use},
        context={"key": "string"},
    )


def found(made: Table, tool: ToolSpec | None) -> list[tuple[str, str, str]]:
    specs = None if tool is None else {"pay": tool}
    return [
        (problem.code, problem.where, problem.severity)
        for problem in check(made, specs, info=True)
        if problem.code in CODES - {"wait-without-timer"}
    ]


@pytest.mark.parametrize("name", ["password", "api_key", "apikey", "client_secret", "auth_token"])
def test_a_secret_may_not_come_from_the_model(name: str):
    """A parameter that is named like a secret is bound, or it is a warning."""
    said = ("secret-from-model", "tools.pay.bind", "warning")
    assert said in found(table(), spec(name, "read"))
    assert found(table(Use(bind={name: "context.key"})), spec(name, "read")) == []


@pytest.mark.parametrize("name", ["token", "secretary", "tokens", "password_hint", "key"])
def test_other_names_are_no_secrets(name: str):
    """A name that only resembles one is left alone."""
    assert found(table(), spec(name, "read")) == []


def test_a_yes_does_not_cover_arguments_the_model_still_chooses():
    """A warning at the row, unless the tool asks for these very arguments itself."""
    where = "transitions[0].target"
    assert found(table(), spec("amount")) == [("approval-without-arguments", where, "warning")]
    assert found(table(Use(approve="true")), spec("amount")) == []
    assert found(table(), spec("amount", "read")) == []
    assert found(table(), None) == []


def test_a_yes_to_bound_arguments_is_only_worth_knowing():
    """Nobody chooses anything after the yes, so it is no warning."""
    use = Use(bind={"amount": "context.key"})
    expected = [("approval-without-arguments", "transitions[0].target", "info")]
    assert found(table(use), spec("amount")) == expected
    assert found(table(use, do=["pay"]), spec("amount")) == expected


def test_a_wait_without_a_timer_is_worth_knowing():
    """With `after` it is not said."""
    for after, expected in ((None, [("states.asking", "info")]), ("1h", [])):
        problems = check(table(after=after), info=True)
        timers = [(p.where, p.severity) for p in problems if p.code == "wait-without-timer"]
        assert timers == expected


def test_the_refund_table_stays_free_of_warnings():
    """Its only approval that pays is tied to the arguments."""
    assert check(refund(), refund_specs()) == ()
