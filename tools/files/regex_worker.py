"""A process that searches texts for a regular expression, so that a search that never ends can be killed.

Python's ``re`` backtracks, can run practically for ever, and has no time limit; an alarm ends this process at any
point. The ``regex`` package has a time limit, but it counts the CPU time of the whole process, does not check it in
every loop, and its compiler expands nested repeats: ``((a{1000}){1000}){1000}`` uses up all memory.

Input: a line of JSON with ``pattern``, ``limit`` (matches) and ``seconds`` (wall time), then each text as a line with
its length in bytes, followed by the bytes. Output: a line of JSON for each input. The first is a list of the error in
the pattern (empty if it is valid) and a literal that every match contains; each further one is a list of the matches,
as ``[line number, excerpt]``, and the number of other lines that are too long to be searched completely.
"""

from __future__ import annotations

import json
import re
import signal
import sys
from re import _parser  # type: ignore[attr-defined] # re.compile's own parser; there is no public API for a parsed pattern

__all__ = ["LINE_LIMIT", "main"]

LINE_LIMIT = 10_000  # characters of a line that are searched
_EXCERPT = 300  # characters of a line that are returned
_LEAD = 100  # characters of the excerpt before the match
_MARK = "\ufeff"  # the byte order mark, which is not part of the text


def main() -> None:
    """Serve the parent process until it closes the pipe or the time is up."""
    asked = json.loads(sys.stdin.buffer.readline())
    # A process inherits the ignored and blocked signals of its parent.
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
    """Return the longest run of ASCII characters that every match contains; empty if none is known."""
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
