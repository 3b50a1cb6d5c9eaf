"""Hypothesis strategies: random small tables without errors, and events their states can meet.

Rules.  1. `tables()` gives tables that `check` finds no error in, with or without `SPECS`; every
state has a path to an end.  2. Guards and assigns may still fail on a value (`guard.error`).
3. Names are few and shared, so that rows of different kinds meet in one cell.
"""

from __future__ import annotations

from typing import Any

import attrs
from hypothesis import strategies as st

from statemachine_agents.proof.reads import names_given
from statemachine_agents.proof.structure import check
from statemachine_agents.table.events import alphabet, is_engine
from statemachine_agents.table.grid import Entry, expand
from statemachine_agents.table.model import Key, Limits, Signal, State, Table, Transition, Use
from statemachine_agents.table.toolspec import ToolSpec

_ANYTHING = {"type": "object"}
SPECS = {
    "read_a": ToolSpec(name="read_a", arguments=_ANYTHING, effect="read"),
    "read_b": ToolSpec(name="read_b", arguments=_ANYTHING, effect="read"),
    "pay": ToolSpec(name="pay", arguments=_ANYTHING, effect="manual"),
    "send": ToolSpec(name="send", arguments=_ANYTHING, effect="idempotent"),
    "hold": ToolSpec(name="hold", arguments=_ANYTHING, effect="verifiable", verifies=True),
}
"""Every tool a random table may use."""

SIGNAL = "give_up"

CONTEXT = {
    "count": Key(type="integer", default=0),
    "flag": Key(type="boolean", default=False),
    "name": Key(type="string?"),
    "items": Key(type="list", default=[]),
    "data": Key(type="object?"),
    "temp": Key(type="any", scope="stretch"),
}
"""The context of every random table; a run needs no input."""

_ATOMS = {
    "": (
        "context.count < 3", "context.flag", "not context.flag", "context.name == 'x'",
        "exists(context.data)", "len(context.items) < 2", "visits.s0 < 3", "iterations < 5",
        "context.data.n > 1", "context.name < 'm'",  # these fail while the value is null
        "any(x, context.items, x == 1)", "exists(context.data.n) and context.data.n > 1",
    ),
    "result": (
        "result.n > 1", "result.eligible", "result.kind == 'a'", "exists(result.n)",
        "default(result.n, 0) < 2",
    ),
    "args": ("args.n == 1", "'n' in args"),
    "error": ("error.kind == 'busy'", "error.attempts < 3"),
    "message": ("message.text == 'yes'", "len(message.text) > 3"),
    "approval": ("approval.by == 'ann'",),
    "reply": ("'done' in default(reply.text, '')",),
}  # fmt: skip
_VALUES = {
    "count": ("context.count + 1", "len(context.items)", "0", "iterations"),
    "flag": ("true", "not context.flag", "context.count > 1"),
    "name": ("'x'", "null", "lower('ABC')"),
    "items": ("context.items + [1]", "[]", "[context.count, 2]"),
    "data": ("{n: context.count}", "null"),
    "data.n": ("context.count",),
    "temp": ("context.name", "1", "null"),
}
_FROM_EVENT = {
    "result": {"data": "result", "count": "result.n", "temp": "result.kind"},
    "args": {"temp": "args"},
    "error": {"name": "error.kind"},
    "message": {"name": "message.text"},
    "approval": {"temp": "approval"},
    "reply": {"name": "reply.text"},
}
_ARRIVAL = {
    "message": "user.message",
    "approval": "approval.granted",
    "timer": "timer.fired",
}


@st.composite
def tables(draw: st.DrawFn, *, max_states: int = 4) -> Table:
    """Draw a small table that `check` finds no error in.

    States `s0`, `s1`... with `ask`, `do` and `wait`, finals `done` and `failed`; rows with
    patterns, groups, lists, conjunctions, notes, `stay` and guards. The last rows lead from each
    state towards an end, whatever stands above them.

    Args:
        draw: given by Hypothesis.
        max_states: most states besides the two finals.
    """
    count = draw(st.integers(1, max_states))
    names = [f"s{index}" for index in range(count)]
    states = [draw(_states(name)) for name in names]
    states += [
        State("done", final="success", returns="context.count"),
        State("failed", final="failure", returns="context.name"),
    ]
    used = sorted({tool for state in states for tool in (*state.tools, *(state.do or ()))})
    uses = {tool: draw(_uses()) for tool in used if tool != SIGNAL and draw(st.booleans())}
    bare = Table(
        name="random",
        initial="s0",
        states=_resolvable(states, used),
        context=CONTEXT,
        tools=uses,
        groups={"working": draw(st.lists(st.sampled_from(names), unique=True, max_size=3))},
        signals={SIGNAL: Signal(fields={"reason": "string?"})},
        limits=draw(st.sampled_from([Limits(), Limits(iterations=3, calls=4, visits=3)])),
        rules=["at_most(pay, 2)"] if "pay" in used and draw(st.booleans()) else [],
        define={"few": "context.count < 3"},
    )
    rows: list[Transition] = []
    for name in names:
        rows += draw(st.lists(_rows(bare, name), min_size=1, max_size=5))
    rows += draw(st.lists(_shared_rows(bare), max_size=3))
    rows = draw(st.permutations(rows))
    rows += [_way_out(bare, name, index) for index, name in enumerate(names)]
    table = attrs.evolve(bare, transitions=rows)
    errors = [problem for problem in check(table, SPECS) if problem.severity == "error"]
    errors += [problem for problem in check(table) if problem.severity == "error"]
    assert not errors, f"{[str(error) for error in errors]}\n{table}"
    return table


@st.composite
def scenarios(draw: st.DrawFn, table: Table, *, most: int = 12) -> list[tuple[str, dict[str, Any]]]:
    """Draw a walk: events that states of a table can meet, each with the names it gives to guards.

    Which guards hold is not known here, so the walk follows every state the run may be in by now.

    Args:
        draw: given by Hypothesis.
        table: a table, such as one of `tables()`.
        most: longest walk.
    """
    grid, _ = expand(table, SPECS)
    here = {table.initial}
    walk = []
    for _ in range(draw(st.integers(0, most))):
        cells = [cell for state in sorted(here) for cell in grid.cells[state].values()]
        moving = sorted({cell.event for cell in cells if cell.moves})
        met = sorted({cell.event for cell in cells})
        if not met:
            break
        # Mostly events that some row takes, or most walks would end in a default at once.
        often = draw(st.integers(0, 4)) and moving
        event = draw(st.sampled_from(often or met))
        walk.append((event, draw(payloads(event))))
        here = {
            state for before in here for state in _after(before, grid.cell(before, event).moves)
        }
    return walk


def _after(state: str, moves: tuple[Entry, ...]) -> set[str]:
    """Return where a run can be after an event, whatever the guards say."""
    found = set()
    for entry in moves:
        found.add(state if entry.row.stays else str(entry.row.transition.target))
        if entry.row.guard is None and not entry.needs:
            return found
    return {state, *found}


def payloads(event: str) -> st.SearchStrategy[dict[str, Any]]:
    """Return a strategy of what an event gives to guards: `{"result": ..., "args": ...}`."""
    small = st.integers(0, 3)
    shapes: dict[str, st.SearchStrategy[Any]] = {
        "result": st.one_of(
            st.none(),
            st.fixed_dictionaries(
                {},
                optional={
                    "n": small,
                    "eligible": st.one_of(st.booleans(), st.none()),
                    "kind": st.sampled_from(["a", "b"]),
                },
            ),
        ),
        "args": st.fixed_dictionaries({}, optional={"n": small}),
        "error": st.fixed_dictionaries(
            {
                "kind": st.sampled_from(["busy", "not_found"]),
                "text": st.just("it did not work"),
                "attempts": small,
            }
        ),
        "message": st.fixed_dictionaries({"text": st.sampled_from(["yes", "no", "later"])}),
        "approval": st.fixed_dictionaries({"by": st.sampled_from(["ann", "bob"])}),
        "reply": st.fixed_dictionaries({"text": st.sampled_from(["done", "not yet", ""])}),
    }
    return st.fixed_dictionaries({name: shapes[name] for name in sorted(names_given(event))})


@st.composite
def _states(draw: st.DrawFn, name: str) -> State:
    tools = st.lists(st.sampled_from(sorted(SPECS)), unique=True, max_size=3)
    after = draw(st.sampled_from([None, None, "90s", "2h"]))
    say = draw(st.sampled_from([None, None, "Hello {context.name}."]))
    verb = draw(st.sampled_from(["ask", "ask", "ask", "do", "wait"]))
    if verb == "do":
        return State(name, do=draw(tools), say=say, after=after)
    if verb == "wait":
        kinds = st.sampled_from(["message", "approval", "timer", "resolution"])
        waits = draw(st.lists(kinds, min_size=1, max_size=2, unique=True))
        timer = "1d" if "timer" in waits else after
        return State(name, wait=waits, after=timer, question="Go on?", shows=["count"])
    return State(
        name,
        ask="Count {context.count}.",
        tools=[*draw(tools), *([SIGNAL] if draw(st.booleans()) else [])],
        talk=draw(st.booleans()),
        parallel=draw(st.booleans()),
        say=say,
        after=after,
    )


def _resolvable(states: list[State], used: list[str]) -> list[State]:
    """Replace waits for a resolution where no call of the table can ever be in doubt."""
    if any(SPECS[tool].effect != "read" for tool in used if tool != SIGNAL):
        return states
    return [
        State(state.name, wait="message", after=state.after)
        if "resolution" in (state.wait or ())
        else state
        for state in states
    ]


@st.composite
def _uses(draw: st.DrawFn) -> Use:
    return Use(
        bind=draw(st.sampled_from([{}, {"n": "context.count"}])),
        when=draw(st.sampled_from([None, "context.count < 3", "few and not context.flag"])),
        why="Not now.",
        approve=draw(st.sampled_from([None, None, "context.flag"])),
    )


@st.composite
def _rows(draw: st.DrawFn, table: Table, name: str) -> Transition:
    """A row whose source is one state, on events it can meet."""
    meets = alphabet(table, table.states[name], SPECS)
    events = draw(st.lists(st.sampled_from(meets), min_size=1, max_size=2, unique=True))
    results = [event for event in meets if not is_engine(event)]
    form = draw(st.sampled_from(["exact", "exact", "pattern", "conjunction"]))
    if form == "conjunction" and len(results) > 1:
        members = st.sampled_from(results)
        joined = draw(st.lists(members, min_size=2, max_size=3, unique=True))
        return draw(_written(table, name, [" & ".join(joined)], joined))
    if form == "pattern":
        tails = ["*.ok", "*.error", "read_*.ok", "*"] if results else []
        heads = sorted({f"{event.split('.')[0]}.*" for event in meets if "." in event})
        found = [
            pattern
            for pattern in (*tails, *heads)
            if any(_matches(pattern, event) for event in meets)
        ]
        if found:
            pattern = draw(st.sampled_from(found))
            events = [event for event in meets if _matches(pattern, event)]
            return draw(_written(table, name, [pattern], events))
    return draw(_written(table, name, events, events))


@st.composite
def _shared_rows(draw: st.DrawFn, table: Table) -> Transition:
    """A row whose source is `*` or a group."""
    meets = sorted(
        {event for state in table.states.values() for event in alphabet(table, state, SPECS)}
    )
    event = draw(st.sampled_from([*meets, "limit.*", "*.error", "*.ok"]))
    events = [found for found in meets if _matches(event, found)]
    return draw(_written(table, draw(st.sampled_from(["*", "working"])), [event], events))


@st.composite
def _written(
    draw: st.DrawFn, table: Table, source: str, texts: list[str], events: list[str]
) -> Transition:
    """A row on these event texts, reading only names that every one of `events` gives."""
    given_by = [names_given(event) for event in events]
    given = sorted(frozenset.intersection(*given_by)) if given_by else []
    target = draw(st.sampled_from([None, "stay", *table.states]))
    guard = draw(st.one_of(st.none(), _guards(given)))
    assign = draw(_assigns(given, at_least=1 if target is None else 0))
    name = draw(st.sampled_from([None, None, "named"]))
    return Transition(source, texts, target, guard, assign, name)


def _guards(given: list[str]) -> st.SearchStrategy[str]:
    atoms = st.sampled_from(
        [*_ATOMS[""], "few", *(text for name in given for text in _ATOMS[name])]
    )
    return st.recursive(
        atoms,
        lambda inner: st.one_of(
            st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(
                lambda parts: f"({parts[0]}) {parts[1]} ({parts[2]})"
            ),
            inner.map(lambda text: f"not ({text})"),
        ),
        max_leaves=3,
    )


@st.composite
def _assigns(draw: st.DrawFn, given: list[str], *, at_least: int) -> dict[str, str]:
    choices = {key: list(values) for key, values in _VALUES.items()}
    for name in given:
        for key, text in _FROM_EVENT[name].items():
            choices[key].append(text)
    keys = st.lists(st.sampled_from(sorted(choices)), min_size=at_least, max_size=2, unique=True)
    return {key: draw(st.sampled_from(choices[key])) for key in draw(keys)}


def _way_out(table: Table, name: str, index: int) -> Transition:
    """The row that leads on from a state, so that every state has a path to an end."""
    state = table.states[name]
    following = f"s{index + 1}"
    target = following if following in table.states else "done"
    if state.verb == "ask":
        return Transition(name, f"{state.tools[0]}.ok" if state.tools else "model.done", target)
    if state.verb == "do":
        return Transition(name, "settled" if state.do else "entered", target)
    events = [
        next(
            event
            for event in alphabet(table, state, SPECS)
            if event == _ARRIVAL.get(kind) or (kind == "resolution" and not is_engine(event))
        )
        for kind in state.wait or ()
    ]
    return Transition(name, events, target)


def _matches(pattern: str, event: str) -> bool:
    head, star, tail = pattern.partition("*")
    if not star:
        return pattern == event
    if not head and is_engine(event):
        return False
    return event.startswith(head) and event.endswith(tail) and len(event) >= len(head + tail)
