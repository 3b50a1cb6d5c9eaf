"""Which rows can take a run out of where it stands.

Not here: whether their guards will hold; that depends on events to come (`step`).
"""

from __future__ import annotations

from statemachine_agents.kernel.snapshot import Snapshot
from statemachine_agents.kernel.workflow import Workflow
from statemachine_agents.table.model import Transition


def exits(workflow: Workflow, snapshot: Snapshot) -> tuple[Transition, ...]:
    """Return the rows with a target that can fire in the snapshot's state, in table order.

    Args:
        workflow: the workflow.
        snapshot: where a run stands; an ended run has no exits.
    """
    if snapshot.ended:
        return ()
    return tuple(row.transition for row in workflow.grid.moves_from(snapshot.state))
