"""Read a CSV file with a header as saved by spreadsheets, with any of their separators, BOMs and encodings."""

from __future__ import annotations

import csv
import io
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .errors import ConfigError, disk_errors

__all__ = ["CsvRow", "read_rows"]

_log = logging.getLogger(__name__)

_SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
_DECLARED = "sep="
"""How Excel declares the separator in a line before the header."""
_MARKS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))
_FALLBACK = "cp1252"
"""The encoding used by spreadsheets on Windows in most of Europe and America."""


@dataclass(frozen=True, slots=True)
class CsvRow:
    """One row: the line of the file where it begins, and its fields by the header's names."""

    line: int
    fields: Mapping[str, str]


def read_rows(path: Path, columns: Sequence[str], *, longest: int = 1_000_000) -> list[CsvRow]:
    """Read all rows, except those whose cells are all empty.

    The separator is the one of comma, semicolon, tab and bar that best splits the header into the required columns,
    unless a ``sep=`` line declares it. The text is UTF-8 or UTF-16 with a byte order mark, UTF-8 without one, or else
    Windows-1252, which is logged as a warning.

    Args:
        path: The file.
        columns: Columns the header must have, in any case and order.
        longest: Maximum characters of a cell; a higher limit that is already set for the process is kept.

    Raises:
        ConfigError: The file is not such a CSV; the message names the line, if known.
    """
    text = _decoded(path)
    # The limit applies to the whole process, so it is only ever raised: another thread may be reading.
    csv.field_size_limit(max(longest, csv.field_size_limit()))
    rows = list(_rows(text, path, columns))
    if not rows:
        raise ConfigError("holds no rows: add some below the header", file=path)
    return rows


def _decoded(path: Path) -> str:
    with disk_errors("cannot be read", file=path):
        data = path.read_bytes()
    encoding = next((name for mark, name in _MARKS if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        try:
            text = data.decode(_FALLBACK)
        except UnicodeDecodeError:
            raise ConfigError(
                f"is not {encoding.upper()} text (byte {error.start}): save it as UTF-8", file=path
            ) from error
        _log.warning("%s is not UTF-8, so it was read as Windows-1252: save it as UTF-8 if letters look wrong", path)
    if "\x00" in text:
        raise ConfigError("is binary, not text: save it as CSV in UTF-8", file=path)
    if not text.strip():
        raise ConfigError("is empty: the first row must name the columns", file=path)
    return text


def _rows(text: str, path: Path, columns: Sequence[str]) -> Iterator[CsvRow]:
    separator, skipped = _separator(text, columns)
    body = text.split("\n", 1)[1] if skipped else text
    if body.lstrip().startswith(("{", "[")):
        raise ConfigError("is JSON, not a CSV: the first row must name the columns, such as text,label", file=path)
    reader = csv.reader(io.StringIO(body, newline=""), delimiter=separator, strict=True)
    head: list[str] = []
    while True:
        first = reader.line_num + 1 + skipped
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise ConfigError(f"is not a CSV: {error} in the row that begins here", file=path, line=first) from error
        if not any(cell.strip() for cell in cells):
            continue
        if not head:
            head = _head(cells, columns, path, first)
            continue
        if len(cells) != len(head):
            marks = _SEPARATORS.get(separator, repr(separator))
            raise ConfigError(
                f"has {len(cells)} fields where the header names {len(head)}: put text with {marks} in quotes",
                file=path,
                line=first,
            )
        yield CsvRow(first, dict(zip(head, cells, strict=True)))


def _separator(text: str, columns: Sequence[str]) -> tuple[str, int]:
    """Return the separator, and how many lines before the header declare it (0 or 1)."""
    first = text.split("\n", 1)[0].rstrip("\r")
    if first.lower().startswith(_DECLARED) and len(first) == len(_DECLARED) + 1:
        return first[-1], 1
    head = next((line for line in text.splitlines() if line.strip()), "")

    def named(separator: str) -> tuple[int, int]:
        names = [name.strip(' "').lower() for name in head.split(separator)]
        return sum(column in names for column in columns), len(names)

    return max(_SEPARATORS, key=named), 0


def _head(cells: Sequence[str], columns: Sequence[str], path: Path, line: int) -> list[str]:
    head = [cell.strip().lower() if cell.strip().lower() in columns else cell.strip() for cell in cells]
    missing = next((column for column in columns if column not in head), None)
    if missing is not None:
        raise ConfigError(
            f"has no column {missing!r}: the first row must name the columns, such as text,label", file=path, line=line
        )
    names = [name.lower() for name in head if name]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ConfigError(f"has two columns named {twice!r}: rename one of them", file=path, line=line)
    return head
