"""Text in as many columns as the terminal has."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterator
from typing import IO, Any

__all__ = ["fitted"]

_LEAST = 20
_INDENT = 4
_PIECES = re.compile(r"\x1b\[[0-9;]*m|\s+|[^\s\x1b]+|\x1b")


def fitted(text: str, stream: IO[Any]) -> str:
    """Break lines that are too long for the terminal between words, the rest of each indented under its beginning.

    Args:
        text: What is to be printed there.
        stream: Where; what is no terminal has no width.
    """
    try:
        columns = os.get_terminal_size(stream.fileno()).columns if stream.isatty() else 0
    except (OSError, ValueError):
        columns = 0
    if columns < _LEAST:
        return text
    return "\n".join(_broken(line, columns) for line in text.split("\n"))


def _broken(line: str, columns: int) -> str:
    if _width(line) <= columns:
        return line
    begins = len(line) - len(line.lstrip())
    indent = " " * min(begins + _INDENT, columns // 2)
    lines, current, used, gap = [], "", 0, ""
    for piece in _cut(line, columns - len(indent)):
        if piece.isspace():
            gap = piece if current else piece[:begins]
            continue
        width = _width(piece)
        if current and used + len(gap) + width > columns:
            lines.append(current)
            current, used, gap = indent, len(indent), ""
        current += gap + piece
        used += len(gap) + width
        gap = ""
    return "\n".join([*lines, current])


def _cut(line: str, most: int) -> Iterator[str]:
    """The words, blanks and colours of a line, no word longer than this many columns."""
    for piece in _PIECES.findall(line):
        while _width(piece) > most and not piece.isspace():
            end = len(piece)
            while _width(piece[:end]) > most:
                end -= 1
            yield piece[: max(end, 1)]
            piece = piece[max(end, 1) :]
        if piece:
            yield piece


def _width(text: str) -> int:
    """Columns of a terminal that a text takes, its colours aside."""
    if text.isascii() and "\x1b" not in text:
        return len(text)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
    return sum(
        0 if unicodedata.combining(c) or c == "\u200d" else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in plain
    )
