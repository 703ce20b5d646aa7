"""Signals that end the command: at once before anything is under way, then after what is under way is booked."""

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
    """Have these signals end the process without a word, as while its modules load and while it exits.

    What its starter has had ignored, as nohup does, stays ignored.
    """
    for number in (signal.SIGINT, *_NUMBERS):
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler, _interrupt):
            signal.signal(number, _leave)


def end_cleanly() -> None:
    """Have them end the command as Ctrl-C does, after `end_at_once`: what is under way is broken off and booked."""
    for number, handler in ((signal.SIGINT, signal.default_int_handler), *((one, _interrupt) for one in _NUMBERS)):
        if signal.getsignal(number) is _leave:
            signal.signal(number, handler)


def run_to_end(work: Coroutine[Any, Any, _T]) -> _T:
    """Run a coroutine in an event loop of its own, which these signals end cleanly.

    Args:
        work: What to run.
    """
    import asyncio

    end_cleanly()
    return asyncio.run(work)


def received() -> int:
    """The number of the signal that a `KeyboardInterrupt` came from."""
    return _last


def _leave(number: int, _: FrameType | None) -> None:
    os._exit(128 + number)


def _interrupt(number: int, _: FrameType | None) -> None:
    global _last
    _last = number
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # As in the background of a script.
        raise KeyboardInterrupt
    signal.raise_signal(signal.SIGINT)
