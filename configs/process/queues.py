"""Wait for the next item of a queue for a limited time."""

from __future__ import annotations

from queue import Empty, SimpleQueue
from typing import TypeVar

__all__ = ["next_within"]

T = TypeVar("T")


def next_within(queue: SimpleQueue[T], seconds: float) -> T:
    """Return the next item of a queue that has a single consumer thread.

    Up to Python 3.12 ``queue.get(timeout=seconds)`` can block forever: on an empty queue whose inner lock is free, as
    it is at first and after an item was taken without waiting, it takes that lock, computes the remaining time, and
    treats a negative rest as no limit (``_queue_SimpleQueue_get_impl`` in CPython's Modules/_queuemodule.c). Calling
    ``get_nowait`` first leaves the lock taken.

    Args:
        queue: The queue.
        seconds: Maximum time to wait.

    Raises:
        Empty: No item came in that time.
    """
    try:
        return queue.get_nowait()
    except Empty:
        return queue.get(timeout=seconds)
