"""What there is in a workspace that may not be written: a walk through its folders, and what each was found to hold."""

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

_SETTLED = 50_000_000  # nanoseconds; within the tick of a coarse clock a folder can change and keep its time

_LONGEST = 3_700
"""Bytes of a whole path; of a name in such a folder, and where a sandbox mounts it, it is still one to the kernel."""
_TRANSIENT = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)

Inode = tuple[int, int]


@dataclass(frozen=True, slots=True)
class _Folder:
    """One folder as it was looked at: its inode and the time of its last change, and what matters in it.

    Attributes:
        shared: Other files that have a second name.
        head: The name of its ``HEAD`` where git takes it for a repository, else empty.
    """

    inode: Inode
    changed: int
    protected: tuple[str, ...]
    folders: tuple[str, ...]
    shared: tuple[str, ...]
    head: str


class Thing(NamedTuple):
    """What lies at a protected path: its inode, and of a link its target and the inode to which that leads."""

    inode: Inode
    target: str | None = None
    end: Inode | None = None


@dataclass(slots=True)
class Seen:
    """What there was in the workspace, by paths relative to it.

    Attributes:
        things: What is protected.
        repositories: The folders that git takes for a repository without their being called ``.git``, and their HEAD.
        closed: The folders into which nobody could look.
        shared: Files that may be written by their name, but of which another name is protected or lies elsewhere.
        mode: That of the workspace.
    """

    mode: int
    things: dict[str, Thing] = field(default_factory=dict)
    repositories: dict[str, str] = field(default_factory=dict)
    closed: set[str] = field(default_factory=set)
    shared: tuple[str, ...] = ()


class Scan:
    """Finds what is protected in a workspace and there, and tells `Protected` of the repositories in it.

    Folders that have not changed since they were last looked at are not read again: no program can set the time at
    which the kernel says that a folder changed.

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
        """Ask git nothing about what there is inside the block: a command may have made it."""
        with self._lock:
            self._kept += 1
        try:
            yield
        finally:
            with self._lock:
                self._kept -= 1

    def look(self, before: Seen | None = None) -> Seen:
        """Find what is protected and there.

        Args:
            before: What was found before; folders that were not closed then are opened.

        Raises:
            ToolFailed: Nobody can look now.
        """
        with self._lock, _told():
            fresh = not self._known
            seen, links = self._looked(before)
            learnt = not self._kept and self._protected.learn(_holders(seen), self._links(seen))
            # A second name of a protected file can have been made without a change of the folder of the first.
            if learnt or not (fresh or links <= self._names):
                self._known = {}
                seen, links = self._looked(before)
            self._names = links
            return seen

    def is_far(self, path: str) -> bool:
        """Whether a folder lies so deep that nobody looks into it: it is protected, with all in it.

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
        """Of files that may be written, those that have more names than are among them."""
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
                    continue  # otherwise it has gone, or become something else
                known[path] = folder
                yield path, folder
                if folder.head:
                    seen.repositories[path] = folder.head
                    if path and (there is None or folder.inode in there):
                        continue  # all that is in it is protected with it
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
    """The folders in which somebody who calls git finds a repository, but for the workspace itself."""
    named = (path.rpartition("/") for path in seen.things)
    return sorted({*(above for above, _, name in named if name.lower() == ".git"), *seen.repositories} - {""})


def opened(top: int, parts: tuple[str, ...], *, opening: bool) -> int:
    """Open a folder below another, and where asked, one whose mode forbids it."""
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
    """Open a folder whose names may be read and looked up: its mode can allow the one without the other."""
    folder = open_beneath(top, parts, os.O_RDONLY | os.O_DIRECTORY)
    if os.access(".", os.X_OK, dir_fd=folder):
        return folder
    os.close(folder)
    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), "/".join(parts))


def allow(folder: int, name: str) -> None:
    """Let this user do everything with a file or folder, never through a link."""
    handle = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    try:
        if not stat.S_ISLNK(os.fstat(handle).st_mode):
            os.chmod(f"/proc/self/fd/{handle}", 0o700)
    finally:
        os.close(handle)


def inode_of(status: os.stat_result) -> Inode:
    """By what a file is known under whatever name."""
    return status.st_dev, status.st_ino
