"""Points at which tests end a process, to see what is lost and what is done twice."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

__all__ = ["Point", "reached"]


class Point(StrEnum):
    """What comes next."""

    INTENT = "intent"
    ACT = "act"
    OUTCOME = "outcome"
    CHECKPOINT = "checkpoint"
    LEDGER = "ledger"
    """The graph has come to its end, and the ledger is to be told."""


watcher: Callable[[Point], None] | None = None
"""Called at each point; set by nobody but tests."""


def reached(point: Point) -> None:
    """Say what comes next."""
    if watcher is not None:
        watcher(point)
