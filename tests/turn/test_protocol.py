"""The order a shell must keep: save, look, act, tell; and what happens when it does not."""

from __future__ import annotations

import pytest

from statemachine_agents.errors import RunProtocolError, UsageError, ValueRefused
from statemachine_agents.table.model import State, Transition
from statemachine_agents.turn import effects as fx
from statemachine_agents.turn.inbound import cleaned
from statemachine_agents.turn.ports import ModelReply, Signal
from statemachine_agents.turn.run import Run
from statemachine_agents.values import MAX_BLOB, keep_all
from tests.driving import Hand, small, use
from tests.lively_tables import desk, refund_desk, worker


def asking(*tools: str, **parts) -> Hand:
    """Return a run in one `ask` state with these tools; the first one's `.ok` ends it."""
    return Hand(
        small(
            Transition("here", f"{tools[0]}.ok", "done"),
            states=[State("here", ask="x", tools=tools, **parts)],
        )
    )


def test_nothing_is_offered_before_it_was_saved():
    """`next_effect` refuses while anything is unsaved, from the first record on."""
    hand = asking("pay")
    with pytest.raises(RunProtocolError, match="save run_started, stepped, model_asked"):
        hand.run.next_effect()
    records = hand.run.seal(1)
    with pytest.raises(RunProtocolError):
        hand.run.next_effect()
    with pytest.raises(RunProtocolError, match="drafts"):
        hand.run.saved(records[:-1])
    hand.run.saved(records)
    assert isinstance(hand.run.next_effect(), fx.AskModel)


def test_an_intent_is_durable_before_its_effect():
    """A call comes out only after `call_intended` was saved, with that record's key."""
    hand = asking("pay")
    hand.ask()
    block = {"type": "tool_use", "id": "t1", "name": "pay", "input": {"n": 1}}
    hand.run.receive(fx.Replied(ModelReply(content=[block], stop_reason="tool_use")), hand.now())
    assert [draft.kind for _, draft in hand.run.unsaved] == ["model_replied", "call_intended"]
    with pytest.raises(RunProtocolError):
        hand.run.next_effect()
    hand.save()
    call = hand.run.next_effect()
    body = hand.bodies("call_intended")[0]
    assert (call.key, call.attempt, call.deadline) == (body["key"], 1, body["deadline"])
    assert call.key.startswith("r-1/1/pay/")
    assert call.arguments == {"n": 1}


def test_a_lone_read_may_be_made_before_its_intent_is_durable():
    """One commit instead of two: a crash in between only asks the model again.

    It must be a first attempt at a read, all there is to do, and nothing of a person unsaved.
    """

    def proposed(*calls, message: bool = False) -> Hand:
        hand = asking("pay", "look", "peek", talk=message)
        if message:
            hand.message()
        hand.ask()
        blocks = [{**call, "id": f"t{number}"} for number, call in enumerate(calls)]
        reply = ModelReply(content=blocks, stop_reason="tool_use")
        hand.run.receive(fx.Replied(reply), hand.now())
        return hand

    hand = proposed(use("look"))
    call = hand.run.lone_read()
    assert call.tool == "look"
    hand.run.receive(fx.Returned(call.no, {}), hand.now())
    assert hand.run.lone_read() is None
    hand.audit()
    assert hand.kinds.count("call_returned") == 1
    assert proposed(use("pay")).run.lone_read() is None
    assert proposed(use("look"), use("peek")).run.lone_read() is None
    saved = proposed(use("look"))
    saved.save()
    assert saved.run.lone_read() is None
    talked = proposed(use("look"), message=True)
    talked.run.receive(Signal("r-1", "m2", "message", {"text": "wait"}, 0), talked.now())
    assert talked.run.lone_read() is None


def test_looking_changes_nothing():
    """`next_effect` is a pure read: asked a hundred times it says the same, under the same id."""
    hand = Hand(worker())
    hand.save()
    first = [hand.run.next_effect() for _ in range(100)]
    assert len({effect.id for effect in first}) == 1
    assert hand.run.unsaved == []
    started: set[str] = set()
    found = []
    while (effect := hand.run.next_effect(started)) is not None:
        started.add(effect.id)
        found.append(effect.tool)
    assert found == ["look", "fetch", "post"]


def test_ids_of_effects_are_stable_over_a_reload():
    """A new process knows the same effects by the same ids, so nothing is started twice."""
    hand = asking("look")
    before = hand.expect(fx.AskModel).id
    hand.reload()
    assert hand.expect(fx.AskModel).id == before


@pytest.mark.parametrize(
    "fact",
    [
        fx.Returned(1, {}),
        fx.Failed(7, "busy", "no"),
        fx.Doubted(1, "timeout"),
        "not a fact",
        None,
    ],
)
def test_a_fact_that_answers_nothing_is_a_fault_of_the_shell(fact):
    """It raises, and nothing is recorded."""
    hand = asking("pay")
    hand.save()
    with pytest.raises(RunProtocolError):
        hand.run.receive(fact, hand.now())
    assert hand.run.unsaved == []
    hand.audit()


def test_a_reply_without_a_request_is_a_fault_of_the_shell():
    """The model is answered once for each request."""
    hand = asking("pay")
    hand.reply(use("pay"))
    for fact in (
        fx.Replied(ModelReply(content=[], stop_reason="end_turn")),
        fx.AskFailed("transport", "x"),
    ):
        with pytest.raises(RunProtocolError, match="not asked"):
            hand.run.receive(fact, hand.now())


def test_a_result_is_taken_once():
    """The second answer to one call is refused, and the first stands."""
    hand = asking("pay")
    hand.reply(use("pay"))
    number = hand.call().no
    hand.give(fx.Returned(number, {"id": 1}))
    with pytest.raises(RunProtocolError, match=f"call {number} is not open"):
        hand.run.receive(fx.Returned(number, {"id": 2}), hand.now())
    assert hand.outcome.ok
    hand.audit()


def test_what_a_person_overtook_is_dropped_with_the_reason():
    """A verifier after a person, a delivery twice, a child twice: no record, no error."""
    hand = asking("hold")
    hand.reply(use("hold"))
    hand.doubts()
    verify = hand.expect(fx.VerifyCall)
    assert hand.signal("resolution", call=1, done={"id": 3}, by="ann") == ""
    count = len(hand.records)
    assert "not in doubt" in hand.give(fx.Checked(verify.no, "not_done"))
    assert "does not wait" in hand.give(fx.Sent("r-1-4"))
    assert "no child" in hand.give(fx.ChildEnded("r-1-c1", "success"))
    assert len(hand.records) == count
    assert hand.outcome.ok
    assert "has ended" in hand.give(fx.Resumed("again"))
    hand.audit()


@pytest.mark.parametrize("name", ["message", "approval", "cancel", "resume", "timer", "resolution"])
def test_an_ended_run_takes_no_signal(name):
    """After the end every signal is answered with the reason."""
    hand = asking("look")
    hand.reply(use("look"))
    hand.returns({})
    assert "has ended" in hand.signal(name, text="x", granted=True)
    assert hand.kinds[-1] == "run_ended"


@pytest.mark.parametrize(
    ("name", "body", "why"),
    [
        ("nonsense", {}, "no signal is named"),
        ("message", {"text": 5}, "needs a text"),
        ("message", {}, "needs a text"),
        ("message", {"text": "x", "n": float("nan")}, "nan"),
        ("message", {"text": "x" * 300_000}, "bytes"),
        ("approval", {"granted": "yes"}, "true or false"),
        ("approval", {"granted": True}, "nothing waits"),
        ("resolution", {"done": 1}, "no call"),
        ("resolution", {"call": 3, "not_done": True}, "no call 3"),
        ("timer", {}, "no timer"),
        ("child", {"child": "x"}, "no child"),
    ],
)
def test_signals_that_do_not_fit_leave_no_record(name, body, why):
    """Each is answered with the reason; the run is as before."""
    hand = asking("look")
    hand.save()
    count = len(hand.records)
    assert why in hand.signal(name, **body)
    assert len(hand.records) == count
    hand.audit()


def test_signals_that_are_no_objects_are_refused():
    """Whatever a store hands over is looked at before it is used."""
    hand = asking("look")
    for body in (None, 5, "text", []):
        assert hand.give(Signal("r-1", "x", "message", body, 0)) != ""


@pytest.mark.parametrize("text", ["\ud800", "a\udfffb"])
def test_broken_text_from_people_is_repaired_not_fatal(text):
    """A lone surrogate in any field of a signal cannot stop a run from being saved."""
    hand = asking("pay", talk=True)
    hand.message(text, more=text)
    hand.signal("message", id=f"m{text}", text=text)
    hand.signal("cancel", by=text, reason=text)
    hand.save()
    hand.audit()
    other = Hand(desk())
    other.message("hello")
    other.reply(use("pay", n=1))
    assert other.approve(True, by=text, note=text, digest=text) != ""
    assert other.approve(True, by=text, note=text) == ""
    other.doubts()
    assert other.signal("resolution", not_done=True, by=text, text=text) == ""
    other.audit()


def test_a_second_cancel_changes_nothing():
    """One wish to stop is enough."""
    hand = asking("pay")
    hand.reply(use("pay"))
    assert hand.signal("cancel") == ""
    assert "already" in hand.signal("cancel")
    hand.audit()


@pytest.mark.parametrize("value", [{"n": float("nan")}, 2**60, {1: 2}, b"x", "x" * MAX_BLOB])
def test_a_result_that_cannot_be_written_is_never_acted_on(value):
    """A `read` has failed then; anything else had its effect, so a person must look."""
    hand = asking("look")
    hand.reply(use("look"))
    hand.returns(value)
    assert hand.bodies("call_returned")[0]["error"]["kind"] == "result"
    hand.audit()
    hand = asking("pay")
    hand.reply(use("pay"))
    hand.returns(value)
    assert hand.bodies("call_doubted")[0]["then"] == "person"
    assert hand.waits == ("resolution",)
    hand.audit()


def test_redaction_comes_before_every_decision():
    """What the redactor leaves is what guards, journal and model see."""

    def redact(kind, value):
        if kind == "result":
            return {**value, "card": "***"}
        return value.replace("4111", "***") if isinstance(value, str) else value

    workflow = small(
        Transition("here", "look.ok", "done", guard="result.card == '***'"),
        Transition("here", "look.error", "failed"),
        states=[State("here", ask="x", tools=["look"])],
    )
    hand = Hand(workflow, redact=redact)
    hand.reply(use("look"))
    hand.returns({"card": "4111"})
    assert hand.outcome.ok
    other = Hand(workflow, redact=redact)
    other.reply(use("look"))
    other.give(fx.Failed(1, "bad", "card 4111", "Traceback 4111"))
    for run in (hand, other):
        assert b"4111" not in run.journal().dumps()
        run.audit()


def test_inputs_are_checked_before_anything_is_written():
    """A wrong input is an error of the caller and makes no run."""
    with pytest.raises(UsageError, match="missing"):
        Hand(refund_desk(), {})


def test_a_run_carries_its_request_and_root():
    """Record 1 names the definition, the context, the request and the top of the tree."""
    hand = Hand(worker(), root="r-0")
    hand.save()
    body = hand.bodies("run_started")[0]
    assert body["definition"] == hand.workflow.definition.hash
    assert (body["request_id"], body["root"]) == ("q", "r-0")
    assert body["context"]["order"] == "A1"
    assert hand.call("post").key.startswith("r-0/")


def test_a_large_answer_of_a_person_is_refused():
    """What cannot be a record is not taken from people either."""
    hand = asking("pay")
    hand.reply(use("pay"))
    hand.doubts()
    assert "bytes" in hand.signal("resolution", done="x" * MAX_BLOB)
    assert hand.waits == ("resolution",)


def test_somebody_may_look_again():
    """A worker that takes a run up says so in the journal; a parked model is asked again."""
    hand = asking("pay")
    hand.model_fails()
    assert hand.give(fx.Resumed("restarted", "worker-2")) == ""
    assert hand.bodies("run_resumed") == [{"reason": "restarted", "by": "worker-2"}]
    assert isinstance(hand.expect(fx.AskModel), fx.AskModel)
    hand.audit()


def test_what_people_write_is_redacted_before_it_waits_in_the_inbox():
    """`cleaned` is for whoever puts a signal there: fields by their kind, a message as a whole."""

    def redact(kind, value):
        return f"<{kind}>" if isinstance(value, str) else {**value, "seen": kind}

    assert cleaned("message", {"text": "4111", "n": 1}, redact) == {
        "text": "4111",
        "n": 1,
        "seen": "message",
    }
    assert cleaned("message", {"text": "x"}, lambda _kind, _value: "gone") == {"text": "gone"}
    body = {"by": "ann", "note": "4111", "granted": True, "done": {"card": 1}}
    assert cleaned("approval", body, redact) == {
        "by": "<message>",
        "note": "<message>",
        "granted": True,
        "done": {"card": 1, "seen": "resolution"},
    }
    with pytest.raises(ValueRefused, match="text"):
        cleaned("message", {"n": 1}, keep_all)
    with pytest.raises(ValueRefused):
        cleaned("resolution", {"done": float("nan")}, keep_all)


def test_loading_needs_the_records_only():
    """A run is the fold of its records; the object that made them is not needed."""
    hand = asking("look")
    hand.save()
    plain = Run.start(hand.workflow, "r-9", {}, hand.settings, at=hand.now())
    assert "request_id" not in plain.unsaved[0][1].body
    run = Run.load(hand.workflow, "r-1", hand.records, hand.settings)
    assert isinstance(run.next_effect(), fx.AskModel)
    assert not run.done
    assert run.outcome.state == "here"
