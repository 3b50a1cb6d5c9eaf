"""Hypothesis strategies over workflows; needs the package `hypothesis`.

Rules.  1. The adversary is the one of `explore`; Hypothesis draws its choices and shrinks them.
Not here: exploring without Hypothesis (`explore`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

try:
    from hypothesis import strategies as st
except ImportError as error:
    msg = "strategies need Hypothesis: pip install 'statemachine-agents[testing]'"
    raise ImportError(msg) from error

from statemachine_agents.kernel.workflow import Workflow
from statemachine_agents.testing.choices import Choices
from statemachine_agents.testing.explore import inputs_for
from statemachine_agents.testing.hints import Hints
from statemachine_agents.testing.world import Lived, World
from statemachine_agents.values import JSON


def lives(
    workflow: Workflow, inputs: Mapping[str, JSON] | None = None, *, steps: int = 60
) -> st.SearchStrategy[Lived]:
    """Return a strategy of runs against the adversary, shrunk to a minimal script by Hypothesis.

    Args:
        workflow: bound or from a definition; its functions are never called.
        inputs: context of every run; sampled by type where it is left out.
        steps: most things that happen in one run.

    Example:
        >>> @given(lives(refund))  # doctest: +SKIP
        ... def test_no_credit_without_a_policy(lived):
        ...     assert faults_of(lived) == []
    """
    given = inputs_for(workflow) if inputs is None else dict(inputs)
    hints = Hints.of(workflow)

    @st.composite
    def lived(draw: Callable[[st.SearchStrategy[Any]], Any]) -> Lived:
        def source(count: int) -> int:
            number: int = draw(st.integers(0, count - 1))
            return number

        return World(workflow, given, Choices(source), hints).live(steps)

    return lived()
