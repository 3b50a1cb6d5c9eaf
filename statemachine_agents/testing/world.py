"""An adversary: the model proposes anything, the world answers in any way, the process dies.

Rules.  1. Everything goes through the public order of a run: save, `next_effect`, `receive`; so
what is found here can happen live.  2. Ordinary answers are choice 0: legal calls that succeed.
3. A result comes late when other effects are answered first, and twice when it is given again; the
second one must be refused.  4. Every answer is written down as a line a person can read.
Not here: what counts as a finding (`explore`), the numbers behind it all (`choices`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

import attrs

from statemachine_agents.errors import RunProtocolError
from statemachine_agents.journal.journal import Journal
from statemachine_agents.journal.outcome import pending_of
from statemachine_agents.journal.records import Record
from statemachine_agents.kernel.workflow import Workflow
from statemachine_agents.system import SeededEntropy
from statemachine_agents.testing.choices import Choices
from statemachine_agents.testing.hints import Hints, sampled
from statemachine_agents.turn import effects as fx
from statemachine_agents.turn.ports import Layout, ModelReply, Signal
from statemachine_agents.turn.run import Run, Settings
from statemachine_agents.values import JSON, dumps

START: Final = 1_767_225_600_000_000
_LAYOUT: Final = Layout(model="explorer")
_MOODS: Final = (
    "fair", "fair", "fair", "fair", "failing", "silent", "odd", "restless", "sulking", "hostile",
)  # fmt: skip
"""What kind of world a run meets; some states are reached only where nothing works twice."""

_OUTCOMES: Final = {
    "fair": ("ok", "ok", "ok", "error", "unknown"),
    "failing": ("ok", "error", "error", "error"),
    "silent": ("ok", "unknown", "unknown", "unknown"),
    "hostile": ("ok", "ok", "unknown", "unknown", "unknown"),
    "odd": ("ok", "ok", "ok", "error"),
    "restless": ("ok", "ok", "ok", "error", "unknown", "unknown"),
    "sulking": ("ok", "ok", "ok", "error"),
}
_RESTLESS: Final = ("restless", "hostile")
_VERDICTS: Final[tuple[Literal["done", "not_done", "unknown"], ...]] = (
    "done",
    "not_done",
    "unknown",
)
_STOPS: Final = ("end_turn", "max_tokens", "refusal", "stop_sequence", "pause_turn", "unheard_of")
_WRONG: Final[tuple[JSON, ...]] = ("text", 0, None, [], {}, True)


@attrs.frozen(kw_only=True)
class Lived:
    """One explored run.

    Args:
        run: where it stands, everything saved.
        records: its journal.
        script: what model and world did, a line each.
        choices: the numbers that repeat it.
        executed: (call number, tool) of every call that reached a tool.
        twice: second answers that were accepted; must be empty.
    """

    run: Run
    records: tuple[Record, ...] = attrs.field(repr=False)
    script: tuple[str, ...]
    choices: tuple[int, ...]
    executed: tuple[tuple[int, str], ...]
    twice: tuple[str, ...]

    @property
    def journal(self) -> Journal:
        """The journal as a value."""
        return Journal(self.run.standing.workflow.definition.data, self.records)

    @property
    def path(self) -> tuple[str, ...]:
        """States visited, in order."""
        return tuple(self.run.standing.path)


class World:
    """Everything around one run, by choices."""

    def __init__(
        self, workflow: Workflow, inputs: Mapping[str, JSON], choices: Choices, hints: Hints
    ) -> None:
        self.workflow = workflow
        self.choices = choices
        self.hints = hints
        self.clock = START
        self.settings = Settings(layout=lambda _: _LAYOUT, entropy=SeededEntropy(1))
        self.run = Run.start(workflow, "explored", inputs, self.settings, at=START)
        self.records: list[Record] = []
        self.script: list[str] = []
        self.executed: list[tuple[int, str]] = []
        self.twice: list[str] = []
        self._ids = 0
        self.mood = choices.pick(_MOODS)
        self._save()

    def live(self, steps: int) -> Lived:
        """Let at most so many things happen; fewer when the run ends or nobody speaks."""
        for _ in range(steps):
            effects = self._open()
            if not effects or isinstance(effects[0], fx.End):
                break
            if self.choices.chance(3):
                self._restart()
                continue
            restless = 25 if self.mood in _RESTLESS else 4
            if self.choices.chance(restless) and self._interrupts(effects[0]):
                self._interrupt()
                continue
            if not self._answer(self.choices.pick(effects)):
                break
            self.clock += self.choices.pick((1_000, 60_000_000, 86_400_000_000))
        return Lived(
            run=self.run,
            records=tuple(self.records),
            script=tuple(self.script),
            choices=tuple(self.choices.taken),
            executed=tuple(self.executed),
            twice=tuple(self.twice),
        )

    # ------------------------------------------------------------------------------------- order

    def _save(self) -> None:
        records = self.run.seal(1)
        self.run.saved(records)
        self.records += records

    def _open(self) -> list[Any]:
        started: set[str] = set()
        found = []
        while (effect := self.run.next_effect(started)) is not None:
            found.append(effect)
            started.add(effect.id)
        return found

    def _give(self, fact: fx.Fact, line: str) -> str:
        self.clock += 1_000
        refused = self.run.receive(fact, self.clock)
        self._save()
        self.script.append(f"{line} (not accepted: {refused})" if refused else line)
        return refused

    def _restart(self) -> None:
        """Forget the process: whoever comes next has the journal and nothing else."""
        self.run = Run.load(self.workflow, "explored", self.records, self.settings)
        self.script.append("the process dies and another one takes over")

    # ----------------------------------------------------------------------------------- answers

    def _answer(self, effect: Any) -> bool:
        match effect:
            case fx.AskModel():
                self._model(effect.request.offered)
            case fx.CallTool():
                self._tool(effect)
            case fx.Recover():
                self._give(fx.Doubted(effect.no, "crash"), f"call {effect.no} was cut off")
            case fx.VerifyCall():
                verdict = self.choices.pick(_VERDICTS)
                value = self._result(effect.tool, effect.arguments)
                line = f"the verifier of call {effect.no} says {verdict}"
                self._give(fx.Checked(effect.no, verdict, value), line)
            case fx.Say():
                self._give(fx.Sent(effect.reply_id), f"the customer reads {effect.text!r}")
            case fx.StartChild():
                self._child(effect)
            case fx.Wait():
                return self._waited(effect)
        return True

    def _tool(self, effect: fx.CallTool) -> None:
        number, tool = effect.no, effect.tool
        name = f"{tool} (call {number})"
        self.executed.append((number, tool))
        how = self.choices.pick(_OUTCOMES[self.mood])
        if how == "ok":
            value = self._result(tool, effect.arguments)
            fact: fx.Fact = fx.Returned(number, value)
            line = f"{name} returns {dumps(value).decode()}"
        elif how == "error":
            kind = str(self.choices.pick(self.hints.word("error.kind") or ("error",)))
            fact, line = fx.Failed(number, kind, "it did not work"), f"{name} fails: {kind}"
        else:
            fact, line = fx.Doubted(number, "timeout"), f"{name} is not heard of again"
        self._give(fact, line)
        if self.choices.chance(2) and number not in self.run.standing.calls:
            try:
                if not self.run.receive(fact, self.clock):
                    self.twice.append(line)
            except RunProtocolError:
                self.script.append(f"{line}, once more (refused)")

    def _result(self, tool: str, arguments: Mapping[str, JSON]) -> JSON:
        binding = self.workflow.bindings[tool]
        facts = {**self.run.standing.snap().context, **arguments}
        value = sampled(binding.spec.result, facts, self.choices.below(3))
        if self.mood in ("odd", "hostile") and self.choices.chance(40):
            return self.choices.pick(_WRONG)
        return self.hints.filled("result", value, self.choices)

    def _child(self, effect: fx.StartChild) -> None:
        outcome = self.choices.pick(("success", "failure"))
        value = self.hints.filled("result", None, self.choices)
        line = f"child {effect.workflow} ends in {outcome}"
        self._give(
            fx.ChildEnded(effect.child, outcome, value, "" if outcome == "success" else "no"), line
        )

    def _waited(self, effect: fx.Wait) -> bool:
        kinds = [kind for kind in effect.waiting if kind != "child"]
        if not kinds:
            return False
        kind = self.choices.pick(kinds)
        if self.choices.chance(10):
            return False  # nobody ever answers
        match kind:
            case "message":
                self._message()
            case "approval":
                self._approval()
            case "resolution":
                self._resolution()
            case _:
                self._signal(kind, {}, f"{kind} comes")
        return True

    def _interrupts(self, effect: Any) -> bool:
        """Whether somebody may butt in; while a run is parked only the restless do."""
        return self.mood in _RESTLESS or not isinstance(effect, fx.Wait)

    def _interrupt(self) -> None:
        """Something from outside that nobody waits for."""
        match self.choices.below(3):
            case 0:
                self._message()
            case 1:
                self._signal("cancel", {"by": "op", "reason": "enough"}, "somebody cancels")
            case _:
                self._approval()

    def _message(self) -> None:
        said = self.hints.filled("message", {"text": "hello"}, self.choices)
        body = said if isinstance(said, dict) else {"text": "hello"}
        body["text"] = str(body.get("text") or "hello")
        self._signal("message", body, f"the customer says {dumps(body).decode()}")

    def _approval(self) -> None:
        granted = not self.choices.chance(40)
        asked = [each for each in pending_of(self.run.standing) if "approval" in each]
        body: dict[str, JSON] = {"granted": granted, "by": "staff"}
        if asked:
            body["approval"] = self.choices.pick(asked)["approval"]
        self._signal("approval", body, "a person says " + ("yes" if granted else "no"))

    def _resolution(self) -> None:
        doubts = self.run.standing.doubts
        call = self.choices.pick(doubts) if doubts else None
        body: dict[str, JSON] = {"by": "staff"}
        if call is not None:
            body["call"] = call.no
        if self.choices.chance(50) or call is None:
            body["not_done"] = True
        else:
            body["done"] = self._result(call.tool, call.arguments)
        said = "was not done" if "not_done" in body else f"was done: {dumps(body['done']).decode()}"
        self._signal("resolution", body, f"a person says that call {body.get('call')} {said}")

    def _signal(self, name: str, body: dict[str, JSON], line: str) -> None:
        self._ids += 1
        run = self.run.standing.run
        self._give(Signal(run, f"s{self._ids}", name, body, self.clock), line)

    # ----------------------------------------------------------------------------------- the model

    def _model(self, offered: tuple[str, ...]) -> None:
        choices = self.choices
        if choices.chance(3):
            self._give(fx.AskFailed("overloaded", "busy"), "the model cannot be asked")
            return
        count = choices.pick((1, 1, 1, 1, 2, 3, 0) if offered else (0, 1))
        calls = [self._proposal(offered) for _ in range(count)]
        stop = "tool_use" if calls else "end_turn"
        if choices.chance(30 if self.mood == "sulking" else 5):
            stop = choices.pick(_STOPS)
        content: list[dict[str, JSON]] = []
        if not calls or choices.chance(20):
            content.append({"type": "text", "text": choices.pick(self._texts())})
        named = [f"{call['name']}({_shown(call['input'])})" for call in calls]
        line = f"the model replies {', '.join(named) or 'with text alone'}"
        if stop not in ("tool_use", "end_turn"):
            line += f", stop {stop}"
        reply = ModelReply(content=[*content, *calls], stop_reason=stop)
        self._give(fx.Replied(reply), line)

    def _texts(self) -> tuple[str, ...]:
        """What a model may say; where a state asks for a schema, first what fits it."""
        standing = self.run.standing
        output = self.workflow.state(standing.snap().state).output
        if output is None:
            return ("Done.", "{}", " ")
        value = sampled(output, standing.snap().context, 0)
        return (dumps(value).decode(), "Done.", "{}")

    def _proposal(self, offered: tuple[str, ...]) -> dict[str, Any]:
        choices = self.choices
        if offered and not choices.chance(12):
            tool = choices.pick(offered)
        else:
            tool = choices.pick((*self.workflow.bindings, "no_such_tool"))
        self._ids += 1
        call_id = f"t{self._ids}" if not choices.chance(4) else "t1"
        return {
            "type": "tool_use",
            "id": call_id,
            "name": tool,
            "input": self._arguments(tool),
        }

    def _arguments(self, tool: str) -> JSON:
        choices = self.choices
        binding = self.workflow.bindings.get(tool)
        schema: Mapping[str, JSON] = {"type": "object"} if binding is None else binding.shown
        facts = {**self.run.standing.snap().context}
        given = sampled(schema, facts, choices.below(3))
        arguments: dict[str, Any] = dict(given) if isinstance(given, dict) else {}
        known: Mapping[str, JSON] = schema.get("properties", {})
        for name, values in self.hints.below("args").items():
            if name in known and choices.chance(50):
                arguments[name] = choices.pick(values)
        if choices.chance(6):
            what = choices.below(4)
            if what == 0 and arguments:
                arguments.pop(choices.pick(sorted(arguments)))
            elif what == 1 and known:
                arguments[choices.pick(sorted(known))] = choices.pick(_WRONG)
            elif what == 2:
                arguments["unasked"] = 1
            else:  # a bound argument: another customer's order
                bound = () if binding is None else binding.bind
                for name, _ in bound:
                    arguments[name] = "somebody-else"
        return arguments


def _shown(arguments: JSON) -> str:
    if not isinstance(arguments, Mapping):
        return str(arguments)
    return ", ".join(f"{name}={dumps(value).decode()}" for name, value in arguments.items())
