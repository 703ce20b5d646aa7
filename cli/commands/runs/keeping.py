"""``pointsman runs fork``, ``prune`` and ``cancel``: copy a kept run, delete kept runs, and stop a run under way."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from ....configs.errors import ConfigError
from ... import options
from ...io.output import answer, as_json, progress, result
from ...settings import opened
from ...signals import end_cleanly
from .resume import run_row

__all__ = ["cancel", "fork", "prune"]


def fork(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Id of the run.")],
    at: Annotated[
        str | None,
        typer.Option(
            "--at", metavar="STEP", help="Do this step anew, and all that follows; from its end when left out."
        ),
    ] = None,
    json: options.AsJson = False,
) -> None:
    """Copy a run as far as it has come, or up to before a step; the copy continues on its own.

    Acts are not repeated: if the new run asks for the same act at the same place, it is given the earlier result. What
    the run's steps had written to the memory by then is recalled in the copy, too.
    """
    from ....graphs.keeping import forked

    end_cleanly()
    with opened() as runtime:
        run_row(runtime, run)
        row = asyncio.run(forked(runtime, run, at))
    if json:
        as_json({"run": row.id, "forked": run, "at": at})
    else:
        result(row.id)
        progress(f"go on with: pointsman resume {row.id}")


def prune(
    older_than: Annotated[
        float, typer.Option("--older-than", metavar="DAYS", min=0, help="Only runs that ended so many days ago.")
    ] = 30.0,
    json: options.AsJson = False,
) -> None:
    """Delete the kept state of runs that have ended, so that they cannot be resumed; their acts and cost stay recorded.

    Runs that wait for a person and runs under way are kept. So is what runs have written to the memory, since other
    items may be made from it: delete that with 'memory forget --run RUN'.
    """
    from ....graphs.keeping import pruned

    end_cleanly()
    with opened() as runtime:
        runs = asyncio.run(pruned(runtime, older_than))
    answer({"pruned": runs}, f"{len(runs)} runs pruned", json=json)


def cancel(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Id of the run.")],
    json: options.AsJson = False,
) -> None:
    """Ask the process that works on a run to stop; what it has done is kept, and the run can be resumed."""
    from ....agents.lease.heartbeat import BEAT_SECONDS
    from ....agents.lease.lease import holder_of
    from ....agents.runs import status_of

    end_cleanly()
    with opened() as runtime:
        row = run_row(runtime, run)
        holder = holder_of(runtime.ledger, runtime.settings.state, run)
        if holder is None:
            status = status_of(runtime, row).replace("_", " ")
            raise ConfigError(f"nothing works on run {run}, which is {status}: there is nothing to cancel")
        runtime.ledger.leases.cancel(run)
    answer(
        {"run": run, "asked": {"process": holder.process, "host": holder.host, "since": holder.since}},
        f"asked {holder} to stop run {run}, which it does within {BEAT_SECONDS:.0f} seconds",
        json=json,
    )
