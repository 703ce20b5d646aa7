"""Signals that end the command as Ctrl-C does: what is under way is broken off, booked and written first."""

from __future__ import annotations

import signal
from types import FrameType

__all__ = ["end_cleanly", "received"]

_NUMBERS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
_last: int = signal.SIGINT


def end_cleanly() -> None:
    """Have these signals end the command cleanly; what its starter has had ignored, as nohup does, stays ignored."""
    for number in _NUMBERS:
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _interrupt)


def received() -> int:
    """The number of the signal that a `KeyboardInterrupt` came from."""
    return _last


def _interrupt(number: int, _: FrameType | None) -> None:
    global _last
    _last = number
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # As in the background of a script.
        raise KeyboardInterrupt
    signal.raise_signal(signal.SIGINT)
