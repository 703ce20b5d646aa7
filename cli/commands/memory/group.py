"""``pointsman memory``: look into the shared memory, add to it, make it forget, embed it anew, move it and serve it."""

from __future__ import annotations

import typer

from . import changing, looking, moving, serving

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(rich_markup_mode=None)
    for name, command in (
        ("add", changing.add),
        ("search", looking.search),
        ("list", looking.list_),
        ("show", looking.show),
        ("why", looking.why),
        ("forget", changing.forget),
        ("export", moving.export),
        ("import", moving.import_),
        ("stats", looking.stats),
        ("reindex", changing.reindex),
        ("serve", serving.serve),
        ("eval", looking.evaluate),
    ):
        group.command(name)(command)
    app.add_typer(
        group, name="memory", help="Search, list, add to, explain, delete from, move, serve and measure the memory."
    )
