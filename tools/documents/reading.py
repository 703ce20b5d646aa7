"""Read a document into pages; refuse it if its type is wrong, it cannot be opened, or it exceeds the limits."""

from __future__ import annotations

import json
import mimetypes
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from ...configs.errors import ConfigError
from ..base import ToolFailed
from ..images import mime_type_of

__all__ = ["MOST_BYTES", "Line", "Page", "is_pdf", "read_document", "read_text"]

_HYPHEN: Final = re.compile(r"(?<=[^\W\d_])[-\u00ad\x02]\n(?=[a-z\u00df-\u00ff])")
"""A word split at the end of a row: letters, a hyphen, for which PDFium may give U+0002, and small letters below."""

Box = tuple[float, float, float, float]
"""Left, top, right and bottom, as fractions of a page's width and height."""

_PDF: Final = "application/pdf"
MOST_BYTES: Final = 20_000_000
_BEFORE: Final = 1_024
"""Bytes that may precede the header of a PDF."""
_MOST_PAGES: Final = 50
_LONGER_SIDE: Final = 1_600
"""Pixels: the size vendors scale pictures down to, or slightly more."""
_MEMORY: Final = 1 << 30
_SECONDS: Final = 30.0
_MOST_TEXT_PAGES: Final = 2_000
_TEXT_SECONDS: Final = 120.0
_ALIASES: Final = {"image/jpg": "image/jpeg", "image/pjpeg": "image/jpeg", "image/x-png": "image/png"}


@dataclass(frozen=True, slots=True)
class Line:
    """A piece of a page's text, and its position."""

    text: str
    box: Box


@dataclass(frozen=True, slots=True)
class Page:
    """One page.

    Attributes:
        file: The name of its document.
        number: Its number in that document, from 1.
        lines: Its text from top to bottom; empty for a scan or a picture.
        image: The page as a picture in base64 if its text alone does not show it; else None.
        mime_type: MIME type of the picture.
    """

    file: str
    number: int
    lines: tuple[Line, ...]
    image: str | None
    mime_type: str


def read_document(name: str, data: bytes, *, said: str | None = None) -> tuple[Page, ...]:
    """Read the pages of a PDF, or of a picture, which is one page.

    The file is parsed in its own process with 1 GB of memory and 30 seconds.

    Args:
        name: Its name, for messages.
        data: The file.
        said: Its declared MIME type, checked in addition to the one its file extension implies.

    Raises:
        ToolFailed: Its type is not the declared one, or it is encrypted, damaged, or too large in bytes, pages,
            pixels, memory or time.
        ConfigError: The extra ``documents`` is not installed.
    """
    _refuse_unreadable(name, data, "PIL", "pypdfium2")
    guessed = mimetypes.guess_type(name)[0]
    try:
        found = mime_type_of(name, data)
    except ToolFailed:
        if not is_pdf(data):
            if _PDF not in (said, guessed):
                raise
            raise ToolFailed(_not_a_pdf(name)) from None
        found = _PDF
    for told in (said, guessed):
        # Neither the case of a type nor its parameters make it another type (RFC 9110, section 8.3.1).
        kind = (told or found).partition(";")[0].strip().lower()
        if _ALIASES.get(kind, kind) != found:
            raise ToolFailed(f"{name} says that it is {told}, and holds {found}: give it as what it is")
    pages = _parsed(name, data, found)
    return tuple(_page(name, number, page) for number, page in enumerate(pages, 1))


def _page(name: str, number: int, told: dict[str, Any]) -> Page:
    lines = tuple(Line(line["text"], tuple(line["box"])) for line in told["lines"])
    return Page(name, number, lines, told["image"], told["mime_type"])


def is_pdf(data: bytes) -> bool:
    """Whether a file is a PDF; bytes that readers skip may precede its header (ISO 32000-1, annex H.3, note 13).

    Args:
        data: The file, or its first kilobyte or two.
    """
    return data.find(b"%PDF-", 0, _BEFORE + len(b"%PDF-")) >= 0


def _not_a_pdf(name: str) -> str:
    return f"{name} says that it is {_PDF}, and does not begin as one within {_BEFORE:,} bytes: give it as what it is"


def read_text(name: str, data: bytes) -> tuple[str, ...]:
    """Read the text of each page of a PDF, line by line; the text of a scan is empty.

    The file is parsed in its own process with 1 GB of memory and two minutes.

    Args:
        name: Its name, for messages.
        data: The file.

    Raises:
        ToolFailed: It is not a PDF, encrypted, damaged, or too large in bytes, pages, memory or time.
        ConfigError: The extra ``documents`` is not installed.
    """
    _refuse_unreadable(name, data, "pypdfium2")
    if not is_pdf(data):
        raise ToolFailed(_not_a_pdf(name))
    pages = _parsed(name, data, _PDF, pages=_MOST_TEXT_PAGES, seconds=_TEXT_SECONDS, pictures=False)
    return tuple("\n".join(_rows(page["lines"])) for page in pages)


def _rows(lines: list[dict[str, Any]]) -> Iterator[str]:
    """Join pieces that stand next to each other, and words split by a hyphen at the end of a row."""
    rows: list[list[str]] = []
    top = None
    for line in lines:
        # Same rounding as the sort order of the lines: pieces closer than a hundredth of the page are one row.
        if top is None or round(line["box"][1], 2) != top:
            rows.append([])
        top = round(line["box"][1], 2)
        rows[-1].append(line["text"])
    text = "\n".join(" ".join(row) for row in rows)
    yield from _HYPHEN.sub("", text).replace("\x02", "-").split("\n")


def _refuse_unreadable(name: str, data: bytes, *needed: str) -> None:
    if missing := [module for module in needed if find_spec(module) is None]:
        raise ConfigError(f"documents need {' and '.join(missing)}: pip install 'pointsman[documents]'")
    if len(data) > MOST_BYTES:
        raise ToolFailed(f"{name} is larger than {MOST_BYTES:,} bytes")


def _parsed(
    name: str,
    data: bytes,
    mime_type: str,
    *,
    pages: int = _MOST_PAGES,
    seconds: float = _SECONDS,
    pictures: bool = True,
) -> list[dict[str, Any]]:
    bounds = {"pages": pages, "side": _LONGER_SIDE, "memory": _MEMORY, "seconds": seconds}
    asked = json.dumps({"mime_type": mime_type, "pictures": pictures, **bounds}).encode() + b"\n"
    done = subprocess.run(  # noqa: S603 - our own script
        [sys.executable, "-I", str(Path(__file__).with_name("worker.py"))],
        input=asked + data,
        capture_output=True,
        env={},
        check=False,
    )
    # A process that was killed prints nothing, or half of its answer.
    if not done.stdout.endswith(b"\n"):
        raise ToolFailed(f"{name} needs more memory or time than a document may, or breaks what reads it")
    answer = json.loads(done.stdout)
    if "refused" in answer:
        raise ToolFailed(f"{name} cannot be read: {answer['refused']}")
    read: list[dict[str, Any]] = answer["pages"]
    return read
