"""What a forked child keeps of its parent's event loops: nothing it uses, and everything for good."""

from __future__ import annotations

import ctypes

__all__ = ["keep_for_good"]


def keep_for_good(inherited: object) -> None:
    """Never collect an object, not even when the process ends.

    A forked child shares its parent's sockets and the epoll object its parent's loop waits on. What the child closes of
    them, its parent hears no more of, and objects that hold connections close them when they are collected.

    Args:
        inherited: What holds event loops or connections of the parent.
    """
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(inherited))
