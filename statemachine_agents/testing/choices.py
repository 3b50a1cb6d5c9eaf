"""A run by chance as a list of small numbers: drawn, written down, repeated, shortened.

Rules.  1. Whatever is left to chance asks here, so a run is the list of its choices.  2. Choice 0
is always the most ordinary one: a list that ends early goes on ordinarily.  3. Shorter lists and
smaller numbers are simpler runs; `shrink` looks for the simplest that still shows the same.
Not here: what is chosen (`explore`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Final, TypeAlias, TypeVar

T = TypeVar("T")

Source: TypeAlias = Callable[[int], int]
"""Takes a count and returns a number from 0 to count - 1."""

MAX_TRIES: Final = 600
"""Runs a shrinking may cost."""


class Choices:
    """A source of choices that keeps what was chosen.

    Args:
        source: where numbers come from; see `drawn` and `written`.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self.taken: list[int] = []

    @classmethod
    def drawn(cls, seed: int | str) -> Choices:
        """Return choices of a seeded generator."""
        return cls(Random(seed).randrange)  # noqa: S311 - to be repeated, not to be secret

    @classmethod
    def written(cls, numbers: Sequence[int]) -> Choices:
        """Return the choices of a list: too large is the largest, after the end all are 0."""
        rest = iter(numbers)
        return cls(lambda count: min(next(rest, 0), count - 1))

    def below(self, count: int) -> int:
        """Choose a number from 0 to count - 1."""
        number = self._source(count) if count > 1 else 0
        if count > 1:
            self.taken.append(number)
        return number

    def pick(self, options: Sequence[T]) -> T:
        """Choose one of the options, the most ordinary one first."""
        return options[self.below(len(options))]

    def chance(self, percent: int) -> bool:
        """Whether something unusual happens, in so many of a hundred cases."""
        return self.below(100) >= 100 - percent


def shrink(
    numbers: Sequence[int], size: Callable[[Sequence[int]], int | None], *, tries: int = MAX_TRIES
) -> tuple[int, ...]:
    """Return the simplest list found that still shows what was seen.

    Simpler is: a shorter run, then a shorter list, then smaller numbers.

    Args:
        numbers: a list that shows it.
        size: repeats a run; returns how long it is, or None when it does not show the same.
        tries: how many runs that may cost.
    """
    best = list(numbers)
    best_size = size(best)
    left = tries

    def better(candidate: list[int]) -> bool:
        nonlocal best, best_size, left
        if left <= 0 or candidate == best:
            return False
        left -= 1
        found = size(candidate)
        if found is None or best_size is None:
            return False
        if (found, len(candidate), candidate) >= (best_size, len(best), best):
            return False
        best, best_size = candidate, found
        return True

    changed = True
    while changed and left > 0:
        changed = _without_parts(lambda: best, better)
        for index in range(len(best)):
            changed = _smaller_at(index, lambda: best, better) or changed
    while best and best[-1] == 0:  # the rest of a list is 0 anyway
        best.pop()
    return tuple(best)


def _without_parts(best: Callable[[], list[int]], better: Callable[[list[int]], bool]) -> bool:
    """Leave out halves, quarters, ... single numbers; return whether any could go."""
    changed = False
    size = max(1, len(best()) // 2)
    while size:
        start = 0
        while start < len(best()):
            if better(best()[:start] + best()[start + size :]):
                changed = True
            else:
                start += size
        size //= 2
    return changed


def _smaller_at(
    index: int, best: Callable[[], list[int]], better: Callable[[list[int]], bool]
) -> bool:
    """Make one number smaller; return whether it could be."""
    if index >= len(best()):
        return False
    number = best()[index]
    for smaller in (0, number // 2, number - 1):
        if 0 <= smaller < number and better([*best()[:index], smaller, *best()[index + 1 :]]):
            return True
    return False
