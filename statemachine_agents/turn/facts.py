"""Facts from the shell, turned into records.

Rules.  1. What came from outside is redacted and made canonical here, before anything is decided
on it; what cannot be written down is never acted on.  2. A fact that answers nothing open is a
fault of the shell (`RunProtocolError`), unless a person may have been quicker; then it is dropped
with the reason.  3. Nothing is changed here: a refused fact leaves no trace.
Not here: signals of people (`turn.inbound`), what the records lead to (`journal`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import attrs

from statemachine_agents.errors import RunProtocolError, ValueRefused
from statemachine_agents.journal.records import Draft
from statemachine_agents.journal.replies import number_calls, text_of, usable
from statemachine_agents.journal.standing import OpenCall, Standing
from statemachine_agents.kernel.gate import schema_faults
from statemachine_agents.turn import effects as fx
from statemachine_agents.turn.ports import ModelReply
from statemachine_agents.turn.recovery import after_check, after_doubt
from statemachine_agents.values import (
    JSON,
    MAX_BLOB,
    MAX_BODY,
    Redactor,
    dumps,
    ingest,
    parse,
)

MAX_DETAIL: Final = 16_000
"""Characters of a traceback kept in the journal."""

MAX_VALUE: Final = MAX_BLOB - MAX_BODY
"""Bytes of a value from outside, so that the record around it stays under the hard cap."""

_NOT_TRIED: Final = frozenset({"busy", "open", "arguments"})
"""Kinds of failure that mean that the tool was not reached at all."""


@attrs.frozen
class Writer:
    """Turns facts about one run into drafts.

    Args:
        standing: where the run stands.
        redact: applied to every value from outside.
    """

    standing: Standing
    redact: Redactor

    def draft(self, fact: Any, at: int) -> Draft | str:
        """Return the record a fact leads to, or why it leads to none.

        Args:
            fact: what happened.
            at: UTC microseconds.

        Raises:
            RunProtocolError: the fact answers an effect that is not open.
        """
        match fact:
            case fx.Replied(reply):
                self._expect(self.standing.asked is not None, "the model was not asked")
                return Draft("model_replied", self._replied(reply))
            case fx.AskFailed(kind, text):
                self._expect(self.standing.asked is not None, "the model was not asked")
                detail = self._clean("error", f"{kind}: {text}")
                body = {"stop": "error", "detail": detail, "content": [], "usable": False}
                return Draft("model_replied", body)
            case fx.Returned(no, value):
                return self._returned(self._open(no), value)
            case fx.Failed(no):
                return self._failed(self._open(no), fact, at)
            case fx.Doubted(no):
                return self._doubted(self._open(no), fact, at)
            case fx.Checked():
                return self._checked(fact)
            case fx.Sent(reply_id):
                if reply_id not in self.standing.replies:
                    return f"reply {reply_id} does not wait to be sent"
                return Draft("reply_sent", {"id": reply_id})
            case fx.ChildEnded():
                return self._child_ended(fact)
            case fx.Resumed(reason, by):
                if self.standing.ended is not None:
                    return f"run {self.standing.run} has ended"
                who = {"reason": self._clean("message", reason), "by": self._clean("message", by)}
                return Draft("run_resumed", who)
        raise RunProtocolError(f"run {self.standing.run}: not a fact: {fact!r}")

    def _expect(self, holds: bool, what: str) -> None:
        if not holds:
            msg = f"run {self.standing.run}: {what}; answer each effect once, after `next_effect`"
            raise RunProtocolError(msg, run=self.standing.run)

    def _open(self, number: int) -> OpenCall:
        call = self.standing.calls.get(number)
        known = call is not None and call.status == "open"
        self._expect(known, f"call {number} is not open")
        assert call is not None
        return call

    def _spec(self, call: OpenCall) -> Any:
        return self.standing.workflow.bindings[call.tool].spec

    def _clean(self, kind: str, value: JSON) -> JSON:
        """Redact and canonicalise a value from outside."""
        clean = ingest(self.redact(kind, value), where=kind).value
        if (size := len(dumps(clean))) > MAX_VALUE:
            msg = f"{kind}: {size} bytes, expected at most {MAX_VALUE}"
            raise ValueRefused(msg, where=kind, size=size)
        return clean

    def _detail(self, text: str) -> JSON:
        """Redact a traceback whole, then keep its end: half a secret is not recognised as one."""
        return str(self._clean("error", text))[-MAX_DETAIL:]

    # -------------------------------------------------------------------------------------- calls

    def _returned(self, call: OpenCall, value: JSON) -> Draft:
        base: dict[str, JSON] = {"no": call.no, "attempt": call.attempt}
        try:
            clean = self._clean("result", value)
        except ValueRefused as refused:
            if call.effect == "read":
                error = {"kind": "result", "text": str(refused)}
                return Draft("call_returned", {**base, "ok": False, "error": error})
            # It had its effect, but what it said cannot be written down: a person must look.
            doubt = {"why": "result", "detail": str(refused), "then": "person"}
            return Draft("call_doubted", {**base, **doubt})
        return Draft("call_returned", {**base, "ok": True, "value": clean})

    def _failed(self, call: OpenCall, fact: fx.Failed, at: int) -> Draft:
        risky = call.effect not in ("read", "transactional")
        if call.in_doubt_once and risky and fact.kind in _NOT_TRIED:
            # This attempt was not made, which says nothing about the one in doubt before it.
            return self._doubted(call, fx.Doubted(fact.no, fact.kind, fact.text), at)
        body: dict[str, JSON] = {
            "no": call.no,
            "attempt": call.attempt,
            "ok": False,
            "error": {"kind": fact.kind, "text": self._clean("error", fact.text)},
        }
        if fact.detail:
            body["detail"] = self._detail(fact.detail)
        retry = self._spec(call).retry
        if retry is not None and fact.kind in retry.on and call.attempt < retry.attempts:
            body["again"] = True
        return Draft("call_returned", body)

    def _doubted(self, call: OpenCall, fact: fx.Doubted, at: int) -> Draft:
        then = after_doubt(self._spec(call), call, at)
        body: dict[str, JSON] = {
            "no": call.no,
            "attempt": call.attempt,
            "why": fact.why,
            "then": then,
        }
        if fact.detail:
            body["detail"] = self._detail(fact.detail)
        return Draft("call_doubted", body)

    def _checked(self, fact: fx.Checked) -> Draft | str:
        call = self.standing.calls.get(fact.no)
        if call is None or call.status != "doubted":
            return f"call {fact.no} is not in doubt any more"
        verdict, detail = fact.verdict, fact.detail
        body: dict[str, JSON] = {"no": fact.no, "by": "verifier"}
        if verdict == "done":
            try:
                body["value"] = self._clean("result", fact.value)
            except ValueRefused as refused:  # it was done, but what it gave cannot be written down
                verdict, detail = "unknown", str(refused)
        body |= {"verdict": verdict, "then": after_check(call, verdict)}
        if detail:
            body["detail"] = self._detail(detail)
        return Draft("call_resolved", body)

    def _child_ended(self, fact: fx.ChildEnded) -> Draft | str:
        child = self.standing.children.get(fact.child)
        if child is None or child.ended:
            return f"run {self.standing.run}: no child {fact.child!r} is running"
        body: dict[str, JSON] = {
            "child": fact.child,
            "outcome": fact.outcome,
            "value": self._clean("result", fact.value),
            "reason": self._clean("error", fact.reason),
        }
        return Draft("child_ended", body)

    # ---------------------------------------------------------------------------------- the model

    def _replied(self, reply: ModelReply) -> dict[str, JSON]:
        """Write a reply down as it came, with numbered calls and unique ids."""
        s = self.standing
        detail = reply.detail
        unreadable: JSON = {}
        try:
            content = self._clean("reply", [dict(block) for block in reply.content])
            unreadable = self._clean("reply", dict(reply.unreadable))
            sound = not reply.cut
        except ValueRefused as refused:  # such as arguments nested too deep, or a huge number
            content, sound, detail = [], False, f"{detail} {refused}".strip()
        blocks, renamed = number_calls(content, s.next_call, s.transcript(s.asked_agent).ids)
        calls = any(block.get("type") == "tool_use" for block in blocks)
        body: dict[str, JSON] = {
            "id": reply.id,
            "model": reply.model,
            "stop": reply.stop_reason,
            "usage": {name: int(amount) for name, amount in reply.usage.items() if amount},
            "content": blocks,
            "usable": sound and usable(blocks, reply.stop_reason),
        }
        if calls:
            body["calls"] = s.next_call
        if renamed:
            body["renamed"] = renamed
        if unreadable:
            body["unreadable"] = unreadable
        if reply.cut:
            body["cut"] = True
        if detail:
            body["detail"] = self._detail(detail)
        output = s.workflow.state(s.snap().state).output
        if output is not None and reply.stop_reason == "end_turn" and sound and not calls:
            _output(body, output)
        return body


def _output(body: dict[str, JSON], schema: Mapping[str, JSON]) -> None:
    """Read a reply's text as the JSON its state asks for."""
    try:
        value = parse(text_of(body["content"]), where="output")
    except ValueRefused as refused:
        body["output_faults"] = str(refused)
        return
    faults = schema_faults(schema, value)
    if faults:
        body["output_faults"] = faults
    else:
        body["output"] = value
