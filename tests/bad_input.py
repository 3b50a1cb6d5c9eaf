"""Bad input by chance: shipped tables with a mistake in them, and expressions made of scraps.

Run by hand with `python -m tests.bad_input [COUNT] [SEED]`: a process of its own with at most
256 MB of memory. It prints one JSON line: how many inputs met what, the slowest, the memory used.
`tests/proof/test_bad_input.py` runs it, with $SMA_FUZZ inputs when that is set.

Rules.  1. One seed, one list of inputs.  2. The only ends are findings and a `WorkflowError` of
ours; anything else stops the run and names the input.  3. An input has `SECONDS`.
"""

from __future__ import annotations

import json
import random
import resource
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from statemachine_agents.errors import ExpressionError, TableError
from statemachine_agents.proof.structure import check
from statemachine_agents.table.expressions import parse
from statemachine_agents.table.model import Table
from statemachine_agents.table.places import Places

ROOT = Path(__file__).parent.parent
MEMORY = 256 * 1024 * 1024
SECONDS = 1.0
JUNK = ("\0", "\x1b[31m", "\ufeff", "\u202e", "é", "\U0001f600", "\\", '"', "'''", "\r", "\x7f")
SCRAPS = (
    "context", "result", "error", "visits", "count", "order", "x", ".", ".", "(", ")", "[", "]",
    "{", "}", ",", ":", "and", "or", "not", "in", "==", "!=", "<", "<=", ">", "+", "-", "null",
    "true", "0", "1", "9007199254740993", "1e309", "0.1", "'a'", '"b"', "'", "len(", "exists(",
    "default(", "lower(", "ago(", "any(x, ", "all(", "first(", "*", "%", "=", "\n", "where",
    "per=", "at_most(", "\\u0041",
)  # fmt: skip
WORDS = (
    "source", "target", "guard", "assign", "event", "stay", "*", "do", "wait", "ask", "final",
    "tools", "run", "limits", "rules", "states", "context", "undo", "timer", "success", "any",
    "*.ok", "*.error", "guard.error", "timer.fired", "a & b", "true", "false", "-1", "0", "nan",
    "1e400", "[]", "{}", "1979-05-27", "check", "allow", "T09 x: y", "never(x)",
)  # fmt: skip


def tables() -> tuple[str, ...]:
    """Return the text of every table that ships."""
    return tuple(
        path.read_text(encoding="utf-8") for path in sorted(ROOT.glob("workflows/*/table.toml"))
    )


def inputs(seed: int, count: int) -> Iterator[tuple[str, str]]:
    """Yield `count` pairs of kind and text: three tables to two expressions."""
    dice = random.Random(seed)
    whole = tables()
    for index in range(count):
        if index % 5 < 3:
            yield "table", _spoilt(dice, dice.choice(whole))
        else:
            yield "expression", _expression(dice)


def _spoilt(dice: random.Random, text: str) -> str:
    for _ in range(dice.choice((1, 1, 1, 2, 3, 8))):
        text = _mistake(dice, text)
    return text


def _mistake(dice: random.Random, text: str) -> str:
    lines = text.split("\n")
    at, other = dice.randrange(len(lines)), dice.randrange(len(lines))
    place = dice.randrange(len(text) + 1)
    quoted = [index for index, character in enumerate(text) if character == '"']
    match dice.randrange(9):
        case 0:
            return text[:place] + text[place + dice.choice((1, 1, 2, 5, 40)) :]
        case 1:
            return text[:place] + dice.choice(JUNK) + text[place:]
        case 2:
            del lines[at]
        case 3:
            lines.insert(at, lines[other])
        case 4:
            lines[at], lines[other] = lines[other], lines[at]
        case 5:
            return text.replace(dice.choice(text.split() or [""]), dice.choice(WORDS), 1)
        case 6 if len(quoted) > 1:
            start = dice.randrange(len(quoted) - 1)
            inner = _expression(dice).replace("\\", "\\\\").replace('"', '\\"')
            inner = inner.replace("\n", "\\n").replace("\0", " ")
            return text[: quoted[start] + 1] + inner + text[quoted[start + 1] :]
        case 7 if len(quoted) > 1:
            start = dice.randrange(len(quoted) - 1)
            return text[: quoted[start] + 1] + dice.choice(WORDS) + text[quoted[start + 1] :]
        case _:
            return (
                text[:place] + chr(dice.choice((10, 34, 39, 61, 91, 93, 123, 125))) + text[place:]
            )
    return "\n".join(lines)


def _expression(dice: random.Random) -> str:
    few = dice.choice((1, 3, 8, 20, 60))
    scraps = (dice.choice(SCRAPS) for _ in range(dice.randint(1, few)))
    text = dice.choice((" ", " ", "")).join(scraps)
    match dice.randrange(12):
        case 0:
            return dice.choice(("(", "not ", "-", "[", "{a: ", "len(")) * dice.randint(1, 1_200)
        case 1:
            return dice.choice(JUNK) + text
        case 2:
            return " or ".join(["context.order.amount_cents > 3"] * dice.randint(1, 40))
        case 3:
            atoms = (f"context.k{dice.randrange(9)} {dice.choice('<>')} {n}" for n in range(40))
            return " and ".join(atoms)[:1_000]
    return text


def judge(kind: str, text: str) -> str:
    """Read one input and judge it as `sma check` does; return how it ended."""
    if kind == "expression":
        try:
            parse(text)
        except ExpressionError as error:
            return "syntax" if str(error).strip() else "wordless"
        return "sound"
    try:
        table = Table.from_toml(text, source="t.toml")
    except TableError as error:
        return "refused" if str(error).strip() else "wordless"
    found = check(table, info=True)
    places = Places(text, "t.toml")
    for problem in found:
        assert places.placed(problem).what
    return "findings" if found else "sound"


def _late(*_: object) -> None:
    msg = f"over {SECONDS} s"
    raise TimeoutError(msg)


def main(count: int = 20_000, seed: int = 1) -> int:
    """Judge `count` inputs within the limits; print what they met."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    signal.signal(signal.SIGALRM, _late)
    met: Counter[str] = Counter()
    slowest = 0.0
    for kind, text in inputs(seed, count):
        before = time.perf_counter()
        signal.setitimer(signal.ITIMER_REAL, SECONDS)
        try:
            end = judge(kind, text)
        except BaseException:
            signal.setitimer(signal.ITIMER_REAL, 0)
            sys.stderr.write(f"{kind} of seed {seed}:\n{text!r}\n")
            raise
        signal.setitimer(signal.ITIMER_REAL, 0)
        took = time.perf_counter() - before
        slowest = max(slowest, took)
        met[f"{kind} {end}"] += 1
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    facts = {"inputs": count, **sorted_counts(met), "slowest_s": round(slowest, 3)}
    sys.stdout.write(json.dumps({**facts, "memory_mb": used // 1024}) + "\n")
    return 0


def sorted_counts(met: Counter[str]) -> dict[str, int]:
    """Return counts in the order of their names."""
    return dict(sorted(met.items()))


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
