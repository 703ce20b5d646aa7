"""The folder an agent may work in, and the only way its tools access files."""

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
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC  # flags to create a file

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
"""One lock per root, shared by every `Workspace` that writes there."""


class Workspace:
    """A folder that the tools bound to it cannot leave: not by ``..``, absolute paths, links, or races.

    A file in the workspace that is hard-linked from elsewhere can be read; writing replaces the name in the workspace
    and leaves the other link unchanged.

    Args:
        root: The folder; its own path may contain links.
        protected: Further paths that may not be written: files and folders, existing or not, and patterns in the form
            of `PROTECTED`.

    Raises:
        ConfigError: If there is no such folder, or the system cannot open files relative to a folder (Windows).
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
        """Held from reading a file to replacing it, because tools of one turn run in parallel threads."""

    def parts(self, path: str) -> tuple[str, ...]:
        """Split a path into plain components; links are rejected on opening, so ``a/../b`` is simply ``b`` here.

        Raises:
            ToolFailed: If the path is absolute, leaves the workspace, or is not a valid path.
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
            ToolFailed: If it is missing, outside the workspace, behind a link, or not a regular file.
        """
        parts = self.parts(path)
        with _told(path), self._folders.opened(parts[:-1]) as folder:
            if not parts:
                raise ToolFailed(f"{shown(path)} is a folder")
            # Checked before it is opened, because opening a device can have side effects.
            _require_regular(path, os.stat(parts[-1], dir_fd=folder, follow_symlinks=False))
            descriptor = open_beneath(folder, parts[-1:], os.O_RDONLY | os.O_NONBLOCK)
            with open(descriptor, "rb") as file:
                _require_regular(path, os.fstat(file.fileno()))
                yield file

    def replace(self, path: str, content: bytes, *, mode: int | None = None, executable: bool | None = None) -> Found:
        """Write a file atomically, creating missing folders; an existing file keeps its mode.

        The previous state is passed to the `keeper` before anything changes.

        Args:
            path: The file.
            content: Its new content.
            mode: Its new mode; it then replaces whatever is there, even a read-only file, a link or an empty folder.
                With `LINK` a link is created, and the content is its target; with `FOLDER` a folder, without content.
            executable: Whether those who may read it may execute it; None to leave that unchanged.

        Returns:
            What was there before; empty if there is no keeper.

        Raises:
            ToolFailed: If the path is protected, outside the workspace, behind a link, read-only, or not a regular
                file.
        """
        with _told(path), self.writing:
            parts = self._writable(path)
            # Only an entry with such a name can turn a folder into a repository.
            is_mark = any(is_mark_of_repository(part) for part in parts)
            made = self._folders.missing(parts[:-1]) if is_mark and not self.exists(path) else None
            before = self._kept(
                path, parts, hashlib.sha256(content).hexdigest(), mode, executable, forced=mode is not None
            )
            self._write(path, parts, content, mode, executable)
            if made is not None:
                try:
                    _refuse_repository(self.root, path, parts)
                except ToolFailed:  # another process has written the rest of the repository in the meantime
                    self._folders.unlink(parts, made)
                    raise
        return before

    def remove(self, path: str, *, folders: int = 0, forced: bool = False) -> None:
        """Delete a file, and up to this many folders above it that are then empty.

        The previous state is passed to the `keeper` before anything changes.

        Args:
            path: The file.
            folders: The most folders to delete.
            forced: Whether to delete even a read-only file, a link, or an empty folder.

        Raises:
            ToolFailed: As for `replace`, and if it does not exist.
        """
        with _told(path), self.writing:
            parts = self._writable(path)
            with self._folders.opened(parts[:-1]) as folder:
                _mode_to_keep(path, folder, parts[-1], forced=forced)
            self._kept(path, parts, "", forced=forced)
            self._folders.unlink(parts, folders)

    def look(self, path: str, *, any_kind: bool = False) -> Found:
        """Return what is at a path.

        Args:
            path: The file.
            any_kind: Whether to accept links (returning the target) and folders (returning the mode) too.

        Raises:
            ToolFailed: If it is outside the workspace, behind a link, not readable, or not a regular file.
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
        """Pass the current state to the keeper before it changes, and return it."""
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
            with suppress(OSError):  # some file systems cannot; the file is in place anyway
                os.fsync(folder)

    def exists(self, path: str) -> bool:
        """Return whether anything has this name, without following a link at the end of the path."""
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
        """Yield the entries of a folder, sorted by name, each folder before its content.

        Links are listed but not followed, ``.git`` is listed but not entered, and nothing deeper than 64 folders is
        listed. A folder that vanishes in the meantime is skipped. If the path is a file, only that is yielded.
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
        """Raise ToolFailed if no tool may write this path."""
        parts = self.parts(path)
        if self.scan.is_far("/".join(parts[:-1])):
            raise ToolFailed(f"{shown(path)} is too long")
        self.scan.look()
        if (pattern := self.protected.covering(parts)) is not None:
            raise ToolFailed(f"{shown(path)} is protected ({pattern}): a person has to change it")
        _refuse_repository(self.root, path, parts)


def shown(path: str) -> str:
    """Quote a path for a message: on one line, printable, and shortened if it is very long."""
    text = printable(path)
    return f"'{text}'" if len(text) <= 200 else f"'{text[:200]}…'"


def printable(path: str) -> str:
    """Return a path on one line, escaped if it contains characters that a terminal or UTF-8 cannot represent."""
    return path if path.isprintable() else path.encode("unicode_escape").decode()


def _meant(root: Path, path: str) -> str:
    """Return the path that `printable` shows like this if only that exists, since tools list it so; else the path."""
    name = _ESCAPED.sub(lambda found: found[0].encode().decode("unicode_escape"), path)
    is_shown_so = name != path and printable(name) == path
    return name if is_shown_so and not lexists(root / path) and lexists(root / name) else path


def with_execution(mode: int, executable: bool) -> int:
    """Return permission bits with execution allowed for everyone who may read the file, or for nobody."""
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
    """Return the permission bits of a file that is to be replaced or deleted; None if there is no such file.

    Args:
        path: The file.
        folder: Descriptor of its folder.
        name: Its name in that folder.
        forced: Whether to accept a link, a folder, or a read-only file.
    """
    try:
        status = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None
    if forced and (stat.S_ISLNK(status.st_mode) or stat.S_ISDIR(status.st_mode)):
        return None
    _require_regular(path, status)
    mode = stat.S_IMODE(status.st_mode) & 0o777
    if not mode & 0o222 and not forced:  # only the folder needs write permission, but read-only is respected
        raise ToolFailed(f"{shown(path)} is read-only")
    return mode


def _fill(folder: int, name: str, content: bytes, mode: int | None, executable: bool | None) -> None:
    """Create a file with these permission bits; if None, with the defaults for an executable or other file."""
    descriptor = os.open(name, _NEW, 0o777 if executable else 0o666, dir_fd=folder)
    with open(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        if mode is not None:
            os.fchmod(file.fileno(), mode)
        os.fsync(file.fileno())


def _mode_of(there: int | None, mode: int | None, executable: bool | None) -> int | None:
    """Return the mode that a file should have; None if nothing determines it."""
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
