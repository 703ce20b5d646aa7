"""Dispatch: carry out a routing decision."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..configs.process.lazy import lazily

if TYPE_CHECKING:
    from .batch.batches import Batches as Batches
    from .decisions.model import RoutedDecisionModel as RoutedDecisionModel
    from .dispatcher import Dispatcher as Dispatcher
    from .ensemble.ensemble import Ensemble as Ensemble
    from .errors import AllFailed as AllFailed
    from .errors import NoCandidate as NoCandidate
    from .model import RoutedChatModel as RoutedChatModel
    from .request import ModelRequest as ModelRequest

_NAMES = {
    "batch.batches": ("Batches",),
    "decisions.model": ("RoutedDecisionModel",),
    "dispatcher": ("Dispatcher",),
    "ensemble.ensemble": ("Ensemble",),
    "errors": ("AllFailed", "NoCandidate"),
    "model": ("RoutedChatModel",),
    "request": ("ModelRequest",),
}

__all__ = [
    "AllFailed",
    "Batches",
    "Dispatcher",
    "Ensemble",
    "ModelRequest",
    "NoCandidate",
    "RoutedChatModel",
    "RoutedDecisionModel",
]

__getattr__, __dir__ = lazily(__name__, _NAMES)
