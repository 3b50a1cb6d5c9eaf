"""Texts: enough of them to see everything that conditions tell apart, within bounds of length.

Rules.  1. Order: above every constant stand the next texts of allowed length, and the smallest
texts of all.  2. Parts: what must be in a text is joined by a character no condition names.
3. Case: as many spellings of a constant as there are constants to differ from.
Not here: other kinds of values (`points`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations, islice, product
from typing import Final

import attrs

from statemachine_agents.proof.shapes import Shape
from statemachine_agents.values import JSON

_LAST: Final = "\U0010ffff"
_TWINS: Final = {"k": "\u212a", "\xe5": "\u212b", "\u03c9": "\u2126", "\u03b8": "\u03f4"}
"""Lower-case letters that a second capital letter has."""


@attrs.frozen
class Asked:
    """What conditions ask of a path.

    Args:
        constants: it is compared with.
        lengths: its length is compared with.
        members: asked to be in it.
        several: how many values of one region are needed.
        lowered: whether it is looked at in lower case.
    """

    constants: Sequence[JSON]
    lengths: Sequence[int]
    members: Sequence[JSON]
    several: int
    lowered: bool


def around(lengths: Sequence[int]) -> list[int]:
    """Return lengths with their neighbours."""
    return sorted({near for n in lengths for near in (n - 1, n, n + 1) if near >= 0})


def texts(shape: Shape, asked: Asked) -> list[JSON]:
    """Return texts in every region that conditions cut out; some may be too short or too long."""
    words = sorted({value for value in asked.constants if isinstance(value, str)})
    members = [member for member in asked.members if isinstance(member, str)]
    out: list[JSON] = list(words)
    # First what a person likes to read, then what makes the regions complete.
    out += [f"other{'' if index == 0 else index + 1}" for index in range(asked.several)]
    if words and words[0]:
        head, last = words[0][:-1], words[0][-1]
        out += [head, head + chr(ord(last) - 1)] if last > "!" else [head]
    fresh = next(mark for mark in _marks() if not any(mark in word for word in (*words, *members)))
    for length in {*around(asked.lengths), shape.shortest}:
        out += ["x" * length, fresh * length]
    for size in range(len(members) + 1):
        for chosen in combinations(members, size):
            joined = fresh.join(chosen)
            out += [joined, (fresh + joined).rjust(shape.shortest, fresh)]
    if asked.lowered:
        for word in words:
            out += islice(_spellings(word), len(words) + asked.several)
    smallest = "\x00" * shape.shortest
    out.append(smallest)
    for word in (smallest, *words):
        above: str | None = word
        for _ in range(asked.several):
            above = None if above is None else _next(above, shape)
            out += [] if above is None else [above]
    return out


def _marks() -> Iterator[str]:
    yield from " -_.~^"
    yield from map(chr, range(0x100, 0xD800))


def _next(word: str, shape: Shape) -> str | None:
    """Return the smallest text above a word whose length is allowed."""
    if shape.longest is None or len(word) < shape.longest:
        return (word + "\x00").ljust(shape.shortest, "\x00")
    head = word[: shape.longest].rstrip(_LAST)
    if not head:
        return None
    code = ord(head[-1]) + 1
    # Surrogates are no characters.
    following = head[:-1] + chr(0xE000 if code == 0xD800 else code)
    return following.ljust(shape.shortest, "\x00")


def _spellings(word: str) -> Iterator[str]:
    """Yield texts that are a word in lower case, or nothing when it is not in lower case."""
    if word.lower() != word:
        return
    choices = [
        tuple(dict.fromkeys((letter, letter.upper(), _TWINS.get(letter, letter))))
        for letter in word
    ]
    for letters in product(*choices):
        spelt = "".join(letters)
        if spelt.lower() == word:
            yield spelt
