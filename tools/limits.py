"""How long one call of a tool may take, and what a model is told when its time is up."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from contextlib import asynccontextmanager
from typing import TypeVar

from .base import ToolFailed
from .threads import THREADS

__all__ = ["within", "within_thread"]

T = TypeVar("T")


@asynccontextmanager
async def within(name: str, seconds: float | None) -> AsyncIterator[None]:
    """End what is awaited in the block when its time is up.

    Args:
        name: What the model calls the tool.
        seconds: The time; None for as long as it takes.

    Raises:
        ToolFailed: The time is up. A TimeoutError of the block's own stays what it is.
    """
    try:
        async with asyncio.timeout(seconds) as clock:
            yield
    except TimeoutError as error:
        if not clock.expired():
            raise
        raise _late(name, seconds) from error


def within_thread(call: Callable[[], T], name: str, seconds: float) -> T:
    """Make a blocking call in a thread of its own, and no longer wait for it when its time is up.

    Args:
        call: What is called, in the caller's context.
        name: What the model calls the tool.
        seconds: The time.

    Raises:
        ToolFailed: The time is up; the thread goes on, since it cannot be ended from outside.
    """
    done: Future[T] = THREADS.submit(contextvars.copy_context().run, call)
    try:
        return done.result(seconds)
    except TimeoutError as error:
        if done.done():
            raise
        raise _late(name, seconds) from error


def _late(name: str, seconds: float | None) -> ToolFailed:
    return ToolFailed(f"the tool {name!r} took longer than {seconds:g} s, so it may have done some of its work or all")
