"""What became of a call in doubt: the answers of a verifier, and what it takes to ask one.

Rules.  1. A verifier takes the arguments of its tool, as far as it names them, and a `Call`.
2. It answers `done(value)`, `not_done()` or `unknown()`; anything else means unknown.
Not here: asking (`toolbox`), what an answer leads to (`turn.recovery`).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Literal

import attrs

from statemachine_agents.errors import TableError
from statemachine_agents.tools.signature import Signature, hints_of, is_call, place, takes_self
from statemachine_agents.values import JSON


@attrs.frozen
class Verified:
    """What a verifier found out about a call in doubt. Made by `done`, `not_done`, `unknown`."""

    answer: Literal["done", "not_done", "unknown"]
    value: JSON = None
    detail: str = ""


def done(value: Any = None) -> Verified:
    """Say that the effect has happened; `value` is what the tool would have returned."""
    return Verified("done", value)


def not_done() -> Verified:
    """Say that the effect has not happened and will not: the tool may be called again."""
    return Verified("not_done")


def unknown(detail: str = "") -> Verified:
    """Say that it cannot be found out now; a person will be asked."""
    return Verified("unknown", None, detail)


@attrs.frozen
class Verifier:
    """The function that is asked after a doubt, and what it takes.

    Args:
        function: bound to the same instance as its tool.
        names: those of the tool's arguments that it takes.
        call: name of its parameter for the `Call`, or None.
        receiver: whether its first parameter is `self`, still to be filled.
    """

    function: Callable[..., Any]
    names: tuple[str, ...]
    call: str | None
    receiver: bool = False


def read_verifier(
    function: Callable[..., Any],
    found: Signature,
    verify: Any,
    names: Mapping[str, Any],
) -> Verifier | None:
    """Read a `verify=` function against the signature of its tool.

    Raises:
        TableError: it wants what the tool does not have.
    """
    if verify is None:
        return None
    if isinstance(verify, staticmethod):
        verify = verify.__func__
    if isinstance(verify, classmethod) or not inspect.isroutine(verify):
        msg = f"{place(function)}: verify={verify!r} is not a function; write verify=name_of_a_def"
        raise TableError(msg, verify=verify)
    receiver = not inspect.ismethod(verify) and takes_self(verify)
    if receiver and not found.receiver:
        msg = f"{place(function)}: verify={verify.__name__} takes self, but the tool does not"
        raise TableError(msg, verify=verify.__name__)
    hints = hints_of(verify, names)
    known = found.arguments["properties"]
    taken: list[str] = []
    call: str | None = None
    for each in list(inspect.signature(verify).parameters.values())[1 if receiver else 0 :]:
        if is_call(hints.get(each.name)):
            call = each.name
        elif each.kind is each.VAR_KEYWORD:
            taken.extend(name for name in known if name not in taken)
        elif each.name in known and each.kind is not each.POSITIONAL_ONLY:
            taken.append(each.name)
        elif each.default is each.empty:
            msg = (
                f"{place(function)}: verify={verify.__name__} wants {each.name!r}, which is no "
                f"argument of the tool ({', '.join(known) or 'it has none'}); take the same "
                f"arguments, and `call: Call` if you need the key"
            )
            raise TableError(msg, verify=verify.__name__, parameter=each.name)
    return Verifier(verify, tuple(taken), call, receiver)
