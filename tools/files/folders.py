"""Access to folders below a root, each opened relative to its parent, so that no link or race leads out of it."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .changes import LINK, Found
from .openat2 import open_beneath

__all__ = ["Entry", "Folders"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a folder; ``path`` is relative to the workspace, with ``/`` between components."""

    path: str
    kind: Literal["file", "folder", "link", "other"]


class Folders:
    """Opens, lists, creates and deletes folders; a path is given as its components below the root.

    Args:
        root: The folder that contains them all.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    @contextmanager
    def opened(self, parts: tuple[str, ...], *, create: bool = False) -> Iterator[int]:
        """Open a folder for the duration of the block, and yield its descriptor.

        Args:
            parts: The components of its path.
            create: Create missing folders; if the block fails, they are deleted again.
        """
        made = self.missing(parts) if create else 0
        flags = os.O_RDONLY | os.O_DIRECTORY
        folder = os.open(self._root, flags | os.O_CLOEXEC)
        try:
            for step in [(part,) for part in parts] if create else [parts]:
                if create:
                    with suppress(FileExistsError):
                        os.mkdir(step[0], dir_fd=folder)
                deeper = open_beneath(folder, step, flags)
                os.close(folder)
                folder = deeper
            yield folder
        except BaseException:
            self.clear(parts, made)
            raise
        finally:
            os.close(folder)

    def missing(self, folders: tuple[str, ...]) -> int:
        """Return how many folders of a path are missing."""
        for there in range(len(folders), 0, -1):
            with suppress(FileNotFoundError), self.opened(folders[:there]):
                return len(folders) - there
        return len(folders)

    def listed(self, parts: tuple[str, ...]) -> list[Entry]:
        """Return the entries of a folder, sorted by name."""
        with self.opened(parts) as folder, os.scandir(folder) as found:
            return [
                Entry("/".join((*parts, entry.name)), _kind(entry))
                for entry in sorted(found, key=lambda entry: entry.name)
            ]

    def no_file(self, parts: tuple[str, ...]) -> Found | None:
        """Return what is at a path if it is a link or a folder, else None."""
        name = parts[-1] if parts else "."
        with self.opened(parts[:-1]) as folder:
            mode = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
            if stat.S_ISLNK(mode):
                target = os.fsencode(os.readlink(name, dir_fd=folder))
                return Found(hashlib.sha256(target).hexdigest(), len(target), LINK, target)
        return Found.of_folder(mode) if stat.S_ISDIR(mode) else None

    def unlink(self, parts: tuple[str, ...], folders: int) -> None:
        """Delete a file or an empty folder, and up to this many folders above it that are then empty."""
        with self.opened(parts[:-1]) as folder:
            is_folder = stat.S_ISDIR(os.stat(parts[-1], dir_fd=folder, follow_symlinks=False).st_mode)
            (os.rmdir if is_folder else os.unlink)(parts[-1], dir_fd=folder)
            with suppress(OSError):
                os.fsync(folder)
        self.clear(parts[:-1], folders)

    def make(self, parts: tuple[str, ...], mode: int) -> None:
        """Create a folder, replacing a file or link, or set the permission bits of an existing folder."""
        with self.opened(parts[:-1], create=True) as above:
            try:
                os.mkdir(parts[-1], dir_fd=above)
            except FileExistsError:
                if not stat.S_ISDIR(os.stat(parts[-1], dir_fd=above, follow_symlinks=False).st_mode):
                    os.unlink(parts[-1], dir_fd=above)
                    os.mkdir(parts[-1], dir_fd=above)
            # Not opened for reading, because its mode may forbid that.
            folder = open_beneath(above, parts[-1:], getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY)
            try:
                os.chmod(f"/proc/self/fd/{folder}" if hasattr(os, "O_PATH") else folder, mode)
            finally:
                os.close(folder)

    def clear(self, parts: tuple[str, ...], folders: int) -> None:
        """Delete up to this many folders of a path, deepest first, stopping at one that is not empty."""
        with suppress(OSError):  # the folder is not empty
            for depth in range(len(parts), len(parts) - folders, -1):
                with self.opened(parts[: depth - 1]) as above:
                    os.rmdir(parts[depth - 1], dir_fd=above)


def _kind(entry: os.DirEntry[str]) -> Literal["file", "folder", "link", "other"]:
    if entry.is_symlink():
        return "link"
    if entry.is_dir(follow_symlinks=False):
        return "folder"
    return "file" if entry.is_file(follow_symlinks=False) else "other"
