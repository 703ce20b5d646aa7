"""A process that searches texts for a regular expression, so that one that never ends can be ended.

Python's ``re`` backtracks, can need longer than the universe lasts, and takes no time limit; an alarm ends this process
wherever it is. The ``regex`` package takes a time limit, but counts the CPU time of the whole process, does not look at
it in every loop, and its compiler writes nested repeats out: ``((a{1000}){1000}){1000}`` takes all memory there is.

In: a line of JSON with ``pattern``, ``limit`` (matches) and ``seconds`` (wall time), then each text as a line with its
length in bytes, and the bytes. Out: a line of JSON for each, at first a list of why the pattern is none (empty when it
is one) and of what every match holds, then a list of ``[line number, excerpt]`` with how many other lines are too long
to be searched to their ends.
"""

from __future__ import annotations

import json
import re
import signal
import sys
from re import _parser  # type: ignore[attr-defined] # as re.compile reads a pattern; nothing public tells what is in it

__all__ = ["LINE_LIMIT", "main"]

LINE_LIMIT = 10_000  # characters of a line that are searched
_EXCERPT = 300  # characters of a line that are shown
_LEAD = 100  # of them before the match
_MARK = "\ufeff"  # the byte order mark, which is no part of the text behind it


def main() -> None:
    """Serve one parent until it closes the pipe or the time is up."""
    asked = json.loads(sys.stdin.buffer.readline())
    # A process inherits what its parent ignores and holds back.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM})
    signal.setitimer(signal.ITIMER_REAL, asked["seconds"])
    try:
        pattern = re.compile(asked["pattern"])
    except (re.error, OverflowError, RecursionError) as error:
        _answer([str(error), ""])
        return
    _answer(["", _literal(asked["pattern"])])
    left = asked["limit"]
    while size := sys.stdin.buffer.readline():
        found, cut = _search(pattern, sys.stdin.buffer.read(int(size)).decode("utf-8", "replace"), left)
        left -= len(found)
        _answer([found, cut])


def _literal(pattern: str) -> str:
    """The longest run of ASCII characters that every match holds; empty where none is known."""
    parsed = _parser.parse(pattern)
    if parsed.state.flags & re.IGNORECASE:
        return ""
    runs = [""]
    for kind, value in parsed:
        if str(kind) == "LITERAL" and value < 128:
            runs[-1] += chr(value)
        else:
            runs.append("")
    return max(runs, key=len)


def _search(pattern: re.Pattern[str], text: str, limit: int) -> tuple[list[tuple[int, str]], int]:
    found: list[tuple[int, str]] = []
    cut = 0
    for number, line in enumerate(text.split("\n"), 1):
        if len(found) >= limit:
            break
        is_marked = number == 1 and line.startswith(_MARK)
        for one in (line.removeprefix(_MARK), line) if is_marked else (line,):
            match = pattern.search(one[:LINE_LIMIT].removesuffix("\r"))
            if match:
                start = max(0, match.start() - _LEAD) if len(one) > _EXCERPT else 0
                found.append((number, one[start : start + _EXCERPT].rstrip("\r")))
                break
        else:
            cut += len(line) > LINE_LIMIT
    return found, cut


def _answer(value: list[object]) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
