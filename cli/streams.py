"""The standard streams as the command uses them: open, able to show any text, and known when they fail."""

from __future__ import annotations

import errno
import os
import stat
import sys
from io import TextIOWrapper

__all__ = ["TerminalGone", "output_lost", "prepare"]


class TerminalGone(OSError):
    """The terminal that standard output was, has been closed."""


class _Output(TextIOWrapper):
    """Standard output that keeps the error by which it failed: what raises it may be wrapped on its way."""

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
    """Make standard input ready to be read, and standard output and error to be printed to.

    A stream that the caller has closed is None: there is nothing to read, and nothing to print to. A character that
    its encoding lacks is shown as an escape, as Python does on standard error.
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
    """The error by which standard output failed, if it has, or fails now; what could not be written is given up."""
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
        # Python would try once more at exit, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), output.fileno())
    return lost
