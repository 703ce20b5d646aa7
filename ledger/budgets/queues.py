"""`Queues`: callers that wait for a scope's money to be given back, first come, first served."""

from __future__ import annotations

import asyncio
import threading

__all__ = ["Queues"]

_POLL_SECONDS = 0.25
"""How often one who waits looks whether another process has given something back."""
_POLLS_A_SECOND = 200.0


class Queues:
    """A queue for each scope; every event loop and thread of the process uses them.

    Whoever leaves a queue after it was woken passes its turn on with `wake`, so that nothing given back is missed.
    """

    def __init__(self) -> None:
        self._waiting: dict[str, dict[asyncio.Future[None], None]] = {}
        self._guard = threading.RLock()

    def join(self, waiter: asyncio.Future[None], scope: str) -> None:
        """Stand last in the queue of a scope.

        Args:
            waiter: Resolved when it is its turn to try again.
            scope: What it waits for.
        """
        with self._guard:
            self._waiting.setdefault(scope, {})[waiter] = None

    def leave(self, waiter: asyncio.Future[None], scope: str) -> bool:
        """Wait no longer; False for one who was woken."""
        with self._guard:
            queue = self._waiting.get(scope, {})
            waited = waiter in queue
            queue.pop(waiter, None)
            if not queue:
                self._waiting.pop(scope, None)
        return waited

    def wake(self, scope: str) -> None:
        """Let the first that waits for a scope try again; when it is served it wakes the next."""
        if scope not in self._waiting:
            return
        with self._guard:
            queue = self._waiting.get(scope, {})
            waiter = next((one for one in list(queue) if not one.get_loop().is_closed()), None)
            if waiter is not None:
                del queue[waiter]
                waiter.get_loop().call_soon_threadsafe(_resolve, waiter)

    async def change(self, waiter: asyncio.Future[None], scope: str, most: float) -> None:
        """Wait until something may have been given back to a scope, then leave its queue.

        Args:
            waiter: Who waits; it has joined the queue.
            scope: What it waits for.
            most: Seconds to wait at most.
        """
        # Together they ask the file so many times a second, however many they are.
        poll = _POLL_SECONDS + len(self._waiting.get(scope, ())) / _POLLS_A_SECOND
        try:
            await asyncio.wait((waiter,), timeout=min(most, poll))
        except asyncio.CancelledError:
            # Woken and cancelled at once: the chance goes to the next.
            if not self.leave(waiter, scope):
                self.wake(scope)
            raise
        self.leave(waiter, scope)


def _resolve(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
