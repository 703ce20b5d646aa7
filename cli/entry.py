"""The console script: loads the command line, and ends quietly if it is interrupted while loading."""

from __future__ import annotations

from .ending import leave
from .signals import end_at_once

__all__ = ["main"]


def main() -> None:
    """Run the command line."""
    end_at_once()
    from .main import main as command

    try:
        command()
    except SystemExit as end:
        leave(end.code)
        raise
