"""A process that searches texts for a regular expression, so that one that never ends can be ended.

Python's ``re`` backtracks, can need longer than the universe lasts, and hears no time limit; a process can be killed.
Frames in both directions: four bytes of length, big-endian, and as many bytes. First in: JSON with ``pattern``,
``limit`` (matches) and ``seconds`` (CPU time); first out: empty, or why the pattern is none. Then in: one text; out: a
JSON list of ``[line number, excerpt]``.
"""

from __future__ import annotations

import json
import re
import sys

__all__ = ["LENGTH_BYTES", "main"]

LENGTH_BYTES = 4
_LINE_LIMIT = 10_000  # characters of a line that are searched
_EXCERPT = 300  # characters of a line that are shown
_LEAD = 100  # of them before the match


def main() -> None:
    """Serve one parent until it closes the pipe."""
    asked = json.loads(_receive() or b"{}")
    _limit_cpu(int(asked["seconds"]) + 1)
    try:
        pattern = re.compile(asked["pattern"])
    except (re.error, OverflowError, RecursionError) as error:
        _send(str(error).encode())
        return
    _send(b"")
    left = asked["limit"]
    while (text := _receive()) is not None:
        found = _search(pattern, text.decode("utf-8", "replace"), left)
        left -= len(found)
        _send(json.dumps(found).encode())


def _search(pattern: re.Pattern[str], text: str, limit: int) -> list[tuple[int, str]]:
    found: list[tuple[int, str]] = []
    for number, line in enumerate(text.split("\n"), 1):
        if len(found) >= limit:
            break
        match = pattern.search(line[:_LINE_LIMIT].removesuffix("\r"))
        if match:
            start = max(0, match.start() - _LEAD) if len(line) > _EXCERPT else 0
            found.append((number, line[start : start + _EXCERPT].rstrip("\r")))
    return found


def _limit_cpu(seconds: int) -> None:
    try:
        import resource
    except ImportError:
        return
    # The parent ends this process in time; this is for a parent that was killed.
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))


def _receive() -> bytes | None:
    head = sys.stdin.buffer.read(LENGTH_BYTES)
    return sys.stdin.buffer.read(int.from_bytes(head, "big")) if len(head) == LENGTH_BYTES else None


def _send(body: bytes) -> None:
    sys.stdout.buffer.write(len(body).to_bytes(LENGTH_BYTES, "big") + body)
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
