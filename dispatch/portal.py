"""One background event loop for synchronous callers, so that async code is written once.

Vendor SDKs keep HTTP connections bound to the loop they were made on; a new ``asyncio.run`` for each call would
lose them, and langchain-openai even fails the second time.
"""

from __future__ import annotations

import asyncio
import contextvars
import queue
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator
from concurrent.futures import Future
from typing import Any, TypeVar

__all__ = ["run", "stream"]

T = TypeVar("T")

_lock = threading.Lock()
_loop: asyncio.AbstractEventLoop | None = None


def _portal() -> asyncio.AbstractEventLoop:
    global _loop
    with _lock:
        if _loop is None or _loop.is_closed():
            _loop = asyncio.new_event_loop()
            threading.Thread(target=_loop.run_forever, name="pointsman-portal", daemon=True).start()
        return _loop


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end on the background loop, in the caller's context.

    Args:
        work: The coroutine.

    Raises:
        RuntimeError: When called on the background loop itself, where waiting would never end.
    """
    loop = _portal()
    try:
        if asyncio.get_running_loop() is loop:
            work.close()
            raise RuntimeError("a synchronous call inside async code would wait for itself: await the async form")
    except RuntimeError as error:
        if "would wait for itself" in str(error):
            raise
    done: Future[T] = Future()
    context = contextvars.copy_context()
    task: asyncio.Task[T] | None = None

    def finish(ended: asyncio.Task[T]) -> None:
        if ended.cancelled():
            done.cancel()
        elif (error := ended.exception()) is not None:
            done.set_exception(error)
        else:
            done.set_result(ended.result())

    def start() -> None:
        nonlocal task
        task = loop.create_task(work, context=context)
        task.add_done_callback(finish)

    loop.call_soon_threadsafe(start)
    try:
        return done.result()
    except BaseException:
        # Ctrl-C in the caller must also stop the work, or it would go on spending.
        if not done.done():
            loop.call_soon_threadsafe(lambda: task.cancel() if task else None)
        raise


_END = object()


def stream(items: AsyncIterator[T]) -> Iterator[T]:
    """Iterate an async iterator from synchronous code, item by item as they come."""
    handed: queue.Queue[Any] = queue.Queue(maxsize=1)

    async def pump() -> None:
        try:
            async for item in items:
                await asyncio.to_thread(handed.put, item)
        finally:
            await asyncio.to_thread(handed.put, _END)

    loop = _portal()
    context = contextvars.copy_context()
    started: Future[asyncio.Task[None]] = Future()
    loop.call_soon_threadsafe(lambda: started.set_result(loop.create_task(pump(), context=context)))
    task = started.result()
    item: Any = None
    try:
        while (item := handed.get()) is not _END:
            yield item
    finally:
        if item is not _END:
            loop.call_soon_threadsafe(task.cancel)
            # The pump may be waiting to hand over one more item.
            while handed.get() is not _END:
                continue
    run(_raise(task))


async def _raise(task: asyncio.Task[None]) -> None:
    await task
