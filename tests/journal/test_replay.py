"""Replay: nothing is called, and the first difference is named with row and verdicts."""

from __future__ import annotations

import attrs
import pytest

from statemachine_agents.errors import JournalDamaged, ReplayMismatch
from statemachine_agents.journal.journal import Journal
from statemachine_agents.journal.replay import replay
from statemachine_agents.kernel.workflow import Workflow
from statemachine_agents.table.definition import Definition
from statemachine_agents.table.model import State, Table, Transition, Use
from statemachine_agents.table.toolspec import ToolSpec
from tests.audit import resealed
from tests.driving import Hand, arguments, bound, small, use
from tests.journal.test_journal import refunded
from tests.tables import refund, refund_specs


def returned(hand: Hand, tool: str) -> int:
    """Return the index of the record in which a tool returned."""
    number = next(body["no"] for body in hand.bodies("call_intended") if body["tool"] == tool)
    return next(
        index
        for index, record in enumerate(hand.records)
        if record.kind == "call_returned" and record.body["no"] == number
    )


def changed(hand: Hand, index: int, **changes) -> Journal:
    """Return the journal with one body changed and the chain made good again."""
    body = {**hand.records[index].body, **changes}
    return Journal(hand.workflow.definition.data, resealed(hand.records, index, body))


def test_a_run_replays_the_same_from_its_definition_alone():
    """Without functions, model or clock every step is decided again as it was."""
    hand = refunded()
    replayed = hand.journal().replay()
    assert replayed.require_same() is replayed
    assert replayed.steps == len(hand.bodies("stepped")) == 5
    assert replayed.to_dict()["same"] is True
    assert (replayed.model_calls, replayed.tool_calls) == (0, 0)


def test_one_changed_guard_input_is_the_first_difference():
    """The amount a guard read, changed in a copy: named at that step, with row and verdicts."""
    hand = refunded()
    index = returned(hand, "check_refund_policy")
    value = {"eligible": True, "amount_cents": 50_001}
    replayed = changed(hand, index, value=value).replay()
    difference = replayed.difference
    assert difference.seq == hand.records[index].seq + 1
    assert difference.kind == "stepped"
    assert difference.field == "row"
    assert (difference.expected, difference.got, difference.row) == (2, 3, 4)
    assert difference.verdicts == ("row 3 false",)
    assert "row 4 fires now; guards: row 3 false" in str(difference)
    with pytest.raises(ReplayMismatch, match=f"seq {difference.seq}") as caught:
        replayed.require_same()
    assert caught.value.facts["verdicts"] == ("row 3 false",)
    assert replayed.to_dict()["difference"]["verdicts"] == ["row 3 false"]


def test_a_change_that_decides_nothing_else_still_shows_where_it_went():
    """A result that moves the same row but assigns another value differs in what was set."""
    hand = refunded()
    replayed = changed(hand, returned(hand, "process_credit"), value={"id": "cr-2"}).replay()
    assert replayed.difference.field == "set"


def test_a_tampered_journal_is_damage_before_it_is_a_difference():
    """Without a new seal the chain speaks first."""
    hand = refunded()
    index = returned(hand, "check_refund_policy")
    record = attrs.evolve(hand.records[index], data=b'{"no":2,"ok":true,"value":null}')
    records = [*hand.records[:index], record, *hand.records[index + 1 :]]
    with pytest.raises(JournalDamaged):
        replay(hand.workflow, "r-1", records)


def test_an_erased_body_is_answered_as_erased():
    """Replay says at which seq it cannot go on; that is not a difference of the table."""
    hand = refunded()
    index = returned(hand, "check_refund_policy")
    erased = attrs.evolve(hand.records[index], data=None, salt=b"", body={})
    records = [*hand.records[:index], erased, *hand.records[index + 1 :]]
    replayed = replay(hand.workflow, "r-1", records)
    assert not replayed.same
    assert str(replayed.difference).startswith(f"erased at seq {erased.seq}")
    assert replayed.records == index


def test_a_changed_table_differs_where_it_decides_otherwise():
    """The same journal under a table with one guard changed: the step of that guard."""
    hand = refunded()
    plain = refund().to_dict()
    plain["transitions"][2]["guard"] = "result.eligible and result.amount_cents < 5"
    other = bound(Table.from_dict(plain), refund_specs())
    difference = replay(other, "r-1", hand.records).difference
    assert difference.kind == "stepped"
    assert difference.verdicts == ("row 3 false",)


def test_a_table_that_decides_earlier_or_later_is_a_difference_of_kind():
    """Where one writes a record and the other waits, replay names both kinds."""
    hand = refunded()
    plain = refund().to_dict()
    plain["tools"]["fetch_order"]["when"] = "false"
    difference = replay(
        bound(Table.from_dict(plain), refund_specs()), "r-1", hand.records
    ).difference
    assert (difference.expected, difference.got) == ("call_intended", "call_refused")
    plain = refund().to_dict()
    plain["states"]["fetching"] = {"wait": "message"}
    plain["transitions"][0]["event"] = plain["transitions"][1]["event"] = "user.message"
    del plain["transitions"][1]["guard"], plain["tools"]["fetch_order"]
    for row in plain["transitions"][:2]:
        del row["assign"]
    difference = replay(
        bound(Table.from_dict(plain), refund_specs()), "r-1", hand.records
    ).difference
    assert (difference.expected, difference.got) == ("model_asked", "run_parked")


def test_a_record_too_many_is_a_difference():
    """A decision that nobody makes now is named as such."""
    hand = refunded()
    records = hand.records[:2]
    extra = resealed([*records, hand.records[1]], 2, {"reason": "x", "waiting": []}, "run_parked")
    difference = replay(hand.workflow, "r-1", extra).difference
    assert (difference.seq, difference.got) == (3, "model_asked")
    more = resealed([*hand.records, hand.records[-1]], len(hand.records), {"id": "x"}, "timer_set")
    difference = replay(hand.workflow, "r-1", more).difference
    assert (difference.expected, difference.got) == ("timer_set", "nothing to decide")
    assert difference.row is None
    assert "guards" not in str(difference)


def test_key_order_of_what_a_model_sends_cannot_change_a_refusal():
    """A refusal quotes arguments in the journal's order, so replay writes the same sentence."""
    workflow = small(
        Transition("here", "look.ok", "done"), states=[State("here", ask="x", tools=["look"])]
    )
    hand = Hand(workflow)
    hand.reply(use("look", zulu=1, alpha=2, n="x", mike=3))
    assert "alpha" in hand.bodies("call_refused")[0]["text"]
    hand.audit()


def test_the_order_of_bindings_cannot_change_a_refusal():
    """Two bindings fail: the one that is told does not depend on the order in the source."""
    table = Table(
        name="t",
        initial="here",
        states=[State("here", ask="x", tools=["both"]), State("done", final="success")],
        transitions=[Transition("here", "both.ok", "done")],
        tools={"both": Use(bind={"z": "1 < 'z'", "a": "1 < 'a'"})},
    )
    spec = ToolSpec(name="both", arguments=arguments(a="boolean", z="boolean"), effect="read")
    hand = Hand(bound(table, {"both": spec}))
    hand.reply(use("both"))
    assert hand.bodies("call_refused")[0]["code"] == "bind"
    hand.audit()


def test_a_parent_replays_without_its_children():
    """A journal file holds the parent's definition only; inputs of children are taken from it."""
    child = small(
        Transition("here", "look.ok", "done"),
        states=[State("here", do="look")],
        name="child",
        context={"order": "string"},
    )
    parent = small(
        Transition("running", "child.success", "done"),
        Transition("running", "child.failure", "failed"),
        states=[State("running", run="child")],
        context={"order": "string"},
        children={"child": child},
    )
    hand = Hand(parent, {"order": "A1"})
    assert hand.bodies("child_started")[0]["input"] == {"order": "A1"}
    alone = Workflow.from_definition(Definition.from_data(parent.definition.data))
    assert alone.children == {}
    assert replay(alone, "r-1", hand.records).same
    hand.audit()
