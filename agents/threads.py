"""Threads that a run's code starts belong to that run: what they spend is booked on it and bounded by it.

Context variables do not flow into plain threads before Python 3.14, so a tool that starts one would spend past the cap
of its run. Guessing the run, such as the only one under way, could charge a run for what another caller does; so the
starter tells. While any run is under way, `threading.Thread.start` hands the step it is called in to the thread, and
`ThreadPoolExecutor.submit` to the work submitted, not to the worker, which may serve other runs. Only Pointsman's own
variable is carried: what other libraries keep in the context stays as they expect it. A worker thread that a library
starts inside one run and keeps for all belongs to the run that started it, as it would on Python 3.14.
"""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from ..dispatch.context import StepContext, current, entered

__all__ = ["inherited"]

_guard = threading.Lock()
_runs = 0
_hooked = False
_start = threading.Thread.start
_submit = ThreadPoolExecutor.submit


@contextmanager
def inherited() -> Iterator[None]:
    """Let threads started inside a run belong to it while the block lasts."""
    _count(1)
    try:
        yield
    finally:
        _count(-1)


def _count(change: int) -> None:
    global _runs, _hooked, _start, _submit
    thread: Any = threading.Thread
    pool: Any = ThreadPoolExecutor
    with _guard:
        _runs += change
        if _runs and not _hooked:
            _start, _submit = thread.start, pool.submit
            thread.start, pool.submit = _start_inside, _submit_inside
            _hooked = True
        # Where others have wrapped them since, they keep what they wrapped: outside a run it only hands on.
        elif not _runs and thread.start is _start_inside and pool.submit is _submit_inside:
            thread.start, pool.submit = _start, _submit
            _hooked = False


def _begin_anew() -> None:
    global _guard
    _guard = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)


def _start_inside(thread: threading.Thread) -> None:
    step = current()
    if step.run.id:
        run = thread.run

        def belonging() -> None:
            # The thread must not keep itself alive.
            thread.__dict__.pop("run", None)
            with entered(step):
                run()

        thread.run = belonging  # type: ignore[method-assign]
    _start(thread)


def _submit_inside(pool: ThreadPoolExecutor, work: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
    step = current()
    # A worker that this starts must not belong to any run.
    with entered(StepContext()):
        return _submit(pool, functools.partial(_within, step, work), *args, **kwargs)


def _within(step: StepContext, work: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    with entered(step):
        return work(*args, **kwargs)
