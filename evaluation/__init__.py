"""Replaying recorded decisions, training routers, and measuring both.

Names are imported on first use. `replay` is not among them, because the module of that name would hide it:
``from pointsman.evaluation.replay import replay``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..configs.process.lazy import lazily

if TYPE_CHECKING:
    from .replay import Replayed, ReplayReport
    from .train_router import train

_NAMES = {"replay": ("ReplayReport", "Replayed"), "train_router": ("train",)}

__all__ = ["ReplayReport", "Replayed", "train"]

__getattr__, __dir__ = lazily(__name__, _NAMES)
