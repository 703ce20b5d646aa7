"""Detect afterwards what a command changed in a workspace, since its files are not known beforehand."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Final

from ..base import ToolFailed
from .changes import LINK, Change, Found, Keeper, mode_to_tell
from .workspace import Workspace, shown

__all__ = ["Noticing", "Seen"]

_MOST_FILES: Final = 20_000
_LARGEST: Final = 5_000_000
"""Size in bytes of the largest file whose content is kept from before a command."""
_MOST_BYTES: Final = 64_000_000
"""Size in bytes of all of these together."""
_DEEPEST: Final = 64

_Signature = tuple[int, int, int, int, int]


@dataclass
class Seen:
    """The content of a workspace, except for protected paths, which no command can change.

    Attributes:
        files: Path -> a signature that changes when it is written, and its content.
        folders: Path -> the folder with its mode.
        closed: Folders that could not be read.
        whole: Whether all files were looked at, because there are not too many.
    """

    files: dict[str, tuple[_Signature, Found]] = field(default_factory=dict)
    folders: dict[str, Found] = field(default_factory=dict)
    closed: set[str] = field(default_factory=set)
    whole: bool = True

    def found(self, path: str) -> Found:
        """Return what is at a path."""
        return self.folders.get(path) or (self.files[path][1] if path in self.files else Found())

    def paths(self) -> set[str]:
        """Return all paths."""
        return self.files.keys() | self.folders.keys()


class Noticing:
    """Reports a command's changes to a keeper. Any other change in the workspace meanwhile counts as the command's.

    Args:
        workspace: Where commands run.
    """

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._known: Mapping[str, tuple[_Signature, Found]] = {}

    def look(self) -> Seen:
        """Look at all files; files that have not been written since the last look are not read again."""
        seen = self._looked_at(self._known)
        self._known = seen.files
        return seen

    def tell(self, before: Seen, keep: Keeper) -> str:
        """Look again, and report what has changed to the keeper.

        Args:
            before: What was there before the command.
            keep: The keeper.

        Returns:
            A note for the reader of the command's result; usually empty.
        """
        after = self.look()
        if not (before.whole and after.whole):
            return f"[there are more than {_MOST_FILES:,} files, so what this command changed is neither kept nor told]"
        # In an order in which they could be made one by one: deletions first, deepest first, then each folder before
        # its content.
        gone = sorted(before.paths() - after.paths(), reverse=True)
        closed = before.closed | after.closed
        for path in [*gone, *sorted(after.paths())]:
            if not closed.isdisjoint(_above(path)):
                # The content of a folder that cannot be read is unknown.
                continue
            was, now = before.found(path), after.found(path)
            mode = mode_to_tell(was, now.mode) if now.digest else 0
            if was.digest != now.digest or mode:
                keep(Change(self._workspace.root, path, was, now.digest, 0, mode))
        if not (once := before.closed ^ after.closed):
            return ""
        names = ", ".join(map(shown, sorted(once)))
        return f"[what this command changed in {names} is neither kept nor told: that could not always be looked into]"

    def _looked_at(self, known: Mapping[str, tuple[_Signature, Found]]) -> Seen:
        seen, room = Seen(), _MOST_BYTES
        for path, told in self._walked("", 0, seen):
            if len(seen.files) == _MOST_FILES:
                return replace(seen, whole=False)
            signature = (told.st_mtime_ns, told.st_ctime_ns, told.st_size, told.st_ino, told.st_mode)
            before = known.get(path)
            if before is not None and before[0] == signature:
                found = before[1]
            else:
                found = self._found(path, told, room)
            room -= len(found.content or b"")
            seen.files[path] = signature, found
        return seen

    def _found(self, path: str, told: os.stat_result, room: int) -> Found:
        mode = stat.S_IMODE(told.st_mode) & 0o777
        if stat.S_ISLNK(told.st_mode):
            mode = LINK
            with suppress(ToolFailed):
                return self._workspace.look(path, any_kind=True)
        elif told.st_size <= min(_LARGEST, room):
            with suppress(ToolFailed), self._workspace.reading(path) as file:  # it has gone, or may not be read
                content = file.read(_LARGEST + 1)
                if len(content) <= _LARGEST:
                    return Found(hashlib.sha256(content).hexdigest(), len(content), mode, content)
        # If a file is not read, its metadata still shows whether it was written.
        unread = f"{told.st_ino}:{told.st_size}:{told.st_mtime_ns}:{told.st_ctime_ns}"
        return Found(hashlib.sha256(unread.encode()).hexdigest(), told.st_size, mode)

    def _walked(self, folder: str, depth: int, seen: Seen) -> Iterator[tuple[str, os.stat_result]]:
        """Yield every regular file and link that is not protected; links are not followed."""
        try:
            with os.scandir(self._workspace.root / folder) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except PermissionError:
            seen.closed.add(folder or ".")
            return
        except OSError:
            return
        for entry in entries:
            path = f"{folder}/{entry.name}" if folder else entry.name
            if self._workspace.protected.naming(path.split("/")) is not None:
                continue
            if entry.is_dir(follow_symlinks=False):
                with suppress(OSError):
                    seen.folders[path] = Found.of_folder(entry.stat(follow_symlinks=False).st_mode)
                if depth < _DEEPEST:
                    yield from self._walked(path, depth + 1, seen)
            elif entry.is_file(follow_symlinks=False) or entry.is_symlink():
                try:
                    yield path, entry.stat(follow_symlinks=False)
                except OSError:
                    continue


def _above(path: str) -> Iterator[str]:
    """Return the folders above a path, including the workspace."""
    return map(str, PurePosixPath(path).parents)
