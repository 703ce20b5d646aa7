"""`Clerk`: the thread that sees to something a little after it was rung for, however often that was."""

from __future__ import annotations

import math
import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from ..forks import begin_anew

__all__ = ["Clerk"]

_LINGER_SECONDS = 10.0
"""How long the thread waits to be rung for before it ends."""


class Clerk:
    """Does one thing again and again, each time soon after somebody rang.

    Args:
        name: The thread's name.
        work: What it does; when that fails, whoever needs it done rings again.
    """

    def __init__(self, name: str, work: Callable[[], None]) -> None:
        self._name = name
        self._work = work
        self.anew()
        begin_anew(self)

    def anew(self) -> None:
        """Begin anew in a forked child."""
        self._guard = threading.RLock()
        # Unlike an event it may be used from within the garbage collector.
        self._bell: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._due = math.inf
        self._thread: threading.Thread | None = None
        self._linger = _LINGER_SECONDS

    def stop(self) -> None:
        """Let the thread end, whatever is due."""
        with self._guard:
            self._linger, self._due = 0.0, math.inf
            self._bell.put(None)

    def ring(self, seconds: float) -> None:
        """Have the work done within so many seconds."""
        due = time.monotonic() + seconds
        if due >= self._due:
            return
        with self._guard:
            self._due = due
            self._bell.put(None)
            if self._thread is None:
                # A daemon, so that it keeps no process alive.
                thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                # At the end of the process no thread starts any more; what is left is done then.
                with suppress(RuntimeError):
                    thread.start()
                    self._thread = thread

    def _run(self) -> None:
        while True:
            left = self._due - time.monotonic()
            try:
                self._bell.get(timeout=min(max(0.0, left), self._linger))
            except queue.Empty:
                if self._due == math.inf:
                    with self._guard:
                        if self._due == math.inf:
                            self._thread = None
                            return
                elif self._due <= time.monotonic():
                    # Before the work: whoever rings from now on is seen to the next time.
                    self._due = math.inf
                    with suppress(Exception):
                        self._work()
