"""``pointsman validate``: find what would go wrong with a workflow before it runs."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from ... import options
from ...errors import ExitCode
from ...io.output import as_json, line, paint, progress, result
from ...settings import opened
from ...target.target import DEFAULT, found_target

__all__ = ["validate"]


@options.project("offline", "overrides")
def validate(
    target: Annotated[
        str | None,
        typer.Argument(metavar="TARGET", help=f"file.py:name, module:name or a name of agents.yaml; or {DEFAULT}."),
    ] = None,
    json: options.AsJson = False,
) -> None:
    """Look for what would go wrong with a workflow; ends with code 0 if it can run, 2 if it cannot."""
    with opened(reads=True) as runtime:
        name_it = None if target else f"'pointsman validate {DEFAULT}'"
        workflow = found_target(target or DEFAULT, runtime, name_it=name_it)
        found = workflow.validate(runtime)
    wrong = any(problem.severity == "error" for problem in found)
    if json:
        as_json({"workflow": workflow.name, "valid": not wrong, "problems": [asdict(problem) for problem in found]})
    else:
        for problem in found:
            shown = paint(problem.severity, "red" if problem.severity == "error" else "yellow", err=False)
            result(f"{shown}  {problem.code}  {line(problem.message)}", painted=True)
        errors = sum(problem.severity == "error" for problem in found)
        progress(f"{workflow.name}: {errors} errors, {len(found) - errors} warnings")
    raise typer.Exit(ExitCode.USAGE if wrong else ExitCode.DONE)
