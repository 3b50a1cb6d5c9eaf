"""The fold: every kind of record, every recorded move checked, and nothing guessed."""

from __future__ import annotations

import attrs
import pytest

from statemachine_agents.errors import JournalDamaged
from statemachine_agents.journal.fold import APPLY, fold
from statemachine_agents.journal.journal import Journal
from statemachine_agents.journal.records import GENESIS, KINDS, Draft, Head, seal
from statemachine_agents.system import SeededEntropy
from statemachine_agents.table.model import Key, Limits, State, Transition
from statemachine_agents.turn.run import Run
from tests.audit import resealed, same
from tests.driving import Hand, small, use
from tests.journal.test_journal import refunded
from tests.lively_tables import refund_desk


def step_at(hand: Hand, event: str) -> int:
    """Return the index of the record that stepped an event."""
    return next(
        index
        for index, record in enumerate(hand.records)
        if record.kind == "stepped" and record.body["event"] == event
    )


def refolded(hand: Hand, index: int, **changes):
    """Fold the journal with one body changed and the chain made good again."""
    body = {**hand.records[index].body, **changes}
    body = {name: value for name, value in body.items() if value is not ...}
    return fold(hand.workflow, "r-1", resealed(hand.records, index, body))


def test_every_kind_of_record_can_be_folded():
    """There is a fold for each kind of the format, and no other."""
    assert {*APPLY, "stepped"} == KINDS


@pytest.mark.parametrize(
    ("event", "changes", "why"),
    [
        ("fetch_order.ok", {"to": "complete"}, "row 1 does not lead"),
        ("fetch_order.ok", {"row": 4}, "row 5 does not lead"),
        ("fetch_order.ok", {"row": ...}, "no row made"),
        ("fetch_order.ok", {"row": ..., "outcome": "unhandled", "default": "stays"}, "no row made"),
        ("fetch_order.ok", {"row": ..., "outcome": "ended"}, "no row made"),
        ("fetch_order.ok", {"outcome": "stayed"}, "does not make a step"),
        ("fetch_order.ok", {"late": True}, "does not lead"),
        ("fetch_order.ok", {"notes": [0]}, "is no note"),
        ("fetch_order.ok", {"from": "crediting"}, "a step from 'crediting'"),
        ("fetch_order.ok", {"event": "send_email.ok"}, "did not happen"),
        ("send_email.ok", {"outcome": "moved"}, "does not make a step"),
        ("run.started", {"to": "complete"}, "no row made"),
        ("run.started", {"from": "fetching"}, "a step from"),
    ],
)
def test_recorded_moves_are_checked_against_the_grid(event, changes, why):
    """A move which the table does not have is damage, though its hash is good."""
    hand = refunded()
    with pytest.raises(JournalDamaged, match=why) as caught:
        refolded(hand, step_at(hand, event), **changes)
    assert caught.value.facts["seq"] == step_at(hand, event) + 1


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("call_returned", {"no": 99}),
        ("call_returned", {"ok": ...}),
        ("call_intended", {"tool": "no_such_tool"}),
        ("model_replied", {"content": 5}),
        ("model_asked", {"agent": ...}),
    ],
)
def test_records_that_cannot_follow_are_damage(kind, changes):
    """A sealed record that makes no sense where it stands is named, not a crash."""
    hand = refunded()
    index = hand.kinds.index(kind)
    with pytest.raises(JournalDamaged):
        refolded(hand, index, **changes)


def test_a_gap_is_damage():
    """Records start at 1 and follow without a gap."""
    hand = refunded()
    with pytest.raises(JournalDamaged):
        fold(hand.workflow, "r-1", hand.records[1:])
    with pytest.raises(JournalDamaged):
        fold(hand.workflow, "r-1", [*hand.records[:3], *hand.records[4:]])


def test_a_wrong_number_under_a_good_hash_is_damage():
    """A chain that begins at another seq hashes well and is refused all the same."""
    hand = refunded()
    first = seal(
        [Draft("run_started", hand.records[0].body)],
        run="r-1",
        definition=hand.workflow.definition.hash,
        fence=1,
        head=Head(seq=4, hash=GENESIS),
        at=1,
        entropy=SeededEntropy(1),
    )
    with pytest.raises(JournalDamaged, match="expected seq 1"):
        fold(hand.workflow, "r-1", first)


def test_nothing_can_happen_before_the_run_began():
    """A record that needs a state, before there is one, is damage."""
    hand = refunded()
    records = resealed(hand.records[:2], 1, hand.records[2].body, "model_asked")
    with pytest.raises(JournalDamaged, match="before the run was begun"):
        fold(hand.workflow, "r-1", records)


def test_a_value_that_is_written_in_a_list_is_news_too():
    """What changed is looked up at its very place, in objects and in lists."""
    workflow = small(
        Transition("here", "look.ok", "stay", assign={"items[1].n": "result.n"}),
        Transition("here", "pay.ok", "done"),
        states=[State("here", ask="x", tools=["look", "pay"])],
        context={"items": Key(type="list", default=[0, {"n": 0}])},
        limits=Limits(idle=3),
    )
    hand = Hand(workflow)
    for number in range(5):
        hand.reply(use("look"))
        hand.returns({"n": number % 2})
    assert hand.context["items"] == [0, {"n": 0}]
    assert "limit.idle" not in hand.events()
    hand.audit()


def test_an_erased_record_ends_a_fold():
    """What an erased record said is not known, so nothing after it is."""
    hand = refunded()
    records = list(hand.records)
    records[4] = attrs.evolve(records[4], data=None, salt=b"", body={})
    with pytest.raises(JournalDamaged, match="erased"):
        fold(hand.workflow, "r-1", records)


def test_administrative_records_can_be_folded():
    """Quarantine stops a run, a migration and a fork open new prompts, a fork changes data."""
    hand = Hand(refund_desk(), {"order_id": "A1"})
    hand.reply(use("fetch_order"))
    hand.returns({"email": "a@b"})
    hand.run.note(Draft("run_migrated", {"from": "x", "to": "y"}), hand.now())
    hand.save()
    assert hand.run.standing.transcript("agent").model == ""
    hand.run.note(
        Draft("run_forked", {"parent": "r-0", "seq": 3, "set": {"reason": "b"}}), hand.now()
    )
    assert hand.context["reason"] == "b"
    hand.run.note(Draft("run_forked", {"parent": "r-0", "seq": 3}), hand.now())
    hand.run.note(Draft("run_quarantined", {"reason": "poison"}), hand.now())
    hand.save()
    assert hand.outcome.status == "quarantined"
    assert hand.waits == ("operator",)
    live = hand.run.standing
    same(fold(hand.workflow, "r-1", hand.records), live)
    assert hand.signal("resume", by="op") == ""
    assert hand.outcome.status == "quarantined"  # looking again lifts nothing
    hand.signal("resume", by="op", lift=True)
    assert hand.outcome.status != "quarantined"
    same(fold(hand.workflow, "r-1", hand.records), hand.run.standing)


def test_working_time_counts_while_the_run_works_and_not_while_it_is_parked():
    """Time between records is working time, except while the run was parked."""
    workflow = small(
        Transition("here", "look.ok", "asking"),
        Transition("asking", "approval.granted", "done"),
        states=[State("here", do="look"), State("asking", wait="approval")],
    )
    hand = Hand(workflow)
    call = hand.call()
    hand.clock += 5_000_000
    hand.returns({})
    del call
    worked = hand.run.standing.snap().counters.worked
    assert 5_000_000 <= worked < 5_100_000
    hand.clock += 3_600_000_000
    hand.approve()
    assert hand.run.standing.snap().counters.worked == worked
    hand.audit()


def test_a_clock_that_goes_back_takes_no_working_time_away():
    """Order is `seq`; a time before the last one counts as the last one."""
    workflow = small(
        Transition("here", "look.ok", "done", guard="now >= '2027-01-15T08:00:00Z'"),
        states=[State("here", do="look")],
    )
    hand = Hand(workflow)
    assert hand.call().tool == "look"
    hand.clock -= 3_600_000_000
    hand.returns({})
    assert hand.outcome.ok
    assert hand.run.standing.snap().counters.worked >= 0
    hand.audit()


def test_stretch_values_are_cleared_by_outside_input_only():
    """`scope="stretch"` goes back to its default when a person speaks, not when a tool returns."""
    workflow = small(
        Transition("here", "look.ok", None, assign={"temp": "context.temp + [1]"}),
        Transition("here", "user.message", "stay", assign={"kept": "len(context.temp)"}),
        states=[State("here", ask="x", tools=["look"], talk=True)],
        context={
            "temp": Key(type="list", default=[], scope="stretch"),
            "kept": Key(type="integer", default=-1),
        },
        limits=Limits(idle=9),
    )
    hand = Hand(workflow)
    hand.message()
    for number in range(2):
        hand.reply(use("look", n=number))
        hand.returns({})
    assert hand.context["temp"] == [1, 1]
    hand.message()
    hand.reply(text="hm")
    assert hand.context == {"temp": [], "kept": 0}
    hand.audit()


def test_a_fork_goes_on_from_its_parents_prefix():
    """A run folded from a parent's records and a `run_forked` of its own goes its own way."""
    workflow = small(
        Transition("here", "look.ok", "there", assign={"n": "result.n"}),
        Transition("there", "look.ok", "done", guard="context.n > 3"),
        Transition("there", "look.ok", "failed"),
        states=[State("here", ask="x", tools=["look"]), State("there", ask="y", tools=["look"])],
        context={"n": Key(type="integer", default=0)},
    )
    parent = Hand(workflow)
    parent.reply(use("look"))
    parent.returns({"n": 1})
    prefix = list(parent.records)
    parent.reply(use("look"))
    parent.returns({})
    assert parent.outcome.status == "failed"
    forked = seal(
        [Draft("run_forked", {"parent": "r-1", "seq": prefix[-1].seq, "set": {"n": 9}})],
        run="r-2",
        definition=prefix[0].definition,
        fence=1,
        head=Head(prefix[-1].seq, prefix[-1].hash),
        at=parent.now(),
        entropy=SeededEntropy(3),
    )
    fork = Hand(workflow)
    fork.records = [*prefix, *forked]
    fork.run = Run.load(workflow, "r-2", fork.records, fork.settings)
    fork.clock = parent.clock
    assert fork.run.standing.run == "r-2"
    assert fork.context["n"] == 9
    fork.run.go_on(fork.now())
    fork.reply(use("look"))
    fork.returns({})
    assert fork.outcome.status == "succeeded"
    assert Journal(workflow.definition.data, fork.records).replay().same
    assert parent.outcome.status == "failed"
