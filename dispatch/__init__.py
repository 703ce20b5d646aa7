"""Dispatch: carry out a routing decision."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..configs.process.lazy import lazily

if TYPE_CHECKING:
    from .batch.batches import Batches
    from .decisions.model import RoutedDecisionModel
    from .dispatcher import Dispatcher
    from .ensemble.ensemble import Ensemble
    from .errors import AllFailed, NoCandidate
    from .model import RoutedChatModel
    from .request import ModelRequest

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
