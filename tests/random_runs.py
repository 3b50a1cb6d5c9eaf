"""Runs in which everything happens that can: drawn by a seeded generator, so they repeat.

Rules.  1. Whatever an effect allows as an answer is given sometimes: results, errors, doubts,
replies of every stop reason, refused and malformed calls, signals that fit and that do not.
2. Every run is bounded by the number of things that happen, not by time.
Not here: what must hold of such a run (`driving.Hand.audit`).
"""

from __future__ import annotations

from random import Random
from typing import Any

from statemachine_agents.kernel.workflow import Workflow
from statemachine_agents.turn import effects as fx
from statemachine_agents.turn.ports import ModelReply
from tests.driving import Hand

STOPS = ("end_turn", "max_tokens", "stop_sequence", "pause_turn", "refusal", "weird", None)
NAMES = ("read_a", "pay", "no_such_tool", "not a name!", "hold")


def random_run(workflow: Workflow, seed: int, *, things: int = 40, **hand: Any) -> Hand:
    """Run a workflow while things happen to it; return it where it ended or was left."""
    return Chance(Hand(workflow, **hand), Random(seed)).happen(things)


class Chance:
    """What happens to one run."""

    def __init__(self, hand: Hand, random: Random) -> None:
        self.hand = hand
        self.random = random

    def happen(self, things: int) -> Hand:
        """Let so many things happen, or fewer when the run ends."""
        hand, random = self.hand, self.random
        for _ in range(things):
            if random.random() < 0.06:
                self.somebody()
            if random.random() < 0.05:
                hand.reload()
            effects = [effect for effect in hand.open() if not isinstance(effect, fx.End)]
            if not effects:
                break
            self.answer(random.choice(effects))
            hand.clock += random.choice((0, 0, 1_000_000, -500_000))
        return hand

    def somebody(self) -> None:
        """Send a signal, fitting or not."""
        hand, random = self.hand, self.random
        match random.randrange(7):
            case 0 | 1:
                hand.message(random.choice(("yes", "later", "", "  ", "\ud800?")))
            case 2:
                hand.signal("cancel", by="ann", reason="enough")
            case 3:
                hand.approve(random.random() < 0.5, approval=random.choice((None, "a1", "q2")))
            case 4:
                hand.signal("resolution", call=random.choice((None, 1, 2)), done={"n": 1}, by="x")
            case 5:
                hand.signal(random.choice(("timer", "resume", "nonsense", "child")))
            case _:
                hand.message(5)  # type: ignore[arg-type]

    def answer(self, effect: Any) -> None:
        """Give one of the answers an effect allows."""
        hand, random = self.hand, self.random
        match effect:
            case fx.AskModel():
                hand.ask()
                if random.random() < 0.06:
                    hand.give(fx.AskFailed("overloaded", "busy"))
                else:
                    hand.give(fx.Replied(self.reply(effect.request.offered)))
            case fx.CallTool():
                hand.give(self.outcome(effect.no))
            case fx.Recover():
                hand.give(fx.Doubted(effect.no, "crash"))
            case fx.VerifyCall():
                verdict = random.choice(("done", "not_done", "unknown"))
                hand.give(fx.Checked(effect.no, verdict, self.value()))
            case fx.Say():
                hand.give(fx.Sent(effect.reply_id))
            case fx.StartChild():
                outcome = random.choice(("success", "failure"))
                hand.give(fx.ChildEnded(effect.child, outcome, self.value(), "said so"))
            case fx.Wait():
                self.waited(effect)

    def waited(self, effect: fx.Wait) -> None:
        """Give a parked run what it waits for."""
        hand, random = self.hand, self.random
        match random.choice(effect.waiting):
            case "message":
                hand.message(random.choice(("yes", "no", "later")))
            case "approval":
                hand.approve(random.random() < 0.7)
            case "resolution":
                doubted = [call.no for call in hand.run.standing.doubts]
                answer = {"done": self.value()} if random.random() < 0.5 else {"not_done": True}
                hand.signal("resolution", call=random.choice(doubted or [None]), **answer)
            case "timer":
                hand.signal("timer")
            case "resume":
                hand.signal("resume", by="op")

    def value(self) -> Any:
        """Draw a tool's value."""
        random = self.random
        return random.choice(
            (
                {"n": random.randrange(4), "eligible": random.random() < 0.5, "kind": "a"},
                {"eligible": True, "amount_cents": random.choice((9, 30_000)), "email": "a@b"},
                {"eligible": True, "amount_cents": random.choice((9, 30_000)), "email": "a@b"},
                {"kind": "b", "n": None},
                None,
                "",
                [1, {"deep": [True]}],
            )
        )

    def outcome(self, number: int) -> fx.Fact:
        """Draw how a call went."""
        random = self.random
        chance = random.random()
        if chance < 0.6:
            return fx.Returned(number, self.value())
        if chance < 0.8:
            kind = random.choice(("busy", "not_found"))
            return fx.Failed(number, kind, "it did not work", "Traceback ...")
        if chance < 0.85:
            return fx.Returned(number, {"bad": float("nan")})
        return fx.Doubted(number, random.choice(("timeout", "crash")))

    def reply(self, offered: tuple[str, ...]) -> ModelReply:
        """Draw a reply: mostly legal calls, else whatever a model might send."""
        random = self.random
        content: list[dict[str, Any]] = []
        if random.random() < 0.2:
            content.append({"type": "thinking", "thinking": "hm", "signature": "s"})
        if random.random() < 0.4 or not offered:
            text = random.choice(("ok", '{"items": [1, 2, 3]}', "", " ", "\n"))
            content.append({"type": "text", "text": text})
        if random.random() < (0.85 if offered else 0.1):
            content += [self.call(offered) for _ in range(random.choice((1, 1, 1, 2, 3)))]
        calls = any(block["type"] == "tool_use" for block in content)
        usual = "tool_use" if calls else "end_turn"
        return ModelReply(
            content=content,
            stop_reason=usual if random.random() < 0.93 else random.choice(STOPS),
            usage={"input_tokens": 10, "output_tokens": random.randrange(9)},
            cut=random.random() < 0.03,
            unreadable={"t1": "{not json"} if calls and random.random() < 0.03 else {},
        )

    def call(self, offered: tuple[str, ...]) -> dict[str, Any]:
        """Draw a proposed call."""
        random = self.random
        names = offered if offered and random.random() < 0.93 else NAMES
        given: Any = random.choice(({}, {}, {}, {"n": 1}, {"n": 2}))
        if random.random() < 0.06:
            given = {"n": "x", "z": 1, "b": 2}
        if random.random() < 0.04:
            given = random.choice((None, "text", {"n": 2**70}, {"n": float("inf")}))
        return {
            "type": "tool_use",
            "id": random.choice((f"t{random.randrange(10**6)}", "t1", "", "a b", None, 5)),
            "name": random.choice(names),
            "input": given,
        }
