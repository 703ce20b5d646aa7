"""``pointsman runs undo``: revert the changes that a run made to files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from ....configs.errors import ConfigError
from ... import options
from ...errors import ExitCode
from ...io.output import as_json, line, progress, result
from ...settings import opened
from ...signals import end_cleanly
from .resume import run_row

if TYPE_CHECKING:
    from ....agents.journal.undo import Undone

__all__ = ["undo"]


def undo(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Id of the run.")],
    paths: Annotated[
        list[str] | None,
        typer.Argument(metavar="[PATH]...", help="These files alone, relative to the workspace; all when left out."),
    ] = None,
    last: Annotated[
        bool, typer.Option("--last", help="The last edit alone; each further time the one before.")
    ] = False,
    redo: Annotated[bool, typer.Option("--redo", help="Take the last undo back.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Also what somebody else has changed since; --redo brings that back.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would change, and change nothing; 2 if it cannot.")
    ] = False,
    json: options.AsJson = False,
) -> None:
    """Restore the files that a run edited: all of them, or none if one cannot be restored.

    Changes made by commands are reverted too; those made by MCP servers and your own tools are not recorded, and stay.
    """
    from ....agents.journal.undo import undone

    end_cleanly()
    if redo and last:
        raise ConfigError("--last and --redo go different ways: give one of them")
    with opened() as runtime:
        run_row(runtime, run)
        files = undone(runtime, run, paths or (), last=last, redo=redo, force=force, dry_run=dry_run)
    if json:
        as_json({"run": run, "dry_run": dry_run, "files": [asdict(file) for file in files]})
    else:
        _tell(files, redo=redo, dry_run=dry_run)
    if any(file.problem for file in files):
        raise typer.Exit(ExitCode.USAGE)


def _tell(files: Sequence[Undone], *, redo: bool, dry_run: bool) -> None:
    if not files:
        result("no undo is left to be taken back" if redo else "no edit is left to be undone")
    for file in files:
        if file.diff:
            result(file.diff.rstrip("\n"))
        done = f"{'it would be ' if dry_run else ''}{file.change}: {line(file.path)}"
        progress(f"it cannot be put back: {line(file.problem)}" if file.problem else done)
