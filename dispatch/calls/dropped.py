"""`dropped`: closes abandoned objects in a thread of its own, since a destructor must not wait for a lock."""

from __future__ import annotations

import os
import queue
import threading
from contextlib import suppress
from typing import Final, Protocol

__all__ = ["Closing", "dropped"]


class Closing(Protocol):
    """What can be closed."""

    def close(self) -> None:
        """End it."""


class _Dropped:
    """A thread that closes things, begun by `watch` and once in each process."""

    def __init__(self) -> None:
        # Its put may be called from a destructor that interrupts another put in the same thread; that of Queue not.
        self._things: queue.SimpleQueue[Closing] = queue.SimpleQueue()
        self._watching = 0

    def watch(self) -> None:
        """Start the thread if it does not run; must not be called from a destructor."""
        if self._watching != os.getpid():
            self._watching = os.getpid()
            threading.Thread(target=self._close_all, name="pointsman-dropped", daemon=True).start()

    def put(self, thing: Closing) -> None:
        """Have something closed soon."""
        self._things.put(thing)

    def _close_all(self) -> None:
        while True:
            thing = self._things.get()
            # Nobody is left to be told.
            with suppress(Exception):
                thing.close()
            del thing


dropped: Final = _Dropped()
