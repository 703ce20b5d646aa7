"""Find what is protected in a workspace, by a walk through its folders that caches what each of them contains."""

from __future__ import annotations

import errno
import os
import stat
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from ..base import ToolFailed
from .openat2 import open_beneath
from .protected import Protected
from .repositories import is_mark_of_repository, is_repository

__all__ = ["Inode", "Scan", "Seen", "Thing", "allow", "inode_of", "opened"]

_SETTLED = 50_000_000  # nanoseconds; within one tick of a coarse clock a folder can change without changing its time

_LONGEST = 3_700
"""The most bytes of a folder's full path; with a name appended, and inside a sandbox, it still is a valid path."""
_TRANSIENT = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)

Inode = tuple[int, int]


@dataclass(frozen=True, slots=True)
class _Folder:
    """One folder as it was read: its inode, the time of its last change, and its relevant entries.

    Attributes:
        shared: Other files that have more than one hard link.
        head: The name of its ``HEAD`` if git treats the folder as a repository, else empty.
    """

    inode: Inode
    changed: int
    protected: tuple[str, ...]
    folders: tuple[str, ...]
    shared: tuple[str, ...]
    head: str


class Thing(NamedTuple):
    """What is at a protected path: its inode and, for a link, its target and the target's inode."""

    inode: Inode
    target: str | None = None
    end: Inode | None = None


@dataclass(slots=True)
class Seen:
    """The result of a scan of the workspace; paths are relative to it.

    Attributes:
        things: What is protected.
        repositories: Folders that git treats as repositories although they are not called ``.git``, with their HEAD.
        closed: Folders that could not be read.
        shared: Writable files that have another hard link, which is protected or outside the workspace.
        mode: The mode of the workspace.
    """

    mode: int
    things: dict[str, Thing] = field(default_factory=dict)
    repositories: dict[str, str] = field(default_factory=dict)
    closed: set[str] = field(default_factory=set)
    shared: tuple[str, ...] = ()


class Scan:
    """Finds what exists at protected paths of a workspace, and reports its repositories to `Protected`.

    Folders that have not changed since the last scan are not read again: no program can set the change time that the
    kernel records for a folder.

    Args:
        root: The workspace, resolved.
        protected: Which paths are protected.
    """

    def __init__(self, root: Path, protected: Protected) -> None:
        self._root = root
        self._protected = protected
        self._known: Mapping[str, _Folder] = {}
        self._names: frozenset[tuple[Inode, int]] = frozenset()
        self._lock = threading.Lock()
        self._kept = 0

    @contextmanager
    def keeping(self) -> Iterator[None]:
        """Do not ask git about repositories inside the block, because a command may have created them."""
        with self._lock:
            self._kept += 1
        try:
            yield
        finally:
            with self._lock:
                self._kept -= 1

    def look(self, before: Seen | None = None) -> Seen:
        """Find what exists at protected paths.

        Args:
            before: The result of an earlier scan; folders that were readable then are made readable again.

        Raises:
            ToolFailed: If the workspace cannot be scanned now.
        """
        with self._lock, _told():
            fresh = not self._known
            seen, links = self._looked(before)
            learnt = not self._kept and self._protected.learn(_holders(seen), self._links(seen))
            # A hard link to a protected file may have been created without changing the folder of the original.
            if learnt or not (fresh or links <= self._names):
                self._known = {}
                seen, links = self._looked(before)
            self._names = links
            return seen

    def is_far(self, path: str) -> bool:
        """Return whether a folder is so deep that it is not scanned; it is then protected with everything in it.

        Args:
            path: Relative to the workspace.
        """
        return len(os.fsencode(path)) + len(os.fsencode(self._root)) > _LONGEST

    def _links(self, seen: Seen) -> list[str]:
        links = (path for path, thing in seen.things.items() if thing.target is not None)
        return [path for path in links if self._protected.naming(path.split("/")) is not None]

    def _looked(self, before: Seen | None) -> tuple[Seen, frozenset[tuple[Inode, int]]]:
        seen = Seen(stat.S_IMODE(os.stat(self._root).st_mode))
        links: set[tuple[Inode, int]] = set()
        shared: list[str] = []
        for path, folder in self._walk(seen, before):
            prefix = f"{path}/" if path else ""
            shared += (prefix + name for name in folder.shared)
            far = (name for name in folder.folders if self.is_far(prefix + name))
            named = (prefix + name for name in (*folder.protected, *far))
            for thing in (*named, *([path] if folder.head and path else [])):
                with suppress(FileNotFoundError, NotADirectoryError):
                    place = self._root / thing
                    status = os.lstat(place)
                    seen.things[thing] = _thing(place, status)
                    if stat.S_ISREG(status.st_mode) and status.st_nlink > 1:
                        links.add((inode_of(status), status.st_nlink))
        seen.shared = tuple(self._with_others(shared))
        return seen, frozenset(links)

    def _with_others(self, paths: Iterable[str]) -> Iterator[str]:
        """Yield those of some writable files that have hard links which are not among them."""
        found: dict[str, os.stat_result] = {}
        for path in paths:
            with suppress(OSError):
                found[path] = os.lstat(self._root / path)
        names = Counter(map(inode_of, found.values()))
        yield from (path for path, status in found.items() if names[inode_of(status)] < status.st_nlink)

    def _walk(self, seen: Seen, before: Seen | None) -> Iterator[tuple[str, _Folder]]:
        known: dict[str, _Folder] = {}
        there = {thing.inode for thing in before.things.values()} if before is not None else None
        waiting = [""]
        top = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            while waiting:
                path = waiting.pop()
                try:
                    folder = self._looked_at(top, path, opening=before is not None and path not in before.closed)
                except OSError as error:
                    if error.errno in _TRANSIENT:
                        raise
                    if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                        seen.closed.add(path)
                    continue  # otherwise it is gone, or is no longer a folder
                known[path] = folder
                yield path, folder
                if folder.head:
                    seen.repositories[path] = folder.head
                    if path and (there is None or folder.inode in there):
                        continue  # everything in it is protected with it
                prefix = f"{path}/" if path else ""
                waiting += (prefix + name for name in folder.folders if not self.is_far(prefix + name))
        finally:
            os.close(top)
        self._known = known

    def _looked_at(self, top: int, path: str, *, opening: bool) -> _Folder:
        status = os.lstat(self._root / path)
        known = self._known.get(path)
        if known is not None and (known.changed, known.inode) == (status.st_ctime_ns, inode_of(status)):
            return known
        parts = tuple(path.split("/")) if path else ()
        folder = opened(top, parts, opening=opening)
        try:
            status = os.fstat(folder)
            settled = time.time_ns() - status.st_ctime_ns > _SETTLED
            protected, folders, shared, marks = self._read(folder, parts)
        finally:
            os.close(folder)
        head = marks["head"] if is_repository(marks) else ""
        changed = status.st_ctime_ns if settled else -1
        return _Folder(inode_of(status), changed, tuple(protected), tuple(folders), tuple(shared), head)

    def _read(self, folder: int, parts: tuple[str, ...]) -> tuple[list[str], list[str], list[str], dict[str, str]]:
        protected, folders, shared, marks = list[str](), list[str](), list[str](), dict[str, str]()
        with os.scandir(folder) as entries:
            for entry in entries:
                whole = (*parts, entry.name)
                if is_mark_of_repository(entry.name):
                    marks[entry.name.lower()] = entry.name
                if self._protected.naming(whole) is not None:
                    protected.append(entry.name)
                elif entry.is_symlink():
                    if self._protected.leading(whole):
                        protected.append(entry.name)
                elif entry.is_dir(follow_symlinks=False):
                    folders.append(entry.name)
                else:
                    with suppress(FileNotFoundError):
                        if entry.stat(follow_symlinks=False).st_nlink > 1:
                            shared.append(entry.name)
        return protected, folders, shared, marks


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ToolFailed(
            f"nobody can look through the workspace for what is protected in it: {error.strerror}"
        ) from error


def _thing(place: Path, status: os.stat_result) -> Thing:
    if not stat.S_ISLNK(status.st_mode):
        return Thing(inode_of(status))
    end = None
    with suppress(OSError):
        end = inode_of(os.stat(place))
    return Thing(inode_of(status), os.readlink(place), end)


def _holders(seen: Seen) -> list[str]:
    """Return the folders in which git finds a repository, without the workspace itself."""
    named = (path.rpartition("/") for path in seen.things)
    return sorted({*(above for above, _, name in named if name.lower() == ".git"), *seen.repositories} - {""})


def opened(top: int, parts: tuple[str, ...], *, opening: bool) -> int:
    """Open a folder below another; with ``opening``, change its mode first if that forbids it."""
    try:
        return _entered(top, parts)
    except PermissionError:
        if not (opening and parts):
            raise
        above = open_beneath(top, parts[:-1], os.O_RDONLY | os.O_DIRECTORY)
        try:
            allow(above, parts[-1])
        finally:
            os.close(above)
        return _entered(top, parts)


def _entered(top: int, parts: tuple[str, ...]) -> int:
    """Open a folder and check that it can be both listed and searched; its mode can allow only one of these."""
    folder = open_beneath(top, parts, os.O_RDONLY | os.O_DIRECTORY)
    if os.access(".", os.X_OK, dir_fd=folder):
        return folder
    os.close(folder)
    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), "/".join(parts))


def allow(folder: int, name: str) -> None:
    """Give this user all permissions on a file or folder (mode 0700), without following links."""
    handle = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    try:
        if not stat.S_ISLNK(os.fstat(handle).st_mode):
            os.chmod(f"/proc/self/fd/{handle}", 0o700)
    finally:
        os.close(handle)


def inode_of(status: os.stat_result) -> Inode:
    """Return the device and inode, which identify a file under any name."""
    return status.st_dev, status.st_ino
