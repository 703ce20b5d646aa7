"""``pointsman approvals``: list the calls that are always allowed, and revoke one."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Final

import typer

from ....configs.visible import visible
from ... import options
from ...io.output import answer, minute
from ...io.table import table
from ...settings import opened
from ...signals import end_cleanly

__all__ = ["commands"]

_SHOWN: Final = 12
"""Characters of an id that are shown; ``revoke`` takes any unique prefix."""


def approvals(context: typer.Context, json: options.AsJson = False) -> None:
    """List the calls that a person approved for always in this project."""
    from ....agents.approval.kept import Kept

    if context.invoked_subcommand is not None:
        return
    with opened(reads=True) as runtime:
        calls = Kept(runtime.settings.state).allowed()
    cells = [(call.id[:_SHOWN], minute(call.at), visible(call.tool), visible(call.arguments)) for call in calls]
    text = table(cells, ("id", "since (UTC)", "tool", "arguments"))
    none = "no call is always allowed: pointsman resume RUN --always ID"
    answer([asdict(call) for call in calls], text if calls else none, json=json)


def revoke(
    call: Annotated[str, typer.Argument(metavar="ID", help="Its id, or the beginning of it.")],
    json: options.AsJson = False,
) -> None:
    """Ask about a call again from now on."""
    from ....agents.approval.kept import Kept

    end_cleanly()
    with opened() as runtime:
        # The ledger checks whose state this is.
        runtime.ledger.handoffs(open_only=True)
        gone = Kept(runtime.settings.state).revoke(call)
    answer(
        asdict(gone),
        f"{gone.id[:_SHOWN]} is asked about again: {visible(gone.tool)} {visible(gone.arguments)}",
        json=json,
    )


commands = options.listing(approvals, revoke)
