"""Every exception of the package, by who must act.

Rules.  1. The sentence says where, what, expected, got and what to do next.  2. The facts of the
sentence are attributes, so a program need not parse it.  3. A foreign exception is chained with
`from`, never swallowed.
Not here: problems found by `check`, which are values (`table.model.Problem`), not exceptions.
"""

from __future__ import annotations

from typing import Any


class WorkflowError(Exception):
    """Root of every exception this package raises on purpose.

    Args:
        message: one or two sentences a person can act on.
        **facts: what the sentence says, for programs; read them as `error.facts["state"]`.
    """

    def __init__(self, message: str, **facts: Any) -> None:
        super().__init__(message)
        self.message = message
        self.facts = facts

    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild, (type(self), self.message, self.facts))


def _rebuild(kind: type[WorkflowError], message: str, facts: dict[str, Any]) -> WorkflowError:
    return kind(message, **facts)


class ValueRefused(WorkflowError):
    """A value cannot be written as canonical JSON: what was found, and where inside it."""


class ExpressionError(WorkflowError):
    """An expression does not parse. `facts["span"]` is (start, end) in characters of the text."""


class EvaluationError(WorkflowError):
    """An expression met a value it has no meaning for; inside a run this is `guard.error`."""


class TableError(WorkflowError):
    """The author of a table must act: the table is not a workflow yet.

    `facts["problems"]` lists every `Problem` found, not only the first.
    """


class ToolError(WorkflowError):
    """Raise this inside a tool to say: the effect did NOT happen.

    Args:
        message: shown to the model.
        kind: a short word rows and `Retry(on=...)` can test, such as `not_found` or `busy`.
    """

    def __init__(self, message: str, *, kind: str = "error", **facts: Any) -> None:
        super().__init__(message, **facts)
        self.kind = kind

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild_tool_error, (self.message, self.kind, self.facts))


def _rebuild_tool_error(message: str, kind: str, facts: dict[str, Any]) -> ToolError:
    return ToolError(message, kind=kind, **facts)


class ModelError(WorkflowError):
    """The model could not be asked, after its client's own retries; the run parks and can resume.

    `facts["kind"]` is one of `overloaded rate_limit transport auth invalid_request unknown`.
    """


class StoreError(WorkflowError):
    """The store could not do what was asked; nothing was half written."""


class Fenced(StoreError):
    """Another worker holds this run now (a higher fence); whatever was decided here is void."""


class UnknownRun(StoreError):
    """No run of that id is in this store."""


class JournalDamaged(StoreError):
    """A journal does not verify: `facts["seq"]` is the first record that is wrong, and why."""


class ReplayMismatch(WorkflowError):
    """The journal and the table decide differently: the first difference, as facts.

    `facts` holds `seq`, `expected`, `got`, `row` and `verdicts` where there are any.
    """


class RunProtocolError(WorkflowError):
    """A shell broke the order of the sans-IO `Run`: for example it acted before it had saved."""


class UsageError(WorkflowError):
    """The caller must act: a wrong input, a wrong name, a run that is not in that situation."""
