"""Limits on nested agents and workflows: how deep they go, and no cycles."""

from __future__ import annotations

from typing import Final

from ...dispatch.context import current
from ..errors import DepthLimit, HandoffCycle

__all__ = ["MOST_DEPTH", "inside"]

MOST_DEPTH: Final = 16
"""Maximum depth of nested agents and workflows."""
_ROUNDS: Final = 2
"""How often several may repeat the same cycle: answering a question of the enclosing agent is not a cycle."""


def inside(name: str) -> tuple[str, ...]:
    """Return the names of what runs around, followed by that of the agent or workflow about to run inside.

    An agent that runs as a run of its own is counted once. An agent directly inside itself, such as for a part of its
    task, is not a cycle: only the depth limits it.

    Args:
        name: Its name.

    Raises:
        DepthLimit: It would be nested too deep.
        HandoffCycle: Two or more have repeated the same cycle, and it would begin once more.
    """
    step = current()
    if not step.agent and step.chain[-1:] == (name,):
        return step.chain
    chain = (*step.chain, name)
    for length in range(2, len(step.chain) // _ROUNDS + 1):
        circle = step.chain[-length:]
        if circle[0] == name and len({*circle}) > 1 and step.chain[-_ROUNDS * length :] == circle * _ROUNDS:
            raise HandoffCycle(chain)
    if len(chain) > MOST_DEPTH:
        raise DepthLimit(chain)
    return chain
