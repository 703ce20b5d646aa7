"""Convert exceptions of a tool that would end more than the tool into a failure reported to the model."""

from __future__ import annotations

import asyncio
import concurrent.futures
import signal
import threading
import traceback
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any

from ..configs.plain import message_of
from .base import ToolFailed

__all__ = ["Exits", "by_signal", "interrupt_of"]

_ENDINGS = (StopIteration, StopAsyncIteration, concurrent.futures.CancelledError)
"""Subclasses of `Exception` that a future, or LangGraph, does not treat as a failure."""


class Exits:
    """A ``with`` block around a tool's code, sync or async, that turns what would end the run into `ToolFailed`.

    ``sys.exit`` and KeyboardInterrupt stop an event loop, StopIteration is lost in a future, and GeneratorExit and
    CancelledError end whatever awaits the tool. The user's own Ctrl-C, the cancellation of the run, and LangGraph's
    interrupts that wait for a person (also inside a task group) are passed on.

    Args:
        name: What the model calls the tool.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> None:
        self._task = _task()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if (stop := interrupt_of(error)) is not None:
            raise stop from error
        # Python and LangChain wrap a StopIteration that leaves a coroutine.
        cause = error.__cause__ if isinstance(error, RuntimeError) else None
        exit_ = cause if isinstance(cause, StopIteration | StopAsyncIteration) else error
        if exit_ is None or error is None or not _ends_more(exit_) or self._is_meant(exit_):
            return
        raise ToolFailed(f"the tool {self._name!r} ended with {type(exit_).__name__}{_said(exit_)}") from error

    def _is_meant(self, error: BaseException) -> bool:
        """Whether it came from outside the tool and is meant to end more than the tool."""
        if isinstance(error, BaseExceptionGroup):
            return any(self._is_meant(each) for each in error.exceptions)
        if isinstance(error, KeyboardInterrupt):
            return threading.current_thread() is threading.main_thread() and _by_hand(error)
        if isinstance(error, SystemExit):
            return by_signal(error)
        if isinstance(error, asyncio.CancelledError):
            return self._task is not None and self._task.cancelling() > 0
        # A coroutine that is closed early gets a GeneratorExit, and then no longer runs in its task.
        return isinstance(error, GeneratorExit) and _task() is not self._task


def _said(error: BaseException) -> str:
    text = message_of(error)
    return f": {text}" if text else ""


def _ends_more(error: BaseException) -> bool:
    return isinstance(error, _ENDINGS) or not isinstance(error, Exception)


def _task() -> asyncio.Task[Any] | None:
    return None if asyncio._get_running_loop() is None else asyncio.current_task()


def interrupt_of(error: BaseException | None) -> Exception | None:
    """Merge a group that contains only LangGraph interrupts into one; return None for any other error.

    A task group raises its tasks' exceptions as a group, which LangGraph would treat as a failure.

    Args:
        error: What was raised.
    """
    if not isinstance(error, ExceptionGroup):
        return None
    from langgraph.errors import GraphInterrupt

    stops, others = error.split(GraphInterrupt)
    if stops is None or others is not None:
        return None
    asked: dict[str, Any] = {}
    for one in _leaves(stops):
        for stop in one.args[0]:
            # All interrupts of one node or tool share one id, which can be answered only once: keep the first.
            asked.setdefault(stop.id, stop)
    return GraphInterrupt(list(asked.values()))


def _leaves(group: BaseExceptionGroup[Any]) -> Iterator[Any]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


def by_signal(error: BaseException) -> bool:
    """Whether a signal handler raised it, whatever code was running.

    Args:
        error: What was raised.
    """
    if threading.current_thread() is not threading.main_thread():
        return False
    handlers = [signal.getsignal(number) for number in signal.valid_signals()]
    return _raised_in(error, [handler for handler in handlers if callable(handler)])


def _by_hand(error: KeyboardInterrupt) -> bool:
    """Whether Ctrl-C may have raised it; with Python's own handler this cannot be ruled out."""
    handler = signal.getsignal(signal.SIGINT)
    return handler is signal.default_int_handler or _raised_in(error, [handler])


def _raised_in(error: BaseException, functions: Sequence[object]) -> bool:
    """Whether one of the functions is in the traceback of an error."""
    codes = [getattr(getattr(function, "func", function), "__code__", None) for function in functions]
    return any(frame.f_code in codes for frame, _ in traceback.walk_tb(error.__traceback__))
