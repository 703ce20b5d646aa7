"""Makes paths of a workspace read-only in its own mount namespace, and becomes bubblewrap there.

Bubblewrap scans all mounts again for each one it makes, and takes no more than 9,000 words. So if there are many
mounts, they are made here beforehand, and bubblewrap takes them over with the workspace.

Run as ``python premount.py DESCRIPTOR BWRAP WORDS...``; it reads the mounts from the descriptor, each a word and a path
that end with a NUL byte.
"""

from __future__ import annotations

import ctypes
import os
import sys

__all__ = ["main"]

# linux/sched.h
_NEW_MOUNTS, _NEW_USER = 0x00020000, 0x10000000
# linux/mount.h
_BIND, _RECURSIVE, _PRIVATE = 4096, 16384, 1 << 18
_READ_ONLY, _NO_SUID, _NO_DEVICES = 1, 2, 4
_SYS_MOUNT_SETATTR = 442  # the same on every architecture but alpha
_HERE, _RECURSIVELY = -100, 0x8000  # AT_FDCWD, AT_RECURSIVE; linux/fcntl.h


class _Attributes(ctypes.Structure):
    """``struct mount_attr``."""

    _fields_ = tuple((name, ctypes.c_uint64) for name in ("set", "clear", "propagation", "userns"))


_LIBC = ctypes.CDLL(None, use_errno=True)


def main(descriptor: str, *words: str) -> None:
    """Make the mounts, then become the program."""
    with open(int(descriptor), "rb") as file:
        listed = file.read().split(b"\0")[:-1]
    try:
        _separate()
        for how, place in zip(listed[::2], listed[1::2], strict=True):
            _mount(how, place)
    except OSError as error:
        where = f" at {os.fsdecode(error.filename)!r}" if error.filename else ""
        sys.exit(f"what is protected cannot be made read-only{where}: {error.strerror}")
    os.execv(words[0], words)  # noqa: S606 - bubblewrap


def _separate() -> None:
    """Enter a private mount namespace, as the same user without any rights outside."""
    user, group = os.getuid(), os.getgid()
    _check(_LIBC.unshare(_NEW_USER | _NEW_MOUNTS))
    for name, line in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(line)
    _check(_LIBC.mount(None, b"/", None, ctypes.c_ulong(_RECURSIVE | _PRIVATE), None))


def _mount(how: bytes, place: bytes) -> None:
    flags = _NO_SUID | _NO_DEVICES | (0 if how == b"hold" else _READ_ONLY)
    if how == b"hide":
        _check(_LIBC.mount(b"tmpfs", place, b"tmpfs", ctypes.c_ulong(flags), None), place)
        return
    _check(_LIBC.mount(place, place, None, ctypes.c_ulong(_BIND | _RECURSIVE), None), place)
    attributes = _Attributes(set=flags)
    size = ctypes.c_size_t(ctypes.sizeof(attributes))
    _check(_LIBC.syscall(_SYS_MOUNT_SETATTR, _HERE, place, _RECURSIVELY, ctypes.byref(attributes), size), place)


def _check(result: int, place: bytes | None = None) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), place)


if __name__ == "__main__":
    main(*sys.argv[1:])
