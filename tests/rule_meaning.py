"""What each form of rule means, said over whole words of facts: the oracle of the automata.

A fact is (name, scope, call).  `verdict` looks at every position of a word and everything before it
again, without any state of its own, so it shares no idea with `table.automata` but the definitions.
"""

from __future__ import annotations

from typing import Any

from statemachine_agents.table.rules import TURN, Rule

Fact = tuple[str, dict[str, Any], int | None]


def _side(rule: Rule, letter: str) -> int:
    order = {"only_after": "ba", "each_needs": "ba"}.get(rule.form, "ab")
    return order.index(letter)


def hits(rule: Rule, letter: str, fact: Fact) -> bool:
    """Whether a fact is the rule's `a` or `b`."""
    if rule.form == "ends_within" or (letter == "b" and len(rule.sides) == 1):
        return False
    side = rule.sides[_side(rule, letter)]
    return any(atom.name == fact[0] and atom.fits(fact[1]) for atom in side)


def is_call(name: str) -> bool:
    """Whether a fact is a call: events carry a dot, but for two of the engine's."""
    return "." not in name and name not in ("entered", "settled")


def is_other(rule: Rule, fact: Fact) -> bool:
    """Whether a fact is a call that neither is what is awaited nor leads to it."""
    letter = "a" if rule.form == "starts_with" else "b"
    if not is_call(fact[0]) or hits(rule, letter, fact):
        return False
    events = [atom.name for atom in rule.sides[_side(rule, letter)] if "." in atom.name]
    return fact[0] not in {event.split(".")[0] for event in events}


def standing(word: list[Fact]) -> list[Fact]:
    """Leave out intents whose call has ended in an error: they did not happen."""
    gone = {call for name, _, call in word if name.endswith(".error") and call is not None}
    return [fact for fact in word if not is_call(fact[0]) or fact[2] not in gone]


def breaks(rule: Rule, before: list[Fact], fact: Fact) -> bool:
    """Whether a fact breaks the rule after the facts `before` (of the same `per` value)."""
    a, b = hits(rule, "a", fact), hits(rule, "b", fact)
    if fact[0].endswith(".error") and fact[2] is not None:
        # First its call turns out not to have happened, then the error itself is heard.
        before = [*before, (f"its call ends: {fact[0]}", fact[1], fact[2])]
    kept = standing(before)

    def seen(letter: str) -> list[int]:
        return [index for index, each in enumerate(before) if hits(rule, letter, each)]

    def count(letter: str) -> int:
        return sum(hits(rule, letter, each) for each in kept)

    match rule.form:
        case "never":
            return a
        case "at_most" | "exactly":
            return a and count("a") >= rule.n
        case "starts_with":
            return is_other(rule, fact) and not any(
                hits(rule, "a", each) or is_other(rule, each) for each in before
            )
        case "only_after":
            return b and not seen("a")
        case "each_needs":
            return b and not _free(rule, before)
        case "next":
            since = max(seen("a"), default=None)
            waits = since is not None and not any(
                hits(rule, "b", each) or is_other(rule, each) for each in before[since + 1 :]
            )
            return waits and is_other(rule, fact)
        case "never_after":
            return b and bool(seen("a"))
        case "not_both":
            first = next((x for x in _sides_taken(rule, before)), None)
            return (a and b) or (a and first == "b") or (b and first == "a")
        case "within":
            return fact[0] == TURN and _waited(rule, before) == rule.n + 1
        case "ends_within":
            return fact[0] == TURN and sum(each[0] == TURN for each in before) >= rule.n
        case _:  # must, leads_to
            return False


def _free(rule: Rule, before: list[Fact]) -> bool:
    """Whether a permission is there: given by `a` or by a failed `b`, used up by `b`."""
    free, users = False, set()
    for fact in before:
        name, _, call = fact
        if hits(rule, "b", fact) and free:
            free = False
            if is_call(name):
                users.add(call)
        if hits(rule, "a", fact):
            free = True
        if name.endswith(".error") and call in users:
            free = True
        if name.endswith((".ok", ".error")):
            users.discard(call)
    return free


def _sides_taken(rule: Rule, before: list[Fact]) -> list[str]:
    """Which side stands: calls that broke the rule or failed later do not count."""
    taken: dict[Any, str] = {}
    for index, fact in enumerate(before):
        name, _, call = fact
        if name.endswith(".error"):
            taken.pop(call, None)
        for letter in "ba":
            if hits(rule, letter, fact) and all(side == letter for side in taken.values()):
                taken[call if is_call(name) else ("event", index)] = letter
        if name.endswith(".ok") and call in taken:
            taken["settled", call] = taken.pop(call)
    return list(taken.values())


def _waited(rule: Rule, before: list[Fact]) -> int:
    """Turns since the first `a` that still waits, plus one; 0 when none waits."""
    waited = 0
    for fact in before:
        if hits(rule, "b", fact) or (fact[0] == TURN and waited == rule.n + 1):
            waited = 0
        elif fact[0] == TURN and waited:
            waited += 1
        if hits(rule, "a", fact) and not waited:
            waited = 1
    return waited


def due(rule: Rule, word: list[Fact]) -> bool:
    """Whether something is owed after a word (of one `per` value)."""
    kept = standing(word)
    count = sum(hits(rule, "a", fact) for fact in kept)
    match rule.form:
        case "exactly":
            return count < rule.n
        case "must":
            return count < 1
        case "leads_to":
            return _waits(rule, word, other=False)
        case "next":
            return _waits(rule, word, other=True)
        case "within":
            return _waited(rule, word) > 0
        case _:
            return False


def _waits(rule: Rule, word: list[Fact], *, other: bool) -> bool:
    causes = [index for index, fact in enumerate(word) if hits(rule, "a", fact)]
    if not causes:
        return False
    rest = word[causes[-1] + 1 :]
    return not any(hits(rule, "b", fact) or (other and is_other(rule, fact)) for fact in rest)


def verdict(rule: Rule, word: list[Fact]) -> tuple[set[str], set[str]]:
    """Return the `per` values for which a word breaks the rule, and for which it leaves it owed."""

    def mine(key: str, word: list[Fact]) -> list[Fact]:
        # Turns and the ends of calls belong to every value; all else to its own.
        opened = {call for name, scope, call in word if is_call(name) and rule.key(scope) == key}
        out = []
        for name, scope, call in word:
            if name == TURN or rule.key(scope) == key:
                out.append((name, scope, call))
            elif name.endswith((".ok", ".error")) and call in opened:
                out.append((f"another value's {name}", scope, call))  # ends the call, no more
        return out

    keys = {rule.key(fact[1]) for fact in word if rule.per is not None and fact[0] != TURN}
    keys = keys if rule.per is not None else {"*"}
    broken, owed = set(), set()
    for key in keys:
        for index, fact in enumerate(word):
            own = fact[0] == TURN or rule.key(fact[1]) == key
            if own and breaks(rule, mine(key, word[:index]), fact):
                broken.add(key)
        if due(rule, mine(key, word)) and (rule.form != "exactly" or mine_hit(rule, key, word)):
            owed.add(key)
    return broken, owed


def mine_hit(rule: Rule, key: str, word: list[Fact]) -> bool:
    """Whether a value was ever counted; `exactly` without `per` is about the run as a whole."""
    return rule.per is None or any(
        rule.key(fact[1]) == key and hits(rule, "a", fact) for fact in word
    )
