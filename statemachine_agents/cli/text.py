"""Words and values as a terminal may see them: clean, short, on one line.

Rules.  1. Whatever a tool, a customer, a model or a file name says is data: control characters, and
marks that reorder text, never reach a terminal (they could rewrite what stands there).  2. Nothing
here is markup; styles are given beside a text, never inside it.
Not here: printing (`paper`), which words a record deserves (`records`).
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

from statemachine_agents.values import JSON

_UNSAFE: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
_SPACES: Final = re.compile(r"\s+")


def clean(text: object) -> str:
    """Return a text on one line, without anything a terminal would obey."""
    return _UNSAFE.sub("\ufffd", _SPACES.sub(" ", str(text))).strip()


def short(text: object, width: int = 160) -> str:
    """Return a clean text, cut to a width with an ellipsis."""
    plain = clean(text)
    return plain if len(plain) <= width else f"{plain[: width - 1]}…"


def brief(value: JSON, width: int = 160) -> str:
    """Return a value as JSON on one line, cut to a width."""
    return short(json.dumps(value, ensure_ascii=False, separators=(", ", ": ")), width)


def json_line(value: JSON) -> str:
    """Return a value as one line of JSON that is safe on a terminal too."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def time_of(at: int) -> str:
    """Return UTC microseconds as `2026-11-20 19:48:00Z`."""
    return datetime.fromtimestamp(at // 1_000_000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def clock_of(at: int) -> str:
    """Return UTC microseconds as `19:48:00.123`."""
    moment = datetime.fromtimestamp(at // 1_000_000, UTC).strftime("%H:%M:%S")
    return f"{moment}.{at // 1000 % 1000:03d}"


def plural(count: int, word: str) -> str:
    """Return `1 record`, `2 records`."""
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


def command(*parts: str) -> str:
    """Return a command line a person can paste: every part quoted where the shell needs it."""
    return clean(shlex.join(("sma", *parts)))


def listed(names: Iterable[str]) -> str:
    """Return names joined by commas, or `none`."""
    return ", ".join(names) or "none"
