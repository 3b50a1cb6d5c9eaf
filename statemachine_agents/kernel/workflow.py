"""A workflow: a checked table bound to its tools, once, immutable.

Rules.  1. Binding reports every problem together and refuses a table with errors.  2. Everything
derived from the table (grid, machine, rules, bindings, schemas) is built here, once, and shared by
all runs.  3. A workflow without functions (`from_definition`) can do all but call tools.
Not here: calling (`tools.toolbox`), deciding (`step`, `gate`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import attrs

from statemachine_agents.errors import UsageError, ValueRefused
from statemachine_agents.kernel.machine import Decider
from statemachine_agents.proof.structure import check
from statemachine_agents.table.definition import Definition
from statemachine_agents.table.expressions import Expression, parse
from statemachine_agents.table.grid import Grid, definitions, expand
from statemachine_agents.table.model import Limits, Signal, State, Table, Use
from statemachine_agents.table.problems import Problem, refuse, suggest
from statemachine_agents.table.rendering import bundle
from statemachine_agents.table.rule_syntax import parse_rule
from statemachine_agents.table.rules import RuleSet
from statemachine_agents.table.toolspec import ToolSpec
from statemachine_agents.values import JSON, ingest

_KINDS: Final[Mapping[str, Callable[[Any], bool]]] = {
    "string": lambda value: isinstance(value, str),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "boolean": lambda value: isinstance(value, bool),
    "object": lambda value: isinstance(value, Mapping),
    "list": lambda value: isinstance(value, list),
    "any": lambda _value: True,
}


@attrs.frozen(eq=False)
class Binding:
    """How the table uses one tool or signal, compiled.

    Args:
        name: as table and model write it.
        spec: the tool; for a signal a spec made from its fields.
        signal: whether there is no function behind it.
        bind: argument and expression, hidden from the model.
        when: condition, or None.
        why: text for the model when `when` refuses.
        approve: condition under which a person must agree, or None.
        undo: tool that undoes it, or None.
        shown: JSON Schema of the arguments the model gives.
    """

    name: str
    spec: ToolSpec
    signal: bool
    bind: tuple[tuple[str, Expression], ...]
    when: Expression | None
    why: str | None
    approve: Expression | None
    undo: str | None
    shown: Mapping[str, JSON]

    @property
    def reads(self) -> bool:
        """Whether several of it may run at once: it changes nothing."""
        return self.signal or self.spec.effect == "read"


class Workflow:
    """Bind a table to functions.

    Args:
        table: the state table.
        tools: functions decorated with `@tool` (bound methods too).
        workflows: child workflows that `run=` states name.

    Raises:
        TableError: with every problem of severity `error`.

    Example:
        >>> Workflow(table, tools=[fetch_order, process_credit])  # doctest: +SKIP
    """

    def __init__(
        self,
        table: Table,
        tools: Iterable[Callable[..., Any]] = (),
        workflows: Iterable[Workflow] = (),
    ) -> None:
        functions, specs = _bound(table, tools)
        children = {child.table.name: child for child in workflows}
        definition = Definition(
            table, specs, {name: child.definition.hash for name, child in children.items()}
        )
        self._build(definition, functions, children)

    @classmethod
    def from_definition(
        cls,
        definition: Definition,
        functions: Mapping[str, Callable[..., Any]] | None = None,
        children: Mapping[str, Workflow] | None = None,
    ) -> Workflow:
        """Build from stored data: for replay and checks, or with functions by table name to run."""
        workflow = cls.__new__(cls)
        cls._build(workflow, definition, functions or {}, children or {})
        return workflow

    def _build(
        self,
        definition: Definition,
        functions: Mapping[str, Callable[..., Any]],
        children: Mapping[str, Workflow],
    ) -> None:
        table = definition.table
        problems = check(table, definition.tools, children=tuple(definition.children))
        refuse(f"workflow {table.name!r}", problems)
        self.table = table
        self.definition = definition
        self.functions = functions
        self.children = children
        self.problems: tuple[Problem, ...] = problems
        self.grid: Grid = expand(table, definition.tools)[0]
        self.machine = Decider(self.grid)
        known, _ = definitions(table)
        self.rules = RuleSet.of(tuple(parse_rule(text, known) for text in table.rules))
        self.limits = _bounded(table.limits, self.rules.turns)
        self.bindings = _bindings(table, definition.tools, known)
        self.returns = {
            name: parse(state.returns, known)
            for name, state in table.states.items()
            if state.returns is not None
        }
        self.each = {
            name: parse(state.each, known)
            for name, state in table.states.items()
            if state.each is not None
        }
        self.reads_time = self._reads_time()
        self.stretch_keys = tuple(
            name for name, key in table.context.items() if key.scope == "stretch"
        )

    def _reads_time(self) -> bool:
        expressions: list[Expression | None] = [row.guard for row in self.grid.rows]
        expressions += [value for row in self.grid.rows for _, value in row.assigns]
        for rule in self.rules.rules:
            expressions += [rule.per, *(atom.where for atom in rule.atoms())]
        expressions += [*self.returns.values(), *self.each.values()]
        for binding in self.bindings.values():
            expressions += [binding.when, binding.approve, *(value for _, value in binding.bind)]
        return any(item is not None and "now" in item.names() for item in expressions)

    def state(self, name: str) -> State:
        """Return a state by name."""
        return self.table.states[name]

    def bind_context(self, inputs: Mapping[str, JSON]) -> dict[str, JSON]:
        """Return the whole context of a new run: inputs checked, defaults filled in.

        Raises:
            UsageError: an undeclared key, a missing required one, or a wrong type; names all.
        """
        declared = self.table.context
        faults = [
            f"input {name!r} is not declared; {suggest(name, declared)}"
            for name in inputs
            if name not in declared
        ]
        for name, key in declared.items():
            if name not in inputs and key.required:
                faults.append(f"input {name!r} is missing; expected {key.type}")
        context: dict[str, JSON] = {name: key.default for name, key in declared.items()}
        for name, value in inputs.items():
            if name not in declared:
                continue
            try:
                context[name] = ingest(value, where=f"input {name!r}").value
            except ValueRefused as error:
                faults.append(str(error))
                continue
            wrong = self.wrong_type(name, context[name])
            if wrong:
                faults.append(f"input {name!r}: {wrong}")
        if faults:
            raise UsageError(f"workflow {self.table.name!r}: {'; '.join(faults)}", faults=faults)
        return context

    def wrong_type(self, name: str, value: JSON) -> str:
        """Return what is wrong with a context value's type, or an empty text."""
        key = self.table.context.get(name)
        if key is None:
            return f"the context key {name!r} is not declared"
        kind = key.type.rstrip("?")
        if (value is None and key.type != kind) or _KINDS[kind](value):
            return ""
        return f"expected {key.type}, got {_kind_of(value)}"

    def __format__(self, spec: str) -> str:
        return format(self.table, spec) if spec else str(self)

    def _repr_mimebundle_(self, **_asked: object) -> dict[str, str]:
        """Return what a notebook shows: the table's picture."""
        return bundle(self.table)

    def __repr__(self) -> str:
        return f"<Workflow {self.table.name}@{self.table.version} {self.definition.hash[:12]}>"


def _bounded(limits: Limits, turns: int | None) -> Limits:
    """Return the limits of a run whose rules allow so many turns: `ends_within` is such a limit."""
    if turns is None or turns >= limits.requests:
        return limits
    return attrs.evolve(limits, requests=max(1, turns))


def _kind_of(value: JSON) -> str:
    if value is None:
        return "null"
    return next(kind for kind, fits in _KINDS.items() if fits(value))


def _bound(
    table: Table, tools: Iterable[Callable[..., Any]]
) -> tuple[dict[str, Callable[..., Any]], dict[str, ToolSpec]]:
    """Match functions to the names a table uses; report what does not match, all together."""
    by_name: dict[str, tuple[Callable[..., Any], ToolSpec]] = {}
    problems = []
    for function in tools:
        spec = getattr(function, "__sma_tool__", None)
        label = getattr(function, "__name__", repr(function))
        if not isinstance(spec, ToolSpec):
            problems.append(
                Problem("no-tool", f"tools: {label}", "is not a tool", next="put `@tool` above it")
            )
        elif spec.name in by_name:
            problems.append(
                Problem("twice", f"tools: {label}", f"a second tool is named {spec.name!r}")
            )
        else:
            by_name[spec.name] = (function, spec)
    functions: dict[str, Callable[..., Any]] = {}
    specs: dict[str, ToolSpec] = {}
    wanted = list(used_tools(table))
    for name in wanted:  # grows: a tool may name the one that undoes it
        real = table.tools[name].use or name if name in table.tools else name
        if real in by_name:
            function, spec = by_name[real]
            functions[name] = function
            specs[name] = spec if spec.name == name else attrs.evolve(spec, name=name)
            if spec.undo is not None and spec.undo not in wanted:
                wanted.append(spec.undo)
        else:
            problems.append(
                Problem(
                    "no-function",
                    f"tools: {name}",
                    f"the table uses the tool {real!r}, but no function of that name was given",
                    next=suggest(real, by_name),
                )
            )
    refuse(f"workflow {table.name!r}", problems)
    return functions, specs


def used_tools(table: Table) -> tuple[str, ...]:
    """Return the tools a table needs functions for: offered, done, or named as an undo."""
    names: dict[str, None] = {}
    for state in table.states.values():
        for name in table.tools_in(state):
            names[name] = None
    for use in table.tools.values():
        if use.undo is not None:
            names[use.undo] = None
    return tuple(name for name in names if name not in table.signals)


def _bindings(
    table: Table, specs: Mapping[str, ToolSpec], known: Mapping[str, Expression]
) -> dict[str, Binding]:
    out = {}
    for name, spec in specs.items():
        use = table.tools.get(name, Use())
        # By key, as a stored definition has them: which of two fails first must not depend on it.
        bind = tuple((key, parse(text, known)) for key, text in sorted(use.bind.items()))
        out[name] = Binding(
            name,
            spec,
            False,
            bind,
            parse(use.when, known) if use.when else None,
            use.why,
            parse(use.approve, known) if use.approve else None,
            use.undo or spec.undo,
            _without(spec.arguments, {key for key, _ in bind}),
        )
    for name, signal in table.signals.items():
        spec = signal_spec(name, signal)
        out[name] = Binding(name, spec, True, (), None, None, None, None, spec.arguments)
    return out


def _without(schema: Mapping[str, JSON], hidden: set[str]) -> Mapping[str, JSON]:
    """Return an object schema without some of its properties: what the model gets to see."""
    if not hidden:
        return schema
    out = dict(schema)
    properties = schema.get("properties", {})
    out["properties"] = {key: value for key, value in properties.items() if key not in hidden}
    required = [key for key in schema.get("required", ()) if key not in hidden]
    out.pop("required", None)
    if "examples" in out:
        out["examples"] = [
            {key: value for key, value in example.items() if key not in hidden}
            for example in out["examples"]
            if isinstance(example, Mapping)
        ]
    if required:
        out["required"] = required
    return out


def signal_spec(name: str, signal: Signal) -> ToolSpec:
    """Return a signal's fields as a spec, so that model and gate see it like any tool."""
    words = {"list": "array"}
    properties: dict[str, JSON] = {}
    for field, kind in signal.fields.items():
        bare = kind.rstrip("?")
        one = words.get(bare, bare)
        if bare == "any":
            properties[field] = {}
        else:
            properties[field] = {"type": one if bare == kind else [one, "null"]}
    required = [field for field, kind in signal.fields.items() if not kind.endswith("?")]
    schema: dict[str, JSON] = {
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
    }
    if required:
        schema["required"] = required
    return ToolSpec(name=name, description=signal.about, arguments=schema, effect="read")
