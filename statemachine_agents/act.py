"""Carry out one effect: ask the model, call or verify a tool, deliver a reply.

Rules.  1. An effect comes in, a fact goes out; None means: not now, later again.  2. Nothing is
written here.  3. A call that starts long after its intent asks first whether the run is still
ours: whoever took it over may have found meanwhile that the call was never made.
Not here: which effect is next (`turn.run`), saving what came of it (`advance`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
from loguru import logger

from statemachine_agents.errors import Fenced, ModelError
from statemachine_agents.moments import Observer, Streams
from statemachine_agents.tools.decorator import Call
from statemachine_agents.tools.toolbox import Doubted, Failed, Result, Returned, Toolbox
from statemachine_agents.turn import effects as fx
from statemachine_agents.turn.ports import Clock, Delivery, Lease, Model, Outbox, Store
from statemachine_agents.turn.recovery import SKEW
from statemachine_agents.turn.run import Run


@attrs.define(slots=True)
class Shell:
    """What a run acts with. One per driver, shared by its runs.

    Args:
        store: where journals live.
        model: whoever proposes.
        clock: time.
        toolboxes: by id of the workflow, filled here.
        outbox: hands replies to customers; None counts them as delivered.
        observers: called with every moment.
        streams: who listens to one run.
        on_text: called with a run's id and a piece of the model's text, as it arrives.
        grace: seconds an effect under way gets when its run is left.
        ttl: seconds a lease lasts without renewal.
    """

    store: Store
    model: Model
    clock: Clock
    toolboxes: dict[int, Toolbox] = attrs.field(factory=dict)
    outbox: Outbox | None = None
    observers: tuple[Observer, ...] = ()
    streams: Streams = attrs.field(factory=Streams)
    on_text: Callable[[str, str], Any] | None = None
    grace: float = 5.0
    ttl: float = 30.0

    def toolbox(self, run: Run) -> Toolbox:
        """Return the toolbox of a run's workflow, made once."""
        workflow = run.standing.workflow
        found = self.toolboxes.get(id(workflow))
        if found is None:
            found = self.toolboxes[id(workflow)] = Toolbox(workflow.functions, clock=self.clock)
        return found


@attrs.define(slots=True)
class Acting:
    """Carries out the effects of one run under one lease.

    `begun` holds the ids of effects that may have changed the world by now.
    """

    run: Run
    lease: Lease
    shell: Shell
    begun: set[str] = attrs.field(factory=set)

    async def act(self, effect: fx.Effect) -> fx.Fact | None:
        """Carry out an effect and return what came of it.

        Raises:
            Fenced: somebody else holds the run now.
        """
        match effect:
            case fx.AskModel():
                return await self._ask(effect)
            case fx.CallTool():
                return await self._call(effect)
            case fx.VerifyCall():
                return await self._verify(effect)
            case fx.Recover():
                await self.until(effect.not_before)
                return fx.Doubted(effect.no, "crash", "its process ended before a result was saved")
            case fx.Say():
                return await self._say(effect)
        raise TypeError(effect)

    async def until(self, at: int) -> None:
        """Wait until a time, UTC microseconds."""
        wait = (at - self.shell.clock.now()) / 1_000_000
        if wait > 0:
            await self.shell.clock.sleep(wait)

    def call_for(self, effect: fx.CallTool | fx.VerifyCall, connection: Any = None) -> Call:
        """Return what a tool may know about its call."""
        return Call(
            run_id=self.lease.run,
            call_id=effect.no,
            key=effect.key,
            attempt=effect.attempt,
            deadline=effect.deadline,
            connection=connection,
        )

    async def _ask(self, effect: fx.AskModel) -> fx.Fact:
        on_text = None if self.shell.on_text is None else self._hear
        try:
            return fx.Replied(await self.shell.model.complete(effect.request, on_text=on_text))
        except ModelError as error:
            kind = str(error.facts.get("kind", "unknown"))
            logger.bind(run_id=self.lease.run, kind=kind).warning("the model could not be asked")
            return fx.AskFailed(kind, str(error))

    def _hear(self, piece: str) -> None:
        """Hand on a piece of the model's text; whoever listens must not break the run."""
        assert self.shell.on_text is not None
        try:
            self.shell.on_text(self.lease.run, piece)
        except Exception as error:  # noqa: BLE001 - as with an observer
            told = logger.bind(run_id=self.lease.run, error=type(error).__name__)
            told.error("on_text failed")
            told.opt(exception=error).trace("how on_text failed")

    async def _call(self, effect: fx.CallTool) -> fx.Fact:
        await self.until(effect.not_before)
        if guarded(effect):
            await self._insist(effect)
            self.begun.add(effect.id)
        result = await self.shell.toolbox(self.run).call(
            effect.tool, dict(effect.arguments), self.call_for(effect), spec=effect.spec
        )
        return fact_of(effect.no, result)

    async def _insist(self, effect: fx.CallTool) -> None:
        """Refuse to start a call whose run somebody else may have recovered by now."""
        intended = effect.deadline - int(effect.spec.timeout * 1_000_000)
        if self.shell.clock.now() - intended <= SKEW:
            return
        if not await self.shell.store.renew([self.lease], self.shell.ttl):
            raise Fenced(
                f"run {self.lease.run}: call {effect.no} ({effect.tool}) was not started, the run "
                "was taken over in the meantime",
                run=self.lease.run,
                fence=self.lease.fence,
            )

    async def _verify(self, effect: fx.VerifyCall) -> fx.Fact:
        found = await self.shell.toolbox(self.run).verify(
            effect.tool, dict(effect.arguments), self.call_for(effect), spec=effect.spec
        )
        return fx.Checked(effect.no, found.answer, found.value, found.detail)

    async def _say(self, effect: fx.Say) -> fx.Fact | None:
        if self.shell.outbox is not None:
            delivery = Delivery(
                run=self.lease.run,
                seq=effect.seq,
                n=0,
                kind="reply",
                target="",
                body={"id": effect.reply_id, "text": effect.text},
            )
            try:
                await self.shell.outbox.deliver(delivery)
            except Exception as error:  # noqa: BLE001 - any failure to deliver means: later again
                told = logger.bind(run_id=self.lease.run, error=type(error).__name__)
                told.warning("a reply could not be delivered yet")
                return None
        return fx.Sent(effect.reply_id)


def guarded(effect: fx.Effect) -> bool:
    """Tell whether an effect must not be torn down once begun: it changes the world."""
    return isinstance(effect, fx.CallTool) and effect.spec.effect != "read"


def fact_of(no: int, result: Result) -> fx.Fact:
    """Return what a tool's result means to the run."""
    match result:
        case Returned(value):
            return fx.Returned(no, value)
        case Failed(kind, text, detail):
            return fx.Failed(no, kind, text, detail)
        case Doubted(why, detail, _):
            return fx.Doubted(no, why, detail)
