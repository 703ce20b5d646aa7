"""`Worker`: a thread that runs jobs one after another, for callers that must not block."""

from __future__ import annotations

import logging
import queue
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, TypeVar

from ..configs.process.forks import ExitPhase, at_exit, reset_in_children
from ..configs.process.queues import next_within

__all__ = ["Worker"]

_log = logging.getLogger(__name__)

_LINGER_SECONDS = 10.0
"""How long the thread waits for the next job before it ends."""

_T = TypeVar("_T")
_Job = tuple["Future[Any] | None", Callable[[], Any]]


class Worker:
    """Runs jobs in the order they were submitted; its thread exists only while there are jobs.

    Jobs still waiting when the process ends are run then. A forked child starts without jobs: its parent runs them.

    Args:
        name: The thread's name.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self.reset_after_fork()
        reset_in_children(self)
        _workers.add(self)

    def reset_after_fork(self) -> None:
        """Reset in a forked child."""
        # Unlike other queues, it may be used from within the garbage collector.
        self._jobs: queue.SimpleQueue[_Job] = queue.SimpleQueue()
        self._guard = threading.RLock()
        self._thread: threading.Thread | None = None
        self._linger = _LINGER_SECONDS

    def stop(self) -> None:
        """Run the remaining jobs, and let the thread end."""
        self._linger = 0.0
        self.finish()

    def submit(self, job: Callable[[], _T]) -> Future[_T]:
        """Run a job in the thread, and return the future of its result."""
        future: Future[_T] = Future()
        self._enter((future, job))
        return future

    def post(self, job: Callable[[], object]) -> None:
        """Run a job in the thread without a result; the job must not raise."""
        self._enter((None, job))

    def _enter(self, job: _Job) -> None:
        with self._guard:
            self._jobs.put(job)
            if self._thread is None:
                # A daemon, so that it keeps no process alive.
                thread = threading.Thread(target=self._work, name=self._name, daemon=True)
                # At the end of the process no thread can start any more; `finish` runs the remaining jobs.
                with suppress(RuntimeError):
                    thread.start()
                    self._thread = thread

    def finish(self) -> None:
        """Wait until all submitted jobs are done."""
        if self._thread is None and self._jobs.empty():
            return
        last = self.submit(lambda: None)
        with self._guard:
            alive = self._thread is not None
        while not (alive or last.done()):
            _do(self._jobs.get())
        last.result()

    def _work(self) -> None:
        while True:
            try:
                _do(next_within(self._jobs, self._linger))
            except queue.Empty:
                with self._guard:
                    if self._jobs.empty():
                        self._thread = None
                        return


def _do(job: _Job) -> None:
    future, work = job
    if future is None:
        try:
            work()
        except Exception:  # noqa: BLE001 - whoever comes next needs the thread
            _log.exception("a job of a thread failed")
        return
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(work())
    except BaseException as error:  # noqa: BLE001 - whoever waits for the result is told
        future.set_exception(error)


_workers: weakref.WeakSet[Worker] = weakref.WeakSet()


@at_exit(ExitPhase.WRITE)
def _finish_all() -> None:
    for worker in list(_workers):
        worker.finish()
