"""Agents and workflows that are run inside each other: how deep, and not round in a circle."""

from __future__ import annotations

from typing import Final

from ...dispatch.context import current
from ..errors import DepthLimit, HandoffCycle

__all__ = ["MOST_DEPTH", "inside"]

MOST_DEPTH: Final = 16
"""How many agents and workflows may be run inside each other."""
_ROUNDS: Final = 2
"""How often several may go through the same circle: the answer to a question of the one around is no circle."""


def inside(name: str) -> tuple[str, ...]:
    """The names of what is run around, with that of an agent or workflow which is about to be run inside.

    An agent that is run as a run of its own is counted once. One inside itself, such as for a part of its task, goes
    round in no circle: it is bounded by the depth alone.

    Args:
        name: Its name.

    Raises:
        DepthLimit: It would be too deep inside others.
        HandoffCycle: Two or more went through the same circle before, and it would begin once more.
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
