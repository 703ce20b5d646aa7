"""``pointsman runs``: list what ran, tell the story of one run, and how two differ."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from ... import options
from ...io.output import answer, as_json, result, short
from ...io.table import table
from ...settings import opened
from .keeping import cancel, fork, prune
from .story import Story, differences, labels, run_record, took, when
from .undo import undo

__all__ = ["commands"]


def runs(
    context: typer.Context,
    limit: Annotated[
        int, typer.Option("--limit", metavar="N", min=1, help="Most runs to list, the newest first.")
    ] = 20,
    json: options.AsJson = False,
) -> None:
    """List what ran; 'runs show RUN' tells the story of one."""
    from ....agents.runs import status_of

    if context.invoked_subcommand is not None:
        return
    with opened(reads=True) as runtime:
        rows = [(row, status_of(runtime, row)) for row in runtime.ledger.runs(limit=limit)]
    cells = [
        (row.id, when(row.started), status.replace("_", " "), took(row), row.target, row.user, labels(row))
        for row, status in rows
    ]
    text = table(cells, ("run", "started (UTC)", "status", "took", "target", "user", "tags"), right=[3])
    found = [run_record(row, status) for row, status in rows]
    answer(found, text if rows else "nothing has run yet: pointsman run", json=json)


def show(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Id of the run.")],
    json: options.AsJson = False,
) -> None:
    """Tell the story of a run: its steps, and for each its decisions, calls and acts; what a person decided; the cost.

    'route explain ID' says why a decision fell as it did.
    """
    with opened(reads=True) as runtime:
        # A call that was under way in a process that was killed becomes a row.
        runtime.dispatcher.budgets.reclaim()
        story = asyncio.run(Story.of(runtime, run))
    if json:
        as_json(story.record())
    else:
        result(story.text(), painted=True)


def diff(
    first: Annotated[str, typer.Argument(metavar="RUN", help="Id of a run.")],
    second: Annotated[str, typer.Argument(metavar="RUN", help="Id of another.")],
    json: options.AsJson = False,
) -> None:
    """Tell how two runs differ: how they ended, what they cost, and step by step their models, acts and outputs."""
    with opened(reads=True) as runtime:
        records = [asyncio.run(Story.of(runtime, run)).record() for run in (first, second)]
    found = differences(*records)
    cells = [
        (one["step"] or "(run)", one["field"], *(short(str(value), 60) for value in one["values"])) for one in found
    ]
    text = table(cells, ("step", "what", first, second)) if found else "they do not differ"
    answer({"runs": [first, second], "differences": found}, text, json=json)


commands = options.listing(runs, show, diff, fork, undo, prune, cancel)
