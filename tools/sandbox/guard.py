"""What a command must leave alone in the workspace: mounted read-only where it is there, taken away where it was not.

A mount needs something to lie on, and making that would leave it in the user's folder. So a protected path that does
not exist can come into being while a command runs, and is moved out of the way before the command's end is told.
"""

from __future__ import annotations

import os
import stat
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ..files.openat2 import open_beneath
from ..files.workspace import Workspace

__all__ = ["Guard", "Seen"]

_REMOVED = ".pointsman-removed-"
"""What the folders are called to which is moved what a command made at a protected path."""
_STATE = ".pointsman"  # not only kept from being written: it holds other runs
_SETTLED = 50_000_000  # nanoseconds; within the tick of a coarse clock a folder can change and keep its time

Inode = tuple[int, int]


@dataclass(frozen=True, slots=True)
class _Folder:
    """One folder as it was looked at: its inode and the time of its last change, and what matters in it."""

    inode: Inode
    changed: int
    protected: tuple[str, ...]
    folders: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Seen:
    """What there was in the workspace, by paths relative to it.

    Attributes:
        things: What is protected: its inode, and where it is a link, its target.
        closed: The folders into which nobody could look.
        mode: That of the workspace.
    """

    things: Mapping[str, tuple[Inode, str | None]]
    closed: frozenset[str]
    mode: int


class Guard:
    """Keeps the protected paths of a workspace as they are through a command.

    Folders that have not changed since they were last looked at are not read again: no program can set the time at
    which the kernel says that a folder changed.

    Args:
        workspace: Which paths are protected, and where.
    """

    def __init__(self, workspace: Workspace) -> None:
        self._root = workspace.root
        self._protected = workspace.protected
        self._known: dict[str, _Folder] = {}
        self._ours: set[Inode] = set()

    def look(self, before: Seen | None = None) -> Seen:
        """Find what is protected and there.

        Args:
            before: What was found before; folders that were not closed then are opened.
        """
        things: dict[str, tuple[Inode, str | None]] = {}
        closed: set[str] = set()
        for path in self._walk(before, closed):
            with suppress(FileNotFoundError):
                place = self._root / path
                status = os.lstat(place)
                target = os.readlink(place) if stat.S_ISLNK(status.st_mode) else None
                things[path] = _inode(status), target
        return Seen(things, frozenset(closed), stat.S_IMODE(os.stat(self._root).st_mode))

    def mounts(self, seen: Seen) -> list[str]:
        """The arguments of bubblewrap that make what was seen read-only, inside a workspace mounted at its own path."""
        kept = set(self._real(seen))
        above = {
            str(self._root.joinpath(*Path(path).parts[:end]))
            for path in self._protected.fixed
            if str(self._root / path) in kept
            for end in range(1, len(Path(path).parts))
        }
        words: list[str] = []
        # What is mounted cannot be renamed, so that nothing else can be put where one of these is looked for.
        for folder in sorted(above - kept, key=len):
            words += ["--bind", folder, folder]
        for place in sorted(kept, key=len):
            if os.path.basename(place) == _STATE and os.path.isdir(place):
                words += ["--tmpfs", place, "--remount-ro", place]
            else:
                words += ["--ro-bind", place, place]
        return words

    def restore(self, before: Seen) -> list[str]:
        """Move away what has come to lie at a protected path, set links back, and return the paths.

        Args:
            before: What `look` found before the command; all of its processes must have ended.

        Raises:
            OSError: One of them cannot be moved.
        """
        with self._writable(before.mode):
            return self._restored(before)

    @contextmanager
    def _writable(self, mode: int) -> Iterator[None]:
        """The workspace as one that this user may change, where a command has made it another."""
        own = stat.S_IMODE(os.stat(self._root).st_mode)
        if own & stat.S_IRWXU == stat.S_IRWXU:
            yield
            return
        with suppress(PermissionError):  # whose it is not: then no command can have changed anything in it
            os.chmod(self._root, own | stat.S_IRWXU)
        try:
            yield
        finally:
            with suppress(PermissionError):
                os.chmod(self._root, mode)

    def _restored(self, before: Seen) -> list[str]:
        after = self.look(before)
        known = set(before.things.values())
        wrong = [path for path, thing in after.things.items() if thing not in known and thing[0] not in self._ours]
        self._remove(wrong)
        changed = [
            path
            for path, (_, target) in before.things.items()
            if target is not None and after.things.get(path, (None, None))[1] != target
        ]
        for path in changed:
            # Without the folder that held it nobody follows it either.
            with suppress(OSError), self._opened(path) as (folder, name):
                os.symlink(str(before.things[path][1]), name, dir_fd=folder)
        return sorted({*wrong, *changed})

    def _real(self, seen: Seen) -> Iterator[str]:
        """Where to mount: a link cannot be mounted upon, but what it leads to."""
        for path, (_, target) in seen.things.items():
            place = str(self._root / path)
            if target is None:
                yield place
                continue
            if self._protected.naming(path.split("/")) is None:
                continue  # only on the way to something protected
            place = os.path.realpath(place)
            if self._root in Path(place).parents and os.path.exists(place):
                yield place

    def _walk(self, before: Seen | None, closed: set[str]) -> Iterator[str]:
        seen: dict[str, _Folder] = {}
        waiting = [""]
        top = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            while waiting:
                path = waiting.pop()
                try:
                    folder = self._looked_at(top, path, opening=before is not None and path not in before.closed)
                except PermissionError:
                    closed.add(path)
                    continue
                except OSError:
                    continue  # it has gone, or become something else
                seen[path] = folder
                prefix = f"{path}/" if path else ""
                yield from (prefix + name for name in folder.protected)
                waiting += (prefix + name for name in folder.folders)
        finally:
            os.close(top)
        self._known = seen

    def _looked_at(self, top: int, path: str, *, opening: bool) -> _Folder:
        status = os.lstat(self._root / path)
        known = self._known.get(path)
        if known is not None and (known.changed, known.inode) == (status.st_ctime_ns, _inode(status)):
            return known
        protected, folders = [], []
        parts = tuple(path.split("/")) if path else ()
        folder = _opened(top, parts, opening=opening)
        try:
            status = os.fstat(folder)
            settled = time.time_ns() - status.st_ctime_ns > _SETTLED
            with os.scandir(folder) as entries:
                for entry in entries:
                    whole = (*parts, entry.name)
                    if self._protected.naming(whole) is not None:
                        protected.append(entry.name)
                    elif entry.is_symlink():
                        if self._protected.leading(whole):
                            protected.append(entry.name)
                    elif entry.is_dir(follow_symlinks=False):
                        folders.append(entry.name)
        finally:
            os.close(folder)
        return _Folder(_inode(status), status.st_ctime_ns if settled else -1, tuple(protected), tuple(folders))

    def _remove(self, paths: Iterable[str]) -> None:
        kept: int | None = None
        for path in sorted(paths):
            if kept is None:
                # A name of its own, so that no link can lie in wait for it.
                made = tempfile.mkdtemp(prefix=_REMOVED, dir=self._root)
                kept = os.open(made, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
                self._ours.add(_inode(os.fstat(kept)))
            with suppress(FileNotFoundError), self._opened(path) as (folder, name):
                moved = f"{path.replace('/', '-')[-100:]}.{time.time_ns()}.removed"
                try:
                    os.rename(name, moved, src_dir_fd=folder, dst_dir_fd=kept)
                except PermissionError:
                    _allow(folder, ".")
                    _allow(folder, name)
                    os.rename(name, moved, src_dir_fd=folder, dst_dir_fd=kept)
        if kept is not None:
            os.close(kept)

    @contextmanager
    def _opened(self, path: str) -> Iterator[tuple[int, str]]:
        """The folder in which a path lies, reached through no link, and its name there."""
        *above, name = path.split("/")
        top = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            folder = _opened(top, tuple(above), opening=True)
        finally:
            os.close(top)
        try:
            yield folder, name
        finally:
            os.close(folder)


def _opened(top: int, parts: tuple[str, ...], *, opening: bool) -> int:
    """Open a folder below another, and where asked, one whose mode forbids it."""
    try:
        return open_beneath(top, parts, os.O_RDONLY | os.O_DIRECTORY)
    except PermissionError:
        if not (opening and parts):
            raise
        above = open_beneath(top, parts[:-1], os.O_RDONLY | os.O_DIRECTORY)
        try:
            _allow(above, parts[-1])
        finally:
            os.close(above)
        return open_beneath(top, parts, os.O_RDONLY | os.O_DIRECTORY)


def _allow(folder: int, name: str) -> None:
    """Let this user do everything with a file or folder, never through a link."""
    handle = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    try:
        if not stat.S_ISLNK(os.fstat(handle).st_mode):
            os.chmod(f"/proc/self/fd/{handle}", 0o700)
    finally:
        os.close(handle)


def _inode(status: os.stat_result) -> Inode:
    return status.st_dev, status.st_ino
