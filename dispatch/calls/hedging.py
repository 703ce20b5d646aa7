"""Hedged requests: for latency-critical calls a second model is asked when the first is slow; the faster one wins.

After J. Dean and L. A. Barroso, "The Tail at Scale", Communications of the ACM 56(2), 2013, "Hedged requests".
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

__all__ = ["first_of"]

T = TypeVar("T")


async def first_of(
    one: Coroutine[Any, Any, T | None],
    other: Callable[[], Awaitable[Coroutine[Any, Any, T | None] | None]],
    after: float,
    discard: Callable[[T], Awaitable[None]] | None = None,
) -> T | None:
    """Await ``one``, and after ``after`` seconds start other work beside it; the first result counts.

    Args:
        one: Returns a result, or None if it failed and the failure was recorded.
        other: Returns the other work, possibly after a while, or None if there is none.
        after: Seconds.
        discard: Releases a result that came too late, if results need releasing.

    Returns:
        The first result that is not None, after cancelling whatever is still running; None if both failed.
    """

    async def beside() -> T | None:
        work = await other()
        return None if work is None else await work

    tasks = [asyncio.create_task(one)]
    first: asyncio.Task[T | None] | None = None
    try:
        done, under_way = await asyncio.wait(tasks, timeout=after)
        if not done:
            tasks.append(asyncio.create_task(beside()))
            done, under_way = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        while True:
            first = next((task for task in tasks if task in done and _result(task) is not None), None)
            if first is not None:
                return first.result()
            for task in done:
                # If it raised, there is no need to wait for the other.
                task.result()
            if not under_way:
                return None
            done, under_way = await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for task in tasks:
            late = None if task is first else _result(task)
            if late is not None and discard is not None:
                await discard(late)


def _result(task: asyncio.Task[T | None]) -> T | None:
    return None if task.cancelled() or task.exception() is not None else task.result()
