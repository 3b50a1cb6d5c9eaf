"""Logs of other systems: what a mapping reads, and what is said when it does not fit."""

from __future__ import annotations

import pytest

from statemachine_agents.errors import UsageError
from statemachine_agents.journal.conform import rules_of
from statemachine_agents.journal.foreign import conform_foreign
from statemachine_agents.journal.mapping import read_mapping
from statemachine_agents.table.model import State, Table, Transition

EVENTS = {
    "turn": "event.turn",
    "facts": [
        {"when": "event.ev == 'user'", "message": "{text: event.text, confirms: event.confirms}"},
        {
            "when": "event.ev == 'call'",
            "call": "event.name",
            "arguments": "event.arguments",
            "result": "event.result",
            "failed": "event.tool_error",
            "decode": True,
        },
        {
            "when": "event.ev == 'yes'",
            "event": "'approval.granted'",
            "scope": {"approval": "{by: event.by}"},
        },
    ],
}


def call(turn, name, result="ok", *, failed=False, **arguments):
    return {
        "ev": "call", "turn": turn, "name": name, "arguments": arguments, "result": result,
        "tool_error": failed,
    }  # fmt: skip


def ask(events, *rules, table=None, mapping=EVENTS, log=None, **more):
    log = {"id": "log-1", "events": events} if log is None else log
    rules = rules_of(rules) if table is None else rules_of(table)
    return conform_foreign(log, read_mapping(mapping), rules, table=table, **more)


def at(heard):
    return [(each.at, each.fact) for each in heard.conformance.violations]


def test_messages_calls_results_and_events_are_facts():
    """Each rule sees what it speaks of, with its names; the rest is counted as passed over."""
    events = [
        {"ev": "say", "text": "hello"},
        {"ev": "user", "text": "no", "confirms": False},
        call(1, "pay", '{"amount": 7}', order="A"),
        {"ev": "yes", "by": "ann"},
        call(2, "pay", "card refused", failed=True, order="B"),
    ]
    heard = ask(
        events,
        "only_after(pay, user.message where message.confirms)",
        "never(pay.ok where result.amount == 7)",
        "never(approval.granted where approval.by == 'ann')",
        "never(pay.error where error.text == 'card refused' and args.order == 'B')",
    )
    assert (heard.taken, heard.passed) == (4, 1)
    assert heard.conformance.run_id == "log-1"
    assert at(heard) == [
        (3, "pay"), (3, "pay.ok"), (4, "approval.granted"), (5, "pay"), (5, "pay.error"),
    ]  # fmt: skip


def test_calls_of_one_turn_are_made_together():
    """What one reply asked for had not been seen when it asked; the next turn has seen it."""
    rule = "only_after(pay, look.ok)"
    assert at(ask([call(1, "look"), call(1, "pay")], rule)) == [(2, "pay")]
    assert at(ask([call(1, "look"), call(2, "pay")], rule)) == []
    untold = {**EVENTS, "turn": "null"}
    assert at(ask([call(1, "look"), call(1, "pay")], rule, mapping=untold)) == []


def test_turns_are_counted():
    """A new turn is one fact, however many calls it has."""
    events = [call(1, "a"), call(1, "b"), call(2, "c"), call(3, "d")]
    assert at(ask(events, "ends_within(2)")) == [(4, "model.asked")]


def test_a_call_whose_end_is_not_told_stays_open():
    """Without a result it counts as done, as a call in doubt does."""
    mapping = {"facts": [{"call": "event.name", "arguments": "event.arguments"}]}
    heard = ask([call(1, "pay"), call(1, "pay")], "at_most(pay, 1)", mapping=mapping)
    assert at(heard) == [(2, "pay")]


def test_an_error_takes_a_call_back():
    """A failed call did not happen."""
    events = [call(1, "pay", failed=True), call(2, "pay"), call(3, "pay")]
    assert at(ask(events, "at_most(pay, 1)")) == [(3, "pay")]


def test_a_log_that_is_not_over_owes():
    """`ended` says whether what is due can still come."""
    mapping = {**EVENTS, "ended": "run.closed"}
    for closed in (True, False):
        log = {"events": [call(1, "pay")], "closed": closed}
        heard = ask(None, "leads_to(pay.ok, send.ok)", mapping=mapping, log=log, number=4)
        assert heard.conformance.run_id == "4"
        assert bool(heard.conformance.violations) == closed
        assert bool(heard.conformance.owed) != closed


def test_rules_may_read_the_context_their_table_keeps():
    """The table is followed: its notes assign from recorded results, its own rules do not act."""
    table = Table(
        name="desk",
        initial="open",
        states=[
            State("open", ask="Help.", tools=["find", "read", "cancel"]),
            State("done", final="success"),
        ],
        transitions=[
            Transition("open", "find.ok", None, assign={"user": "result.user"}),
            Transition("open", "read.ok", None, assign={"orders[result.id]": "result"}),
            Transition("open", "model.done", "done"),
        ],
        context={"user": "string?", "orders": "object?", "shop": "string"},
        rules=[
            "only_after(cancel, find.ok)",
            "never(cancel where context.orders[args.id].owner != context.user)",
            "never(cancel where context.shop == 'closed')",
        ],
    )
    mapping = {**EVENTS, "context": {"shop": "run.shop"}}
    events = [
        call(1, "find", {"user": "ann"}),
        call(2, "read", {"id": "A", "owner": "ann"}),
        call(3, "cancel", id="A"),
        call(4, "cancel", id="B"),
        call(5, "read", {"id": "B", "owner": "bob"}),
        call(6, "cancel", id="B"),
    ]
    log = {"id": "x", "shop": "open", "events": events}
    assert at(ask(None, table=table, mapping=mapping, log=log)) == [(4, "cancel"), (6, "cancel")]
    log["shop"] = "closed"
    broken = ask(None, table=table, mapping=mapping, log=log).conformance.violations
    assert [each.rule for each in broken] == [2, 1, 2, 1, 2]


@pytest.mark.parametrize(
    ("mapping", "what"),
    [
        ({}, "facts: expected a list"),
        ({"facts": []}, "facts: expected a list"),
        ({"facts": [{}]}, "facts[0]: expected a row with exactly one of message, call, event"),
        ({"facts": [{"call": "x", "event": "y"}]}, "exactly one of"),
        ({"facts": ["call"]}, "exactly one of"),
        ({"facts": [{"call": "x", "args": "y"}]}, "unknown key 'args'; did you mean"),
        ({"facts": [{"call": "x +"}]}, "facts[0].call:"),
        ({"facts": [{"call": 3}]}, "expected a text that is an expression, got 3"),
        ({"facts": [{"event": "x", "scope": "y"}]}, "facts[0].scope: expected a table"),
        ({"facts": [{"call": "x"}], "context": []}, "context: expected a table"),
        ({"facts": [{"call": "x"}], "event": "y"}, "unknown key 'event'; did you mean 'events'"),
        ({"facts": [{"call": "x"}], "turn": "(("}, "turn:"),
    ],
)
def test_a_wrong_mapping_says_where(mapping, what):
    """Every fault is named with its place."""
    with pytest.raises(UsageError) as caught:
        read_mapping(mapping, where="map.toml")
    assert what in str(caught.value)
    assert "map.toml" in str(caught.value)


def test_all_faults_of_a_mapping_are_told_together():
    """One reading, one list."""
    with pytest.raises(UsageError) as caught:
        read_mapping({"x": 1, "turn": "(", "facts": [{"call": ")"}]})
    assert len(caught.value.facts["faults"]) == 3


@pytest.mark.parametrize(
    ("log", "more", "what"),
    [
        ({}, {}, "events = run.events gives no list"),
        ({"events": 3}, {}, "gives no list"),
        ({"events": [{"ev": "call", "name": 3}]}, {}, "log 1, entry 1: call = event.name gives 3"),
        ({"events": [{"ev": 1}]}, {"turn": "event.ev + 'x'", "facts": [{"call": "'a'"}]}, "turn"),
    ],
)
def test_a_log_that_does_not_fit_says_which_entry(log, more, what):
    """The sentence names log, entry and the part of the mapping."""
    with pytest.raises(UsageError, match=r"log 1") as caught:
        ask(None, "never(a)", mapping={**EVENTS, **more}, log=log)
    assert what in str(caught.value)


def test_text_that_is_no_json_stays_text():
    """`decode` reads objects and lists, and leaves everything else as it is."""
    for text, rule in (
        ('{"n": 1}', "never(a.ok where result.n == 1)"),
        ("[1]", "never(a.ok where result[0] == 1)"),
        ("{broken", "never(a.ok where result == '{broken')"),
        ("7", "never(a.ok where result == '7')"),
    ):
        assert at(ask([call(1, "a", text)], rule)) == [(1, "a.ok")]
