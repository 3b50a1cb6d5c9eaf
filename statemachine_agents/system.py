"""The real clock, the real noise and this process; a seeded pair for tests and rehearsals.

Rules.  1. Only doors use these; everything below takes `Clock` and `Entropy` as ports.
2. A process is called dead only where that is certain: on this host, in this pid namespace.
Not here: the ports themselves (`turn.ports`), leases (`dispatch`).
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
import time
from pathlib import Path

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


def name_owner() -> str:
    """Return a name for whoever holds leases here: `host:pid:start_ticks:random`.

    The start of the process (in ticks since boot, 0 where it cannot be read) tells it from a later
    one that got the same pid.
    """
    ticks = _stat(os.getpid())[1]
    return f"{_host()}:{os.getpid()}:{ticks}:{os.urandom(4).hex()}"


def has_died(owner: str) -> bool:
    """Tell whether an owner's process is certainly gone.

    Args:
        owner: made by `name_owner`; one of another host, or of another form, is taken as alive.
    """
    host, *rest = owner.rsplit(":", 3)
    if len(rest) != 3 or host != _host() or not (rest[0].isdecimal() and rest[1].isdecimal()):
        return False
    pid, ticks = int(rest[0]), int(rest[1])
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        pass  # it is there and belongs to somebody else
    state, started = _stat(pid)
    # A killed process whose parent has not looked yet is still listed, as a zombie.
    return state in ("Z", "X") or bool(ticks and started and started != ticks)


def _host() -> str:
    """Name the place where our pids mean something: containers may share a host name."""
    try:
        space = Path("/proc/self/ns/pid").readlink().name.strip("pid:[]")
    except OSError:
        return socket.gethostname()
    return f"{socket.gethostname()}/{space}"


def _stat(pid: int) -> tuple[str, int]:
    """Return a process's state letter and start in ticks since boot; ("", 0) where unknown."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        fields = text.rpartition(")")[2].split()  # the name in parentheses may hold anything
        return fields[0], int(fields[19])
    except (OSError, IndexError, ValueError):
        return "", 0
