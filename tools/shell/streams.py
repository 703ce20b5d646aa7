"""Capture a command's output in bounded memory, and describe its result."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum

__all__ = ["Ending", "ShellResult", "Watch"]

_LOOK = 0.25  # seconds between two checks of the disk


class Ending(Enum):
    """Why a command ended: by itself, or because it reached its limit of time, output or disk space."""

    EXITED = "exited"
    TIME = "time"
    OUTPUT = "output"
    DISK = "disk"


@dataclass(frozen=True, slots=True)
class ShellResult:
    """The result of a command.

    Attributes:
        exit_code: As in bash: 128 + n after signal n.
        stdout: Standard output, without its middle if it was too long.
        stderr: Standard error, likewise.
        timed_out: Whether the command was ended because its time was up.
        escaped: Whether the command killed its own supervisor, so that something it started may still be running.
        notes: Further notes, one line each, such as a limit that was reached.
    """

    exit_code: int
    stdout: str
    stderr: str
    timed_out: bool = False
    escaped: bool = False
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = ["timed out; it and all it started were ended" if self.timed_out else f"exit code: {self.exit_code}"]
        if self.escaped:
            lines.append("it ended its own supervisor: something it started may still run")
        lines += self.notes
        for name, text in (("stdout", self.stdout), ("stderr", self.stderr)):
            if text:
                lines.append(f"{name}:\n{text.removesuffix(chr(10))}")
        return "\n".join(lines)


class Watch(asyncio.SubprocessProtocol):
    """Collects what a process writes.

    ``over`` is set once the process has ended and no process holds its pipes open any more.

    Args:
        kept: Bytes kept of each stream; the beginning and the end are kept.
        most: Bytes that it may write to both together.
    """

    def __init__(self, kept: int, most: int) -> None:
        self.output = {1: _Output(kept), 2: _Output(kept)}
        self.over = asyncio.Event()
        self._exited = asyncio.Event()
        self._decided = asyncio.Event()
        self._left = most
        self._open: set[int | str] = {"process", 1, 2}

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        """Store received data, as far as there is room."""
        self.output[fd].add(data)
        self._left -= len(data)
        if self._left < 0:
            self._decided.set()

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        """Record that a pipe is closed."""
        self._ended(fd)

    def process_exited(self) -> None:
        """Record that the process has ended."""
        self._exited.set()
        self._decided.set()
        self._ended("process")

    async def ended(self, seconds: float, *, full: Callable[[], bool] = lambda: False) -> Ending:
        """Wait until the process has ended or reached a limit, and return which.

        Args:
            seconds: The time limit.
            full: Called periodically; returns whether the disk limit is reached.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not full():
                    with suppress(TimeoutError):
                        async with asyncio.timeout(_LOOK):
                            await self._decided.wait()
                        return Ending.EXITED if self._exited.is_set() else Ending.OUTPUT
                return Ending.DISK
        return Ending.TIME

    def _ended(self, what: int | str) -> None:
        self._open.discard(what)
        if not self._open:
            self.over.set()


class _Output:
    """The beginning and the end of a stream, in bounded memory."""

    def __init__(self, limit: int) -> None:
        self._half = max(1, limit // 2)
        self._head, self._tail = bytearray(), bytearray()
        self._left_out = 0

    def add(self, data: bytes) -> None:
        room = self._half - len(self._head)
        self._head += data[:room]
        self._tail += data[room:]
        surplus = len(self._tail) - self._half
        if surplus > 0:
            self._left_out += surplus
            del self._tail[:surplus]

    def text(self) -> str:
        gap = f"\n[{self._left_out:,} bytes left out]\n".encode() if self._left_out else b""
        return (self._head + gap + self._tail).decode("utf-8", "replace")
