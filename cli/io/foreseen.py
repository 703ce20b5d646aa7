"""What a dry run found, for a person and as JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from ..errors import ExitCode
from .output import as_json, line, progress, result
from .simulated import named
from .table import table

if TYPE_CHECKING:
    from ...graphs.foresight import DryRun

__all__ = ["report_dry_run"]

_SHOWN = 2
"""Further models that a line names."""


def report_dry_run(found: DryRun, *, json: bool) -> ExitCode:
    """Print a dry run and say with which code the command ends.

    Args:
        found: The dry run.
        json: Print it as JSON.
    """
    code = ExitCode.DONE if found.runnable else ExitCode.USAGE
    if json:
        as_json({**asdict(found), "runnable": found.runnable})
        return code
    rows = [
        (
            step.id,
            step.agent,
            step.kind,
            step.risk,
            step.floor,
            named(step.model or "none"),
            ", ".join(step.next[:_SHOWN]) or "-",
            _usd(step.cost),
            _usd(step.most_cost),
            ", ".join(step.approvals) or "-",
        )
        for step in found.steps
    ]
    head = ("step", "agent", "kind", "risk", "floor", "runs on", "then", "$ a call", "$ at most", "waits for a person")
    result(table(rows, head, right=[7, 8]))
    for step in found.steps:
        if step.problem:
            progress(f"{step.agent} cannot run: {line(step.problem)}")
        elif step.missing:
            progress(f"{step.agent}: more models with {', '.join(step.missing)}")
    for note in found.notes:
        progress(f"note: {line(note)}")
    progress(f"nothing was called; at most {_usd(found.most_cost)} USD in all")
    return code


def _usd(cost: float | None) -> str:
    return "unknown" if cost is None else f"{cost:.4f}"
