"""Describe a change to a text, as a unified diff or, if that is not possible, in words."""

from __future__ import annotations

import difflib
import io
from typing import Final

from .changes import LINK
from .workspace import printable, shown

__all__ = ["reported", "text_of", "unified"]

_LINES: Final = 4_000
"""The most lines of both sides together; difflib is quadratic."""
_LIMIT: Final = 20_000
"""The most characters of a diff that a tool returns."""


def text_of(content: bytes | None, limit: int) -> str | None:
    """Return bytes as text; None if there are none or too many, or they are not text."""
    try:
        return None if content is None or len(content) > limit or b"\0" in content else content.decode()
    except UnicodeDecodeError:
        return None


def reported(
    path: str,
    before: str | None,
    after: str,
    *,
    modes: tuple[int, int] = (0, 0),
    wrote: str = "wrote",
    limit: int | None = _LIMIT,
) -> str:
    """Describe what a write changes in a file.

    Args:
        path: The file.
        before: Its old text; empty if there was none, None if it was too long or not text.
        after: Its new text.
        modes: As for `unified`.
        wrote: The verb for the write.
        limit: The most characters of the diff; None for all.
    """
    if before == after and not any(modes):
        return f"{shown(path)} already reads so; nothing changed" if after else f"{shown(path)} is there, and is empty"
    if before is None:
        return f"{wrote} {shown(path)} ({len(after.encode()):,} bytes) in place of what was too long or no text"
    text = unified(path, before or None, after, modes)
    if text is None:
        lengths = f"{len(_split(before)):,} lines before, {len(_split(after)):,} now"
        return f"{wrote} {shown(path)}: {lengths} (too long for a diff)"
    if limit is not None and len(text) > limit:
        return f"{text[:limit]}\n[the diff is cut at {limit:,} characters]"
    return text


def unified(path: str, before: str | None, after: str | None, modes: tuple[int, int] = (0, 0)) -> str | None:
    """Return the unified diff of two texts, in git's format.

    Args:
        path: The file.
        before: Its old text, or the target of a link; None if it did not exist.
        after: Its new text or target; None if it no longer exists.
        modes: Permission bits before and after, or `LINK`; 0 if they are the usual ones, or unknown.

    Returns:
        The diff; None if the texts are too long for one.
    """
    if before is not None and after is not None and LINK in modes and modes[0] != modes[1]:
        # A file cannot be changed into a link: one is deleted, and the other is created.
        parts = unified(path, before, None, (modes[0], 0)), unified(path, None, after, (0, modes[1]))
        return None if None in parts else "".join(map(str, parts))
    old, new = _split(before or ""), _split(after or "")
    if len(old) + len(new) > _LINES:
        return None
    name = printable(path)
    sides = ("/dev/null" if before is None else f"a/{name}", "/dev/null" if after is None else f"b/{name}")
    said = _modes(before is not None, after is not None, modes, empty=not (old or new))
    header = f"diff --git a/{name} b/{name}\n{said}" if said else ""
    if not (old or new) and before != after:  # an empty file is created or deleted
        return "{}--- {}\n+++ {}\n".format(header, *sides)
    diff = difflib.unified_diff(old, new, *sides)
    ended = (line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in diff)
    return header + "".join(ended)


def _modes(was: bool, exists: bool, modes: tuple[int, int], *, empty: bool) -> str:
    """Return git's mode lines for a diff header; empty if the modes are the usual ones and the diff has lines."""
    if was and exists:
        old, new = (0o100000 | mode for mode in modes)
        return f"old mode {old:o}\nnew mode {new:o}\n" if modes[0] != modes[1] and all(modes) else ""
    mode = modes[1] if exists else modes[0]
    if mode == LINK or mode & 0o100 or empty:
        kind = LINK if mode == LINK else 0o100755 if mode & 0o100 else 0o100644
        return f"{'new' if exists else 'deleted'} file mode {kind:o}\n"
    return ""


def _split(text: str) -> list[str]:
    # StringIO splits at \n alone; splitlines would also split at form feeds and Unicode separators.
    return list(io.StringIO(text, newline="\n"))
