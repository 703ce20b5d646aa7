"""`Host`: the event loop that talks to all servers of a registry, whatever loop or thread calls a tool.

The SDK must leave its scopes in the task that entered them, and runs come and go on loops of their own.
"""

from __future__ import annotations

import asyncio
import atexit
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, Final, TypeVar

from ...configs.process.forks import reset_in_children
from ..threads import THREADS

__all__ = ["Host"]

T = TypeVar("T")

_END_SECONDS: Final = 15.0
"""More than a session may take to end."""


class Host:
    """A thread with an event loop, started with the first task.

    Args:
        at_exit: Runs on the loop when the host closes or the process exits.
    """

    def __init__(self, at_exit: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._at_end = at_exit
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        reset_in_children(self)

    def reset_after_fork(self) -> None:
        """Reset in a forked child, which has neither the thread nor anything on its loop."""
        self._lock = threading.Lock()
        self._loop = None

    def submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Schedule work on the loop."""
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._loop.set_default_executor(THREADS)
                threading.Thread(target=self._loop.run_forever, name="pointsman-mcp", daemon=True).start()
                atexit.register(self.close)
            loop = self._loop
        return asyncio.run_coroutine_threadsafe(work, loop)

    def close(self) -> None:
        """Run the exit work, within a time limit, and stop the loop."""
        with self._lock:
            loop, self._loop = self._loop, None
        if loop is None:
            return
        atexit.unregister(self.close)
        with suppress(TimeoutError):
            asyncio.run_coroutine_threadsafe(self._at_end(), loop).result(_END_SECONDS)
        loop.call_soon_threadsafe(loop.stop)
