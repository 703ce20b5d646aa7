"""The standard streams as the command uses them: always open, able to show any text, with their failures recorded."""

from __future__ import annotations

import errno
import os
import stat
import sys
from io import TextIOWrapper

__all__ = ["TerminalGone", "output_lost", "prepare"]


class TerminalGone(OSError):
    """Standard output was a terminal that has been closed."""


class _Output(TextIOWrapper):
    """Standard output that remembers the error it failed with, since the raised exception may be wrapped later."""

    lost: OSError | None = None

    def write(self, text: str, /) -> int:
        try:
            return super().write(text)
        except OSError as error:
            self.lost = error
            raise

    def flush(self) -> None:
        try:
            super().flush()
        except OSError as error:
            self.lost = error
            raise


def prepare() -> None:
    """Make standard input readable, and standard output and error writable.

    A stream that the caller has closed is None in Python; it is replaced by the null device. A character that the
    encoding of standard output lacks is shown as an escape, as Python does on standard error.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115  # stays open to the end
    output = sys.stdout
    if isinstance(output, TextIOWrapper) and output is sys.__stdout__:
        output.flush()
        binary = open(output.fileno(), "wb", closefd=False)  # noqa: SIM115  # stays open to the end
        sys.stdout = _Output(binary, output.encoding, "backslashreplace", line_buffering=output.line_buffering)


def output_lost() -> OSError | None:
    """Return the error with which standard output failed or fails now, or None; drop what could not be written."""
    output = sys.stdout
    try:
        output.flush()
    except OSError as error:
        lost: OSError | None = error
    else:
        lost = output.lost if isinstance(output, _Output) else None
    if lost is not None:
        if lost.errno == errno.EIO and stat.S_ISCHR(os.fstat(output.fileno()).st_mode):
            lost = TerminalGone(*lost.args)
        if isinstance(output, _Output):
            output.lost = lost
        # Otherwise Python would try again at exit, and report an error.
        os.dup2(os.open(os.devnull, os.O_WRONLY), output.fileno())
    return lost
