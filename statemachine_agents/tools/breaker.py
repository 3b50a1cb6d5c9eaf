"""Whether a tool that keeps failing is called: the state behind `Breaker`.

Rules.  1. Time comes in as seconds of a monotonic clock.  2. While open, one call at a time is let
through after `reset`; its outcome alone closes or re-opens.
Not here: the figures (`table.toolspec.Breaker`), what counts as a failure (`toolbox`).
"""

from __future__ import annotations

import attrs

from statemachine_agents.table.toolspec import Breaker


@attrs.define(eq=False)
class Circuit:
    """One tool's recent luck.

    Args:
        failures: in a row.
        opened: when it opened, or None while closed.
        trying: whether the one trial call is under way.
    """

    failures: int = 0
    opened: float | None = None
    trying: bool = False

    def refusal(self, breaker: Breaker, now: float) -> str:
        """Return why the tool must not be called now, or ""."""
        if self.opened is None:
            return ""
        if self.trying:
            return f"its last {self.failures} calls failed, and a trial call is under way"
        left = self.opened + breaker.reset - now
        if left > 0:
            return f"its last {self.failures} calls failed; one is tried again in {left:.0f} s"
        return ""

    def enter(self) -> bool:
        """Note that a call begins; return whether it is the trial."""
        self.trying = self.opened is not None
        return self.trying

    def leave(self, breaker: Breaker, now: float, *, trial: bool, ok: bool) -> None:
        """Note how a call ended."""
        if trial:
            self.trying = False
        elif self.opened is not None:
            # It began before the breaker opened and says nothing about the tool as it is now.
            return
        if ok:
            self.failures, self.opened = 0, None
            return
        self.failures += 1
        if trial or self.failures >= breaker.failures:
            self.opened = now

    def forget(self, *, trial: bool) -> None:
        """Note that a call ended without an outcome: it was cancelled."""
        if trial:
            self.trying = False
