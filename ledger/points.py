"""Points at which tests kill a process, to see what is lost and what is done twice."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

__all__ = ["Point", "reached"]


class Point(StrEnum):
    """What comes next."""

    BEGIN = "begin"
    """The run is in the ledger, and its graph is about to begin."""
    INTENT = "intent"
    ACT = "act"
    OUTCOME = "outcome"
    CHECKPOINT = "checkpoint"
    LEDGER = "ledger"
    """The graph has ended, and the ledger is about to be updated."""
    QUESTION = "question"
    """A person is about to be asked."""
    WAITING = "waiting"
    """What waits is in the queue, and the run is about to be released."""
    ANSWER = "answer"
    """A person's answers are stored, and about to be passed to the graph."""


watcher: Callable[[Point], None] | None = None
"""Called at each point; set only by tests."""


def reached(point: Point) -> None:
    """Report to the `watcher`, if any, what comes next."""
    if watcher is not None:
        watcher(point)
