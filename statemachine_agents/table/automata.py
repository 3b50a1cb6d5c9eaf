"""The automata behind rules: one small machine for every form.

Rules of this file.  1. A fact plays *roles* for a rule: `a` or `b` when it fits that side, `other`
when it is a call the rule says something about by leaving it out, `turn` when the model is asked.
2. A form is a literal table: (state, role) -> next state, and which of these pairs break the rule.
Two to three states are enough; what counts holds a number instead.  3. A fact that plays several
roles plays them in the order `b other a turn`: what a fact asks for must have come before it.
4. A form is data: the gate, the fold, the prover and `conform` move the same tables.
Not here: which facts play which role (`rules`), one automaton per value of `per=` (`rules`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

import attrs

Role: TypeAlias = str
"""`a`, `b`, `other` or `turn`."""

ORDER: Final[tuple[Role, ...]] = ("b", "other", "a", "turn")


@attrs.frozen(kw_only=True)
class Form:
    """One form of rule.

    Args:
        name: as rules are written.
        arguments: `atom` or `count`, in order.
        sides: the role of each atom argument.
        moves: (state, role) -> next state; a pair that is absent stays. None for counting forms.
        breaks: pairs that break the rule.
        owes: states in which something is still due.
        count: for counting forms: (number, role, n) -> (number after, whether that breaks it).
        due: for counting forms: whether `number` of `n` leaves something due.
        takes_back: a call that ended in `.error` did not happen, so its intent is taken back.
        per: whether `per=` has a meaning.
        demands: a run that owes this may not end in success.
    """

    name: str
    arguments: tuple[str, ...]
    sides: tuple[Role, ...] = ()
    moves: Mapping[tuple[int, Role], int] = attrs.field(factory=dict)
    breaks: frozenset[tuple[int, Role]] = frozenset()
    owes: frozenset[int] = frozenset()
    count: Callable[[int, Role, int], tuple[int, bool]] | None = None
    due: Callable[[int, int], bool] | None = None
    takes_back: bool = False
    per: bool = True
    demands: bool = False

    @property
    def hears_other(self) -> bool:
        """Whether calls that fit no side matter too."""
        return any(role == "other" for _, role in self.breaks)

    @property
    def hears_turns(self) -> bool:
        """Whether requests to the model are counted."""
        return self.name in ("within", "ends_within")

    def play(self, state: int, role: Role, n: int) -> tuple[int, bool]:
        """Return the state after one role, and whether that breaks the rule.

        Args:
            state: 0 at the start; a number in counting forms.
            role: what the fact is to the rule.
            n: the rule's own number; 0 where it has none.
        """
        if self.count is not None:
            return self.count(state, role, n)
        pair = (state, role)
        return self.moves.get(pair, state), pair in self.breaks

    def play_all(self, state: int, roles: tuple[Role, ...], n: int) -> tuple[int, bool]:
        """Return the state after all roles of one fact, and whether any of them broke the rule."""
        broken = False
        for role in roles:
            state, breaks = self.play(state, role, n)
            broken = broken or breaks
        return state, broken

    def is_due(self, state: int, n: int) -> bool:
        """Whether something is still owed in a state."""
        if self.due is not None:
            return self.due(state, n)
        return state in self.owes

    def take_back(self, state: int) -> int:
        """Return the state once the last intent turned out not to have happened."""
        if self.count is None:
            return 1  # `each_needs`: what was used up may be used again
        return state - 1 if state > 0 else state + 1


def _up_to(number: int, role: Role, n: int) -> tuple[int, bool]:
    """Count `a`; more than n break the rule."""
    return (number + 1, number >= n) if role == "a" else (number, False)


def _up_to_none(number: int, role: Role, _n: int) -> tuple[int, bool]:
    return _up_to(number, role, 0)


def _any_number(number: int, role: Role, _n: int) -> tuple[int, bool]:
    return (number + 1, False) if role == "a" else (number, False)


def _either(number: int, role: Role, _n: int) -> tuple[int, bool]:
    """Count `a` upwards and `b` downwards; the other one breaks the rule and does not count."""
    if role == "a":
        return (number, True) if number < 0 else (number + 1, False)
    return (number, True) if number > 0 else (number - 1, False)


def _soon(number: int, role: Role, n: int) -> tuple[int, bool]:
    """Count from 1 while `b` is due; one more turn than n breaks the rule and ends the wait."""
    if role == "b" or (role == "turn" and number > n):
        return 0, role == "turn"
    if role == "a":
        return max(number, 1), False
    return (number + 1, False) if number else (0, False)


def _turns(number: int, role: Role, n: int) -> tuple[int, bool]:
    """Count turns; each one over n breaks the rule."""
    return (number + 1, number >= n) if role == "turn" else (number, False)


_AB: Final = ("a", "b")
_BA: Final = ("b", "a")

FORMS: Final[Mapping[str, Form]] = {
    form.name: form
    for form in (
        Form(
            name="never",
            arguments=("atom",),
            sides=("a",),
            count=_up_to_none,
            takes_back=True,
        ),
        Form(
            name="at_most",
            arguments=("atom", "count"),
            sides=("a",),
            count=_up_to,
            takes_back=True,
        ),
        Form(
            name="exactly",
            arguments=("atom", "count"),
            sides=("a",),
            count=_up_to,
            due=lambda number, n: number < n,
            takes_back=True,
            demands=True,
        ),
        Form(
            name="must",
            arguments=("atom",),
            sides=("a",),
            count=_any_number,
            due=lambda number, _n: number < 1,
            takes_back=True,
            per=False,
            demands=True,
        ),
        Form(
            name="starts_with",
            arguments=("atom",),
            sides=("a",),
            moves={(0, "a"): 1, (0, "other"): 1},
            breaks=frozenset({(0, "other")}),
            per=False,
        ),
        Form(
            name="only_after",
            arguments=("atom", "atom"),
            sides=_BA,
            moves={(0, "a"): 1},
            breaks=frozenset({(0, "b")}),
        ),
        Form(
            name="each_needs",
            arguments=("atom", "atom"),
            sides=_BA,
            moves={(0, "a"): 1, (1, "b"): 0},
            breaks=frozenset({(0, "b")}),
            takes_back=True,
        ),
        Form(
            name="leads_to",
            arguments=("atom", "atom"),
            sides=_AB,
            moves={(0, "a"): 1, (1, "b"): 0},
            owes=frozenset({1}),
        ),
        Form(
            name="next",
            arguments=("atom", "atom"),
            sides=_AB,
            moves={(0, "a"): 1, (1, "b"): 0, (1, "other"): 0},
            breaks=frozenset({(1, "other")}),
            owes=frozenset({1}),
        ),
        Form(
            name="never_after",
            arguments=("atom", "atom"),
            sides=_AB,
            moves={(0, "a"): 1},
            breaks=frozenset({(1, "b")}),
        ),
        Form(
            name="not_both",
            arguments=("atom", "atom"),
            sides=_AB,
            count=_either,
            takes_back=True,
        ),
        Form(
            name="within",
            arguments=("atom", "atom", "count"),
            sides=_AB,
            count=_soon,
            due=lambda number, _n: number > 0,
        ),
        Form(
            name="ends_within",
            arguments=("count",),
            count=_turns,
            per=False,
        ),
    )
}
"""Every form by its name. Source: verification.md section 3."""
