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
    """Await ``one``, and other work beside it once it has taken ``after`` seconds; the first result counts.

    Args:
        one: Gives a result, or None where it failed and that was noted.
        other: Makes the other work, which may take its time, or None where there is none.
        after: Seconds.
        discard: Lets go of a result that came too late, where there is anything to let go of.

    Returns:
        The first result that is not None, when it comes, with whatever is still under way cancelled; None when both
        failed.
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
                # Where it raised nobody need wait for the other.
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
