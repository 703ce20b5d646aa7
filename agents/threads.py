"""Threads that a run's code starts belong to that run: what they spend is recorded for it and limited by it.

Context variables do not flow into plain threads before Python 3.14, so a tool that starts one would spend past the cap
of its run. Guessing the run, such as the only active one, could charge a run for what another caller does; so the
starting code passes it on. From the first run on, `threading.Thread.start` passes the step it is called in to the
thread, and `ThreadPoolExecutor.submit` passes it to the submitted work, not to the worker, which may serve other runs.
What a run has started may outlive it and start more, so this is never undone. Only Pointsman's own variable is carried:
what other libraries keep in the context stays as they expect it. A worker thread that a library starts inside one run
and keeps for all belongs to the run that started it, as it would on Python 3.14.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from ..dispatch.context import StepContext, current, entered

__all__ = ["inherit"]

_ORIGINAL = threading.Thread.start, ThreadPoolExecutor.submit
_start: Any = None
_submit: Any = None


def inherit() -> None:
    """Make threads that are started inside a run belong to it, from now on."""
    global _start, _submit
    thread: Any = threading.Thread
    pool: Any = ThreadPoolExecutor
    # Code that has wrapped them since still calls ours; code that has restored the originals does not.
    start, submit = thread.start, pool.submit
    if _start is None or start in (_start, _ORIGINAL[0]):
        _start, thread.start = start, _start_inside
    if _submit is None or submit in (_submit, _ORIGINAL[1]):
        _submit, pool.submit = submit, _submit_inside


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
        done: Future[Any] = _submit(pool, functools.partial(_within, step, work), *args, **kwargs)
        return done


def _within(step: StepContext, work: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    with entered(step):
        return work(*args, **kwargs)
