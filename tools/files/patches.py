"""Unified diffs as models write them: read leniently, applied only where it is certain what they mean."""

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
"""The byte order mark that some editors put before a text: it cannot be seen, and so models leave it out."""
_SHOWN: Final = 12
"""Lines of a file that a failure shows, and places that it names."""


@dataclass
class Hunk:
    """One change of a file.

    Attributes:
        line: Where its header says that it begins, counted from 1; None where that says nothing.
        lines: Marked ``" "``, ``"-"`` or ``"+"``, each with its text.
        open_end: The last line that it adds has no end of line.
        blank: Empty lines of the patch since, without even the blank that marks a line of the file: they are lines of
            the file whose mark an editor has cut off if more of the hunk follows, and otherwise stand behind it.
    """

    line: int | None
    lines: list[tuple[str, str]] = field(default_factory=list)
    open_end: bool = False
    blank: int = 0

    @property
    def old(self) -> list[str]:
        """The lines that it expects."""
        return [text for mark, text in self.lines if mark != "+"]

    @property
    def new(self) -> list[str]:
        """The lines that it leaves."""
        return [text for mark, text in self.lines if mark != "-"]


@dataclass
class FilePatch:
    """What a patch makes of one file.

    Attributes:
        path: The file.
        makes: It says that the file does not exist yet.
        executable: Whether the file may be run, where it says so.
        hunks: The changes, from top to bottom; none where it changes the mode alone, or makes an empty file.
    """

    path: str
    makes: bool
    executable: bool | None = None
    hunks: list[Hunk] = field(default_factory=list)


@dataclass
class Header:
    """The lines that git puts before each file.

    Attributes:
        names: Of the file, as they stand in the first of them.
        executable: As in `FilePatch`.
        told: What the mode is said of: ``new`` of a file that exists, ``new file`` or ``deleted file``.
    """

    names: str = ""
    executable: bool | None = None
    told: str = ""

    def take(self, line: str) -> None:
        """Read a line; what it says beside modes is told by the names as well."""
        mode = _MODE.fullmatch(line)
        if mode is None:
            return
        if not _REGULAR.fullmatch(mode[2]):
            raise ToolFailed(f"{shown(line)} is not understood: a patch makes and changes no links, only text files")
        if mode[1] != "old":
            self.told, self.executable = mode[1], bool(int(mode[2], 8) & 0o100)

    def patches(self) -> list[FilePatch]:
        """What these lines alone make of the file, as where its mode changes, or it is empty."""
        if not (self.told and self.names):
            return []
        # Both are the same name, with a prefix each.
        half = len(self.names) // 2
        old, new = self.names[:half], self.names[half + 1 :]
        is_new, is_deleted = self.told == "new file", self.told == "deleted file"
        return [_file(_NOWHERE if is_new else old, _NOWHERE if is_deleted else new, self)]


def read_patch(text: str) -> list[FilePatch]:
    """Read a unified diff. The line counts of its headers, which models get wrong, are not relied upon.

    Args:
        text: The diff, with or without the lines that git puts before each file.

    Raises:
        ToolFailed: It is none, or renames, deletes or names a file twice.
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
    """What a patch makes of a text.

    Args:
        patch: For this file.
        before: The text; empty for a file that does not exist yet.

    Raises:
        ToolFailed: A hunk does not apply; it says where the file is nearest to it, and what stands there.
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
    """Whether a hunk begins here, so that what stands above names a file and is no line of one."""
    return place < len(lines) and _HUNK.fullmatch(lines[place]) is not None


def _file(old: str, new: str, header: Header) -> FilePatch:
    before, after = (_path(side) for side in (old, new))
    if after == _NOWHERE:
        raise ToolFailed(f"a patch deletes no file: remove {shown(before)} by a command")
    if before not in (_NOWHERE, after):
        raise ToolFailed(f"a patch renames no file, and this one names {shown(before)} and {shown(after)}")
    return FilePatch(after, before == _NOWHERE, header.executable)


def _path(side: str) -> str:
    # Behind a tab there may be a time.
    name = side.partition("\t")[0].strip()
    if len(name) > 1 and name[0] == name[-1] == '"':
        name = _unquoted(name[1:-1])
    # One file has one name here, so that two changes of it are seen to be that.
    return posixpath.normpath(name[2:] if name[:2] in ("a/", "b/") else name)


def _unquoted(name: str) -> str:
    """A name as it is where git has put it in quotes, bytes of UTF-8 written as octal numbers."""
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
    """Where a hunk applies: where its header says, or at the only place that has its lines."""
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
    """Why a hunk fits nowhere, so that the next one does."""
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
    """How many lines are the same but for blanks around them."""
    return len(old) - len(list(_differing(lines, old, str.strip)))


def _differing(lines: Sequence[str], old: Sequence[str], form: Callable[[str], str]) -> Iterator[int]:
    for place, wanted in enumerate(old):
        if place >= len(lines) or form(lines[place]) != form(wanted):
            yield place
