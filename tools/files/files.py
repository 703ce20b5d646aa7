"""Reading, writing, listing and searching the files of a workspace."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from pathlib import PurePosixPath
from typing import Annotated, Any, BinaryIO

from langchain_core.tools import BaseTool
from pydantic import Field

from ...configs.errors import ConfigError, PointsmanError
from ..base import Preview, ToolFailed
from ..decorator import tool
from .changes import KEPT_LIMIT, Found
from .diffs import reported, text_of
from .folders import Entry
from .globs import matching
from .patches import patched, read_patch
from .regex_worker import LINE_LIMIT
from .search import Matcher, OutOfTime
from .workspace import Workspace, printable, shown, with_execution

__all__ = ["file_tools"]

_READ_LIMIT = 1_000_000  # the most bytes one call returns
_SCAN_LIMIT = 64_000_000  # the most bytes skipped to reach the first line requested
_WRITE_LIMIT = 5_000_000  # the most bytes of a file that is written, edited or searched
_HEAD = 8_192  # bytes checked for NUL, as git does
_LIST_LIMIT = 1_000  # entries listed
_WALK_LIMIT = 200_000  # entries visited
_MATCH_LIMIT = 200  # lines
_SEARCH_SECONDS = 10.0
_TIME_UP = f"{_SEARCH_SECONDS:.0f} s are up; narrow the search"

FilePath = Annotated[str, Field(description="Path relative to the workspace.")]
FolderPath = Annotated[str, Field(description="Folder relative to the workspace.")]


def file_tools(workspace: Workspace) -> list[BaseTool]:
    """Return the tools that read, write, edit, patch, list and search the files of a workspace, bound to it.

    In a run, the previous state of a file is kept before each change (`pointsman.runs.undo`). Writing is still not
    declared reversible, because files that are too large are not kept.
    """
    read_file, *finding = _reading_tools(workspace)
    return [read_file, *_writing_tools(workspace), *finding]


def _reading_tools(workspace: Workspace) -> list[BaseTool]:
    def read_file(
        path: FilePath,
        first_line: Annotated[int, Field(ge=1, description="Line to begin with, counted from 1.")] = 1,
        line_count: Annotated[int, Field(ge=1, description="Lines to read.")] = 2_000,
    ) -> str:
        """Read a text file, or a range of its lines; at most 1 MB at a time."""
        with workspace.reading(path) as file:
            _refuse_binary(path, file)
            content, note = _lines(path, file, first_line, line_count)
        text = _decoded(path, content, cut=bool(note))
        return f"{text.removesuffix(chr(10))}\n{note}" if note else text or "[the file is empty]"

    def list_files(
        path: FolderPath = ".",
        glob: Annotated[str, Field(description="Only files such as *.py or src/*.{js,ts}.")] = "*",
        deep: Annotated[bool, Field(description="Also what lies in folders below.")] = True,
    ) -> str:
        """List the files of a folder, one path a line; folders end in a slash."""
        lines: list[str] = []
        wanted = matching(glob)
        for looked_at, entry in enumerate(workspace.walk(path, deep=deep)):
            if len(lines) == _LIST_LIMIT or looked_at == _WALK_LIMIT:
                lines.append("[there is more: name a folder or a glob]")
                break
            if glob == "*" or (entry.kind != "folder" and wanted(entry.path)):
                lines.append(printable(entry.path) + _MARKS[entry.kind])
        return "\n".join(lines) or "[nothing found]"

    def search_files(
        pattern: Annotated[str, Field(description="Python regular expression, matched within lines.")],
        path: FolderPath = ".",
        glob: Annotated[str, Field(description="Only in files such as *.py or src/*.{js,ts}.")] = "*",
    ) -> str:
        """Search text files for a regular expression. Returns path:line: text of each line that matches."""
        wanted = matching(glob)
        entries = (e for e in workspace.walk(path) if e.kind == "file" and wanted(e.path))
        return _searched(workspace, pattern, entries)

    return [
        tool(read_file, effect="read", target="path"),
        tool(list_files, effect="read", target="path"),
        tool(search_files, effect="read", target="path"),
    ]


def _writing_tools(workspace: Workspace) -> list[BaseTool]:
    def write_file(path: FilePath, content: Annotated[str, Field(description="The whole new text.")]) -> str:
        """Write a text file whole, making it and its folders where they are missing. Returns what changed."""
        with workspace.writing:
            before, content = _rewritten(workspace, path, content)
            found = workspace.replace(path, _encoded(path, content))
        return reported(path, before, content) + _not_kept(found)

    def edit_file(
        path: FilePath,
        old: Annotated[str, Field(description="The exact text to replace; must occur once.")],
        new: Annotated[str, Field(description="The text to put in its place.")],
        everywhere: Annotated[bool, Field(description="Replace every occurrence instead of the only one.")] = False,
    ) -> str:
        """Replace an exact piece of text in a file. Returns what changed."""
        with workspace.writing:
            before = _whole_text(workspace, path)
            after = _replaced(path, before, old, new, everywhere=everywhere)
            workspace.replace(path, _encoded(path, after))
        return reported(path, before, after)

    def apply_patch(patch: Annotated[str, Field(description="A unified diff of one or several text files.")]) -> str:
        """Change files by a unified diff, all of it or nothing. It makes new files, but deletes and renames none."""
        with workspace.writing:
            changes = _by_patch(workspace, patch)
            for path in changes:
                workspace.refuse_protected(path)
            contents = {path: _encoded(path, one.after) for path, one in changes.items()}
            _write_together(workspace, contents, {path: one.executable for path, one in changes.items()})
        told = (reported(path, one.before, one.after, modes=one.modes) for path, one in changes.items())
        return "\n".join(one.rstrip("\n") for one in told)

    def by_patch(arguments: Mapping[str, Any]) -> Preview:
        try:
            changes = _by_patch(workspace, arguments["patch"])
        except ToolFailed as error:
            return Preview(f"it would fail: {error}", {})
        told = [
            _preview(workspace, path, partial(attrgetter("before", "after"), one), one.modes)
            for path, one in changes.items()
        ]
        files = {path: digest for one in told for path, digest in one.files.items()}
        return Preview("\n".join(one.diff.rstrip("\n") for one in told), files)

    def written(arguments: Mapping[str, Any]) -> Preview:
        path, content = arguments["path"], arguments["content"]
        return _preview(workspace, path, lambda: _rewritten(workspace, path, content))

    def edited(arguments: Mapping[str, Any]) -> Preview:
        def change() -> tuple[str, str]:
            before = _whole_text(workspace, arguments["path"])
            return before, _replaced(before=before, **arguments)

        return _preview(workspace, arguments["path"], change)

    return [
        tool(write_file, effect="write", target="path", confined=True, preview=written),
        tool(edit_file, effect="write", target="path", confined=True, preview=edited),
        tool(apply_patch, effect="write", confined=True, preview=by_patch),
    ]


@dataclass(frozen=True, slots=True)
class _Patched:
    """A file before and after a patch.

    Attributes:
        before: Its old text.
        after: Its new text.
        executable: Whether it becomes executable; None if that is unchanged.
        modes: As for `unified`.
    """

    before: str
    after: str
    executable: bool | None
    modes: tuple[int, int]


def _by_patch(workspace: Workspace, text: str) -> dict[str, _Patched]:
    """Return file -> its text before and after a patch."""
    changes = {}
    for one in read_patch(text):
        there = workspace.exists(one.path)
        if one.makes and there:
            raise ToolFailed(f"{shown(one.path)} exists already, and the patch makes it from {shown('/dev/null')}")
        if not one.makes and not there:
            raise ToolFailed(f"{shown(one.path)} does not exist: a patch that makes it begins with '--- /dev/null'")
        before = _whole_text(workspace, one.path) if there else ""
        executable, modes = one.executable, (0, 0)
        if not there:
            modes = (0, 0o755 if executable else 0)
        elif executable is not None:
            mode = workspace.look(one.path).mode
            modes = (mode, with_execution(mode, executable))
        changes[one.path] = _Patched(before, patched(one, before), executable, modes)
    return changes


def _write_together(workspace: Workspace, contents: Mapping[str, bytes], executable: Mapping[str, bool | None]) -> None:
    """Write these files; if one fails, restore the files written before it, as far as possible."""
    done: list[tuple[str, Found, int]] = []
    try:
        for path, content in contents.items():
            found = workspace.look(path)
            folders = sum(not workspace.exists(str(above)) for above in PurePosixPath(path).parents)
            workspace.replace(path, content, executable=executable[path])
            done.append((path, found, folders))
    except PointsmanError as error:
        if left := [why for one in reversed(done) if (why := _put_back(workspace, *one))]:
            kind = ToolFailed if isinstance(error, ToolFailed) else ConfigError
            raise kind(f"{error}; not put back, and so still as the patch has it: {'; '.join(left)}") from error
        raise


def _put_back(workspace: Workspace, path: str, found: Found, folders: int) -> str:
    """Restore a file, removing this many folders created for it; return why that failed, or an empty string."""
    try:
        if found.content is None:
            workspace.remove(path, folders=folders)
        else:
            workspace.replace(path, found.content, mode=found.mode)
    except PointsmanError as error:
        return str(error)
    return ""


def _preview(
    workspace: Workspace, path: str, change: Callable[[], tuple[str | None, str]], modes: tuple[int, int] = (0, 0)
) -> Preview:
    """Return what a call would change in one file, or why it would fail."""
    # Taken before the file is read for the diff, so that a change in between is noticed.
    files = {printable(path): _sum_of(workspace, path)}
    try:
        workspace.refuse_protected(path)
        before, after = change()
        _encoded(path, after)
        diff = reported(path, before, after, modes=modes, wrote="it would write", limit=None)
    except ToolFailed as error:
        diff = f"it would fail: {error}"
    return Preview(diff, files)


def _sum_of(workspace: Workspace, path: str) -> str:
    """Return the SHA-256 of a file; the reason if it cannot be read; an empty string if it does not exist."""
    try:
        return workspace.look(path).digest
    except ToolFailed as error:
        return str(error)


_MARKS = {"file": "", "folder": "/", "link": " (link, not followed)", "other": " (no regular file)"}


def _lines(path: str, file: BinaryIO, first: int, count: int) -> tuple[bytes, str]:
    """Return the requested lines and, if something is left out, a note that says so."""
    number = 1
    while number < first:
        piece = file.readline(_READ_LIMIT)
        if not piece:
            raise ToolFailed(f"{shown(path)} ends before line {first}")
        if file.tell() > _SCAN_LIMIT:
            raise ToolFailed(f"line {first} of {shown(path)} lies beyond its first {_SCAN_LIMIT:,} bytes")
        number += piece.endswith(b"\n")
    kept = bytearray()
    for number in range(first, first + count):
        piece = file.readline(_READ_LIMIT + 1)
        if not piece:
            if number == first > 1:
                raise ToolFailed(f"{shown(path)} ends before line {first}")
            return bytes(kept), ""
        if len(kept) + len(piece) > _READ_LIMIT:
            if kept:
                return bytes(kept), f"[cut at 1 MB: read on with first_line={number}]"
            return piece[:_READ_LIMIT], f"[line {number} is longer than 1 MB: the rest of it is left out]"
        kept += piece
    return bytes(kept), f"[more follows: read on with first_line={first + count}]" if file.read(1) else ""


def _refuse_binary(path: str, file: BinaryIO) -> None:
    if b"\0" in file.read(_HEAD):
        raise ToolFailed(f"{shown(path)} is binary, not text")
    file.seek(0)


def _decoded(path: str, content: bytes, *, cut: bool = False) -> str:
    try:
        # The cut can be inside a character; its first bytes are then dropped, instead of raising an error.
        return codecs.getincrementaldecoder("utf-8")().decode(content, final=not cut)
    except UnicodeDecodeError as error:
        raise ToolFailed(f"{shown(path)} is not UTF-8 text: byte {content[error.start]:#04x} stands in it") from None


def _encoded(path: str, text: str) -> bytes:
    try:
        content = text.encode()
    except UnicodeEncodeError:
        raise ToolFailed(f"the text for {shown(path)} holds half a surrogate pair, which UTF-8 cannot write") from None
    if len(content) > _WRITE_LIMIT:
        raise ToolFailed(f"the text for {shown(path)} has {len(content):,} bytes; the limit is {_WRITE_LIMIT:,}")
    return content


def _whole_text(workspace: Workspace, path: str) -> str:
    with workspace.reading(path) as file:
        _refuse_binary(path, file)
        content = file.read(_WRITE_LIMIT + 1)
    if len(content) > _WRITE_LIMIT:
        raise ToolFailed(f"{shown(path)} is larger than {_WRITE_LIMIT:,} bytes")
    return _decoded(path, content)


def _text_before(workspace: Workspace, path: str) -> str | None:
    """Return the text that a write will replace: empty for a new file, None if it is too long or not text."""
    if not workspace.exists(path):
        return ""
    with workspace.reading(path) as file:
        return text_of(file.read(_WRITE_LIMIT + 1), _WRITE_LIMIT)


def _rewritten(workspace: Workspace, path: str, content: str) -> tuple[str | None, str]:
    """Return the text that a write will replace, as `_text_before` does, and its new text."""
    before = _text_before(workspace, path)
    return before, _with_ends_of(before or "", content)


def _not_kept(found: Found) -> str:
    limit = f"\n[what was there has {found.size:,} bytes and is not kept, so this cannot be undone: {KEPT_LIMIT:,} are]"
    return limit if found.too_large else ""


def _replaced(path: str, before: str, old: str, new: str, *, everywhere: bool) -> str:
    if not old:
        raise ToolFailed("the text to replace is empty")
    old, new = (_with_ends_of(before, text) for text in (old, new))
    if old == new:
        raise ToolFailed("the new text is the same as the old")
    count = before.count(old)
    if count == 1 and before.find(old, before.find(old) + 1) >= 0:  # two places that overlap
        count = 2
    if count == 0:
        crlf = "\r\n" in before and old.replace("\r\n", "\n").replace("\n", "\r\n") in before
        hint = (
            ": some of its lines end in CRLF (\\r\\n)" if crlf else ": it must match exactly, spaces and line ends too"
        )
        raise ToolFailed(f"the text to replace does not occur in {shown(path)}{hint}")
    if count > 1 and not everywhere:
        raise ToolFailed(f"the text to replace occurs {count} times in {shown(path)}: give more of what surrounds it")
    return before.replace(old, new)


def _with_ends_of(before: str, text: str) -> str:
    """Return a text with CRLF line ends if all of the file's are, because models write LF."""
    is_crlf = before.count("\r\n") == before.count("\n") > 0
    return text.replace("\n", "\r\n") if is_crlf and "\r" not in text else text


def _searched(workspace: Workspace, pattern: str, entries: Iterable[Entry]) -> str:
    lines: list[str] = []
    passed_over = long = 0
    with Matcher(pattern, seconds=_SEARCH_SECONDS, limit=_MATCH_LIMIT) as matcher:
        for entry in entries:
            if matcher.out_of_time:
                lines.append(f"[stopped before {shown(entry.path)}: {_TIME_UP}]")
                break
            try:
                with workspace.reading(entry.path) as file:
                    content = file.read(_WRITE_LIMIT + 1)
            except ToolFailed:  # it vanished or may not be read; the others still may
                passed_over += 1
                continue
            if len(content) > _WRITE_LIMIT or b"\0" in content[:_HEAD]:
                passed_over += 1
                continue
            if matcher.literal not in content:
                continue
            try:
                found, cut = matcher.find(content)
            except OutOfTime:
                lines.append(f"[stopped in {shown(entry.path)}: {_TIME_UP}]")
                break
            long += cut
            lines += [f"{printable(entry.path)}:{number}: {excerpt}" for number, excerpt in found]
            if len(lines) >= _MATCH_LIMIT:
                lines.append(f"[stopped at {_MATCH_LIMIT} matches: narrow the search]")
                break
    if long:
        lines.append(f"[of {long} lines only the first {LINE_LIMIT:,} characters were searched]")
    if passed_over:
        lines.append(f"[{passed_over} files passed over: binary, unreadable or larger than {_WRITE_LIMIT:,} bytes]")
    return "\n".join(lines) or "[nothing found]"
