"""The real clock and the real noise, and a seeded pair for tests and rehearsals.

Rules.  1. Only doors use these; everything below takes `Clock` and `Entropy` as ports.
Not here: the ports themselves (`turn.ports`).
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import time

import attrs


@attrs.frozen
class SystemClock:
    """UTC and monotonic time of this machine."""

    def now(self) -> int:
        """Return UTC microseconds."""
        return time.time_ns() // 1000

    def monotonic(self) -> float:
        """Return monotonic seconds."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait without blocking the loop."""
        await asyncio.sleep(seconds)


@attrs.define(slots=True)
class SystemEntropy:
    """Noise of the operating system, taken in blocks: a record needs 26 bytes."""

    _block: bytes = b""
    _at: int = 0

    def take(self, count: int) -> bytes:
        """Return `count` random bytes."""
        if self._at + count > len(self._block):
            self._block = os.urandom(max(4096, count))
            self._at = 0
        self._at += count
        return self._block[self._at - count : self._at]


@attrs.define(slots=True)
class SeededEntropy:
    """Repeatable noise: the same seed gives the same bytes. Never for production keys."""

    seed: int = 0
    _count: int = 0

    def take(self, count: int) -> bytes:
        """Return `count` bytes that follow from the seed and how many calls came before."""
        out = b""
        while len(out) < count:
            self._count += 1
            out += hashlib.sha256(f"{self.seed}:{self._count}".encode()).digest()
        return out[:count]


@attrs.define(slots=True)
class SteppingClock:
    """Time that moves only when asked: every `now` is `step` microseconds on; sleep is instant."""

    at: int = 1_767_225_600_000_000  # 2026-01-01T00:00:00Z
    step: int = 1_000

    def now(self) -> int:
        """Return UTC microseconds and move on."""
        self.at += self.step
        return self.at

    def monotonic(self) -> float:
        """Return the same time as seconds."""
        return self.at / 1_000_000

    async def sleep(self, seconds: float) -> None:
        """Move on at once."""
        self.at += int(max(seconds, 0) * 1_000_000)
        await asyncio.sleep(0)
