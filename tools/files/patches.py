"""Unified diffs as models write them: parsed leniently, applied only if their meaning is certain."""

from __future__ import annotations

import io
import posixpath
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from ..base import ToolFailed
from .workspace import printable, shown

__all__ = ["FilePatch", "patched", "read_patch"]

_HUNK: Final = re.compile(r"@@(?: -(\d+)(?:,\d+)? \+\d+(?:,\d+)? @@.*)?\s*")
_MODE: Final = re.compile(r"(old|new|new file|deleted file) mode ([0-7]+)\s*")
_REGULAR: Final = re.compile(r"(?:100)?[0-7]{3}")
_NOWHERE: Final = "/dev/null"
_MARK: Final = "\ufeff"
"""The byte order mark that some editors put before a text; it is invisible, so models leave it out."""
_SHOWN: Final = 12
"""The most lines of a file, and the most places, that an error message shows."""


@dataclass
class Hunk:
    """One change of a file.

    Attributes:
        line: The line on which it begins according to its header, counted from 1; None if the header does not say.
        lines: The lines, each with its mark (``" "``, ``"-"`` or ``"+"``) and its text.
        open_end: Whether the last line that it adds has no line end.
        blank: Number of empty lines since the last line, without even the leading blank of a context line. If more of
            the hunk follows, they are context lines whose blank an editor removed; otherwise they follow the hunk.
    """

    line: int | None
    lines: list[tuple[str, str]] = field(default_factory=list)
    open_end: bool = False
    blank: int = 0

    @property
    def old(self) -> list[str]:
        """The lines it expects in the file."""
        return [text for mark, text in self.lines if mark != "+"]

    @property
    def new(self) -> list[str]:
        """The lines it leaves in the file."""
        return [text for mark, text in self.lines if mark != "-"]


@dataclass
class FilePatch:
    """What a patch changes in one file.

    Attributes:
        path: The file.
        makes: Whether the patch creates the file.
        executable: Whether the file becomes executable; None if the patch does not say.
        hunks: The changes, from top to bottom; none if it changes only the mode, or creates an empty file.
    """

    path: str
    makes: bool
    executable: bool | None = None
    hunks: list[Hunk] = field(default_factory=list)


@dataclass
class Header:
    """The lines that git puts before each file.

    Attributes:
        names: The names of the file, as written in the first line.
        executable: As in `FilePatch`.
        told: The kind of mode line: ``new`` for a file that exists, ``new file`` or ``deleted file``.
    """

    names: str = ""
    executable: bool | None = None
    told: str = ""

    def take(self, line: str) -> None:
        """Read a mode line; other lines are ignored, since they repeat what the names say."""
        mode = _MODE.fullmatch(line)
        if mode is None:
            return
        if not _REGULAR.fullmatch(mode[2]):
            raise ToolFailed(f"{shown(line)} is not understood: a patch makes and changes no links, only text files")
        if mode[1] != "old":
            self.told, self.executable = mode[1], bool(int(mode[2], 8) & 0o100)

    def patches(self) -> list[FilePatch]:
        """Return what these lines alone change, for a mode change or an empty file."""
        if not (self.told and self.names):
            return []
        # Both are the same name, each with its own prefix.
        half = len(self.names) // 2
        old, new = self.names[:half], self.names[half + 1 :]
        is_new, is_deleted = self.told == "new file", self.told == "deleted file"
        return [_file(_NOWHERE if is_new else old, _NOWHERE if is_deleted else new, self)]


def read_patch(text: str) -> list[FilePatch]:
    """Parse a unified diff. The line counts in its headers are ignored, because models get them wrong.

    Args:
        text: The diff, with or without the lines that git puts before each file.

    Raises:
        ToolFailed: If it is not a diff, renames or deletes a file, or names a file twice.
    """
    lines = text.split("\n")
    files: list[FilePatch] = []
    hunk: Hunk | None = None
    header = Header()
    for place, line in enumerate(lines):
        after = lines[place + 1] if place + 1 < len(lines) else ""
        if line.startswith("--- ") and after.startswith("+++ ") and _opens(lines, place + 2):
            files.append(_file(line[4:], after[4:], header))
            hunk, header = None, Header()
        elif files and (begins := _HUNK.fullmatch(line)):
            hunk = Hunk(int(begins[1]) if begins[1] else None)
            files[-1].hunks.append(hunk)
        elif line.startswith(("rename ", "copy ", "GIT binary patch")) and hunk is None:
            raise ToolFailed(f"{line.split(' ')[0]!r} is not understood: a patch changes or makes text files")
        elif line.startswith("diff --git "):
            files += header.patches()
            hunk, header = None, Header(line.removeprefix("diff --git ").rstrip())
        elif line.startswith("index ") and hunk is not None:
            hunk = None
        elif hunk is not None:
            _take(hunk, line)
        else:
            header.take(line)
    files += header.patches()
    for patch in files:
        _check(patch)
    paths = [patch.path for patch in files]
    if twice := next((path for path in paths if paths.count(path) > 1), None):
        raise ToolFailed(f"{shown(twice)} stands in the patch twice: give all its hunks under one header")
    if not files:
        raise ToolFailed("this is no unified diff: it needs '--- a/FILE', '+++ b/FILE', '@@ -1,3 +1,3 @@' and lines")
    return files


def patched(patch: FilePatch, before: str) -> str:
    """Apply a patch to a text and return the new text.

    Args:
        patch: The patch for this file.
        before: The text; empty for a file that does not exist yet.

    Raises:
        ToolFailed: If a hunk does not apply; the message shows the nearest place in the file and its lines.
    """
    marked = any(text.startswith(_MARK) for hunk in patch.hunks for _, text in hunk.lines)
    if before.startswith(_MARK) and not marked:
        return _MARK + patched(patch, before.removeprefix(_MARK))
    lines = list(io.StringIO(before, newline="\n"))
    end = "\r\n" if lines and lines[0].endswith("\r\n") else "\n"
    bare = [_bare(line) for line in lines]
    done: list[str] = []
    reached = 0
    for number, hunk in enumerate(patch.hunks, 1):
        name = f"hunk {number} of {printable(patch.path)}"
        at = _place(hunk, bare, reached, name)
        done += lines[reached:at]
        reached = at
        for mark, text in hunk.lines:
            if mark == "+":
                if done and not done[-1].endswith("\n"):
                    done[-1] += end
                done.append(text + end)
            else:
                done += lines[reached : reached + 1] if mark == " " else []
                reached += 1
        if hunk.open_end and reached == len(lines) and done:
            done[-1] = _bare(done[-1])
    return "".join([*done, *lines[reached:]])


def _opens(lines: Sequence[str], place: int) -> bool:
    """Whether a hunk begins here, so that the lines above are file names, not lines of a hunk."""
    return place < len(lines) and _HUNK.fullmatch(lines[place]) is not None


def _file(old: str, new: str, header: Header) -> FilePatch:
    before, after = (_path(side) for side in (old, new))
    if after == _NOWHERE:
        raise ToolFailed(f"a patch deletes no file: remove {shown(before)} by a command")
    if before not in (_NOWHERE, after):
        raise ToolFailed(f"a patch renames no file, and this one names {shown(before)} and {shown(after)}")
    return FilePatch(after, before == _NOWHERE, header.executable)


def _path(side: str) -> str:
    # A tab may be followed by a timestamp.
    name = side.partition("\t")[0].strip()
    if len(name) > 1 and name[0] == name[-1] == '"':
        name = _unquoted(name[1:-1])
    # Normalised, so that two changes of the same file are recognised.
    return posixpath.normpath(name[2:] if name[:2] in ("a/", "b/") else name)


def _unquoted(name: str) -> str:
    """Return a name that git has quoted, with its UTF-8 bytes as octal escapes, in plain form."""
    with suppress(UnicodeError):
        return name.encode().decode("unicode_escape").encode("latin-1").decode()
    return name


def _take(hunk: Hunk, line: str) -> None:
    line = line.removesuffix("\r")
    mark, text = line[:1], line[1:]
    if not mark:
        hunk.blank += 1
    elif mark in " +-":
        hunk.lines += [(" ", "")] * hunk.blank
        hunk.lines.append((mark, text))
        hunk.blank = 0
    elif mark == "\\":
        hunk.open_end = bool(hunk.lines) and hunk.lines[-1][0] == "+"
    else:
        raise ToolFailed(f"the line {shown(line)} of the patch begins with neither ' ', '+' nor '-'")


def _check(patch: FilePatch) -> None:
    for hunk in patch.hunks:
        if all(mark == " " for mark, _ in hunk.lines):
            raise ToolFailed(f"a hunk of {shown(patch.path)} changes nothing: no line of it begins with '+' or '-'")


def _bare(line: str) -> str:
    return line.removesuffix("\n").removesuffix("\r")


def _place(hunk: Hunk, lines: Sequence[str], reached: int, name: str) -> int:
    """Return where a hunk applies: where its header says, or at the only place that has its lines."""
    old = hunk.old
    if not old:
        if lines:
            raise ToolFailed(f"{name} has no line to tell its place by: put lines of the file around what it adds")
        return 0
    found = [at for at in range(reached, len(lines) - len(old) + 1) if lines[at : at + len(old)] == old]
    if hunk.line is not None and hunk.line - 1 in found:
        return hunk.line - 1
    if len(found) == 1:
        return found[0]
    if found:
        places = ", ".join(str(at + 1) for at in found[:_SHOWN])
        raise ToolFailed(f"{name} fits in {len(found)} places, lines {places}: put more lines around what it changes")
    above = next((at for at in range(reached) if lines[at : at + len(old)] == old), None)
    if above is not None:
        raise ToolFailed(
            f"{name} applies at line {above + 1}, which the hunk before it reaches or leaves behind: give the hunks of "
            "a file from top to bottom, with no line in two of them"
        )
    raise ToolFailed(f"{name} does not apply, and nothing was changed: {_missed(hunk, lines, reached)}")


def _missed(hunk: Hunk, lines: Sequence[str], reached: int) -> str:
    """Return why a hunk fits nowhere, so that the next attempt can succeed."""
    old, new = hunk.old, hunk.new
    if any(list(lines[at : at + len(new)]) == new for at in range(len(lines) - len(new) + 1)) and len(new) > 1:
        return "the file already reads as the patch would have it"
    if not lines:
        return "the file does not exist, or is empty"
    at = max(range(len(lines)), key=lambda start: (_likeness(lines[start:], old), start >= reached, -start))
    if not _likeness(lines[at:], old):
        return f"no line of the file is like those it expects, the first of which is {shown(old[0])}: read the file"
    near = lines[at : at + min(len(old), _SHOWN)]
    told = "\n".join(f"{at + place + 1}: {line}" for place, line in enumerate(near))
    wrong = next(_differing(near, old, lambda one: one), None)
    why = "" if wrong is None else f"\nIt expects {shown(old[wrong])} at line {at + wrong + 1}."
    return f"the nearest place reads\n{told}{why}\nTake these lines as they are, or read the file again."


def _likeness(lines: Sequence[str], old: Sequence[str]) -> int:
    """Return how many lines are equal, ignoring blanks around them."""
    return len(old) - len(list(_differing(lines, old, str.strip)))


def _differing(lines: Sequence[str], old: Sequence[str], form: Callable[[str], str]) -> Iterator[int]:
    for place, wanted in enumerate(old):
        if place >= len(lines) or form(lines[place]) != form(wanted):
            yield place
