"""What is reset in a forked child: locks that a thread of the parent may hold, and the parent's connections."""

from __future__ import annotations

import os
import weakref
from typing import Protocol

__all__ = ["renewed_in_children"]


class _Renewed(Protocol):
    def reset_after_fork(self) -> None: ...


_all: weakref.WeakSet[_Renewed] = weakref.WeakSet()


def renewed_in_children(thing: _Renewed) -> None:
    """Call ``reset_after_fork`` of something in every child that is forked while it lives."""
    _all.add(thing)


def _after_fork() -> None:
    for thing in list(_all):
        thing.reset_after_fork()


os.register_at_fork(after_in_child=_after_fork)
