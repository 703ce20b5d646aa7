"""Mounts over the workspace: arguments of bubblewrap if they are few, made by `premount` if they are many."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, Literal, NamedTuple

from ..base import ToolFailed

__all__ = ["Mount", "as_words", "beforehand", "limit", "refuse_too_many"]

_FEW: Final = 100
"""Up to this many, bubblewrap, whose time grows with the square, is as fast as starting a program before it."""
_BY_BUBBLEWRAP: Final = 2_900
"""Of the 9,000 words that bubblewrap takes (``MAX_ARGS`` in ``bubblewrap.c``), by descriptor too; a mount is three."""
_SECONDS: Final = 10.0
_OWN: Final = 1_000  # mounts of the machine and of the sandbox itself, at most
_PREMOUNT = str(Path(__file__).with_name("premount.py"))


class Mount(NamedTuple):
    """One mount over the workspace.

    Attributes:
        how: ``hold`` keeps a folder from being renamed, ``keep`` makes a file or a folder with its contents read-only,
            ``hide`` puts an empty folder there.
        place: Its path.
    """

    how: Literal["hold", "keep", "hide"]
    place: str


@functools.cache
def _may_premount() -> bool:
    """Whether `premount` works: AppArmor may allow namespaces to bubblewrap only."""
    empty = os.memfd_create("mounts")
    try:
        done = subprocess.run(  # noqa: S603 - the words are ours
            [*_words(empty), sys.executable, "-I", "-S", "-c", ""],
            env={},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_SECONDS,
            pass_fds=[empty],
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    finally:
        os.close(empty)
    return done.returncode == 0


def as_words(mounts: Sequence[Mount]) -> list[str]:
    """Return the mounts as arguments of bubblewrap; none if they are made beforehand."""
    words: list[str] = []
    for how, place in mounts if not _are_many(mounts) else ():
        if how == "hide":
            words += ["--tmpfs", place, "--remount-ro", place]
        else:
            words += ["--bind" if how == "hold" else "--ro-bind", place, place]
    return words


def beforehand(mounts: Sequence[Mount]) -> tuple[list[str], list[int]]:
    """Return the words before bubblewrap that make many mounts; nothing if there are few.

    Args:
        mounts: The mounts.

    Returns:
        The words, and the descriptors to pass on, which the caller closes.
    """
    if not _are_many(mounts):
        return [], []
    listed = os.memfd_create("mounts")
    with open(listed, "wb", closefd=False) as file:
        file.writelines(b"%b\0%b\0" % (how.encode(), os.fsencode(place)) for how, place in mounts)
    os.lseek(listed, 0, os.SEEK_SET)
    return _words(listed), [listed]


def limit() -> int:
    """Return how many mounts can be made over the workspace."""
    if not _may_premount():
        return _BY_BUBBLEWRAP
    most = 100_000  # the kernel's default; Documentation/admin-guide/sysctl/fs.rst
    with suppress(OSError, ValueError):
        most = int(Path("/proc/sys/fs/mount-max").read_text())
    # Each mount is made in one namespace and copied into another.
    return (most - _OWN) // 2


def refuse_too_many(mounts: Sequence[Mount]) -> None:
    """Raise ToolFailed if there are too many mounts to make, which would leave something unprotected."""
    if len(mounts) <= _FEW or len(mounts) <= limit():
        return
    why = "raise fs.mount-max" if _may_premount() else "let Python make user namespaces, as bwrap may"
    raise ToolFailed(
        f"the command was not run: {len(mounts):,} protected paths have to be made read-only for it, and here no more "
        f"than {limit():,} can be. A person has to name a smaller folder as the workspace, or {why}"
    )


def _are_many(mounts: Sequence[Mount]) -> bool:
    return len(mounts) > _FEW and _may_premount()


def _words(descriptor: int) -> list[str]:
    return [sys.executable, "-I", "-S", _PREMOUNT, str(descriptor)]
