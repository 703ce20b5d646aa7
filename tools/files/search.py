"""Search texts for a regular expression with an enforced time limit."""

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
    """The search did not finish in time."""


class Matcher:
    """A context manager around a matching process; call `find` for one text after another.

    Args:
        pattern: A Python regular expression, matched within lines.
        seconds: Wall time for all searches together, above 0.
        limit: The most matches in all searches together.

    Attributes:
        literal: Bytes that every text with a match contains; empty if none are known.

    Raises:
        ToolFailed: On entering, if the pattern is not a regular expression.
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
        """Whether the time is up."""
        return time.monotonic() >= self._deadline

    def find(self, text: bytes) -> tuple[list[tuple[int, str]], int]:
        """Return number and excerpt of each matching line, and how many other lines were not searched completely.

        Raises:
            OutOfTime: If the time is up.
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
        # A process that was killed returns nothing or an incomplete line.
        if not answer.endswith(b"\n"):
            raise OutOfTime
        return json.loads(answer)

    def _end(self) -> None:
        self._process.kill()
        with contextlib.suppress(BrokenPipeError), self._process:
            pass
