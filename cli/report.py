"""``pointsman report`` and ``pointsman queue``: what it cost and why, and what waits for a person."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from . import options
from .screen import aligned, as_json, result, short

if TYPE_CHECKING:
    from ..ledger.rows import HandoffRow

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(rich_markup_mode=None, invoke_without_command=True)
    group.callback()(queue)
    group.command("done")(done)
    app.add_typer(group, name="queue", help="List what waits for a person, or tick it off with 'queue done ID'.")


def queue(
    context: typer.Context,
    every: Annotated[bool, typer.Option("--all", help="List what is done, too.")] = False,
    config: options.Config = None,
    json: options.AsJson = False,
) -> None:
    """List what was handed to a person."""
    from .settings import opened

    if context.invoked_subcommand is not None:
        return
    with opened(config) as runtime:
        rows = [row for row in runtime.ledger.handoffs() if every or not row.done]
    if json:
        as_json([_handoff(row) for row in rows])
        return
    cells = [
        (row.id[:8], _when(row.at), row.risk, "done" if row.done else "open", short(row.summary, 90), short(row.reason, 70))
        for row in rows
    ]
    result(aligned(cells, ("id", "at (UTC)", "risk", "state", "what", "why")) if cells else "nothing waits for a person")


def done(
    handoff: Annotated[str, typer.Argument(metavar="ID", help="Its id, or the beginning of it.")],
    config: options.Config = None,
) -> None:
    """Tick something off."""


def _handoff(row: HandoffRow) -> dict[str, object]:
    return {"id": row.id, "run": row.run, "at": row.at, "risk": row.risk, "reason": row.reason, "summary": row.summary, "done": row.done}


def _when(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M")
