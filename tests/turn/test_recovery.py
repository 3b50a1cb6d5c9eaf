"""Calls whose outcome nobody knows: what each effect class does, after a timeout and a crash."""

from __future__ import annotations

import pytest

from statemachine_agents.table.model import Key, Limits, Signal, State, Transition
from statemachine_agents.table.toolspec import ToolSpec
from statemachine_agents.turn import effects as fx
from statemachine_agents.turn.recovery import MAX_ATTEMPTS, MAX_CHECKS, SKEW
from tests.driving import TOOLS, Hand, small, use

ALL = ["look", "pay", "send", "post", "hold", "write"]


def calling(tool: str, *rows: Transition) -> Hand:
    """Return a run that has just intended one call of a tool."""
    workflow = small(
        *rows,
        Transition("here", f"{tool}.ok", "done", assign={"value": "result"}),
        Transition("here", f"{tool}.error", "failed", guard="error.kind == 'not_done'"),
        states=[State("here", ask="x", tools=[tool])],
        context={"value": Key(type="any")},
        limits=Limits(idle=9),
    )
    hand = Hand(workflow)
    hand.reply(use(tool))
    return hand


def crash(hand: Hand) -> None:
    """Lose the process while the call is open, and let a new one recover."""
    hand.reload()
    effect = hand.expect(fx.Recover)
    hand.clock = max(hand.clock, effect.not_before)
    hand.give(fx.Doubted(effect.no, "crash"))


def again(hand: Hand, how: str) -> None:
    """Lose the result once more, in one way or the other."""
    if how == "crash":
        crash(hand)
    else:
        hand.doubts()


HOW = pytest.mark.parametrize("how", ["crash", "timeout"])


@HOW
@pytest.mark.parametrize("tool", ["look", "write", "send", "post"])
def test_what_is_safe_is_called_again_with_the_same_key(tool, how):
    """Reads, transactional and idempotent tools: attempt two, same number, same key."""
    hand = calling(tool)
    first = hand.call()
    again(hand, how)
    second = hand.call()
    assert (second.no, second.key, second.arguments) == (first.no, first.key, first.arguments)
    assert second.attempt == 2
    assert hand.bodies("call_doubted")[0]["then"] == "retry"
    hand.returns({"id": 1})
    assert hand.outcome.ok
    assert hand.run.standing.snap().counters.calls == 1
    hand.audit()


@HOW
@pytest.mark.parametrize("tool", ["look", "write", "send", "post"])
def test_doubt_upon_doubt_comes_to_an_end(tool, how):
    """After five attempts the way out changes: a verifier if there is one, else a person."""
    hand = calling(tool)
    for attempt in range(1, MAX_ATTEMPTS + 1):
        assert hand.call().attempt == attempt
        again(hand, how)
    if tool == "post":
        hand.checks("done", {"id": 7})
    else:
        assert hand.waits == ("resolution",)
        assert hand.signal("resolution", call=1, done={"id": 7}, by="ann") == ""
    assert hand.outcome.ok
    assert hand.context["value"] == {"id": 7}
    hand.audit()


@HOW
def test_a_manual_tool_is_never_called_again(how):
    """It parks for a person at once; the model gets no second result."""
    hand = calling("pay")
    again(hand, how)
    assert hand.bodies("call_doubted")[0]["then"] == "person"
    assert hand.events()[-1] == "pay.unknown"
    assert hand.waits == ("resolution",)
    hand.reload()
    assert hand.waits == ("resolution",)
    assert [effect for effect in hand.open() if isinstance(effect, fx.CallTool)] == []
    hand.audit()


@pytest.mark.parametrize(("answer", "status"), [("done", "succeeded"), ("not_done", "failed")])
def test_a_person_says_what_really_happened(answer, status):
    """Done gives `.ok` with the value; not done gives `.error` of kind `not_done`."""
    hand = calling("pay")
    hand.doubts()
    body = {"done": {"id": "cr-1"}} if answer == "done" else {"not_done": True, "text": "no trace"}
    assert "no call 9" in hand.signal("resolution", call=9, **body)
    assert hand.signal("resolution", call=1, by="ann", **body) == ""
    resolved = hand.bodies("call_resolved")[0]
    assert (resolved["by"], resolved["who"], resolved["verdict"]) == ("person", "ann", answer)
    assert hand.outcome.status == status
    hand.audit()


def test_several_calls_in_doubt_must_be_named():
    """A resolution without a number is refused when it could mean either."""
    workflow = small(
        Transition("here", "pay.ok & send.ok", "done"),
        states=[State("here", ask="x", tools=["pay"], parallel=True)],
        everywhere=["send"],
    )
    hand = Hand(workflow)
    hand.reply(use("pay", n=1), use("pay", n=2))
    hand.doubts()
    hand.doubts()
    assert "name one of 1 (pay), 2 (pay)" in hand.signal("resolution", done=1)
    assert hand.signal("resolution", call=2, done=1) == ""
    assert hand.waits == ("resolution",)
    assert hand.signal("resolution", done=2) == ""
    hand.audit()


def test_two_doubts_give_their_events_in_call_order():
    """What became of one is not told before the other is at least known to be in doubt."""
    workflow = small(
        Transition("here", "pay.unknown", None, assign={"log": "context.log + [args.n]"}),
        Transition("here", "send.ok", "done"),
        states=[State("here", ask="x", tools=["pay", "send"], parallel=True)],
        context={"log": Key(type="list", default=[])},
    )
    hand = Hand(workflow)
    hand.reply(use("pay", n=1), use("pay", n=2))
    calls = [effect.no for effect in hand.open()]
    hand.give(fx.Doubted(calls[1], "timeout"))
    assert hand.context["log"] == []
    hand.give(fx.Doubted(calls[0], "timeout"))
    assert hand.context["log"] == [1, 2]
    hand.audit()


@HOW
@pytest.mark.parametrize("verdict", ["done", "not_done"])
def test_a_verifier_decides(verdict, how):
    """Done takes its value as the result; not done makes a new attempt under the same key."""
    hand = calling("hold")
    key = hand.call().key
    again(hand, how)
    assert hand.expect(fx.VerifyCall).key == key
    hand.checks(verdict, {"id": 2})
    if verdict == "not_done":
        assert (hand.call().attempt, hand.call().key) == (2, key)
        hand.returns({"id": 2})
    assert hand.outcome.ok
    assert hand.context["value"] == {"id": 2}
    hand.audit()


def test_a_verifier_that_does_not_know_gives_way_to_a_person():
    """It is asked three times, each under its own id, then somebody must look."""
    hand = calling("hold")
    hand.doubts()
    ids = set()
    for _ in range(MAX_CHECKS):
        ids.add(hand.expect(fx.VerifyCall).id)
        hand.checks("unknown")
    assert len(ids) == MAX_CHECKS
    assert hand.waits == ("resolution",)
    assert hand.events()[-1] == "hold.unknown"
    hand.audit()


def test_a_verifier_that_always_says_not_done_ends_in_an_error():
    """Attempts are bounded: the last `not_done` closes the call."""
    hand = calling("hold")
    for _ in range(MAX_ATTEMPTS):
        hand.doubts()
        hand.checks("not_done")
    assert hand.outcome.status == "failed"
    assert hand.events()[-1] == "hold.error"
    hand.audit()


def test_a_verified_value_that_cannot_be_written_is_no_answer():
    """Done, but with a value no journal can hold: not known, so a person must look in the end."""
    hand = calling("hold")
    hand.doubts()
    for _ in range(MAX_CHECKS):
        hand.checks("done", float("nan"))
    assert hand.waits == ("resolution",)
    hand.audit()


def test_an_expired_key_is_not_used_again():
    """Past the receiver's key lifetime an idempotent tool is verified instead of repeated."""
    hand = calling("post")
    hand.doubts()
    assert hand.call().attempt == 2
    hand.clock += 61_000_000
    hand.doubts()
    assert hand.bodies("call_doubted")[-1]["then"] == "verify"
    hand.checks("done", {})
    assert hand.outcome.ok
    hand.audit()


def test_only_a_verifier_waits_for_a_dead_owner():
    """Its question comes after the deadline and a margin; others need not wait."""
    for tool in ALL:
        hand = calling(tool)
        deadline = hand.call().deadline
        hand.reload()
        effect = hand.expect(fx.Recover)
        assert effect.not_before == (deadline + SKEW if tool == "hold" else 0)


def test_recovery_is_an_ordinary_append():
    """A crash during recovery is recovered like the first one, from every record on."""
    hand = calling("hold")
    crash(hand)
    hand.reload()
    hand.checks("not_done")
    crash(hand)
    hand.reload()
    hand.checks("done", {"id": 1})
    assert hand.outcome.ok
    hand.audit()


def test_a_signal_is_never_in_doubt():
    """What needs no function returns with its intent, in one commit."""
    hand = Hand(
        small(
            Transition("here", "stop.ok", "done"),
            states=[State("here", ask="x", tools=["stop"])],
            signals={"stop": Signal(fields={"reason": "string"})},
        )
    )
    hand.reply(use("stop", reason="x"))
    assert hand.outcome.ok
    hand.audit()


@pytest.mark.parametrize("kind", ["busy", "other"])
def test_retries_stay_inside_the_call(kind):
    """Kinds that are worth another try wait longer each time; other kinds are an error at once."""
    workflow = small(
        Transition("here", "fetch.ok", "done"),
        Transition("here", "fetch.error", "failed", guard="error.attempts == 3"),
        states=[State("here", ask="x", tools=["fetch"])],
    )
    hand = Hand(workflow)
    hand.reply(use("fetch"))
    waits = []
    while any(isinstance(effect, fx.CallTool) for effect in hand.open()):
        call = hand.call()
        waits.append(0 if not call.not_before else (call.not_before - hand.clock) // 1_000_000)
        assert call.deadline > call.not_before
        hand.fails(kind)
    if kind == "other":
        assert len(hand.bodies("call_intended")) == 1
        return
    assert waits == [0, 1, 2]
    assert len({body["key"] for body in hand.bodies("call_intended")}) == 1
    assert hand.outcome.status == "failed"
    assert hand.bodies("call_returned")[-1].get("again") is None
    hand.audit()


def test_a_run_cannot_end_while_a_call_is_in_doubt():
    """A row may go to a final state; the run parks there until somebody knows, then ends."""
    hand = calling("pay", Transition("here", "pay.unknown", "done"))
    hand.doubts()
    assert hand.state == "done"
    assert hand.waits == ("resolution",)
    assert "run_ended" not in hand.kinds
    hand.signal("resolution", done={"id": 1}, by="ann")
    assert hand.outcome.ok
    hand.audit()


def test_a_cancel_is_kept_until_the_doubt_is_resolved():
    """A run that is cancelled with money in doubt waits for the truth first."""
    hand = calling("pay", Transition("here", "pay.unknown", "stay"))
    hand.doubts()
    assert hand.signal("cancel", by="ann", reason="enough") == ""
    assert hand.waits == ("resolution",)
    assert "run.cancelled" not in hand.events()
    hand.reload()
    hand.signal("resolution", done={}, by="bob")
    assert hand.outcome.ok  # the table had an answer for that; nothing was left to cancel
    hand.audit()


def test_a_kept_cancel_takes_effect_after_the_resolution():
    """Once it is known, the wish to stop is carried out."""
    workflow = small(
        Transition("here", "pay.ok", "there"),
        Transition("there", "look.ok", "done"),
        states=[State("here", ask="x", tools=["pay"]), State("there", ask="y", tools=["look"])],
    )
    hand = Hand(workflow)
    hand.reply(use("pay"))
    hand.doubts()
    hand.signal("cancel", by="ann", reason="enough")
    hand.signal("resolution", done={}, by="bob")
    assert hand.events()[-2:] == ["pay.ok", "run.cancelled"]
    assert hand.outcome.status == "cancelled"
    assert "cancelled in state 'there'" in hand.outcome.reason
    hand.audit()


@pytest.mark.parametrize("role", ["system", "user"])
def test_the_model_can_go_on_while_a_call_is_in_doubt(role):
    """A row leads on: the call gets the result that nobody knows, and the truth is told later."""
    workflow = small(
        Transition("here", "pay.unknown", "sorry"),
        Transition("sorry", "look.ok", "done"),
        Transition("sorry", "pay.ok", "done", guard="false"),
        states=[
            State("here", ask="x", tools=["pay"]),
            State("sorry", ask="Say so.", tools=["look", "pay"]),
        ],
        limits=Limits(idle=9),
    )
    hand = Hand(workflow, role=role)
    hand.reply(use("pay", n=5))
    hand.doubts()
    hand.ask()
    assert '"error":"unknown"' in next(iter(hand.results().values()))["content"]
    hand.reply(text="I am sorry")
    hand.signal("resolution", call=1, done={"id": "cr-9"}, by="ann")
    hand.ask()
    hand.reply(text="good")
    hand.ask()
    told = str(hand.requests[-1][1])
    assert told.count("cr-9") == 1
    assert "known_now" in told
    hand.reply(use("look"))
    hand.returns({})
    assert hand.outcome.ok
    hand.audit()


def test_at_most_counts_a_credit_in_doubt_as_done():
    """A second credit is refused until somebody knows that the first was not made."""
    workflow = small(
        Transition("here", "pay.unknown", "there"),
        Transition("there", "send.ok", "done"),
        states=[
            State("here", ask="x", tools=["pay"]),
            State("there", ask="y", tools=["pay", "send"]),
        ],
        rules=["at_most(pay, 1)"],
        limits=Limits(idle=9),
    )
    hand = Hand(workflow)
    hand.reply(use("pay"))
    hand.doubts()
    hand.reply(use("pay"))
    assert hand.bodies("call_refused")[-1]["code"] == "rule"
    hand.signal("resolution", call=1, not_done=True, by="ann")
    hand.reply(use("pay"))
    assert hand.call().tool == "pay"
    hand.audit()


def test_a_tool_of_an_unknown_class_counts_as_manual():
    """Nothing declared is the safest: at most once."""
    assert ToolSpec(name="x").effect == "manual"
    assert TOOLS["pay"].effect == "manual"
