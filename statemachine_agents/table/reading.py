"""Between plain data and a `Table`, both ways, strictly.

Rules.  1. Every unknown key, wrong type and missing key is reported, all together.  2. What equals
its default is left out when writing, so the plain form is small and stable.
Not here: whether the words in it make sense together (`proof.structure`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import attrs

from statemachine_agents.errors import ValueRefused
from statemachine_agents.table.allowance import Allowance
from statemachine_agents.table.bounds import MAX_ROWS, MAX_STATES, oversize, too_many
from statemachine_agents.table.keys import (
    AGENT_KEYS,
    ALLOW_KEYS,
    CHECK_KEYS,
    EXPECTED,
    KEY_KEYS,
    LIMIT_KEYS,
    STATE_KEYS,
    TABLE_KEYS,
    TRANSITION_KEYS,
    USE_KEYS,
    Check,
    is_text_map,
    is_texts,
)
from statemachine_agents.table.model import (
    Agent,
    Key,
    Limits,
    Signal,
    State,
    Table,
    Transition,
    Use,
)
from statemachine_agents.table.problems import Problem, refuse, suggest
from statemachine_agents.values import JSON, ingest

MAX_PROBLEMS: Final = 1_000
"""More are not listed: nobody mends them one by one."""

_VALUES: Final = ("default", "output")


class _Reader:
    """Collects problems while values are taken out of plain data."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def say(self, code: str, where: str, what: str, **facts: str) -> None:
        if len(self.problems) > MAX_PROBLEMS:
            return
        if len(self.problems) == MAX_PROBLEMS:
            facts, what = {"next": "mend these first"}, "and more problems, not listed"
            code = "too-many"
        self.problems.append(Problem(code, where, what, **facts))  # type: ignore[arg-type]

    def take(self, data: Any, keys: Mapping[str, Check], where: str) -> dict[str, Any]:
        """Return the known, well-typed entries of an object; report the rest."""
        if not isinstance(data, Mapping):
            self.say("wrong-type", where, "is no object", got=type(data).__name__)
            return {}
        out: dict[str, Any] = {}
        for key, value in data.items():
            place = f"{where}.{key}" if where else str(key)
            check = keys.get(key)
            if check is None:
                self.say(
                    "unknown-key",
                    place,
                    "is not a known key",
                    next=suggest(key, keys, told=len(self.problems)),
                )
            elif not check(value):
                expected = EXPECTED.get(check, "a list of rows")
                got = _brief(value)
                self.say("wrong-type", place, "has the wrong type", expected=expected, got=got)
            else:
                out[key] = value
        return out

    def need(self, data: Mapping[str, Any], key: str, where: str) -> bool:
        if key in data:
            return True
        place = f"{where}.{key}" if where else key
        self.say("missing-key", place, "is missing", next=f"add `{key} = ...`")
        return False

    def build(self, kind: Callable[..., Any], where: str, *args: Any, **kwargs: Any) -> Any:
        """Construct a value; a validator's complaint becomes a problem."""
        try:
            return kind(*args, **kwargs)
        except (ValueError, TypeError) as error:
            self.say("wrong-value", where, str(error.args[0] if error.args else error))
            return None


def _brief(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def read_table(data: Mapping[str, JSON]) -> Table:
    """Read the plain form. See `Table.from_dict`."""
    reader = _Reader()
    for key, most, things in (
        ("states", MAX_STATES, "states"), ("transitions", MAX_ROWS, "rows"),
    ):  # fmt: skip
        part = data.get(key) if hasattr(data, "get") else None
        if isinstance(part, Mapping | list | tuple) and len(part) > most:
            reader.problems.append(too_many(key, len(part), most, things))
    refuse("table", reader.problems)
    try:
        plain = _as_written(data, ingest(data, where="table").value)
    except ValueRefused as error:
        reader.say("not-json", "table", str(error))
        plain = {}
    if not isinstance(plain, Mapping):
        reader.say("wrong-type", "table", "is no object", got=type(plain).__name__)
    refuse("table", reader.problems)
    found = reader.take(plain, TABLE_KEYS, "")
    for key in ("name", "initial", "states"):
        if key not in plain:
            reader.need(found, key, "")
    values: dict[str, Any] = {
        key: found[key]
        for key in ("name", "version", "initial", "instructions", "everywhere", "rules", "define")
        if key in found
    }
    values["limits"] = _limits(reader, found.get("limits", {}))
    values["states"] = _states(reader, found.get("states", {}))
    values["transitions"] = _transitions(reader, found.get("transitions", ()))
    values["tools"] = {
        name: Use(**reader.take(use, USE_KEYS, f"tools.{name}"))
        for name, use in found.get("tools", {}).items()
    }
    values["context"] = _context(reader, found.get("context", {}))
    values["groups"] = _groups(reader, found.get("groups", {}))
    values["agents"] = {
        name: reader.build(
            Agent, f"agents.{name}", name, **reader.take(agent, AGENT_KEYS, f"agents.{name}")
        )
        for name, agent in found.get("agents", {}).items()
    }
    values["signals"] = _signals(reader, found.get("signals", {}))
    values["allow"] = _allow(reader, found.get("check", {}))
    refuse(f"table {found.get('name', '?')!r}", reader.problems)
    table = Table(**values)
    refuse(f"table {table.name!r}", oversize(table))
    return table


def _as_written(data: Any, plain: JSON) -> JSON:
    """Give canonical data its author's order of keys again: states and definitions have one.

    Values of a run (`default`) and of a prompt (`output`) stay canonical, as stored ones are.
    """
    if isinstance(data, Mapping):
        clean = {key: ingest(key).value for key in data}
        return {
            name: plain[name] if name in _VALUES else _as_written(data[key], plain[name])
            for key, name in clean.items()
        }
    if isinstance(data, list | tuple):
        return [_as_written(*pair) for pair in zip(data, plain, strict=True)]
    return plain


def _limits(reader: _Reader, data: Any) -> Limits | None:
    found = reader.take(data, LIMIT_KEYS, "limits")
    limits: Limits | None = reader.build(Limits, "limits", **found)
    return limits


def _states(reader: _Reader, data: Mapping[str, Any]) -> dict[str, State]:
    states = {}
    for name, raw in data.items():
        found = reader.take(raw, STATE_KEYS, f"states.{name}")
        states[name] = State(name, **found)
    return states


def _entries(
    reader: _Reader, data: Any, where: str, keys: Mapping[str, Check], needed: tuple[str, ...]
) -> Iterator[dict[str, Any]]:
    """Yield the entries of a list that have what they need; report the rest."""
    for index, raw in enumerate(data):
        place = f"{where}[{index}]"
        found = reader.take(raw, keys, place)
        if not isinstance(raw, Mapping):
            continue
        for key in needed:
            if key not in raw:
                reader.need(found, key, place)
        if all(key in found for key in needed):
            yield found


def _transitions(reader: _Reader, data: Any) -> list[Transition]:
    found = _entries(reader, data, "transitions", TRANSITION_KEYS, ("source", "event"))
    return [Transition(**each) for each in found]


def _context(reader: _Reader, data: Mapping[str, Any]) -> dict[str, Key]:
    keys = {}
    for name, raw in data.items():
        where = f"context.{name}"
        if isinstance(raw, str):
            keys[name] = Key(type=raw)
            continue
        found = reader.take(raw, KEY_KEYS, where)
        if reader.need(found, "type", where):
            keys[name] = Key(**found)
    return keys


def _groups(reader: _Reader, data: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    groups = {}
    for name, members in data.items():
        if is_texts(members):
            groups[name] = tuple(members)
        else:
            where, expected = f"groups.{name}", "a list of texts"
            reader.say("wrong-type", where, "has the wrong type", expected=expected)
    return groups


def _signals(reader: _Reader, data: Mapping[str, Any]) -> dict[str, Signal]:
    signals = {}
    for name, fields in data.items():
        if not is_text_map(fields):
            where, expected = f"signals.{name}", "field = type"
            reader.say("wrong-type", where, "has the wrong type", expected=expected)
            continue
        plain = dict(fields)
        signals[name] = Signal(about=plain.pop("about", ""), fields=plain)
    return signals


def _allow(reader: _Reader, data: Mapping[str, Any]) -> list[Allowance]:
    allow = reader.take(data, CHECK_KEYS, "check").get("allow", ())
    found = _entries(reader, allow, "check.allow", ALLOW_KEYS, ("code", "reason"))
    return [Allowance(**each) for each in found]


def write_table(table: Table) -> dict[str, JSON]:
    """Return the plain form. See `Table.to_dict`."""
    out: dict[str, Any] = {"name": table.name, "version": table.version, "initial": table.initial}
    if table.instructions:
        out["instructions"] = table.instructions
    if table.everywhere:
        out["everywhere"] = list(table.everywhere)
    limits = _changed(table.limits, LIMIT_KEYS)
    if limits:
        out["limits"] = limits
    if table.rules:
        out["rules"] = list(table.rules)
    out["transitions"] = [_row(row) for row in table.transitions]
    out["states"] = {name: _state(state) for name, state in table.states.items()}
    parts: dict[str, Any] = {
        "tools": {name: _changed(use, USE_KEYS) for name, use in table.tools.items()},
        "context": {name: _key(key) for name, key in table.context.items()},
        "groups": {name: list(members) for name, members in table.groups.items()},
        "agents": {name: _changed(agent, AGENT_KEYS) for name, agent in table.agents.items()},
        "signals": {
            name: {**({"about": signal.about} if signal.about else {}), **signal.fields}
            for name, signal in table.signals.items()
        },
        "define": dict(table.define),
    }
    out.update({name: part for name, part in parts.items() if part})
    if table.allow:
        out["check"] = {"allow": [_changed(each, ALLOW_KEYS) for each in table.allow]}
    return out


def _changed(value: Any, keys: Mapping[str, Any]) -> dict[str, JSON]:
    """Return the attributes of an attrs value that differ from their defaults, as plain JSON."""
    out: dict[str, JSON] = {}
    for field in attrs.fields(type(value)):
        if field.name not in keys:
            continue
        current = getattr(value, field.name)
        default = field.default
        if isinstance(default, attrs.Factory):  # type: ignore[arg-type]
            default = default.factory()
        if current != default:
            out[field.name] = list(current) if isinstance(current, tuple) else current
    return out


def _state(state: State) -> dict[str, JSON]:
    out = _changed(state, STATE_KEYS)
    for verb in ("do", "wait", "run"):
        names = out.get(verb)
        if names is not None and len(names) == 1 and (verb != "do" or names == ["undo"]):
            out[verb] = names[0]
    return out


def _row(row: Transition) -> dict[str, JSON]:
    out: dict[str, JSON] = {
        "source": row.source,
        "event": row.event[0] if len(row.event) == 1 else list(row.event),
    }
    for key in ("target", "guard", "name"):
        if getattr(row, key) is not None:
            out[key] = getattr(row, key)
    if row.assign:
        out["assign"] = dict(row.assign)
    return out


def _key(key: Key) -> JSON:
    out = _changed(key, KEY_KEYS)
    return key.type if not set(out) - {"type"} else {"type": key.type, **out}
