"""Drive a `Run` by hand, one effect at a time: the shell of these tests.

Rules.  1. Everything goes through the public order: save, `next_effect`, `receive`.  2. Every
request is kept as it was sent, for the rules of the Messages API and of prefixes.  3. `audit` asks
of a run what must hold of all of them: sound chain, same replay, fold equal to the live run.
Not here: what must hold (`audit`), drawing what happens by chance (`random_runs`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from statemachine_agents.journal.journal import Journal
from statemachine_agents.journal.records import Record
from statemachine_agents.kernel.workflow import Workflow, used_tools
from statemachine_agents.system import SeededEntropy
from statemachine_agents.table.definition import Definition
from statemachine_agents.table.model import State, Table, Transition
from statemachine_agents.table.toolspec import Retry, ToolSpec
from statemachine_agents.turn import effects as fx
from statemachine_agents.turn.ports import Layout, ModelReply, Signal
from statemachine_agents.turn.run import Run, Settings
from statemachine_agents.values import keep_all
from tests.audit import Sent, audit

START = 1_800_000_000_000_000


def arguments(**properties: str) -> dict[str, Any]:
    """Return an object schema; a type ending in `?` is optional."""
    return {
        "type": "object",
        "properties": {name: {"type": kind.rstrip("?")} for name, kind in properties.items()},
        "required": [name for name, kind in properties.items() if not kind.endswith("?")],
        "additionalProperties": False,
    }


TOOLS = {
    spec.name: spec
    for spec in (
        ToolSpec(name="look", effect="read", arguments=arguments(n="integer?")),
        ToolSpec(name="peek", effect="read", arguments=arguments(n="integer?")),
        ToolSpec(
            name="fetch",
            effect="read",
            arguments=arguments(n="integer?"),
            retry=Retry(attempts=3, delay=1.0, backoff=2.0, on=("busy",)),
        ),
        ToolSpec(
            name="pay",
            effect="manual",
            arguments=arguments(n="integer?", order="string?"),
            undo="pay_back",
        ),
        ToolSpec(name="pay_back", effect="manual", arguments=arguments(order="string?")),
        ToolSpec(name="send", effect="idempotent", arguments=arguments(n="integer?")),
        ToolSpec(
            name="post",
            effect="idempotent",
            arguments=arguments(n="integer?"),
            key_seconds=60.0,
            verifies=True,
        ),
        ToolSpec(
            name="hold", effect="verifiable", arguments=arguments(n="integer?"), verifies=True
        ),
        ToolSpec(name="write", effect="transactional", arguments=arguments(n="integer?")),
    )
}
"""One tool of every effect class, and some more."""


def bound(
    table: Table,
    specs: Mapping[str, ToolSpec] = TOOLS,
    children: Mapping[str, Workflow] | None = None,
) -> Workflow:
    """Return a workflow of a table without functions: nothing below the shell needs them."""
    known = children or {}
    used = {name: specs[name] for name in used_tools(table)}
    undos = {spec.undo: specs[spec.undo] for spec in used.values() if spec.undo in specs}
    hashes = {name: child.definition.hash for name, child in known.items()}
    return Workflow.from_definition(Definition(table, {**undos, **used}, hashes), children=known)


def small(*rows: Transition, states: list[State], **parts: Any) -> Workflow:
    """Return a workflow from rows and states; `done` and `failed` are there already."""
    children = parts.pop("children", None)
    specs = parts.pop("specs", TOOLS)
    ends = [
        State("done", final="success"),
        State("failed", final="failure"),
    ]
    named = {state.name for state in states}
    table = Table(
        **{
            "name": "small",
            "initial": states[0].name,
            "states": [*states, *(end for end in ends if end.name not in named)],
            "transitions": rows,
            **parts,
        }
    )
    return bound(table, specs, children)


def use(name: str, /, id: str | None = None, **given: Any) -> dict[str, Any]:  # noqa: A002
    """Return a tool_use block."""
    return {"type": "tool_use", "id": id, "name": name, "input": given}


class Hand:
    """A run and its shell.

    Args:
        workflow: what runs.
        inputs: of the context.
        role: where the state note goes.
        redact: see `Settings`.
        layout: model id -> layout; by default one model with `role`.
    """

    def __init__(
        self,
        workflow: Workflow,
        inputs: Mapping[str, Any] | None = None,
        *,
        role: Any = "system",
        redact: Callable[[str, Any], Any] = keep_all,
        layout: Callable[[str | None], Layout] | None = None,
        run: str = "r-1",
        root: str | None = None,
    ) -> None:
        self.workflow = workflow
        self.clock = START
        self.settings = Settings(
            layout=layout or (lambda model: Layout(model=model or "m", note_role=role)),
            entropy=SeededEntropy(7),
            redact=redact,
        )
        self.records: list[Record] = []
        self.requests: list[Sent] = []
        self.ids = 0
        self.run = Run.start(
            workflow, run, inputs or {}, self.settings, at=self.now(), request_id="q", root=root
        )

    def now(self) -> int:
        """Return the time, a millisecond after the last."""
        self.clock += 1_000
        return self.clock

    def save(self) -> list[Record]:
        """Make everything unsaved durable."""
        records = self.run.seal(1)
        self.run.saved(records)
        self.records += records
        return records

    # ------------------------------------------------------------------------------------ effects

    def next(self, started: set[str] | frozenset[str] = frozenset()) -> Any:
        """Save, then return the next effect."""
        self.save()
        return self.run.next_effect(started)

    def open(self) -> list[Any]:
        """Return every effect that is possible now."""
        started: set[str] = set()
        found = []
        while (effect := self.next(started)) is not None:
            found.append(effect)
            started.add(effect.id)
        return found

    def expect(self, kind: type[Any]) -> Any:
        """Return the first open effect of a kind; there must be one."""
        found = [effect for effect in self.open() if isinstance(effect, kind)]
        assert found, f"no {kind.__name__}, but {self.open()}"
        return found[0]

    # -------------------------------------------------------------------------------------- facts

    def give(self, fact: Any) -> str:
        """Hand a fact over and save what it leads to."""
        self.save()
        answer = self.run.receive(fact, self.now())
        self.save()
        return answer

    def ask(self) -> fx.AskModel:
        """Return the request that is due, and keep it as it was sent."""
        effect = self.expect(fx.AskModel)
        request = effect.request
        echoed = [body for body in self.bodies("model_replied") if body["usable"]]
        may_end = bool(echoed) and echoed[-1]["stop"] == "pause_turn"
        self.requests.append((request, list(request.messages), may_end))
        return effect

    def reply(self, *calls: dict[str, Any], text: str = "", stop: str = "", **more: Any) -> None:
        """Answer the request that is due."""
        self.ask()
        blocks = [{"type": "text", "text": text}] if text else []
        for call in calls:
            self.ids += 1
            blocks.append({**call, "id": f"t{self.ids}" if call.get("id") is None else call["id"]})
        reason = stop or ("tool_use" if calls else "end_turn")
        self.give(fx.Replied(ModelReply(content=blocks, stop_reason=reason, **more)))

    def model_fails(self, kind: str = "overloaded") -> None:
        """Let the request that is due fail."""
        self.ask()
        self.give(fx.AskFailed(kind, "no answer"))

    def call(self, tool: str | None = None) -> fx.CallTool:
        """Return the first call that is due, of this tool if one is named."""
        calls = [effect for effect in self.open() if isinstance(effect, fx.CallTool)]
        found = [call for call in calls if tool in (None, call.tool)]
        assert found, f"no call of {tool}, but {self.open()}"
        return found[0]

    def returns(self, value: Any = None, tool: str | None = None) -> None:
        """Let the call that is due return."""
        self.give(fx.Returned(self.call(tool).no, value))

    def fails(self, kind: str = "error", text: str = "no", tool: str | None = None) -> None:
        """Let the call that is due fail without an effect."""
        self.give(fx.Failed(self.call(tool).no, kind, text))

    def doubts(self, tool: str | None = None) -> None:
        """Let the outcome of the call that is due be unknown."""
        self.give(fx.Doubted(self.call(tool).no, "timeout"))

    def checks(self, verdict: Any, value: Any = None) -> None:
        """Let the verifier that is due answer."""
        self.give(fx.Checked(self.expect(fx.VerifyCall).no, verdict, value))

    def signal(self, name: str, id: str | None = None, **body: Any) -> str:  # noqa: A002
        """Send a signal from outside."""
        self.ids += 1
        at = self.clock
        return self.give(Signal(self.run.standing.run, id or f"s{self.ids}", name, body, at))

    def message(self, text: str = "hello", **more: Any) -> str:
        """Send a customer message."""
        return self.signal("message", text=text, **more)

    def approve(self, granted: bool = True, **more: Any) -> str:
        """Answer an approval."""
        return self.signal("approval", **{"granted": granted, "by": "ann", **more})

    def sent(self) -> str:
        """Deliver the reply that is due; return its text."""
        effect = self.expect(fx.Say)
        self.give(fx.Sent(effect.reply_id))
        return effect.text

    def reload(self) -> None:
        """Forget the process: fold the run from what was saved."""
        self.save()
        records = Journal.loads(self.journal().dumps()).records
        self.run = Run.load(self.workflow, self.run.standing.run, records, self.settings)

    # ----------------------------------------------------------------------------------- questions

    @property
    def state(self) -> str:
        """The state the run is in."""
        return self.run.standing.snap().state

    @property
    def context(self) -> Mapping[str, Any]:
        """The run's data."""
        return self.run.standing.snap().context

    @property
    def kinds(self) -> list[str]:
        """The kinds of the records, in order."""
        self.save()
        return [record.kind for record in self.records]

    @property
    def waits(self) -> tuple[str, ...]:
        """What the parked run waits for."""
        return self.expect(fx.Wait).waiting

    @property
    def outcome(self) -> Any:
        """How the run stands."""
        self.save()
        return self.run.outcome

    def bodies(self, kind: str) -> list[dict[str, Any]]:
        """Return the bodies of the records of a kind."""
        self.save()
        return [record.body for record in self.records if record.kind == kind]

    def events(self) -> list[str]:
        """Return the events that were stepped, in order."""
        return [body["event"] for body in self.bodies("stepped")]

    def messages(self, agent: str = "agent") -> list[dict[str, Any]]:
        """Return an agent's transcript as it stands."""
        return self.run.standing.transcripts[agent].messages

    def results(self) -> dict[str, Any]:
        """Return the results of the last request, by id."""
        request, messages, _ = self.requests[-1]
        del request
        return {
            block["tool_use_id"]: block
            for message in messages
            for block in message["content"]
            if block["type"] == "tool_result"
        }

    def journal(self) -> Journal:
        """Return the journal of everything saved."""
        return Journal(self.workflow.definition.data, self.records)

    def audit(self) -> None:
        """Insist on everything that holds of every run, see `audit.audit`."""
        self.save()
        audit(self.workflow, self.run, self.records, self.requests)
