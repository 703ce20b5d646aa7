"""Searching texts with a regular expression under a time limit that holds."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from ..base import ToolFailed
from .regex_worker import LENGTH_BYTES

__all__ = ["Matcher", "OutOfTime"]


class OutOfTime(Exception):
    """The pattern did not come to an end in time."""


class Matcher:
    """A matching process, as a context manager; `find` asks it about one text after another.

    Args:
        pattern: A Python regular expression, matched within lines.
        seconds: Wall time for everything that is asked.
        limit: Matches for everything that is asked.

    Raises:
        ToolFailed: On entering, when the pattern is no regular expression.
    """

    def __init__(self, pattern: str, *, seconds: float, limit: int) -> None:
        self._asked = {"pattern": pattern, "limit": limit, "seconds": seconds}
        self._deadline = time.monotonic() + seconds

    def __enter__(self) -> Self:
        script = Path(__file__).with_name("regex_worker.py")
        self._process = subprocess.Popen(  # noqa: S603 - our own script
            [sys.executable, "-I", "-S", str(script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={},
        )
        try:
            refused = self._ask(json.dumps(self._asked).encode())
        except OutOfTime:
            refused = b"it takes too long to read"
        except BaseException:
            self._end()
            raise
        if refused:
            self._end()
            raise ToolFailed(f"the pattern is no regular expression: {refused.decode()}")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._end()

    @property
    def out_of_time(self) -> bool:
        """The time is up."""
        return time.monotonic() >= self._deadline

    def find(self, text: bytes) -> list[tuple[int, str]]:
        """Return line numbers, counted from 1, and excerpts of the lines that match.

        Raises:
            OutOfTime: When the time is up.
        """
        return [(number, excerpt) for number, excerpt in json.loads(self._ask(text))]

    def _ask(self, body: bytes) -> bytes:
        stdin = self._process.stdin
        assert stdin is not None  # noqa: S101 - it was opened as a pipe
        try:
            stdin.write(len(body).to_bytes(LENGTH_BYTES, "big") + body)
            stdin.flush()
        except BrokenPipeError:
            raise OutOfTime from None
        return self._received(int.from_bytes(self._received(LENGTH_BYTES), "big"))

    def _received(self, size: int) -> bytes:
        stdout = self._process.stdout
        assert stdout is not None  # noqa: S101 - it was opened as a pipe
        body = b""
        while len(body) < size:
            ready, _, _ = select.select([stdout], [], [], max(0.0, self._deadline - time.monotonic()))
            more = os.read(stdout.fileno(), size - len(body)) if ready else b""
            if not more:
                raise OutOfTime
            body += more
        return body

    def _end(self) -> None:
        self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except BrokenPipeError:
                    continue
        self._process.wait()
