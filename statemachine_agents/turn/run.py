"""A run as a sans-IO object: facts in, records and the next effect out.

Rules.  1. The order is forced: after `receive` the drafts in `unsaved` must be saved before
`next_effect` answers, so nothing happens in the world that was not written down first.
2. `next_effect` is a pure read.  3. What the run decides comes from `journal.decide`; here is added
what a decision leaves open: keys, nonces, deadlines, prompt texts.  4. Values from outside are
redacted and made canonical before anything is decided on them (`facts`, `inbound`).
Not here: waiting, calling, storing (`driver`); which decision is next (`journal.decide`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from statemachine_agents.errors import RunProtocolError, UsageError
from statemachine_agents.journal.decide import decide
from statemachine_agents.journal.fold import apply, fold
from statemachine_agents.journal.outcome import Outcome, outcome_of
from statemachine_agents.journal.records import RUN_ID, Draft, Head, Record, seal
from statemachine_agents.journal.standing import OpenCall, Standing
from statemachine_agents.kernel.workflow import Workflow
from statemachine_agents.turn import effects as fx
from statemachine_agents.turn.facts import Writer
from statemachine_agents.turn.filling import Settings, fill
from statemachine_agents.turn.inbound import inbound
from statemachine_agents.turn.ports import ModelRequest, Signal
from statemachine_agents.turn.prompt import head_of
from statemachine_agents.turn.recovery import recover_at
from statemachine_agents.values import JSON, ingest

_OURS: Final = frozenset({"model_replied", "call_refused", "call_intended", "stepped"})
"""Records that may wait for a read's result: nobody outside was told that they are durable."""


class Run:
    """One run. Use `Run.start` or `Run.load`, then loop: save, `next_effect`, act, `receive`."""

    def __init__(self, standing: Standing, settings: Settings) -> None:
        self.standing = standing
        self.settings = settings
        self.unsaved: list[tuple[int, Draft]] = []
        self._inherited: set[int | None] = set()
        self._sealed: list[Record] = []
        self._blobs: list[tuple[str, bytes]] = []

    @classmethod
    def start(
        cls,
        workflow: Workflow,
        run: str,
        inputs: Mapping[str, JSON],
        settings: Settings,
        *,
        at: int,
        request_id: str | None = None,
        root: str | None = None,
    ) -> Run:
        """Begin a run; its first records are in `unsaved`.

        Args:
            workflow: the workflow.
            run: new run id.
            inputs: values for declared context keys.
            settings: see `Settings`.
            at: UTC microseconds.
            request_id: the caller's idempotency key.
            root: the run at the top of a tree of child runs.

        Raises:
            UsageError: an input is undeclared, missing or of the wrong type.
        """
        if not RUN_ID.fullmatch(run):
            msg = f"run id {run!r}: expected 1 to 200 letters, digits, `.`, `_`, `-` or `:`"
            raise UsageError(msg, run=run)
        context = workflow.bind_context(inputs)
        clean = settings.redact("context", context)
        body: dict[str, JSON] = {
            "workflow": workflow.table.name,
            "version": workflow.table.version,
            "definition": workflow.definition.hash,
            "context": ingest(clean, where="context").value,
        }
        if request_id is not None:
            body["request_id"] = request_id
        if root is not None:
            body["root"] = root
        made = cls(Standing(workflow, run), settings)
        made._add(Draft("run_started", body), at)
        made._decide(at)
        return made

    @classmethod
    def load(
        cls, workflow: Workflow, run: str, records: Iterable[Record], settings: Settings
    ) -> Run:
        """Rebuild a run from its journal; calls a dead owner left open become `Recover` effects.

        Raises:
            JournalDamaged: the journal does not verify.
        """
        made = cls(fold(workflow, run, records), settings)
        made._inherited |= {
            call.no for call in made.standing.calls.values() if call.status == "open"
        }
        return made

    # ------------------------------------------------------------------------------------- saving

    def seal(self, fence: int) -> list[Record]:
        """Seal the unsaved drafts into records; call `saved` once they are durable.

        Sealing again gives the same records, so that a write whose fate is not known can be
        repeated; drafts that came since are sealed behind them.
        """
        s = self.standing
        records = [record for record in self._sealed if record.fence == fence]
        start = len(records)
        head = Head(records[-1].seq, records[-1].hash) if records else s.head
        while start < len(self.unsaved):
            at = self.unsaved[start][0]
            stop = start
            while stop < len(self.unsaved) and self.unsaved[stop][0] == at:
                stop += 1
            part = seal(
                [draft for _, draft in self.unsaved[start:stop]],
                run=s.run,
                definition=s.workflow.definition.hash,
                fence=fence,
                head=head,
                at=at,
                entropy=self.settings.entropy,
                blobs=self._blobs,
            )
            records += part
            head = Head(part[-1].seq, part[-1].hash)
            start = stop
        self._sealed = list(records)
        return records

    def saved(self, records: list[Record]) -> None:
        """Acknowledge that the sealed records are durable."""
        if len(records) != len(self.unsaved):
            msg = f"run {self.standing.run}: {len(self.unsaved)} drafts, {len(records)} records"
            raise RunProtocolError(msg)
        self.unsaved = []
        self._sealed = []
        if records:
            self.standing.head = Head(records[-1].seq, records[-1].hash)

    def take_blobs(self) -> list[tuple[str, bytes]]:
        """Return the large bodies of the records sealed last; keep them before the records."""
        blobs, self._blobs = self._blobs, []
        return blobs

    # ------------------------------------------------------------------------------------ effects

    @property
    def outcome(self) -> Outcome:
        """How the run stands."""
        return outcome_of(self.standing)

    @property
    def done(self) -> bool:
        """Whether the run has ended and every reply is out."""
        return self.standing.ended is not None and not self.standing.replies

    def next_effect(self, started: frozenset[str] | set[str] = frozenset()) -> fx.Effect | None:
        """Return the next effect that is not in `started`, or None while those are under way.

        Raises:
            RunProtocolError: there are unsaved records.
        """
        if self.unsaved:
            kinds = ", ".join(draft.kind for _, draft in self.unsaved)
            msg = f"run {self.standing.run}: save {kinds} before acting on them"
            raise RunProtocolError(msg, run=self.standing.run)
        for effect in self._effects():
            if effect.id not in started:
                return effect
        return None

    def lone_read(self) -> fx.CallTool | None:
        """Return a read that may be made before its intent is durable, else None.

        It changes nothing, so a crash only asks the model again. It must be all there is to do,
        and nothing unsaved may come from a person. Source: protocol.md section 2.3.
        """
        calls = self.standing.calls
        if len(calls) != 1 or not self.unsaved:
            return None
        call = next(iter(calls.values()))
        fresh = call.status == "open" and call.effect == "read" and call.attempt == 1
        if not fresh or call.no in self._inherited or self.standing.replies:
            return None
        if any(draft.kind not in _OURS for _, draft in self.unsaved):
            return None
        effect = self._call_effect(call)
        return effect if isinstance(effect, fx.CallTool) else None

    def _effects(self) -> Iterable[fx.Effect]:
        s = self.standing
        for reply in list(s.replies.values())[:1]:  # one by one, so they arrive in order
            yield fx.Say(
                id=f"say:{reply['id']}",
                reply_id=reply["id"],
                text=reply["text"],
                seq=reply["seq"],
            )
        for call in s.calls.values():
            effect = self._call_effect(call)
            if effect is not None:
                yield effect
        if s.asked is not None:
            yield self._ask()
        for child in s.children.values():
            if not child.ended:
                yield fx.StartChild(
                    id=f"child:{child.run}",
                    child=child.run,
                    workflow=child.workflow,
                    input=child.input,
                    root=s.root,
                    over=s.snap().ended,
                )
        if s.ended is not None:
            yield fx.End(id="end", outcome=self.outcome)
        elif s.quarantined or s.parked is not None:
            parked = s.parked or {}
            waiting = tuple(parked.get("waiting", ("operator",)))
            until = None if s.timer is None or s.quarantined else s.timer["due"]
            yield fx.Wait(
                id=f"wait:{s.head.seq}",
                waiting=waiting,
                reason=s.quarantined or str(parked.get("reason", "")),
                until=until,
            )

    def _call_effect(self, call: OpenCall) -> fx.Effect | None:
        spec = self.standing.workflow.bindings[call.tool].spec
        mark = f"{call.no}:{call.attempt}"
        if call.no in self._inherited and call.status == "open":
            return fx.Recover(
                id=f"recover:{mark}", no=call.no, tool=call.tool, not_before=recover_at(call)
            )
        if call.status == "open" and call.effect != "signal":
            return fx.CallTool(
                id=f"call:{mark}",
                no=call.no,
                tool=call.tool,
                spec=spec,
                arguments=call.arguments,
                key=call.key,
                attempt=call.attempt,
                deadline=call.deadline,
                not_before=call.not_before,
            )
        if call.status == "doubted":
            return fx.VerifyCall(
                id=f"verify:{mark}:{call.checks}",
                no=call.no,
                tool=call.tool,
                spec=spec,
                arguments=call.arguments,
                key=call.key,
                attempt=call.attempt,
                deadline=call.deadline,
            )
        return None

    def _ask(self) -> fx.AskModel:
        s = self.standing
        snapshot = s.snap()
        state = s.workflow.state(snapshot.state)
        speaker = s.workflow.table.agent_of(state)
        transcript = s.transcript(s.asked_agent)
        head = head_of(s.workflow, s.asked_agent)
        keys = s.workflow.table.context
        request = ModelRequest(
            run=s.run,
            agent=s.asked_agent,
            model=speaker.model or self.settings.model,
            system=head.system,
            tools=head.tools,
            messages=transcript.messages,
            max_tokens=speaker.max_tokens,
            effort=speaker.effort,
            offered=s.workflow.table.tools_in(state),
            facts={name: snapshot.context[name] for name in state.shows if not keys[name].private},
            turn=snapshot.counters.iterations,
        )
        return fx.AskModel(id=f"ask:{s.asked}", request=request)

    # ------------------------------------------------------------------------------------- facts

    def note(self, draft: Draft, at: int) -> None:
        """Take an administrative record, such as `run_quarantined`."""
        self._add(draft, at)
        self._decide(at)

    def go_on(self, at: int) -> None:
        """Decide what a shell that was leaving had held back; nothing otherwise."""
        self._decide(at)

    def receive(self, fact: fx.Fact, at: int, *, leaving: bool = False) -> str:
        """Take a fact; the records it leads to are in `unsaved`.

        Args:
            fact: what happened.
            leaving: nobody is going to act, so no call is intended: an intent that is never acted
                on would be in doubt for whoever comes next. They decide it in `go_on`.
            at: UTC microseconds.

        Returns:
            An empty text, or why it was not accepted (nothing is recorded then).

        Raises:
            RunProtocolError: it answers an effect that is not open (nothing is recorded then).
        """
        if isinstance(fact, Signal):
            # Whoever puts a signal into the inbox has redacted it: that is written already.
            draft = inbound(self.standing, fact)
        else:
            draft = Writer(self.standing, self.settings.redact).draft(fact, at)
        if isinstance(draft, str):
            return draft
        if not isinstance(fact, Signal):
            self._inherited.discard(getattr(fact, "no", None))
        self._add(draft, at)
        self._decide(at, leaving=leaving)
        return ""

    # --------------------------------------------------------------------------------- decisions

    def _add(self, draft: Draft, at: int) -> None:
        apply(self.standing, draft.kind, draft.body, at, draft.after)
        self.unsaved.append((at, draft))

    def _decide(self, at: int, *, leaving: bool = False) -> None:
        while (draft := decide(self.standing)) is not None:
            if leaving and draft.kind == "call_intended":
                return
            fill(self.standing, self.settings, draft, at)
            self._add(draft, at)
            if draft.kind == "model_asked":
                draft.body["prompt"] = self.standing.transcript(draft.body["agent"]).prompt


__all__ = ["Run", "Settings"]
