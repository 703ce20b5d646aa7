"""Forks: what is closed before one, and what is reset in the child.

SQLite keeps its record of file locks per process. A child inherits that record, but not the locks
(https://www.sqlite.org/howtocorrupt.html, 2.6): a lock that a thread of the parent held would be held in the child for
ever. So no file may be open during a fork.
"""

from __future__ import annotations

import os
import weakref
from typing import Protocol

__all__ = ["closed_over_forks", "renewed_in_children"]


class _Renewed(Protocol):
    def reset_after_fork(self) -> None: ...


class _Closed(_Renewed, Protocol):
    def close_for_fork(self) -> bool: ...

    def fork_is_over(self) -> None: ...


_all: weakref.WeakSet[_Renewed] = weakref.WeakSet()
_files: weakref.WeakSet[_Closed] = weakref.WeakSet()
_held: list[_Closed] = []


def renewed_in_children(thing: _Renewed) -> None:
    """Call ``reset_after_fork`` of something in every child that is forked while it lives."""
    _all.add(thing)


def closed_over_forks(thing: _Closed) -> None:
    """Close a file before every fork, keep it closed until that is over, and reset it in the child."""
    _files.add(thing)
    _all.add(thing)


def _before_fork() -> None:
    _held.extend(thing for thing in list(_files) if thing.close_for_fork())


def _in_parent() -> None:
    while _held:
        _held.pop().fork_is_over()


def _in_child() -> None:
    _held.clear()
    for thing in list(_all):
        thing.reset_after_fork()


os.register_at_fork(before=_before_fork, after_in_parent=_in_parent, after_in_child=_in_child)
