"""`@tool`: say what a function does to the world, and read its schemas off its signature.

Rules.  1. The function stays as it was: callable, testable, no wrapper.  2. Everything wrong with a
tool is an error where it is decorated.  3. What nobody declared is `manual`: never called twice.
Not here: calling (`toolbox`), what a table adds to a tool (`table.model.Use`).
"""

from __future__ import annotations

import builtins
import inspect
from collections.abc import Callable, Mapping, Sequence
from types import FrameType
from typing import Any, Final, TypeVar, overload

import attrs
import msgspec

from statemachine_agents.errors import TableError
from statemachine_agents.table.toolspec import (
    EFFECT_CLASSES,
    TOOL_NAME,
    Breaker,
    EffectClass,
    Retry,
    ToolSpec,
)
from statemachine_agents.tools.schema import checker, sort_keys
from statemachine_agents.tools.signature import (
    Call,
    Signature,
    checker_of,
    place,
    signature_of,
    takes_self,
)
from statemachine_agents.tools.verifying import (
    Verified,
    Verifier,
    done,
    not_done,
    read_verifier,
    unknown,
)
from statemachine_agents.values import JSON

__all__ = [
    "Call",
    "Verified",
    "Verifier",
    "attach",
    "done",
    "not_done",
    "signature_of_tool",
    "spec_of",
    "tool",
    "unknown",
    "verifier_of",
]

F = TypeVar("F", bound=Callable[..., Any])

SPEC: Final = "__sma_tool__"
SIGNATURE: Final = "__sma_signature__"
VERIFIER: Final = "__sma_verifier__"


@overload
def tool(function: F, /) -> F: ...


@overload
def tool(
    *,
    name: str | None = None,
    effect: EffectClass = "manual",
    timeout: float = 30.0,
    retry: Retry | None = None,
    breaker: Breaker | None = None,
    undo: str | Callable[..., Any] | None = None,
    verify: Callable[..., Any] | None = None,
    key_seconds: float | None = None,
    examples: Sequence[Mapping[str, JSON]] | None = None,
) -> Callable[[F], F]: ...


def tool(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    effect: EffectClass = "manual",
    timeout: float = 30.0,
    retry: Retry | None = None,
    breaker: Breaker | None = None,
    undo: str | Callable[..., Any] | None = None,
    verify: Callable[..., Any] | None = None,
    key_seconds: float | None = None,
    examples: Sequence[Mapping[str, JSON]] | None = None,
) -> Any:
    """Make a function, async function or method a tool.

    Args:
        function: the function, when the decorator is written without parentheses.
        name: for model and table; the function's own name by default.
        effect: what a crash or timeout means: `read`, `idempotent`, `verifiable`, `transactional`,
            or `manual`, the default because it is the only safe guess.
        timeout: seconds an attempt may take.
        retry: which `ToolError` kinds are tried again.
        breaker: when to stop trying.
        undo: the tool that undoes this one, or its name.
        verify: takes the same arguments (and a `Call`), returns `done(value)`, `not_done()` or
            `unknown()`; asked after a doubt.
        key_seconds: how long the receiver honours an idempotency key; None means for ever.
        examples: arguments that make sense, for models and rehearsals; kept in the schema.

    Returns:
        The same function, with its `ToolSpec` attached as `__sma_tool__`.

    Raises:
        TableError: says where, what is wrong and what to write.

    Example:
        >>> @tool(effect="read")
        ... def fetch_order(order_id: str) -> dict[str, str]:
        ...     "Look up an order."
        ...     return {"id": order_id}
        >>> spec_of(fetch_order).effect
        'read'
    """
    frame = inspect.currentframe()
    caller = frame.f_back if frame is not None else None
    options = {
        "effect": effect,
        "timeout": timeout,
        "retry": retry,
        "breaker": breaker,
        "key_seconds": key_seconds,
    }

    def decorate(target: F, names: dict[str, Any] | None = None) -> F:
        if names is None:
            here = inspect.currentframe()
            names = _locals(here.f_back if here is not None else None, target)
        plain, receiver = _plain(target)
        found = signature_of(plain, receiver=receiver, names=names)
        verifier = read_verifier(plain, found, verify, names)
        _refuse_options(plain, found, options, verifier)
        arguments = dict(found.arguments)
        if examples is not None:
            arguments["examples"] = _examples(plain, found, examples)
        spec = _spec(
            plain,
            name=name or plain.__name__,
            description=found.text,
            arguments=sort_keys(arguments),
            result=found.result,
            undo=_undo(plain, undo),
            verifies=verifier is not None,
            wants_call=found.call is not None,
            **options,
        )
        _keep(plain, spec, found, verifier)
        return target

    if function is None:
        return decorate
    return decorate(function, _locals(caller, function))


def attach(function: F, spec: ToolSpec, *, call: str | None = None) -> F:
    """Give a function a ready spec: for tools that have no Python types, such as those of MCP.

    Args:
        function: a fresh function; takes its arguments as keywords, checked against
            `spec.arguments` and otherwise as they are.
        spec: what it is.
        call: name of the keyword under which it wants the `Call`, or None.

    Returns:
        The same function.

    Raises:
        TableError: one of its schemas is no JSON Schema; better now than after an effect.
    """
    found = Signature(arguments=spec.arguments, call=call)
    checker_of(found)
    if spec.result is not None:
        checker(spec.result)
    _keep(function, spec, found, None)
    return function


def spec_of(function: Callable[..., Any]) -> ToolSpec:
    """Return the spec of a decorated function or bound method.

    Raises:
        TableError: it has none, or it is a method without its instance.
    """
    spec = getattr(function, SPEC, None)
    if isinstance(spec, ToolSpec):
        signature_of_tool(function)
        return spec
    name = getattr(function, "__name__", None)
    if name is None and hasattr(function, "func"):
        inner = getattr(function.func, "__name__", "the function")
        msg = (
            f"a functools.partial of {inner} carries no spec: write a def with @tool that calls "
            f"{inner}, or fix the argument in the table with Use(bind=...)"
        )
    elif name is None:
        msg = f"{function!r} is no tool: write a def that calls it and put @tool above it"
    else:
        where = getattr(function, "__module__", "?")
        msg = f"{where}.{name} is not a tool yet: put @tool above def {name}"
    raise TableError(msg, function=name)


def signature_of_tool(function: Callable[..., Any]) -> Signature:
    """Return how a decorated function takes its arguments.

    Raises:
        TableError: it is a method without its instance.
    """
    found = getattr(function, SIGNATURE)
    assert isinstance(found, Signature)
    if found.receiver and _instance(function) is None:
        name = getattr(function, "__qualname__", repr(function))
        owner, _, method = name.rpartition(".")
        msg = (
            f"{name} is a method without its object: make an instance and pass its method, "
            f"as in `{owner.rpartition('.')[2].lower()}.{method}`"
        )
        raise TableError(msg, function=name)
    return found


def verifier_of(function: Callable[..., Any]) -> Verifier | None:
    """Return what is asked after a doubt, bound to the tool's instance; None when nothing is."""
    found = getattr(function, VERIFIER, None)
    if not isinstance(found, Verifier):
        return None
    if found.receiver:
        return attrs.evolve(found, function=found.function.__get__(_instance(function)))
    return found


# ---------------------------------------------------------------------------------- what is checked


def _keep(
    function: Callable[..., Any], spec: ToolSpec, found: Signature, verifier: Verifier | None
) -> None:
    function.__dict__.update({SPEC: spec, SIGNATURE: found, VERIFIER: verifier})


def _plain(target: Any) -> tuple[Callable[..., Any], bool]:
    """Return the function under a decorated object, and whether it takes `self` or `cls`."""
    function = target.__func__ if isinstance(target, classmethod | staticmethod) else target
    if not inspect.isfunction(function):
        what = f"class {target.__name__}" if isinstance(target, type) else repr(target)
        raise TableError(f"@tool goes above a def, not on {what}; write a def that calls it")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        msg = f"{place(function)}: a tool returns one value; collect what it yields into a list"
        raise TableError(msg, function=function.__name__)
    if isinstance(target, staticmethod):
        return function, False
    if isinstance(target, classmethod):
        return function, True
    return function, takes_self(function)


def _instance(function: Any) -> Any:
    """Return the object a method is bound to, also under `functools.wraps`; None when unbound."""
    while function is not None:
        found = getattr(function, "__self__", None)
        if found is not None:
            return found
        function = getattr(function, "__wrapped__", None)
    return None


def _locals(frame: FrameType | None, target: Any) -> dict[str, Any]:
    """Return the local names around a decorated function, the nearest first.

    Annotations are text under `from __future__ import annotations`, and a class defined inside a
    test or a factory stands in no module.
    """
    home = getattr(getattr(target, "__func__", target), "__globals__", None)
    found: dict[str, Any] = {}
    while frame is not None and frame.f_globals is home and frame.f_locals is not home:
        here = dict(frame.f_locals)
        if "__qualname__" in here:
            # A class body: a method named `list` there must not become the type `list`.
            here = {name: here[name] for name in here if not _means_more(name, home)}
        found = {**here, **found}
        frame = frame.f_back
    return found


def _means_more(name: str, home: Mapping[str, Any]) -> bool:
    return name in home or hasattr(builtins, name)


def _refuse_options(
    function: Callable[..., Any],
    found: Signature,
    options: Mapping[str, Any],
    verifier: Verifier | None,
) -> None:
    effect = options["effect"]
    if effect not in EFFECT_CLASSES:
        msg = f"effect={effect!r} is none of {', '.join(EFFECT_CLASSES)}"
    elif not (options["retry"] is None or isinstance(options["retry"], Retry)):
        msg = f"retry={options['retry']!r}; write retry=Retry(attempts=3)"
    elif not (options["breaker"] is None or isinstance(options["breaker"], Breaker)):
        msg = f"breaker={options['breaker']!r}; write breaker=Breaker(failures=5)"
    elif not _positive(options["timeout"]):
        msg = f"timeout={options['timeout']!r}; write seconds greater than 0"
    elif not (options["key_seconds"] is None or _positive(options["key_seconds"])):
        msg = (
            f"key_seconds={options['key_seconds']!r}; write seconds greater than 0, or leave it out"
        )
    elif effect == "verifiable" and verifier is None:
        msg = "effect='verifiable' needs verify=: a function that finds out whether it was done"
    elif effect == "transactional" and inspect.iscoroutinefunction(function):
        msg = (
            "effect='transactional' runs inside the journal's transaction, where nothing can be "
            "awaited; write def, not async def"
        )
    elif effect == "transactional" and found.call is None:
        msg = (
            "effect='transactional' writes through the journal's connection; take a parameter "
            "`call: Call` and use call.connection"
        )
    else:
        return
    raise TableError(f"{place(function)}: {msg}", function=function.__name__)


def _positive(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0


def _spec(function: Callable[..., Any], **values: Any) -> ToolSpec:
    try:
        return ToolSpec(**values)
    except (ValueError, TypeError) as error:
        msg = (
            f"{place(function)}: {values['name']!r} cannot be a tool's name, which is {TOOL_NAME}; "
            f"write @tool(name=...)"
        )
        raise TableError(msg, name=values["name"]) from error


def _undo(function: Callable[..., Any], undo: Any) -> str | None:
    if undo is None or isinstance(undo, str):
        return undo
    spec = getattr(undo, SPEC, None)
    if isinstance(spec, ToolSpec):
        return spec.name
    msg = f"{place(function)}: undo={undo!r} is no tool; name one, or put @tool above it"
    raise TableError(msg, undo=undo)


def _examples(
    function: Callable[..., Any], found: Signature, examples: Sequence[Mapping[str, JSON]]
) -> list[JSON]:
    for number, example in enumerate(examples, 1):
        try:
            found.keywords(dict(example))
        except msgspec.ValidationError as error:
            msg = f"{place(function)}: example {number} is not what the function takes: {error}"
            raise TableError(msg, example=example) from error
    return [dict(example) for example in examples]
