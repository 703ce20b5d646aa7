"""`Standing`: how far a supervised run is, read from its state once for each decision on what comes next."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from ...agents.result import Status
from .plan import Dependents

__all__ = ["Standing"]

Dumped = dict[str, Any]


class Standing:
    """Which steps of a plan have ended, which can run now, and which build on them.

    It is created again from each state: a plan of a thousand steps is scanned once per wave, not once per query.

    Args:
        plan: The plan, as dumped.
        done: The records of the steps that have ended, as plain values.
    """

    def __init__(self, plan: Sequence[Dumped], done: Sequence[Dumped]) -> None:
        self.plan = plan
        self.ended = {record["id"]: record for record in done}

    @cached_property
    def steps(self) -> dict[str, Dumped]:
        """The steps of the plan by id."""
        return {step["id"]: step for step in self.plan}

    @cached_property
    def failed(self) -> list[Dumped]:
        """The records of the plan's steps that failed and that another plan must replace."""
        status = Status.FAILED
        found = [record for record in self.ended.values() if record["status"] == status]
        return [record for record in found if record["id"] in self.steps] if found else found

    @cached_property
    def left(self) -> list[Dumped]:
        """The steps that have not ended."""
        return [step for step in self.plan if step["id"] not in self.ended]

    @cached_property
    def ready(self) -> list[Dumped]:
        """The steps that can run now."""
        status = Status.DONE
        done = {key for key, record in self.ended.items() if record["status"] == status}
        return [step for step in self.left if done.issuperset(step["needs"])]

    @cached_property
    def dependents(self) -> Dependents:
        """How many later unfinished steps build on each unfinished step; steps that have ended are not counted."""
        return Dependents(self.left)
