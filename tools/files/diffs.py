"""What a change makes of a text, as a unified diff or, where there can be none, in words."""

from __future__ import annotations

import difflib
import io
from typing import Final

from .workspace import printable, shown

__all__ = ["reported", "text_of", "unified"]

_LINES: Final = 4_000
"""Of both sides; difflib is quadratic."""
_LIMIT: Final = 20_000
"""Characters of a diff that a tool returns."""


def text_of(content: bytes | None, limit: int) -> str | None:
    """Bytes as text; None where there are none, too many, or they are no text."""
    try:
        return None if content is None or len(content) > limit or b"\0" in content else content.decode()
    except UnicodeDecodeError:
        return None


def reported(path: str, before: str | None, after: str, *, wrote: str = "wrote", limit: int | None = _LIMIT) -> str:
    """What a write makes of a file.

    Args:
        path: The file.
        before: Its text; empty where there was none, None where it was too long or no text.
        after: Its new text.
        wrote: The words for the writing.
        limit: Characters of the diff, None for all.
    """
    if before == after:
        return f"{shown(path)} already reads so; nothing changed" if after else f"{shown(path)} is there, and is empty"
    if before is None:
        return f"{wrote} {shown(path)} ({len(after.encode()):,} bytes) in place of what was too long or no text"
    text = unified(path, before or None, after)
    if text is None:
        lengths = f"{len(_split(before)):,} lines before, {len(_split(after)):,} now"
        return f"{wrote} {shown(path)}: {lengths} (too long for a diff)"
    if limit is not None and len(text) > limit:
        return f"{text[:limit]}\n[the diff is cut at {limit:,} characters]"
    return text


def unified(path: str, before: str | None, after: str | None) -> str | None:
    """The unified diff of two texts, None for a side that does not exist; None where they are too long for one."""
    old, new = _split(before or ""), _split(after or "")
    if len(old) + len(new) > _LINES:
        return None
    name = printable(path)
    sides = ("/dev/null" if before is None else f"a/{name}", "/dev/null" if after is None else f"b/{name}")
    if not (old or new) and before != after:  # an empty file is made or deleted
        return "--- {}\n+++ {}\n".format(*sides)
    diff = difflib.unified_diff(old, new, *sides)
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in diff)


def _split(text: str) -> list[str]:
    # StringIO splits at \n alone; splitlines would also split at form feeds and Unicode separators.
    return list(io.StringIO(text, newline="\n"))
