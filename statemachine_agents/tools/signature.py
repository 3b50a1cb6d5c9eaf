"""What a function asks for: its parameters as one schema and one strict conversion.

Rules.  1. Every parameter is named and annotated, so that model, gate and function agree.
2. Whatever is wrong is said when the decorator runs, naming function, parameter and what to write.
3. Defaults stay with the function: an argument that was not given is not passed.
Not here: types to schemas (`schema`), options of a tool (`decorator`), calling (`toolbox`).
"""

from __future__ import annotations

import functools
import inspect
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs
import msgspec

from statemachine_agents.errors import TableError, ValueRefused
from statemachine_agents.tools.schema import (
    Schema,
    checker,
    convert,
    describe,
    is_closed,
    is_loose,
    schemas_of,
    sort_keys,
    to_plain,
)
from statemachine_agents.values import JSON, ingest

_LOOSE: Final = "write each argument as a named, annotated parameter: `order_id: str`"


@attrs.frozen(kw_only=True)
class Call:
    """What a tool may know about the call it answers; a parameter of this type is filled in.

    Args:
        run_id: the run that calls.
        call_id: number of the call within the run.
        key: idempotency key, the same for every attempt of this call; hand it to the receiver.
        attempt: from 1.
        deadline: UTC microseconds after which nobody waits for the answer any more.
        connection: the journal's own connection, for tools of class `transactional`; else None.
    """

    run_id: str
    call_id: int
    key: str
    attempt: int = 1
    deadline: int
    connection: Any = attrs.field(default=None, eq=False, repr=False)


@attrs.frozen(kw_only=True, eq=False)
class Signature:
    """A function's parameters, ready to be filled from JSON.

    Args:
        arguments: JSON Schema of the arguments.
        result: JSON Schema of the return value, or None when nothing is declared.
        text: the docstring before its sections.
        call: name of the parameter that takes the `Call`, or None.
        receiver: whether the first parameter is `self` or `cls`.
        defaults: values of the parameters that may be left out.
        struct: what msgspec converts the arguments to; None: passed on as they are (`attach`).
        closed: whether the schema refuses what conversion alone would take.
        loose: whether conversion hands over parts of its input uncopied.
    """

    arguments: Mapping[str, JSON]
    result: Mapping[str, JSON] | None = None
    text: str = ""
    call: str | None = None
    receiver: bool = False
    defaults: Mapping[str, Any] = attrs.field(factory=dict)
    struct: type[msgspec.Struct] | None = None
    closed: bool = True
    loose: bool = True

    def keywords(self, arguments: dict[str, JSON]) -> dict[str, Any]:
        """Convert arguments to what the function takes; those not given stay out.

        Raises:
            msgspec.ValidationError: says what was expected, what came and where.
        """
        # A tool may change what it gets; the arguments in the journal must not change with it.
        given = msgspec.to_builtins(arguments) if self.loose else arguments
        if self.struct is not None:
            converted = convert(given, self.struct)
            given = {name: getattr(converted, name) for name in given}
        if self.closed:
            # The schema is checked second: msgspec's sentences are the better ones.
            problem = checker_of(self)(arguments)
            if problem:
                raise msgspec.ValidationError(problem)
        return given


@functools.lru_cache(maxsize=1024)
def checker_of(signature: Signature) -> Callable[[JSON], str]:
    """Return the compiled check of a signature's argument schema."""
    return checker(signature.arguments)


def signature_of(
    function: Callable[..., Any], *, receiver: bool, names: Mapping[str, Any]
) -> Signature:
    """Read a function's signature.

    Args:
        function: a plain function or async function.
        receiver: whether its first parameter is `self` or `cls`.
        names: local names at its place, for annotations that use them.

    Raises:
        TableError: names function, parameter and what to write.
    """
    hints = hints_of(function, names)
    call: str | None = None
    fields: dict[str, inspect.Parameter] = {}
    for parameter in _parameters(function, receiver=receiver):
        hint = hints.get(parameter.name, inspect.Parameter.empty)
        _refuse_shape(function, parameter, hint)
        if not is_call(hint):
            fields[parameter.name] = parameter
        elif call is None:
            call = parameter.name
        else:
            msg = f"{place(function)}: {call!r} and {parameter.name!r} both take the Call; keep one"
            raise TableError(msg, parameter=parameter.name)
    wanted = {name: hints[name] for name in fields}
    arguments, text = _arguments(function, fields, wanted)
    declared = hints.get("return")
    types_wanted = list(wanted.values())
    return Signature(
        arguments=arguments,
        result=_result(function, declared),
        text=text,
        call=call,
        receiver=receiver,
        defaults={name: each.default for name, each in fields.items() if _optional(each)},
        struct=_struct(function, fields, wanted),
        closed=is_closed(types_wanted),
        loose=is_loose(types_wanted),
    )


def hints_of(function: Callable[..., Any], names: Mapping[str, Any]) -> dict[str, Any]:
    """Return the resolved annotations of a function.

    Raises:
        TableError: a name in an annotation is not known here yet.
    """
    try:
        return typing.get_type_hints(function, localns=dict(names), include_extras=True)
    except NameError as error:
        msg = (
            f"{place(function)}: an annotation says {error.name!r}, which has no meaning yet where "
            f"@tool stands; define or import {error.name!r} above the function, and not under "
            f"`if TYPE_CHECKING:`"
        )
        raise TableError(msg, name=error.name) from error
    except (TypeError, SyntaxError) as error:
        msg = f"{place(function)}: an annotation cannot be read: {error}; write a type"
        raise TableError(msg) from error


def is_call(hint: Any) -> bool:
    """Return whether an annotation is `Call` or `Call | None`."""
    if typing.get_origin(hint) in {typing.Union, types.UnionType}:
        return Call in typing.get_args(hint)
    return hint is Call


def takes_self(function: Callable[..., Any]) -> bool:
    """Return whether a function stands in a class body and takes `self` or `cls`."""
    owner = function.__qualname__.rpartition(".")[0]
    if not owner or owner.endswith("<locals>"):
        return False
    first = next(iter(inspect.signature(function).parameters), "")
    return first in {"self", "cls"}


def place(function: Callable[..., Any]) -> str:
    """Return where a function is, for messages."""
    name = getattr(function, "__qualname__", None) or repr(function)
    return f"tool {getattr(function, '__module__', '?')}.{name}"


def show(hint: Any) -> str:
    """Return a type as its author would write it."""
    if isinstance(hint, type) and not typing.get_args(hint):
        return hint.__qualname__
    return str(hint).replace("typing.", "")


def _parameters(function: Callable[..., Any], *, receiver: bool) -> list[inspect.Parameter]:
    return list(inspect.signature(function).parameters.values())[1 if receiver else 0 :]


def _refuse_shape(function: Callable[..., Any], parameter: inspect.Parameter, hint: Any) -> None:
    name = parameter.name
    if parameter.kind in {parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD}:
        stars = "*" if parameter.kind is parameter.VAR_POSITIONAL else "**"
        msg = f"{place(function)}: {stars}{name} has no schema; {_LOOSE}"
    elif parameter.kind is parameter.POSITIONAL_ONLY:
        msg = f"{place(function)}: parameter {name!r} is positional-only; remove the `/`"
    elif hint is inspect.Parameter.empty:
        msg = (
            f"{place(function)}: parameter {name!r} has no annotation; write `{name}: str`, or "
            f"whatever type it has"
        )
    else:
        return
    raise TableError(msg, parameter=name)


def _optional(parameter: inspect.Parameter) -> bool:
    return parameter.default is not inspect.Parameter.empty


def _arguments(
    function: Callable[..., Any], fields: Mapping[str, inspect.Parameter], hints: Mapping[str, Any]
) -> tuple[Schema, str]:
    try:
        bodies, definitions = schemas_of(list(hints.values()))
    except (TypeError, ValueError, NameError) as error:
        _name_the_culprit(function, hints)
        msg = f"{place(function)}: its parameters have no schema: {error}"
        raise TableError(msg) from error
    properties = dict(zip(hints, bodies, strict=True))
    for name, parameter in fields.items():
        notes = [note for note in getattr(hints[name], "__metadata__", ()) if isinstance(note, str)]
        if notes:
            properties[name].setdefault("description", notes[0])
        if _optional(parameter):
            _say_default(function, parameter, hints[name], properties[name])
    schema: Schema = {
        "type": "object",
        "properties": properties,
        "required": [name for name, each in fields.items() if not _optional(each)],
        "additionalProperties": False,
    }
    if definitions:
        schema["$defs"] = definitions
    text = describe(schema, function.__doc__)
    return sort_keys(schema), text


def _say_default(
    function: Callable[..., Any], parameter: inspect.Parameter, hint: Any, schema: Schema
) -> None:
    if parameter.default is None:
        try:
            convert(None, hint)
        except msgspec.ValidationError as error:
            name, kind = parameter.name, show(hint)
            msg = (
                f"{place(function)}: parameter {name!r} is {kind} but its default is None; write "
                f"`{name}: {kind} | None = None`"
            )
            raise TableError(msg, parameter=name) from error
    try:
        schema["default"] = ingest(to_plain(parameter.default)).value
    except (TypeError, ValueRefused):
        # A sentinel: the function knows what it means, the model need not.
        return


def _name_the_culprit(function: Callable[..., Any], hints: Mapping[str, Any]) -> None:
    for name, hint in hints.items():
        try:
            schemas_of([hint])
        except (TypeError, ValueError, NameError) as error:
            msg = (
                f"{place(function)}, parameter {name!r}: {show(hint)} cannot be read from JSON: "
                f"{reason(error)}"
            )
            raise TableError(msg, parameter=name, type=show(hint)) from error


def reason(error: Exception) -> str:
    """Return what msgspec said, without its advice about hooks nobody can pass here."""
    if isinstance(error, NameError):
        return (
            f"its fields name {error.name!r}, which has no meaning at module level; define it there"
        )
    text = str(error).strip().splitlines()[-1]
    if "not supported" in text and "union" not in text.casefold():
        text += (
            "; write a JSON-like type: str, int, float, bool, list[...], dict[str, ...], Literal, "
            "Enum, datetime, an attrs class, dataclass, TypedDict or pydantic model"
        )
    return text


def _result(function: Callable[..., Any], hint: Any) -> Schema | None:
    if hint is None or hint is Any or hint is types.NoneType:
        return None
    try:
        (schema,), definitions = schemas_of([hint], result=True)
    except (TypeError, ValueError, NameError) as error:
        msg = (
            f"{place(function)}, return value: {show(hint)} cannot be written as JSON: "
            f"{reason(error)}"
        )
        raise TableError(msg, type=show(hint)) from error
    return sort_keys({**schema, "$defs": definitions}) if definitions else schema


def _struct(
    function: Callable[..., Any], fields: Mapping[str, inspect.Parameter], hints: Mapping[str, Any]
) -> type[msgspec.Struct]:
    # UNSET is never converted and never read: `keywords` looks only at what was given.
    rows = [
        (name, hints[name], msgspec.UNSET) if _optional(each) else (name, hints[name])
        for name, each in fields.items()
    ]
    return msgspec.defstruct(
        f"Arguments of {function.__name__}", rows, kw_only=True, forbid_unknown_fields=True
    )
