"""``pointsman queue``: what waits for a person, and ticking it off."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from . import options
from .screen import aligned, as_json, line, result, short

if TYPE_CHECKING:
    from ..ledger.rows import HandoffRow

__all__ = ["register"]

_SHOWN = 8
"""Characters of an id that are shown; ``done`` takes any beginning that names one item."""


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(rich_markup_mode=None, invoke_without_command=True)
    group.callback()(queue)
    group.command("done")(done)
    app.add_typer(group, name="queue")


def queue(
    context: typer.Context,
    every: Annotated[bool, typer.Option("--all", help="List what is done, too.")] = False,
    full: Annotated[bool, typer.Option("--full", help="Show everything a person is told.")] = False,
    config: options.Config = None,
    json: options.AsJson = False,
) -> None:
    """List what was handed to a person."""
    from .settings import opened

    if context.invoked_subcommand is not None:
        return
    with opened(config, reads=True) as runtime:
        rows = runtime.ledger.handoffs(open_only=not every)
    if json:
        as_json([asdict(row) for row in rows])
        return
    if not rows:
        result("nothing waits for a person")
        return
    if full:
        for row in rows:
            result(f"{row.id}  {_when(row.at)}  {row.risk}  {_state(row)}  run {row.run}")
            result(f"  why   {line(row.reason)}\n  what  {line(row.summary)}\n")
        return
    cells = [
        (row.id[:_SHOWN], _when(row.at), row.risk, _state(row), short(row.summary, 80), short(row.reason, 70))
        for row in rows
    ]
    result(aligned(cells, ("id", "since (UTC)", "risk", "state", "what", "why")))


def done(
    item: Annotated[str, typer.Argument(metavar="ID", help="Its id, or the beginning of it.")],
    config: options.Config = None,
    json: options.AsJson = False,
) -> None:
    """Tick an item off."""
    from ..configs.errors import ConfigError
    from .settings import opened

    with opened(config) as runtime:
        fitting = [row for row in runtime.ledger.handoffs() if row.id.startswith(item)]
        if len(fitting) != 1:
            none = f"nothing in the queue has the id {item!r}: pointsman queue lists it"
            raise ConfigError(f"{len(fitting)} items begin with {item!r}: write more of the id" if fitting else none)
        finished = runtime.ledger.finish_handoff(fitting[0].id)
    if json:
        as_json(asdict(finished))
    else:
        result(f"{finished.id[:_SHOWN]} is done: {short(finished.summary, 100)}")


def _state(row: HandoffRow) -> str:
    return "done" if row.done else "open"


def _when(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M")
