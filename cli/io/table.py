"""Tables that fit the terminal: columns that do not fit beside the first ones are written below each row, by name."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence

from .fitting import broken, columns_of, width
from .output import line

__all__ = ["table"]

_GAP = "  "
_INDENT = "    "
_LEAST_LAST = 30
"""Minimum width at which the last column is wrapped in its place."""


def table(
    rows: Iterable[Sequence[object]], head: Sequence[str] = (), right: Iterable[int] = (), indent: int = 0
) -> str:
    """Lay rows out in columns.

    If stdout is not a terminal, every row is one line. On a terminal that is too narrow, either the last column is
    wrapped in its place, or as many columns as fit are side by side and the others below; words that fit on a line stay
    whole.

    Args:
        rows: The cells; the first of a row is what a reader looks for and copies.
        head: The headings; none when empty.
        right: Columns to align to the right, counted from 0.
        indent: Columns to leave blank on the left.
    """
    cells = [list(map(line, row)) for row in rows]
    every = [list(head), *cells] if head else cells
    if not every:
        return ""
    widths = [max(width(row[column]) for row in every) for column in range(len(every[0]))]
    room = columns_of(sys.stdout) - indent
    beside, last = _beside(widths, room) if room > 0 else (len(widths), 0)
    to_right = set(right)
    lines: list[str] = []
    for number, row in enumerate(every):
        padded = [_padded(row[at], widths[at], at in to_right) for at in range(beside)]
        if last:
            before = _GAP.join(padded[:-1]) + _GAP if beside > 1 else ""
            blank = " " * width(before)
            lines += [
                (blank if at else before) + part for at, part in enumerate(broken(row[beside - 1], last, 0).split("\n"))
            ]
        else:
            lines.append(_GAP.join(padded))
        if not (head and number == 0):
            named = [(head[at] if head else "", row[at]) for at in range(beside, len(row))]
            lines += _below(named, room)
    return "\n".join((" " * indent + text).rstrip() for text in lines)


def _beside(widths: Sequence[int], room: int) -> tuple[int, int]:
    """Return how many columns are side by side, and the width of the last one if it is wrapped, else 0."""
    used = [sum(widths[: at + 1]) + len(_GAP) * at for at in range(len(widths))]
    if used[-1] <= room:
        return len(widths), 0
    left = room - used[-2] - len(_GAP) if len(widths) > 1 else 0
    if left >= _LEAST_LAST:
        return len(widths), left
    return max(1, sum(end <= room for end in used)), 0


def _below(named: Iterable[tuple[str, str]], room: int) -> Iterator[str]:
    """Yield lines of the other cells of a row by name, as many on a line as fit."""
    current = ""
    for name, cell in named:
        if cell in ("", "-"):
            continue
        part = f"{name}: {cell}" if name else cell
        if current and width(current) + len(_GAP) + width(part) <= room:
            current += _GAP + part
            continue
        if current:
            yield current
        first, *others = broken(part, room - len(_INDENT), 0).split("\n")
        yield from (_INDENT + text for text in (first, *others[:-1])) if others else ()
        current = _INDENT + (others[-1] if others else first)
    if current:
        yield current


def _padded(text: str, columns: int, to_right: bool) -> str:
    blank = " " * (columns - width(text))
    return blank + text if to_right else text + blank
