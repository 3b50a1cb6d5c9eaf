"""The file form of a script: JSON lines that say the words of `script`.

Rules.  1. One object a line; its single key is the word, its value the arguments.  2. Empty lines
and lines that begin with `#` are skipped.  3. A fault names file, line and place.
Not here: what the words mean (`script`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from statemachine_agents.errors import UsageError, ValueRefused
from statemachine_agents.testing.messages_api.script import (
    Step,
    context_window_exceeded,
    cut,
    delay,
    drop,
    error,
    malformed,
    pause,
    refusal,
    reply,
    stream_error,
    truncated,
)
from statemachine_agents.values import parse

__all__ = ["from_dict", "load_script", "parse_script"]

_WORDS: Mapping[str, Callable[..., Step]] = {
    "reply": reply,
    "error": error,
    "delay": delay,
    "drop": drop,
    "cut": cut,
    "stream_error": stream_error,
    "malformed": malformed,
    "truncated": truncated,
    "refusal": refusal,
    "context_window_exceeded": context_window_exceeded,
    "pause": pause,
}


def from_dict(data: Any, *, where: str = "step") -> Step:
    """Build a step from its file form, `{word: {argument: value}}`.

    Raises:
        UsageError: an unknown word or argument, or a value that does not fit.

    Example:
        >>> from_dict({"reply": {"text": "hello"}}).text
        'hello'
    """
    if not isinstance(data, dict) or len(data) != 1 or not set(data) <= set(_WORDS):
        words = " ".join(_WORDS)
        raise UsageError(f"{where}: got {data!r}, expected one object with one key out of: {words}")
    ((word, body),) = data.items()
    if not isinstance(body, Mapping):
        raise UsageError(f"{where}.{word}: got {body!r}, expected an object of arguments")
    arguments = dict(body)
    if isinstance(arguments.get("step"), Mapping):
        arguments["step"] = from_dict(arguments["step"], where=f"{where}.{word}.step")
    try:
        return _WORDS[word](**arguments)
    except UsageError as wrong:
        raise UsageError(f"{where}.{word}: {wrong}", **wrong.facts) from wrong
    except (TypeError, ValueError) as wrong:  # an unknown or missing argument
        raise UsageError(f"{where}.{word}: {wrong}") from wrong


def parse_script(text: str, *, where: str = "script") -> tuple[Step, ...]:
    """Read JSON lines; empty lines and lines that begin with `#` are skipped.

    Raises:
        UsageError: names the line.
    """
    steps: list[Step] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        place = f"{where}, line {number}"
        try:
            data = parse(line, where=place)
        except ValueRefused as refused:
            raise UsageError(str(refused), **refused.facts) from refused
        steps.append(from_dict(data, where=place))
    return tuple(steps)


def load_script(path: str | Path) -> tuple[Step, ...]:
    """Read a script file (see `parse_script`).

    Raises:
        UsageError: the file cannot be read, or a line is wrong.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as wrong:
        raise UsageError(f"script {str(path)!r} cannot be read: {wrong}", path=str(path)) from wrong
    return parse_script(text, where=str(path))
