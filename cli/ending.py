"""The end of the command, which threads that a tool has left behind do not put off for ever."""

from __future__ import annotations

import atexit
import os
import sys
import threading
from contextlib import suppress
from typing import Any, Final

__all__ = ["leave_in_time"]

_SECONDS: Final = 5.0


def leave_in_time(code: Any) -> None:
    """End the process after a while, where Python still waits for threads before it ends.

    Args:
        code: What it ends with, as `SystemExit` holds it.
    """
    over = threading.Event()
    # Python calls this once it has waited for the threads.
    atexit.register(over.set)
    threading.Thread(target=_leave, args=(code if isinstance(code, int) else 0, over), daemon=True).start()


def _leave(code: int, over: threading.Event) -> None:
    if over.wait(_SECONDS):
        return
    with suppress(OSError, ValueError):
        sys.stdout.flush()
        os.write(2, b"a thread that a tool has left behind still runs; it ends with the process\n")
    os._exit(code)
