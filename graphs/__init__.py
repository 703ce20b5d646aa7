"""Graphs: agents composed into LangGraph workflows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..configs.process.lazy import lazily

if TYPE_CHECKING:
    from .events import *
    from .foresight.dry_run import DryRun
    from .foresight.validation import Problem
    from .workflow import Answers, Workflow

_NAMES = {
    "events": (
        "Began",
        "Called",
        "Event",
        "Finished",
        "Noted",
        "Retracted",
        "Stepped",
        "Token",
        "Used",
        "Using",
        "Waiting",
    ),
    "foresight.dry_run": ("DryRun",),
    "foresight.validation": ("Problem",),
    "workflow": ("Answers", "Workflow"),
}

__all__ = [
    "Answers",
    "Began",
    "Called",
    "DryRun",
    "Event",
    "Finished",
    "Noted",
    "Problem",
    "Retracted",
    "Stepped",
    "Token",
    "Used",
    "Using",
    "Waiting",
    "Workflow",
]

__getattr__, __dir__ = lazily(__name__, _NAMES)
