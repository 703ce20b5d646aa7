"""Ends the process, even if threads that were left behind still run."""

from __future__ import annotations

import atexit
import os
import sys
import threading
from contextlib import suppress
from typing import Any, Final

__all__ = ["leave"]

_SECONDS: Final = 5.0

# The original, before Pointsman added its own cleanup to it; that cleanup has already run when this is called.
_exit = os._exit


def leave(code: Any) -> None:
    """End the process as Python does at a `SystemExit`, but ignore daemon threads and wait only a while for others.

    Up to version 3.13 Python unwinds the stack of a daemon thread that still runs. If code compiled from C++ or Rust is
    on it, such as pydantic or Chroma, the process aborts (https://github.com/python/cpython/issues/87135).

    Args:
        code: The exit code, as in `SystemExit`. If it is a text, which Python prints, this function returns.
    """
    if code is None:
        code = 0
    if not isinstance(code, int):
        return
    over = threading.Event()
    threading.Thread(target=_leave, args=(code, over), daemon=True).start()
    # The same order as in `Py_FinalizeEx`.
    threading._shutdown()  # type: ignore[attr-defined]  # missing in typeshed
    over.set()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    _exit(code)


def _leave(code: int, over: threading.Event) -> None:
    if over.wait(_SECONDS):
        return
    with suppress(OSError, ValueError):
        sys.stdout.flush()
        os.write(2, b"a thread that a tool has left behind still runs; it ends with the process\n")
    os._exit(code)
