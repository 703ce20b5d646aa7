"""``pointsman approvals``: the calls that are always allowed, and asking about one again."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Final

import typer

from ....configs.visible import visible
from ... import options
from ...io.output import as_json, result
from ...io.table import table
from ...signals import end_cleanly

__all__ = ["register"]

_SHOWN: Final = 12
"""Characters of an id that are shown; ``revoke`` takes any beginning that names one call."""


def register(app: typer.Typer) -> None:
    """Add the commands."""
    options.add_listing(app, approvals, revoke)


@options.project()
def approvals(context: typer.Context, json: options.AsJson = False) -> None:
    """List the calls that a person approved for always in this project."""
    from ....agents.approval.kept import Kept
    from ...settings import opened

    if context.invoked_subcommand is not None:
        return
    with opened(reads=True) as runtime:
        calls = Kept(runtime.settings.state).allowed()
    if json:
        as_json([asdict(call) for call in calls])
    elif not calls:
        result("no call is always allowed: pointsman resume RUN --always ID")
    else:
        cells = [
            (
                call.id[:_SHOWN],
                datetime.fromtimestamp(call.at, UTC).strftime("%Y-%m-%d %H:%M"),
                visible(call.tool),
                visible(call.arguments),
            )
            for call in calls
        ]
        result(table(cells, ("id", "since (UTC)", "tool", "arguments")))


@options.project()
def revoke(
    call: Annotated[str, typer.Argument(metavar="ID", help="Its id, or the beginning of it.")],
    json: options.AsJson = False,
) -> None:
    """Ask about a call again from now on."""
    from ....agents.approval.kept import Kept
    from ...settings import opened

    end_cleanly()
    with opened() as runtime:
        # Whose the state is, is asked by the ledger.
        runtime.ledger.handoffs(open_only=True)
        gone = Kept(runtime.settings.state).revoke(call)
    if json:
        as_json(asdict(gone))
    else:
        result(f"{gone.id[:_SHOWN]} is asked about again: {visible(gone.tool)} {visible(gone.arguments)}")
