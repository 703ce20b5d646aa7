"""Read the input of a run: a text, a file, standard input, or a CSV of many messages."""

from __future__ import annotations

import os
import select
import stat
import sys
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

from ...configs.errors import ConfigError, disk_errors
from ...configs.rows import CsvRow, read_rows

__all__ = ["MAX_INPUT", "Message", "read_input", "read_messages", "read_piped", "standard_input"]

MAX_INPUT = 1_000_000
"""Bytes of one input unless ``--max-input`` says otherwise."""

_PATIENCE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Message:
    """One row of a batch: its line in the file, its text, and the expected label if the file has one."""

    line: int
    text: str
    label: str | None = None


def read_piped(*, limit: int = MAX_INPUT, optional: bool = False) -> str | None:
    """Read piped input, or return None if there is none.

    Args:
        limit: The most bytes it may have.
        optional: The command works without it: empty input counts as none, and an idle pipe is not waited for.

    Raises:
        ConfigError: As `read_input`.
    """
    if not _piped(optional):
        return None
    data = _read(standard_input(), limit, "standard input")
    if optional and not data.strip():
        return None
    return _decoded(data, "standard input")


def _piped(optional: bool) -> bool:
    try:
        mode = os.fstat(sys.stdin.fileno()).st_mode
    except (OSError, ValueError, AttributeError):
        # No file descriptor: a caller in Python replaced the stream.
        return sys.stdin is not None and not sys.stdin.isatty()
    if stat.S_ISREG(mode):
        return True
    if not stat.S_ISFIFO(mode):
        return False
    return not optional or bool(select.select([sys.stdin], [], [], _PATIENCE_SECONDS)[0])


def standard_input() -> BinaryIO:
    """Return standard input as a byte stream, even if a caller in Python replaced it with a text stream."""
    stream: Any = sys.stdin
    bare: BinaryIO | None = getattr(stream, "buffer", None)
    return bare or BytesIO(stream.read().encode("utf-8", "surrogateescape"))


def read_input(text: str, *, limit: int = MAX_INPUT) -> str:
    """Read an input.

    Args:
        text: The text itself, ``@file``, or ``-`` for standard input.
        limit: The most bytes it may have.

        Raises:
            ConfigError: It cannot be read, is empty, too large, or not UTF-8 text.
    """
    if text == "-":
        return _decoded(_read(standard_input(), limit, "standard input"), "standard input")
    if text.startswith("@"):
        path = Path(text[1:])
        return _decoded(_file(path, limit), str(path))
    raw = text.encode("utf-8", "surrogateescape")
    if len(raw) > limit:
        raise _too_large("the input", limit)
    return _decoded(raw, "the input")


def _file(path: Path, limit: int) -> bytes:
    with disk_errors("cannot be read", file=path), path.open("rb") as file:
        return _read(file, limit, str(path))


def _read(file: BinaryIO, limit: int, name: str) -> bytes:
    data = file.read(limit + 1)
    if len(data) > limit:
        raise _too_large(name, limit)
    return data


def _too_large(name: str, limit: int) -> ConfigError:
    return ConfigError(f"{name} is larger than {limit:,} bytes: cut it, or allow more with --max-input BYTES")


def _decoded(data: bytes, name: str) -> str:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{name} is not UTF-8 text (byte {error.start}): save it as UTF-8") from error
    if "\x00" in text:
        raise ConfigError(f"{name} is binary, not text (a NUL at byte {data.index(0)})")
    if not text.strip():
        raise ConfigError(f"{name} is empty: there is nothing to work on")
    return text


def read_messages(path: Path, *, limit: int = MAX_INPUT) -> list[Message]:
    """Read a batch.

    Args:
        path: CSV with a header and the column ``text``, and optionally ``label`` with the right answers; see
            `pointsman.configs.rows.read_rows`.
        limit: The most bytes one message may have.

    Raises:
        ConfigError: The file is not such a CSV; the error names the line, and nothing has run yet.
    """
    return [_message(row, path, limit) for row in read_rows(path, ["text"], longest=limit)]


def _message(row: CsvRow, path: Path, limit: int) -> Message:
    text = row.fields["text"]
    if not text.strip():
        raise ConfigError("the text is empty", file=path, line=row.line)
    if len(text.encode()) > limit:
        raise ConfigError(str(_too_large("the text", limit)), file=path, line=row.line)
    label = next((value for name, value in row.fields.items() if name.lower() == "label"), None)
    return Message(row.line, text, label or None)
