"""Graphs: agents composed into LangGraph workflows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..configs.process.lazy import lazily

if TYPE_CHECKING:
    from .events import Began as Began
    from .events import Called as Called
    from .events import Event as Event
    from .events import Finished as Finished
    from .events import Noted as Noted
    from .events import Retracted as Retracted
    from .events import Stepped as Stepped
    from .events import Token as Token
    from .events import Used as Used
    from .events import Using as Using
    from .events import Waiting as Waiting
    from .foresight.dry_run import DryRun as DryRun
    from .foresight.validation import Problem as Problem
    from .workflow import Answers as Answers
    from .workflow import Workflow as Workflow

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
