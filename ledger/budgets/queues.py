"""`Queues`: callers that wait for a scope's money to be given back, first come, first served."""

from __future__ import annotations

import asyncio
import threading

__all__ = ["Queues"]

_POLL_SECONDS = 0.25
"""Seconds between a waiter's checks whether another process has given something back."""
_POLLS_A_SECOND = 200.0


class Queues:
    """A queue for each scope, shared by all event loops and threads of the process.

    A waiter that was woken and leaves must pass its turn on with `wake`, so that nothing given back is missed.
    """

    def __init__(self) -> None:
        self._waiting: dict[str, dict[asyncio.Future[None], None]] = {}
        self._guard = threading.RLock()

    def join(self, waiter: asyncio.Future[None], scope: str) -> None:
        """Join the end of a scope's queue.

        Args:
            waiter: Resolved when it may try again.
            scope: The scope it waits for.
        """
        with self._guard:
            self._waiting.setdefault(scope, {})[waiter] = None

    def leave(self, waiter: asyncio.Future[None], scope: str) -> bool:
        """Leave a scope's queue; return False if the waiter had already been woken."""
        with self._guard:
            queue = self._waiting.get(scope, {})
            waited = waiter in queue
            queue.pop(waiter, None)
            if not queue:
                self._waiting.pop(scope, None)
        return waited

    def wake(self, scope: str) -> None:
        """Let the first waiter of a scope try again; once served, it wakes the next."""
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
            waiter: The waiter, which has joined the queue.
            scope: The scope it waits for.
            most: Maximum seconds to wait.
        """
        # All waiters together read the file about `_POLLS_A_SECOND` times a second at most, however many there are.
        poll = _POLL_SECONDS + len(self._waiting.get(scope, ())) / _POLLS_A_SECOND
        try:
            await asyncio.wait((waiter,), timeout=min(most, poll))
        except asyncio.CancelledError:
            # Woken and cancelled at the same time: the next waiter gets the turn.
            if not self.leave(waiter, scope):
                self.wake(scope)
            raise
        self.leave(waiter, scope)


def _resolve(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
