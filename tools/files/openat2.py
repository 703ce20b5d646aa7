"""Open a file beneath a folder, following no symbolic link and never leaving the folder, even in a race.

Checking a path and then opening it leaves a moment in which a folder on the way can become a link. Here the kernel
itself resolves the path under those rules (``openat2``, Linux 5.6 and later), or every component is opened separately,
relative to the folder before it (any POSIX system).
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import sys
from collections.abc import Callable, Sequence

__all__ = ["open_beneath"]

# linux/openat2.h
_RESOLVE_NO_MAGICLINKS = 0x02
_RESOLVE_NO_SYMLINKS = 0x04
_RESOLVE_BENEATH = 0x08
_SYS_OPENAT2 = 437  # the same on every architecture but alpha

_ABSENT = {errno.ENOSYS, errno.EPERM}  # an older kernel; a seccomp filter
_TRIES = 16  # the kernel returns EAGAIN if a rename elsewhere raced the resolution


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def open_beneath(root: int, parts: Sequence[str], flags: int, *, kernel: bool = True) -> int:
    """Open ``parts`` below the folder ``root`` and return the descriptor, which the caller closes.

    Args:
        root: Descriptor of the folder.
        parts: Path components, none of them ``..``; no components mean the folder itself.
        flags: As for `os.open`, without ``O_CREAT``; links are not followed and the descriptor is not inherited.
        kernel: Whether ``openat2`` may be used.

    Raises:
        OSError: ``ELOOP`` or ``ENOTDIR`` at a symbolic link, else as `os.open`.
    """
    if any(part in ("", ".", "..") or "/" in part for part in parts):
        raise OSError(errno.EINVAL, "not plain path components", "/".join(parts))
    flags |= os.O_NOFOLLOW | os.O_CLOEXEC
    if kernel and sys.platform == "linux":
        try:
            return _resolved_by_kernel(root, parts, flags)
        except OSError as refused:
            if refused.errno not in _ABSENT | {errno.EAGAIN}:
                raise
    return _walked(root, parts, flags)


def _resolved_by_kernel(root: int, parts: Sequence[str], flags: int) -> int:
    path = os.fsencode("/".join(parts) or ".")
    how = _OpenHow(flags, 0, _RESOLVE_BENEATH | _RESOLVE_NO_MAGICLINKS | _RESOLVE_NO_SYMLINKS)
    for _ in range(_TRIES):
        descriptor = _syscall()(_SYS_OPENAT2, root, path, ctypes.byref(how), ctypes.sizeof(how))
        if descriptor >= 0:
            return descriptor
        number = ctypes.get_errno()
        if number not in (errno.EAGAIN, errno.EINTR):
            break
    raise OSError(number, os.strerror(number), os.fsdecode(path))


@functools.cache
def _syscall() -> Callable[..., int]:
    call = ctypes.CDLL(None, use_errno=True).syscall
    call.restype = ctypes.c_long
    call.argtypes = (ctypes.c_long, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_size_t)
    return call


def _walked(root: int, parts: Sequence[str], flags: int) -> int:
    step = os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC | getattr(os, "O_PATH", os.O_RDONLY)
    folder = os.open(".", step, dir_fd=root)
    try:
        for part in parts[:-1]:
            deeper = os.open(part, step, dir_fd=folder)
            os.close(folder)
            folder = deeper
        return os.open(parts[-1] if parts else ".", flags, dir_fd=folder)
    finally:
        os.close(folder)
