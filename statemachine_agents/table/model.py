"""The state table: every class an author writes, as frozen values.

Read this file first.  A workflow is a `Table`: states say who acts (`ask` the model, `do` tools,
`wait` for a person or the clock, `run` child workflows, `final` nobody); transitions are rows
`source, event, target, guard, assign` and fire on facts such as `fetch_order.ok`.

Rules.  1. Everything is data: text, numbers, tuples; no functions.  2. Table order decides.
3. `Table(...)`, TOML and dict forms use the same words and round-trip (`table.reading`,
`table.toml`).  4. Constructors check single values; what needs the whole table is `check`'s.
Not here: what the rows mean together (`table.grid`), whether they are right (`proof`), what they
do (`kernel`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from inspect import currentframe
from typing import Any, Final, TypeAlias

import attrs

from statemachine_agents.errors import TableError
from statemachine_agents.table.allowance import Allowance
from statemachine_agents.values import JSON

VERBS: Final = ("ask", "do", "wait", "run", "final")
WAITS: Final = ("message", "approval", "resolution", "timer")
TYPES: Final = ("string", "integer", "number", "boolean", "object", "list", "any")
"""Type words of context keys and signal fields; with `?` the value may be null."""

STAY: Final = "stay"
"""Target that takes a row and remains in the state, without a new visit."""


def _names(value: str | Iterable[str] | None) -> tuple[str, ...]:
    if value is None:
        return ()
    return (value,) if isinstance(value, str) else tuple(value)


def _optional_names(value: str | Iterable[str] | None) -> tuple[str, ...] | None:
    return None if value is None else _names(value)


def _texts(value: Mapping[str, str] | None) -> Mapping[str, str]:
    return dict(value or {})


Origin: TypeAlias = tuple[str, int] | None
"""File and line where somebody wrote a part of a table in Python; None for parts read from data."""


def _written() -> Origin:
    frame = currentframe()
    for _ in range(2):  # this function and the generated `__init__`
        frame = None if frame is None else frame.f_back
    if frame is None or frame.f_globals.get("__name__", "").startswith(_OURS):
        return None
    return frame.f_code.co_filename, frame.f_lineno


_OURS: Final = ("statemachine_agents.", "attr.")


def _origin() -> Any:
    return attrs.field(init=False, default=attrs.Factory(_written), eq=False, repr=False)


@attrs.frozen
class State:
    """A named situation, and who acts in it: exactly one of `ask do wait run final` is given.

    Args:
        name: an identifier.
        ask: instruction for the model while the run is here; `{context.key}` is filled in.
        do: tools the engine calls itself, all at once; `[]` is a pure branch; `"undo"` undoes.
        wait: `message`, `approval`, `resolution` or `timer` (or several): the run parks.
        run: child workflows, by name, run in parallel.
        final: `success` or `failure`.
        tools: names of tools and signals legal here (with the table's `everywhere`).
        talk: the model may speak to the customer.
        agent: who speaks; the table's own agent when absent.
        output: JSON Schema the reply's text must satisfy, or None.
        parallel: several effects of one reply may run together.
        shows: context keys the model, or the person asked, gets to see.
        fresh: start a new prompt epoch on entry.
        say: text sent to the customer on entry, without a model.
        after: time until `timer.fired`, such as `"90s"`, `"1h"`, `"2d"`.
        question: what a person is asked.
        returns: expression; the outcome's value in a final state.
        each: expression giving a list; one child run per item.
        at_once: how many children of `each` run at the same time.
        join: when `settled` is reached: `all`, `any` or a number of children.
    """

    name: str
    ask: str | None = None
    do: tuple[str, ...] | None = attrs.field(default=None, converter=_optional_names)
    wait: tuple[str, ...] | None = attrs.field(default=None, converter=_optional_names)
    run: tuple[str, ...] | None = attrs.field(default=None, converter=_optional_names)
    final: str | None = None
    tools: tuple[str, ...] = attrs.field(default=(), converter=_names, kw_only=True)
    talk: bool = attrs.field(default=False, kw_only=True)
    agent: str | None = attrs.field(default=None, kw_only=True)
    output: Mapping[str, JSON] | None = attrs.field(default=None, kw_only=True)
    parallel: bool = attrs.field(default=False, kw_only=True)
    shows: tuple[str, ...] = attrs.field(default=(), converter=_names, kw_only=True)
    fresh: bool = attrs.field(default=False, kw_only=True)
    say: str | None = attrs.field(default=None, kw_only=True)
    after: str | None = attrs.field(default=None, kw_only=True)
    question: str | None = attrs.field(default=None, kw_only=True)
    returns: str | None = attrs.field(default=None, kw_only=True)
    each: str | None = attrs.field(default=None, kw_only=True)
    at_once: int | None = attrs.field(default=None, kw_only=True)
    join: str | int | None = attrs.field(default=None, kw_only=True)
    origin: Origin = _origin()  # noqa: RUF009 - makes a field, as attrs.field does

    @property
    def verbs(self) -> tuple[str, ...]:
        """The verbs that are set; a sound state has exactly one."""
        return tuple(verb for verb in VERBS if getattr(self, verb) is not None)

    @property
    def verb(self) -> str:
        """Who acts here: the first of `ask do wait run final` that is set."""
        for verb in VERBS:
            if getattr(self, verb) is not None:
                return verb
        return "final"


@attrs.frozen
class Transition:
    """One row: in `source`, on `event`, if `guard` holds, go to `target` and assign.

    Args:
        source: a state, a group, or `*` for every non-final state.
        event: a fact such as `fetch_order.ok`, a pattern with one `*`, a conjunction
            `a.ok & b.ok`, or a list of these.
        target: a state, or `stay`; None makes the row a note: it assigns, then the search goes on.
        guard: expression; absent means always.
        assign: context path -> expression; all read the old context.
        name: a label for journals, pictures and messages.
    """

    source: str
    event: tuple[str, ...] = attrs.field(converter=_names)
    target: str | None = None
    guard: str | None = None
    assign: Mapping[str, str] = attrs.field(factory=dict, converter=_texts)
    name: str | None = None
    origin: Origin = _origin()  # noqa: RUF009 - makes a field, as attrs.field does


@attrs.frozen(kw_only=True)
class Use:
    """How a table uses a tool.

    Args:
        bind: argument -> expression on the context; hidden from the model, which cannot choose it.
        when: condition on context and final arguments; false refuses the call.
        why: text for the model when `when` refuses.
        approve: condition; true parks the run until a person approves these very arguments.
        undo: tool that undoes this one (overrides the tool's own).
        use: the real tool's name when this name is an alias.
    """

    bind: Mapping[str, str] = attrs.field(factory=dict, converter=_texts)
    when: str | None = None
    why: str | None = None
    approve: str | None = None
    undo: str | None = None
    use: str | None = None
    origin: Origin = _origin()  # noqa: RUF009 - makes a field, as attrs.field does


@attrs.frozen
class Signal:
    """A call that only says something: no function, event `<name>.ok`.

    Args:
        fields: field -> type (`"string"`, `"integer?"`...).
        about: description for the model.
    """

    fields: Mapping[str, str] = attrs.field(factory=dict, converter=_texts)
    about: str = ""


@attrs.frozen
class Agent:
    """Who speaks in a state: own instructions, own transcript, perhaps another model.

    Args:
        name: an identifier.
        instructions: the agent's part of the system prompt.
        model: model id, or None for the driver's.
        max_tokens: cap of one reply.
        effort: `low`, `medium`, `high` or None for the model's default.
    """

    name: str
    instructions: str = ""
    model: str | None = None
    max_tokens: int = attrs.field(default=4096, validator=attrs.validators.ge(1))
    effort: str | None = None


def _bound(least: float) -> Any:
    return attrs.validators.optional(attrs.validators.ge(least))


@attrs.frozen(kw_only=True)
class Limits:
    """Bounds that become events `limit.<name>` when reached.

    The first six count per stretch, since the last outside input; the others per run. None means
    no bound.

    Args:
        iterations: model requests.
        calls: tool calls.
        visits: visits of one state.
        refusals: refused proposals.
        nudges: replies that led nowhere and were answered with a reminder.
        idle: turns in a row in which nothing was new.
        requests: model requests of the whole run.
        tokens: input and output tokens of the whole run.
        cost_usd: US dollars of the whole run, as the model adapter prices them.
        seconds: working time of the whole run, not while parked.
    """

    iterations: int = attrs.field(default=25, validator=attrs.validators.ge(1))
    calls: int = attrs.field(default=40, validator=attrs.validators.ge(1))
    visits: int = attrs.field(default=50, validator=attrs.validators.ge(1))
    refusals: int = attrs.field(default=8, validator=attrs.validators.ge(1))
    nudges: int = attrs.field(default=3, validator=attrs.validators.ge(1))
    idle: int = attrs.field(default=3, validator=attrs.validators.ge(1))
    requests: int = attrs.field(default=200, validator=attrs.validators.ge(1))
    tokens: int | None = attrs.field(default=None, validator=_bound(1))
    cost_usd: float | None = attrs.field(default=None, validator=_bound(0))
    seconds: float | None = attrs.field(default=None, validator=_bound(0))


@attrs.frozen(kw_only=True)
class Key:
    """One declared context key.

    Args:
        type: `string integer number boolean object list any`, with `?` when it may be null.
        default: value at the start; a key neither nullable nor defaulted is a required input.
        scope: `run`, or `stretch`: reset to its default at each outside input.
        private: never shown in a prompt.
    """

    type: str
    default: JSON = None
    scope: str = "run"
    private: bool = False

    @property
    def required(self) -> bool:
        """Whether a run cannot start without a value for it."""
        return self.default is None and not self.type.endswith("?") and self.type != "any"


def _keys(value: Mapping[str, str | Key] | None) -> Mapping[str, Key]:
    return {
        name: key if isinstance(key, Key) else Key(type=key) for name, key in (value or {}).items()
    }


def _by_name(kind: str, value: Any) -> dict[str, Any]:
    if isinstance(value, Mapping):
        return dict(value)
    out: dict[str, Any] = {}
    for item in value or ():
        if item.name in out:
            msg = f"{kind} {item.name!r} is defined twice; give each {kind} its own name"
            raise TableError(msg, name=item.name)
        out[item.name] = item
    return out


def _states(value: Mapping[str, State] | Iterable[State]) -> Mapping[str, State]:
    return _by_name("state", value)


def _agents(value: Mapping[str, Agent] | Iterable[Agent]) -> Mapping[str, Agent]:
    return _by_name("agent", value)


def _group_members(value: Mapping[str, Iterable[str]] | None) -> Mapping[str, tuple[str, ...]]:
    return {name: _names(members) for name, members in (value or {}).items()}


@attrs.frozen(kw_only=True)
class Table:
    """A whole workflow as data. See the module docstring and `design.md` section 3.

    Args:
        name: names the workflow.
        version: free text; part of the definition.
        initial: the first state.
        states: list of `State` (a mapping by name inside).
        transitions: rows, in order.
        instructions: opens the system prompt of every agent.
        limits: bounds of a run.
        rules: rule texts, such as `at_most(process_credit, 1)`.
        tools: tool name -> `Use`.
        everywhere: tools legal in every `ask` state.
        context: key -> type text or `Key`.
        groups: name -> states; usable as a source.
        agents: list of `Agent` (a mapping by name inside).
        signals: name -> `Signal`.
        define: name -> expression text; may use earlier ones.
        allow: findings to keep, each with a reason; no part of what a run is decided by.
    """

    name: str
    version: str = "1"
    initial: str
    states: Mapping[str, State] = attrs.field(converter=_states)
    transitions: tuple[Transition, ...] = attrs.field(default=(), converter=tuple)
    instructions: str = ""
    limits: Limits = attrs.field(factory=Limits)
    rules: tuple[str, ...] = attrs.field(default=(), converter=_names)
    tools: Mapping[str, Use] = attrs.field(factory=dict, converter=dict)
    everywhere: tuple[str, ...] = attrs.field(default=(), converter=_names)
    context: Mapping[str, Key] = attrs.field(factory=dict, converter=_keys)
    groups: Mapping[str, tuple[str, ...]] = attrs.field(factory=dict, converter=_group_members)
    agents: Mapping[str, Agent] = attrs.field(factory=dict, converter=_agents)
    signals: Mapping[str, Signal] = attrs.field(factory=dict, converter=dict)
    define: Mapping[str, str] = attrs.field(factory=dict, converter=_texts)
    allow: tuple[Allowance, ...] = attrs.field(default=(), converter=tuple)
    origin: Origin = _origin()  # noqa: RUF009 - makes a field, as attrs.field does

    def written(self, where: str) -> Origin:
        """Return file and line of a place such as `transitions[3].guard`, if written in Python."""
        section, *steps = re.findall(r"[^.\[\]]+", where) or [""]
        name = steps[0] if steps else ""
        part: Any = None
        if section == "transitions" and name.isdecimal() and int(name) < len(self.transitions):
            part = self.transitions[int(name)]
        elif section == "states":
            part = self.states.get(name)
        elif section == "tools":
            part = self.tools.get(name)
        return self.origin if part is None or part.origin is None else part.origin

    @classmethod
    def from_dict(cls, data: Mapping[str, JSON]) -> Table:
        """Read the dict form strictly; every problem is reported at once.

        Raises:
            TableError: unknown keys, wrong types; `facts["problems"]` lists all.
        """
        from statemachine_agents.table.reading import read_table

        return read_table(data)

    @classmethod
    def from_toml(cls, text: str, *, source: str = "table.toml") -> Table:
        """Read the TOML form; `source` is the file name used in messages.

        Raises:
            TableError: not TOML, or not a table; places carry line numbers where known.
        """
        from statemachine_agents.table.toml import parse_toml

        return parse_toml(text, source=source)

    def to_dict(self) -> dict[str, JSON]:
        """Return the plain form; `Table.from_dict` gives an equal table back."""
        from statemachine_agents.table.reading import write_table

        return write_table(self)

    def to_toml(self) -> str:
        """Return the TOML form in the house order, one row a line."""
        from statemachine_agents.table.toml import write_toml

        return write_toml(self.to_dict())

    def agent_of(self, state: State) -> Agent:
        """Return who speaks in a state; tables without agents have one called `agent`."""
        if state.agent is not None and state.agent in self.agents:
            return self.agents[state.agent]
        return _DEFAULT_AGENT if state.agent is None else Agent(state.agent)

    def tools_in(self, state: State) -> tuple[str, ...]:
        """Return the tools and signals legal in a state, in table order, each once."""
        if state.verb == "ask":
            return tuple(dict.fromkeys((*state.tools, *self.everywhere)))
        if state.verb == "do" and state.do != ("undo",):
            return tuple(dict.fromkeys(state.do or ()))
        return ()

    def __str__(self) -> str:
        return self.to_toml()

    def __format__(self, spec: str) -> str:
        from statemachine_agents.table.diagram import written

        return written(self, spec)

    def _repr_mimebundle_(self, **_asked: object) -> dict[str, str]:
        """Return what a notebook shows: the picture where it can be drawn, Mermaid, Markdown."""
        from statemachine_agents.table.rendering import bundle

        return bundle(self)


_DEFAULT_AGENT: Final = Agent("agent")
