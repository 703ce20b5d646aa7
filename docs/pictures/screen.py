"""What a person sees of a program at a terminal: a pseudo-terminal whose screen can be read."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import termios
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

import pyte

BOUND = 120.0
"""Seconds without a word after which it hangs, on however busy a machine."""


Row = list[tuple[str, str | None, bool]]
"""Pieces of a row: their text, colour and weight."""
COLOURS = {"brown": "yellow", "brightblack": "bright_black"} | dict.fromkeys(("red", "green", "cyan", "magenta"))
"""What rich calls the colours of a cell, where it is another name."""


def _colour(name: str) -> str | None:
    return COLOURS[name] or name if name in COLOURS else None


class _Terminal(pyte.Screen):
    """A terminal that says where its cursor is when it is asked."""

    def __init__(self, columns: int, lines: int, reply: Callable[[bytes], Any]) -> None:
        super().__init__(columns, lines)
        self._reply = reply

    def write_process_input(self, data: str) -> None:
        self._reply(data.encode())


class Screen:
    """A program at a terminal of its own.

    Args:
        start: Starts it, with what `subprocess.Popen` takes for its streams.
        columns: How wide the terminal is.
        lines: How high.
    """

    def __init__(self, start: Callable[..., Any], columns: int, lines: int = 40) -> None:
        self._mine, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self.terminal = _Terminal(columns, lines, self._write)
        self._stream = pyte.ByteStream(self.terminal)
        self.raw = b""
        self.program = start(stdin=theirs, stdout=theirs, stderr=theirs)
        os.close(theirs)

    @property
    def rows(self) -> list[str]:
        """What stands on it, blanks at the ends of its rows left out."""
        return [row.rstrip() for row in self.terminal.display]

    @property
    def text(self) -> str:
        """All of it."""
        return "\n".join(self.rows).rstrip() + "\n"

    def drawn(self) -> list[Row]:
        """What stands on it with its colours, rows without anything left out where several follow each other."""
        drawn: list[Row] = []
        for number in range(self.terminal.lines):
            cells = [self.terminal.buffer[number][column] for column in range(self.terminal.columns)]
            row: Row = []
            for (colour, bold), same in groupby(cells, key=lambda cell: (_colour(cell.fg), cell.bold)):
                row.append(("".join(cell.data for cell in same), colour, bold))
            blank = not self.rows[number]
            if not (blank and drawn and not "".join(piece for piece, *_ in drawn[-1]).strip()):
                drawn.append(row)
        return drawn

    def until(self, *words: str, unseen: Sequence[str] = ()) -> str:
        """Read until all of these words stand on it, and none of the others, and give the screen.

        Raises:
            AssertionError: It never comes to that.
        """
        return self._until(
            lambda: all(one in self.text for one in words) and not any(one in self.text for one in unseen),
            f"{words} without {unseen}",
        )

    def ready(self, question: str = "> ") -> str:
        """Read until it waits behind a question, with its footer, and give the screen."""

        def asks() -> bool:
            cursor, rows = self.terminal.cursor, self.rows
            begun = self.terminal.display[cursor.y][: cursor.x]
            return begun.endswith(question) and any("session $" in row for row in rows[cursor.y + 1 :])

        return self._until(asks, f"a line behind {question!r}")

    def type(self, keys: str) -> None:
        """Press these keys."""
        self._write(keys.encode())

    def say(self, line: str, question: str = "> ") -> None:
        """Type a line once it is asked for."""
        self.ready(question)
        self.type(f"{line}\r")

    def close(self) -> int:
        """Close the terminal while it runs; the code it ends with."""
        os.close(self._mine)
        return int(self.program.wait())

    def end(self) -> int:
        """Read to its end; the code it ends with."""
        try:
            while self._read():
                pass
        finally:
            os.close(self._mine)
        return int(self.program.wait())

    def _until(self, seen: Callable[[], bool], what: str) -> str:
        while not seen():
            assert self._read(), f"it ended, and never showed {what}:\n{self.text}"
        return self.text

    def _write(self, data: bytes) -> None:
        os.write(self._mine, data)

    def _read(self) -> bool:
        """Take in what it shows; whether it goes on."""
        assert select.select([self._mine], [], [], BOUND)[0], f"it shows nothing more:\n{self.text}"
        try:
            data = os.read(self._mine, 65536)
        except OSError:  # nobody writes any more
            return False
        self.raw += data
        self._stream.feed(data)
        return bool(data)
