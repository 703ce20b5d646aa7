"""Threads for blocking code: one for each running call, so that no call ever waits for a thread.

Code that waits for other code of its kind, such as a tool that runs another agent, deadlocks in a bounded pool: the
waiting calls occupy the threads that the calls they wait for need. asyncio's own pool has five to 36 threads.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, ParamSpec, TypeVar

from ..configs.process.forks import reset_in_children
from ..configs.process.queues import next_within

__all__ = ["THREADS", "Threads", "in_thread"]

P = ParamSpec("P")
T = TypeVar("T")

_IDLE_SECONDS = 10.0
"""How long a thread waits for the next call before it ends."""


class _Thread:
    """A thread and the queue of calls it runs, one at a time."""

    def __init__(self, pool: Threads) -> None:
        self._pool = pool
        self.calls: SimpleQueue[Callable[[], None]] = SimpleQueue()
        # A daemon thread: a tool that never returns must not keep the process from exiting.
        threading.Thread(target=self._work, name="pointsman-call", daemon=True).start()

    def _work(self) -> None:
        while True:
            try:
                call = next_within(self.calls, self._pool.idle_seconds)
            except Empty:
                if self._pool.retire(self):
                    return
                continue
            call()
            del call
            self._pool.rest(self)


class Threads(ThreadPoolExecutor):
    """Runs each call immediately: in an idle thread if there is one, else in a new one.

    Args:
        idle_seconds: How long a thread waits for the next call before it ends.
    """

    def __init__(self, idle_seconds: float = _IDLE_SECONDS) -> None:
        # A subclass because event loops accept nothing else as default executor; the base class's own threads never
        # start.
        super().__init__(max_workers=1)
        self.idle_seconds = idle_seconds
        self._guard = threading.Lock()
        self._resting: list[_Thread] = []

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Start ``fn`` immediately and return its future."""
        done: Future[T] = Future()
        call = partial(_carry_out, done, partial(fn, *args, **kwargs))
        with self._guard:
            thread = self._resting.pop() if self._resting else None
        if thread is None:
            thread = _Thread(self)
        thread.calls.put(call)
        return done

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Do nothing: the threads belong to the process, not to an event loop that ends."""

    def rest(self, thread: _Thread) -> None:
        """Record that a thread is idle."""
        with self._guard:
            self._resting.append(thread)

    def retire(self, thread: _Thread) -> bool:
        """Return whether a thread may end, because it has not been given a call in the meantime."""
        with self._guard:
            if thread not in self._resting:
                return False
            self._resting.remove(thread)
            return True

    def reset_after_fork(self) -> None:
        """Reset in a forked child, where none of the threads exist."""
        self._guard = threading.Lock()
        self._resting = []


def _carry_out(done: Future[T], call: Callable[[], T]) -> None:
    if not done.set_running_or_notify_cancel():
        return
    try:
        result = call()
    except StopIteration as error:
        # An event loop cannot pass it on, and the caller would wait for ever.
        told = RuntimeError("the function raised StopIteration")
        told.__cause__ = error
        done.set_exception(told)
    except BaseException as error:  # noqa: BLE001 - it is raised where the call is awaited
        done.set_exception(error)
    else:
        done.set_result(result)


THREADS = Threads()
"""The threads of this process."""
reset_in_children(THREADS)


async def in_thread(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a blocking function in its own thread, in the caller's context, without blocking the event loop.

    If the caller stops waiting, it continues to run: a thread cannot be stopped from outside.

    Args:
        function: The function, with its arguments.
    """
    call: Any = partial(contextvars.copy_context().run, function, *args, **kwargs)
    found: T = await asyncio.get_running_loop().run_in_executor(THREADS, call)
    return found
