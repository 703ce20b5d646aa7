"""Keep a parent's event loops and connections alive, unused, in a forked child."""

from __future__ import annotations

import ctypes

__all__ = ["keep_for_good"]


def keep_for_good(inherited: object) -> None:
    """Exempt an object from garbage collection until the process is gone.

    A forked child shares its parent's sockets and the epoll object of its parent's event loop. Objects close their
    connections when they are collected; in the child that would also remove them from the parent's epoll object.

    Args:
        inherited: An object that holds event loops or connections of the parent.
    """
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(inherited))
