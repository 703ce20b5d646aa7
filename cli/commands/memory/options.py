"""Options that the memory commands share, and the notation of a namespace."""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = ["Item", "Namespace", "labels"]

Namespace = Annotated[
    str, typer.Option("--namespace", metavar="A/B", help="Namespace to look in, its labels parted by '/'.")
]
Item = Annotated[str, typer.Argument(metavar="ID", help="The item, as 'memory search --json' names it.")]


def labels(namespace: str) -> tuple[str, ...]:
    """Parse a namespace written with '/' between its labels."""
    return tuple(part for part in namespace.split("/") if part)
