"""Replace a file as a whole, and let one process at a time do so."""

from __future__ import annotations

import fcntl
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["locked", "replace_file"]


def replace_file(path: Path, content: bytes, mode: int | None = None) -> None:
    """Write a file atomically and durably: at any time it has either its previous content or the new one.

    If several processes write it at the same time, each writes it whole, and the last one wins.

    Args:
        path: The file, in a folder that exists.
        content: The new content; it is on disk when this returns.
        mode: Permission bits of the file, which belongs to this process's user and replaces a symbolic link. If None,
            the file keeps its permission bits and owner, and a link the file that it points to.

    Raises:
        OSError: It cannot be written; no partial file is left, and the previous content is unchanged, unless it was
            the folder that could not be written to disk.
    """
    if mode is None:
        path = Path(os.path.realpath(path))
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}.new")
    try:
        descriptor = os.open(
            draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666 if mode is None else mode
        )
        with open(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            if mode is None:
                with suppress(FileNotFoundError):
                    _like(descriptor, path.stat())
            os.fsync(descriptor)
        os.replace(draft, path)
        _sync(path.parent)
    except BaseException:
        with suppress(OSError):
            draft.unlink()
        raise


def _like(descriptor: int, other: os.stat_result) -> None:
    """Give a file the owner and permission bits of another; the owner only if this process may."""
    # Before the bits, of which a change of owner clears some.
    with suppress(PermissionError):
        os.fchown(descriptor, other.st_uid, other.st_gid)
    os.fchmod(descriptor, stat.S_IMODE(other.st_mode))


def _sync(folder: Path) -> None:
    """Have the names in a folder on disk, which `fsync` of a file does not do."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except PermissionError:
        # It may be written, but not read.
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Let one process at a time run the block; the others wait.

    Args:
        path: The lock's file, in a folder that exists; it is created if it is missing, and never deleted.

    Raises:
        OSError: It cannot be opened or locked.
    """
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        # Unlocked explicitly, not by closing: a child forked meanwhile has the file open too.
        fcntl.flock(lock, fcntl.LOCK_UN)
        os.close(lock)
