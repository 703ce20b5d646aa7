"""The checkpoints of runs in SQLite: encrypted, written by one thread per file, and fenced against former holders."""

from .declared import declared
from .fences import raise_fence
from .opening import checkpoints, last_value, resumable
from .pruning import KEPT_DAYS, prune

__all__ = ["KEPT_DAYS", "checkpoints", "declared", "last_value", "prune", "raise_fence", "resumable"]
