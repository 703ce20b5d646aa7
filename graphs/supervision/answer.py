"""The answer of a supervised run: the outputs of its last steps, or what there is of them and what is missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...agents.result import Status, StepRecord
from .plan import said

__all__ = ["incomplete", "last_of"]

_GIVEN = (Status.DONE, Status.REJECTED)
"""What an agent says after a person refused its act is worth reading; what a verifier doubts is not passed on."""


def last_of(plan: Sequence[Mapping[str, Any]], records: Sequence[StepRecord]) -> list[StepRecord]:
    """Return the records that no other of them builds on, in the order of the plan."""
    known = {record.id: record for record in records}
    needed = {need for step in plan if step["id"] in known for need in step["needs"]}
    return [known[step["id"]] for step in plan if step["id"] in known and step["id"] not in needed]


def incomplete(plan: Sequence[Mapping[str, Any]], records: Sequence[StepRecord]) -> Any:
    """Return the output of a run with unfinished steps: what there is, and what is missing.

    Args:
        plan: The plan, as dumped.
        records: The record of each of its steps.

    Returns:
        Text if all outputs are texts, otherwise the outputs by step with the list ``missing``.
    """
    missing = [
        f"step {record.id} ({record.agent}) was {said(record.status)}: {record.note}"
        for record in records
        if record.status is not Status.DONE
    ]
    parts = {record.id: record.output for record in last_of(plan, [r for r in records if r.status in _GIVEN])}
    if all(isinstance(part, str) for part in parts.values()):
        listed = "\n".join(f"- {line}" for line in missing)
        return "\n\n".join([*(part for part in parts.values() if part), f"Missing:\n{listed}"])
    return {**parts, "missing": missing}
