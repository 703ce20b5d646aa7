"""Points at which tests end a process, to see what is lost and what is done twice."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

__all__ = ["Point", "reached"]


class Point(StrEnum):
    """What comes next."""

    BEGIN = "begin"
    """The run is in the ledger, and its graph is to begin."""
    INTENT = "intent"
    ACT = "act"
    OUTCOME = "outcome"
    CHECKPOINT = "checkpoint"
    LEDGER = "ledger"
    """The graph has come to its end, and the ledger is to be told."""
    QUESTION = "question"
    """A person is to be asked."""
    WAITING = "waiting"
    """What waits is in the queue, and the run is to be let go."""
    ANSWER = "answer"
    """The answers of a person are written down, and the graph is to be given them."""


watcher: Callable[[Point], None] | None = None
"""Called at each point; set by nobody but tests."""


def reached(point: Point) -> None:
    """Say what comes next."""
    if watcher is not None:
        watcher(point)
