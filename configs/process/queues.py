"""Waits for the next item of a queue for a limited time."""

from __future__ import annotations

from queue import Empty, SimpleQueue
from typing import TypeVar

__all__ = ["next_within"]

T = TypeVar("T")


def next_within(queue: SimpleQueue[T], seconds: float) -> T:
    """The next item of a queue that one thread takes from.

    Up to Python 3.12 ``queue.get(timeout=seconds)`` can wait for ever: on an empty queue whose inner lock is free, as
    it is at first and whenever an item was taken at once, it takes that lock, computes the rest of the time, and takes
    a rest below zero for no limit (``_queue_SimpleQueue_get_impl`` in CPython's Modules/_queuemodule.c). A
    ``get_nowait`` before it leaves the lock taken.

    Args:
        queue: The queue.
        seconds: How long to wait at most.

    Raises:
        Empty: Nothing came in that time.
    """
    try:
        return queue.get_nowait()
    except Empty:
        return queue.get(timeout=seconds)
