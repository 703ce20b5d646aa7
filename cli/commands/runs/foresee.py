"""``pointsman run --dry-run``: show what the command would do, without calling anything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import ExitCode
from ...io.output import as_json, line, progress, result
from ...io.simulated import named
from ...io.table import table
from ...target.target import found_target

if TYPE_CHECKING:
    from ....agents.runtime import Runtime
    from ....graphs.foresight.dry_run import DryRun

__all__ = ["foresee"]

_SHOWN = 2
"""Further models that a line names."""


def foresee(
    spec: str, task: str, files: Sequence[Path], runtime: Runtime, *, name_it: str | None, json: bool
) -> ExitCode:
    """Print what a run would do, and return the exit code of the command.

    Args:
        spec: The target.
        task: The input; empty for none.
        files: The files that go with it.
        runtime: What it would run on.
        name_it: As for `load_target`.
        json: Print it as JSON.
    """
    found = found_target(spec, runtime, name_it=name_it).dry_run(task, files=files, runtime=runtime)
    if json:
        as_json({**asdict(found), "runnable": found.runnable})
    else:
        _show(found)
    return ExitCode.DONE if found.runnable else ExitCode.USAGE


def _show(found: DryRun) -> None:
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


def _usd(cost: float | None) -> str:
    return "unknown" if cost is None else f"{cost:.4f}"
