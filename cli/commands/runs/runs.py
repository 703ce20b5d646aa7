"""``pointsman runs``: list the runs, show what happened in one, and compare two."""

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
    """List the runs; 'runs show RUN' shows what happened in one."""
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
    """Show what happened in a run: each step with its decisions, calls and acts; what a person decided; the cost.

    'route explain ID' explains a decision.
    """
    with opened(reads=True) as runtime:
        # Recover as rows the calls that were under way in a process that was killed.
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
    """Show how two runs differ: their endings, costs, and for each step their models, acts and outputs."""
    with opened(reads=True) as runtime:
        records = [asyncio.run(Story.of(runtime, run)).record() for run in (first, second)]
    found = differences(*records)
    cells = [
        (one["step"] or "(run)", one["field"], *(short(str(value), 60) for value in one["values"])) for one in found
    ]
    text = table(cells, ("step", "what", first, second)) if found else "they do not differ"
    answer({"runs": [first, second], "differences": found}, text, json=json)


commands = options.listing(runs, show, diff, fork, undo, prune, cancel)
