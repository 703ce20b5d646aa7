"""Hedged requests: where somebody waits badly, a second model is asked when the first is slow, and the faster one wins.

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
) -> T | None:
    """Await ``one``, and a second piece of work beside it once it has taken ``after`` seconds; the first result counts.

    Args:
        one: Gives a result, or None where it failed and that was noted.
        other: Makes the second piece of work, or None where there is none.
        after: Seconds.

    Returns:
        The first result that is not None, with whatever is still under way cancelled; None when both failed.
    """
    under_way: set[asyncio.Task[Any]] = {asyncio.create_task(one)}
    try:
        done, _ = await asyncio.wait(under_way, timeout=after)
        if not done and (second := await other()) is not None:
            under_way.add(asyncio.create_task(second))
        while under_way:
            done, under_way = await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                result: T | None = task.result()
                if result is not None:
                    return result
        return None
    finally:
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
