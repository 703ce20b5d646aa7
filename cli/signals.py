"""Signals that end the command: at once before any work has begun, later only after the work so far is recorded."""

from __future__ import annotations

import os
import signal
from collections.abc import Coroutine
from types import FrameType
from typing import Any, TypeVar

__all__ = ["end_at_once", "end_cleanly", "received", "run_to_end"]

_T = TypeVar("_T")

_NUMBERS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
_last: int = signal.SIGINT


def end_at_once() -> None:
    """Make these signals end the process without a message, for use while modules load and while the process exits.

    A signal that the parent process ignored, as nohup does, stays ignored.
    """
    for number in (signal.SIGINT, *_NUMBERS):
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler, _interrupt):
            signal.signal(number, _leave)


def end_cleanly() -> None:
    """Make them end the command as Ctrl-C does, after `end_at_once`: the work is broken off and recorded."""
    for number, handler in ((signal.SIGINT, signal.default_int_handler), *((one, _interrupt) for one in _NUMBERS)):
        if signal.getsignal(number) is _leave:
            signal.signal(number, handler)


def run_to_end(work: Coroutine[Any, Any, _T]) -> _T:
    """Run a coroutine in an event loop of its own, which these signals end cleanly.

    Args:
        work: The coroutine.
    """
    import asyncio

    end_cleanly()
    return asyncio.run(work)


def received() -> int:
    """Return the number of the signal that caused a `KeyboardInterrupt`."""
    return _last


def _leave(number: int, _: FrameType | None) -> None:
    os._exit(128 + number)


def _interrupt(number: int, _: FrameType | None) -> None:
    global _last
    _last = number
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # SIGINT is ignored, as for a background job of a script.
        raise KeyboardInterrupt
    signal.raise_signal(signal.SIGINT)
