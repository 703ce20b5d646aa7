"""The folder an agent may work in, and the only way its tools reach files."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import stat
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from os.path import lexists
from pathlib import Path
from typing import BinaryIO

from ...configs.errors import ConfigError
from ..base import ToolFailed
from .changes import KEPT_LIMIT, LINK, Change, Found, is_folder, keeper, mode_to_tell
from .folders import Entry, Folders
from .openat2 import open_beneath
from .protected import Protected
from .repositories import MARKS, is_mark_of_repository, is_repository
from .scan import Scan

__all__ = ["Workspace", "printable", "shown", "with_execution"]

_ESCAPED = re.compile(r"\\(?:[nrt\\]|x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8})")  # as unicode_escape writes it
_PATH_LIMIT = 4096  # bytes, PATH_MAX on Linux
_DEPTH_LIMIT = 64  # folders, when walking
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC  # how a file is made

_REASONS = {
    errno.ELOOP: "leads through a symbolic link, which is not followed",
    errno.EXDEV: "leads out of the workspace",
    errno.ENOENT: "does not exist",
    errno.ENOTDIR: "leads through something that is not a folder (links are not followed)",
    errno.EISDIR: "is a folder",
    errno.EACCES: "may not be opened",
    errno.ENAMETOOLONG: "is too long",
    errno.ENOSPC: "cannot be written: the disk is full",
}


_WRITING: dict[Path, threading.RLock] = {}
"""One lock for each root, whatever `Workspace` writes there."""


class Workspace:
    """A folder that tools bound to it cannot leave: not by ``..``, absolute paths, links, or races.

    A file that is hard-linked from elsewhere lies in the workspace and can be read; writing replaces the name and
    leaves the other link as it was.

    Args:
        root: The folder. It may itself be reached through links.
        protected: What else may not be written: files and folders, there or not, and patterns in the form of
            `PROTECTED`.

    Raises:
        ConfigError: When there is no such folder, or the system cannot open files relative to one (Windows).
    """

    def __init__(self, root: Path | str, *, protected: Iterable[Path | str] = ()) -> None:
        if os.open not in os.supports_dir_fd:
            raise ConfigError("file tools need a POSIX system: run Pointsman under Linux, macOS or WSL")
        self.root = Path(root).resolve()
        if not self.root.is_dir():
            raise ConfigError(f"the workspace {str(root)!r} is not a folder: create it, or name another")
        self._folders = Folders(self.root)
        self.protected = Protected(self.root, protected)
        self.scan = Scan(self.root, self.protected)
        self.writing = _WRITING.setdefault(self.root, threading.RLock())
        """Held from reading a file to replacing it: tools of one turn run in threads beside each other."""

    def parts(self, path: str) -> tuple[str, ...]:
        """Split a path into plain components; links are refused when opening, so ``a/../b`` is ``b`` here.

        Raises:
            ToolFailed: When the path is absolute, leaves the workspace or is no path at all.
        """
        path = _meant(self.root, path)
        if path.startswith("/"):
            raise ToolFailed(f"{shown(path)} is absolute: name paths relative to the workspace")
        try:
            encoded = os.fsencode(path)
        except UnicodeEncodeError:
            raise ToolFailed(f"{shown(path)} is not a path: it contains characters no file name can") from None
        if b"\0" in encoded:
            raise ToolFailed(f"{shown(path)} is not a path: it contains a NUL character")
        if len(encoded) >= _PATH_LIMIT:
            raise ToolFailed(f"{shown(path)} is too long")
        kept: list[str] = []
        for part in path.split("/"):
            if part == "..":
                if not kept:
                    raise ToolFailed(f"{shown(path)} leads out of the workspace")
                kept.pop()
            elif part not in ("", "."):
                kept.append(part)
        return tuple(kept)

    @contextmanager
    def reading(self, path: str) -> Iterator[BinaryIO]:
        """Open a regular file for reading.

        Raises:
            ToolFailed: When it is missing, outside, behind a link, or no regular file.
        """
        parts = self.parts(path)
        with _told(path), self._folders.opened(parts[:-1]) as folder:
            if not parts:
                raise ToolFailed(f"{shown(path)} is a folder")
            # Looked at before it is opened: opening a device can itself do something.
            _require_regular(path, os.stat(parts[-1], dir_fd=folder, follow_symlinks=False))
            descriptor = open_beneath(folder, parts[-1:], os.O_RDONLY | os.O_NONBLOCK)
            with open(descriptor, "rb") as file:
                _require_regular(path, os.fstat(file.fileno()))
                yield file

    def replace(self, path: str, content: bytes, *, mode: int | None = None, executable: bool | None = None) -> Found:
        """Write a file whole or not at all, making the folders on its way; an existing file keeps its mode.

        What was there is handed to the `keeper` before anything changes.

        Args:
            path: The file.
            content: What it is to hold.
            mode: What it is to have whatever is there, read-only, a link or an empty folder; with `LINK` it is made a
                link, and the content is where it leads; with `FOLDER` a folder, without content.
            executable: Whether those who may read it may run it, where that is to change.

        Returns:
            What was there, as far as anybody keeps it.

        Raises:
            ToolFailed: When the path is protected, outside, behind a link, read-only, or no regular file.
        """
        with _told(path), self.writing:
            parts = self._writable(path)
            # Only what bears such a name can make a repository of a folder.
            is_mark = any(is_mark_of_repository(part) for part in parts)
            made = self._folders.missing(parts[:-1]) if is_mark and not self.exists(path) else None
            before = self._kept(
                path, parts, hashlib.sha256(content).hexdigest(), mode, executable, forced=mode is not None
            )
            self._write(path, parts, content, mode, executable)
            if made is not None:
                try:
                    _refuse_repository(self.root, path, parts)
                except ToolFailed:  # another process has written the rest of it meanwhile
                    self._folders.unlink(parts, made)
                    raise
        return before

    def remove(self, path: str, *, folders: int = 0, forced: bool = False) -> None:
        """Delete a file, and so many of the folders above it as are empty then.

        What was there is handed to the `keeper` before anything changes.

        Args:
            path: The file.
            folders: How many.
            forced: Also one that is read-only, a link, or an empty folder.

        Raises:
            ToolFailed: As `replace`, and when it does not exist.
        """
        with _told(path), self.writing:
            parts = self._writable(path)
            with self._folders.opened(parts[:-1]) as folder:
                _mode_to_keep(path, folder, parts[-1], forced=forced)
            self._kept(path, parts, "", forced=forced)
            self._folders.unlink(parts, folders)

    def look(self, path: str, *, any_kind: bool = False) -> Found:
        """Say what a path holds.

        Args:
            path: The file.
            any_kind: Say of a link where it leads, and of a folder its mode, and do not refuse them.

        Raises:
            ToolFailed: When it is outside, behind a link, may not be read, or is no regular file.
        """
        if not self.exists(path):
            return Found()
        if any_kind:
            with _told(path):
                found = self._folders.no_file(self.parts(path))
            if found is not None:
                return found
        with self.reading(path) as file:
            return _found(file)

    def _writable(self, path: str) -> tuple[str, ...]:
        parts = self.parts(path)
        if not parts:
            raise ToolFailed(f"{shown(path)} is a folder")
        self.refuse_protected(path)
        return parts

    def _kept(
        self,
        path: str,
        parts: tuple[str, ...],
        after: str,
        mode: int | None = None,
        executable: bool | None = None,
        *,
        forced: bool,
    ) -> Found:
        """Have somebody keep what is there before it changes."""
        keep = keeper()
        if keep is None:
            return Found()
        before = self.look(path, any_kind=forced)
        given = _mode_of(before.mode if before.digest else None, mode, executable) if after else None
        told = 0 if given is None else mode_to_tell(before, given)
        if before.digest != after or told:
            folders = 0 if before.digest else self._folders.missing(parts[:-1])
            keep(Change(self.root, "/".join(parts), before, after, folders, told))
        return before

    def _write(
        self, path: str, parts: tuple[str, ...], content: bytes, mode: int | None, executable: bool | None
    ) -> None:
        if mode is not None and is_folder(mode):
            self._folders.make(parts, stat.S_IMODE(mode))
            return
        with self._folders.opened(parts[:-1], create=True) as folder:
            there = _mode_to_keep(path, folder, parts[-1], forced=mode is not None)
            temporary = f".pointsman-{secrets.token_hex(8)}.tmp"
            try:
                if mode == LINK:
                    os.symlink(os.fsdecode(content), temporary, dir_fd=folder)
                else:
                    _fill(folder, temporary, content, _mode_of(there, mode, executable), executable)
                if mode is not None:
                    with suppress(FileNotFoundError, NotADirectoryError):
                        os.rmdir(parts[-1], dir_fd=folder)
                os.rename(temporary, parts[-1], src_dir_fd=folder, dst_dir_fd=folder)
            except BaseException:
                with suppress(FileNotFoundError):
                    os.unlink(temporary, dir_fd=folder)
                raise
            with suppress(OSError):  # some file systems cannot; the file is in place all the same
                os.fsync(folder)

    def exists(self, path: str) -> bool:
        """Say whether anything bears this name, without following a link at its end."""
        parts = self.parts(path)
        try:
            with self._folders.opened(parts[:-1]) as folder:
                os.stat(parts[-1] if parts else ".", dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise _refusal(path, error) from error
        return True

    def walk(self, path: str = ".", *, deep: bool = True) -> Iterator[Entry]:
        """Yield what lies in a folder, sorted by name, folders before what is in them.

        Links are named but not followed, ``.git`` is named but not entered, and nothing deeper than 64 folders is
        looked at. A folder that vanishes meanwhile is passed over. A file yields itself.
        """
        top = self.parts(path)
        with _told(path):
            try:
                waiting = [iter(self._folders.listed(top))]
            except NotADirectoryError:
                with self.reading(path):
                    waiting = [iter([Entry("/".join(top), "file")])]
        while waiting:
            entry = next(waiting[-1], None)
            if entry is None:
                waiting.pop()
                continue
            yield entry
            inside = entry.kind == "folder" and deep and entry.path.rpartition("/")[2] != ".git"
            if inside and len(waiting) < _DEPTH_LIMIT:
                with suppress(OSError):
                    waiting.append(iter(self._folders.listed(tuple(entry.path.split("/")))))

    def refuse_protected(self, path: str) -> None:
        """Raise ToolFailed when no tool may write this path."""
        parts = self.parts(path)
        if self.scan.is_far("/".join(parts[:-1])):
            raise ToolFailed(f"{shown(path)} is too long")
        self.scan.look()
        if (pattern := self.protected.covering(parts)) is not None:
            raise ToolFailed(f"{shown(path)} is protected ({pattern}): a person has to change it")
        _refuse_repository(self.root, path, parts)


def shown(path: str) -> str:
    """Quote a path for a message: on one line, printable, and not endlessly long."""
    text = printable(path)
    return f"'{text}'" if len(text) <= 200 else f"'{text[:200]}…'"


def printable(path: str) -> str:
    """Write a path on one line, escaped where it holds characters that a terminal or UTF-8 cannot take."""
    return path if path.isprintable() else path.encode("unicode_escape").decode()


def _meant(root: Path, path: str) -> str:
    """The path that `printable` writes so, where there is that alone: tools list it in no other way. Else as it is."""
    name = _ESCAPED.sub(lambda found: found[0].encode().decode("unicode_escape"), path)
    is_shown_so = name != path and printable(name) == path
    return name if is_shown_so and not lexists(root / path) and lexists(root / name) else path


def with_execution(mode: int, executable: bool) -> int:
    """Permission bits of a file that those who may read it may run, or nobody may."""
    return mode | (mode & 0o444) >> 2 if executable else mode & ~0o111


def _refuse_repository(root: Path, path: str, parts: tuple[str, ...]) -> None:
    for depth, part in enumerate(parts):
        folder = root.joinpath(*parts[:depth])
        if is_repository({*(name for name in MARKS if os.path.lexists(folder / name)), part}):
            where = shown("/".join(parts[:depth]) or ".")
            raise ToolFailed(f"{shown(path)} is protected: git takes {where} for a repository with it")


def _found(file: BinaryIO) -> Found:
    status = os.fstat(file.fileno())
    content = file.read(KEPT_LIMIT + 1)
    summed = hashlib.sha256(content)
    size, kept = len(content), content if len(content) <= KEPT_LIMIT else None
    while piece := b"" if kept is not None else file.read(1 << 20):
        summed.update(piece)
        size += len(piece)
    return Found(summed.hexdigest(), size, stat.S_IMODE(status.st_mode) & 0o777, kept)


def _require_regular(path: str, status: os.stat_result) -> None:
    if stat.S_ISLNK(status.st_mode):
        raise OSError(errno.ELOOP, "symbolic link")
    if stat.S_ISDIR(status.st_mode):
        raise OSError(errno.EISDIR, "folder")
    if not stat.S_ISREG(status.st_mode):
        raise ToolFailed(f"{shown(path)} is not a regular file (a pipe, socket or device)")


def _mode_to_keep(path: str, folder: int, name: str, *, forced: bool = False) -> int | None:
    """The permission bits of a file that is to be replaced or deleted; None where there is no such file.

    Args:
        path: The file.
        folder: Descriptor of its folder.
        name: Its name in that.
        forced: A link, a folder, or a file that is read-only, is not refused.
    """
    try:
        status = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None
    if forced and (stat.S_ISLNK(status.st_mode) or stat.S_ISDIR(status.st_mode)):
        return None
    _require_regular(path, status)
    mode = stat.S_IMODE(status.st_mode) & 0o777
    if not mode & 0o222 and not forced:  # replacing needs only the folder's leave, but read-only was meant
        raise ToolFailed(f"{shown(path)} is read-only")
    return mode


def _fill(folder: int, name: str, content: bytes, mode: int | None, executable: bool | None) -> None:
    """Make a file with these permission bits; as usual for one that may be run, or not, where there are none."""
    descriptor = os.open(name, _NEW, 0o777 if executable else 0o666, dir_fd=folder)
    with open(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        if mode is not None:
            os.fchmod(file.fileno(), mode)
        os.fsync(file.fileno())


def _mode_of(there: int | None, mode: int | None, executable: bool | None) -> int | None:
    """The mode that a file is to have; None where nothing says."""
    if mode is not None or there is None:
        return mode
    return there if executable is None else with_execution(there, executable)


def _refusal(path: str, error: OSError) -> ToolFailed:
    reason = _REASONS.get(error.errno or 0) or f"cannot be used: {os.strerror(error.errno or 0)}"
    return ToolFailed(f"{shown(path)} {reason}")


@contextmanager
def _told(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _refusal(path, error) from error
