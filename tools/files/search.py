"""Searching texts with a regular expression under a time limit that holds."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ..base import ToolFailed

__all__ = ["Matcher", "OutOfTime"]


class OutOfTime(Exception):
    """The pattern did not come to an end in time."""


class Matcher:
    """A matching process, as a context manager; `find` asks it about one text after another.

    Args:
        pattern: A Python regular expression, matched within lines.
        seconds: Wall time for everything that is asked, above 0.
        limit: Matches for everything that is asked.

    Attributes:
        literal: Bytes that stand in every text with a match; empty where none are known.

    Raises:
        ToolFailed: On entering, when the pattern is not a regular expression.
    """

    literal: bytes = b""

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
            refused, literal = self._ask(json.dumps(self._asked).encode() + b"\n")
        except OutOfTime:
            refused, literal = "it takes too long to read", ""
        except BaseException:
            self._end()
            raise
        if refused:
            self._end()
            raise ToolFailed(f"the pattern is not a regular expression: {refused}")
        self.literal = literal.encode()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._end()

    @property
    def out_of_time(self) -> bool:
        """The time is up."""
        return time.monotonic() >= self._deadline

    def find(self, text: bytes) -> tuple[list[tuple[int, str]], int]:
        """Return numbers and excerpts of the lines that match, and how many more were not searched to their ends.

        Raises:
            OutOfTime: When the time is up.
        """
        found, cut = self._ask(b"%d\n" % len(text) + text)
        return [(number, excerpt) for number, excerpt in found], cut

    def _ask(self, body: bytes) -> Any:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None and stdout is not None  # noqa: PT018, S101 - both were opened as pipes
        try:
            stdin.write(body)
            stdin.flush()
        except BrokenPipeError:
            raise OutOfTime from None
        answer = stdout.readline()
        # A process that was ended says nothing, or half of it.
        if not answer.endswith(b"\n"):
            raise OutOfTime
        return json.loads(answer)

    def _end(self) -> None:
        self._process.kill()
        with contextlib.suppress(BrokenPipeError), self._process:
            pass
