"""One background event loop for synchronous callers, so that async code is written once.

Vendor SDKs bind HTTP connections to the loop they were made on; a new ``asyncio.run`` for each call would lose
them, and langchain-openai even fails the second time.
"""

from __future__ import annotations

import asyncio
import os
import queue
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from functools import wraps
from typing import Any, Final, ParamSpec, TypeVar

from ..configs.arguments import checked
from ..configs.errors import PointsmanError
from ..configs.process.forks import ExitPhase, at_exit, keep_for_good, refuse_at_exit
from ..tools.threads import THREADS

__all__ = ["blocking", "iterating", "run", "stream"]

T = TypeVar("T")
P = ParamSpec("P")

_END_SECONDS: Final = 5.0
"""How long cancelled work may take to record its cost before its caller continues or the process ends."""


class _Portal:
    """An event loop in its own thread, which no code that runs on it can end."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.ending = False
        self._ended = False
        self.loop = asyncio.new_event_loop()
        # Sync code run from this loop, also by LangChain and LangGraph, never waits for a thread.
        self.loop.set_default_executor(THREADS)
        self.thread = threading.Thread(target=self._serve, name="pointsman-portal", daemon=True)
        self.thread.start()

    def _serve(self) -> None:
        while not self._ended:
            # asyncio lets these two propagate out of the loop, after setting them on the task that raised them.
            with suppress(SystemExit, KeyboardInterrupt):
                self.loop.run_forever()

    def end(self) -> None:
        """Cancel everything that runs here, so that it records its cost, and run nothing more."""
        self.ending = True
        self.loop.call_soon_threadsafe(lambda: self.loop.create_task(self._break_off()))
        self.thread.join(_END_SECONDS)

    async def _break_off(self) -> None:
        broken = asyncio.all_tasks() - {asyncio.current_task()}
        for task in broken:
            task.cancel()
        if broken:
            await asyncio.wait(broken)
        await self.loop.shutdown_asyncgens()
        self._ended = True
        self.loop.stop()

    @property
    def here(self) -> bool:
        """Whether this is the portal's own thread, where waiting for the portal would never end."""
        return threading.current_thread() is self.thread

    @property
    def gone(self) -> bool:
        """Whether this process was forked from the one whose thread serves the loop."""
        return self.pid != os.getpid()


_lock = threading.Lock()
_portal: _Portal | None = None


def _after_fork() -> None:
    global _lock, _portal
    _lock = threading.Lock()
    keep_for_good(_portal)
    _portal = None


os.register_at_fork(after_in_child=_after_fork)


@at_exit(ExitPhase.BREAK_OFF)
def _end() -> None:
    if _portal is not None and not _portal.ending:
        _portal.end()


def _opened() -> _Portal:
    global _portal
    with _lock:
        if _portal is None or _portal.loop.is_closed():
            _portal = _Portal()
        found = _portal
    if found.ending:
        refuse_at_exit()
    if found.here:
        raise PointsmanError(
            "a synchronous call inside async code would wait for itself: await its async form (ainvoke, arun, "
            "astream), or make the tool or node that calls it a plain function"
        )
    return found


class _Work:
    """A task on the portal's loop that runs in the caller's context."""

    def __init__(self, portal: _Portal, work: Coroutine[Any, Any, T]) -> None:
        self._portal = portal
        self._loop = portal.loop
        self._task: asyncio.Task[Any] | None = None
        self.done: Future[Any] = Future()
        # The callback runs in a copy of this thread's context, and so does the task it makes.
        self._loop.call_soon_threadsafe(self._start, work)

    def _start(self, work: Coroutine[Any, Any, T]) -> None:
        self._task = self._loop.create_task(work)
        self._task.add_done_callback(self._finish)

    def _finish(self, ended: asyncio.Task[Any]) -> None:
        if ended.cancelled():
            self.done.cancel()
        elif (error := ended.exception()) is not None:
            self.done.set_exception(error)
        else:
            self.done.set_result(ended.result())

    def result(self) -> Any:
        """Wait for the task and return its result."""
        try:
            return self.done.result()
        except CancelledError:
            if self._portal.ending:
                refuse_at_exit()
            raise

    def break_off(self, *, wait: bool = True) -> None:
        """Cancel the task and give it time to end."""
        if self._portal.ending:
            return
        self._loop.call_soon_threadsafe(lambda: self._task.cancel() if self._task else None)
        if wait:
            with suppress(Exception):
                self.done.exception(timeout=_END_SECONDS)


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end on the background loop, in the caller's context.

    Any thread may call it, also from inside other such calls, at any depth. Ctrl-C cancels the work and waits until it
    has recorded its cost.

    Args:
        work: The coroutine.

    Raises:
        PointsmanError: When called on the background loop itself, where waiting would never end.
    """
    try:
        portal = _opened()
    except PointsmanError:
        work.close()
        raise
    task = _Work(portal, work)
    try:
        found: T = task.result()
        return found
    except BaseException:
        # Ctrl-C in the caller must also stop the work, or it would keep spending money.
        if not task.done.done():
            task.break_off()
        raise


_END = object()


def stream(items: AsyncIterator[T]) -> Iterator[T]:
    """Iterate over an async iterator from synchronous code, item by item as they arrive.

    Several such iterators may be read alternately. One that is abandoned before its end is cancelled.

    Args:
        items: The iterator; at most two items are produced ahead of the reader.

    Raises:
        PointsmanError: When called on the background loop itself, or in a process forked since the first item.
    """
    portal = _opened()
    handed: queue.SimpleQueue[Any] = queue.SimpleQueue()
    room = asyncio.Semaphore(1)

    async def pump() -> None:
        try:
            async for item in items:
                await room.acquire()
                handed.put(item)
        finally:
            # A reader that leaves the stream early waits for this, so that its cost is recorded by then.
            if isinstance(items, AsyncGenerator):
                await items.aclose()
            handed.put(_END)

    work = _Work(portal, pump())
    try:
        while (item := _next(portal, handed)) is not _END:
            portal.loop.call_soon_threadsafe(room.release)
            yield item
        work.result()
    finally:
        if not portal.gone and not work.done.done():
            # A dropped iterator may be collected on any thread, including the portal's.
            work.break_off(wait=not portal.here)


def _next(portal: _Portal, handed: queue.SimpleQueue[Any]) -> Any:
    if portal.gone:
        raise PointsmanError("this stream was begun before the process was forked: begin it again")
    return handed.get()


def blocking(method: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, T]:
    """Make the synchronous twin of an async method, with the same arguments: ``run = blocking(arun)``.

    Args:
        method: The method; if a subclass overrides it, the twin calls the override.
    """

    def twin(*args: P.args, **kwargs: P.kwargs) -> T:
        ended: T = run(_named(method, args[0])(*args[1:], **kwargs))
        return ended

    return as_twin(twin, method)


def iterating(method: Callable[P, AsyncIterator[T]]) -> Callable[P, Iterator[T]]:
    """Make the synchronous twin of a method that returns an async iterator, as `blocking` does.

    Args:
        method: The method.
    """

    def twin(*args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
        return stream(_named(method, args[0])(*args[1:], **kwargs))

    return as_twin(twin, method)


def _named(method: Callable[..., Any], owner: object) -> Any:
    return getattr(owner, method.__name__)


def as_twin(twin: Callable[P, T], method: Callable[P, Any]) -> Callable[P, T]:
    """Give a synchronous twin what its async original says of itself, without the ``a`` of the name.

    Args:
        twin: The twin.
        method: The function or method that it calls.
    """
    told = wraps(method)(twin)
    told.__name__ = method.__name__.removeprefix("a")
    told.__qualname__ = method.__qualname__.replace(method.__name__, told.__name__)
    # Checked here too, so that an unknown argument is told of the twin that was called.
    return checked(told) if hasattr(method, "__wrapped__") else told
