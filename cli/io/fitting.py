"""Fit text into the columns of the terminal."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterator
from typing import IO, Any

__all__ = ["broken", "columns_of", "fitted", "room", "width"]

_LEAST = 20
_INDENT = 4
_PIECES = re.compile(r"\x1b\[[0-9;]*m|\s+|[^\s\x1b]+|\x1b")


def fitted(text: str, stream: IO[Any]) -> str:
    """Break lines that are too long for the terminal between words, and indent the continuation of each.

    Args:
        text: The text to print.
        stream: The stream to print to; text is unchanged if it is not a terminal.
    """
    columns = columns_of(stream)
    if columns == 0:
        return text
    return "\n".join(broken(line, columns) for line in text.split("\n"))


def columns_of(stream: IO[Any]) -> int:
    """Return the number of columns of a terminal; 0 if the stream is not a terminal or is too narrow for anything.

    Args:
        stream: The stream to print to.
    """
    try:
        columns = os.get_terminal_size(stream.fileno()).columns if stream.isatty() else 0
    except (OSError, ValueError):
        return 0
    return columns if columns >= _LEAST else 0


def broken(line: str, columns: int, indent: int = _INDENT) -> str:
    """Break one line between words.

    Args:
        line: The line.
        columns: How wide it may be.
        indent: How much further than its beginning the continuation is indented.
    """
    if width(line) <= columns:
        return line
    begins = len(line) - len(line.lstrip())
    indented = min(begins + indent, columns // 2)
    lines, current, used, gap = [], "", 0, ""
    for piece in _cut(line, columns):
        if piece.isspace():
            gap = piece if current else piece[:begins]
            continue
        wide = width(piece)
        if current.strip() and used + len(gap) + wide > columns:
            lines.append(current)
            # A word that a reader may copy stays whole if it fits on a line.
            used = min(indented, columns - wide)
            current, gap = " " * used, ""
        elif not current:
            gap = gap[: columns - wide]
        current += gap + piece
        used += len(gap) + wide
        gap = ""
    return "\n".join([*lines, current])


def _cut(line: str, most: int) -> Iterator[str]:
    """Yield the words, blanks and colour codes of a line; words longer than this many columns are split."""
    for piece in _PIECES.findall(line):
        while not piece.isspace() and (end := room(piece, most)) < len(piece):
            yield piece[:end]
            piece = piece[end:]
        if piece:
            yield piece


def room(text: str, columns: int) -> int:
    """Return how many characters of a text fit into the columns, at least one; the rest of the text is not measured.

    Args:
        text: One line.
        columns: How wide it may be.
    """
    end = min(len(text), max(columns, 1))
    while end > 1 and width(text[:end]) > columns:
        end -= 1
    while end < len(text) and width(text[: end + 1]) <= columns:
        end += 1
    return end


def width(text: str) -> int:
    """Return the number of terminal columns that a text takes, without its colour codes.

    Args:
        text: One line.
    """
    if text.isascii() and "\x1b" not in text:
        return len(text)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
    return sum(
        0 if unicodedata.category(c) in ("Mn", "Me", "Cf") else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in plain
    )
