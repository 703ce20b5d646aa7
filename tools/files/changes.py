"""What a tool is about to change in a workspace, told beforehand to whoever keeps it so that it can be taken back."""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = [
    "FOLDER",
    "KEPT_LIMIT",
    "LINK",
    "Change",
    "Found",
    "Keeper",
    "is_folder",
    "keeper",
    "kept_by",
    "mode_to_tell",
]

KEPT_LIMIT: Final = 50_000_000
"""Bytes of the largest file that is kept. A larger one is changed all the same, and the tool says so."""
LINK: Final = stat.S_IFLNK
"""The mode of a symbolic link, as git has it; permission bits of its own it has none."""
FOLDER: Final = stat.S_IFDIR
"""What a folder's mode has beside its permission bits."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a path of a workspace holds.

    Attributes:
        digest: SHA-256 in hex digits; empty where nothing is there.
        size: In bytes.
        mode: Permission bits; `LINK` of a symbolic link, and of a folder `FOLDER` with them.
        content: What it holds, or where a link leads, of a folder nothing; None where nothing is there, or it is larger
            than `KEPT_LIMIT`.
    """

    digest: str = ""
    size: int = 0
    mode: int = 0
    content: bytes | None = None

    @classmethod
    def of_folder(cls, mode: int) -> Found:
        """What a folder is.

        Args:
            mode: As the system tells it.
        """
        return cls(hashlib.sha256(b"").hexdigest(), 0, FOLDER | stat.S_IMODE(mode) & 0o777, b"")

    @property
    def too_large(self) -> bool:
        """Whether its content is not kept."""
        return bool(self.digest) and self.content is None


@dataclass(frozen=True, slots=True)
class Change:
    """One file, link or folder is about to be written, made or deleted.

    Attributes:
        root: The workspace, resolved.
        path: Of the file, relative to that, with ``/`` between components.
        before: What is there.
        after: SHA-256 of what will be there; empty where it is deleted.
        folders: How many folders of the path are made for it.
        mode: What it will have, with the kind of file, where that is another than before, or a link, a folder or a
            read-only file is made; else 0.
    """

    root: Path
    path: str
    before: Found
    after: str
    folders: int
    mode: int = 0


def mode_to_tell(before: Found, mode: int) -> int:
    """The mode that a file will have, as it stands in a `Change`.

    Args:
        before: What is there.
        mode: What it will have, as of `Found`.
    """
    kind = stat.S_IFMT(mode)
    is_told = mode != before.mode if before.digest else bool(kind) or not mode & 0o222
    # That of a file has its kind beside it, since a file may have no permission bits at all.
    return mode | (kind or stat.S_IFREG) if is_told or mode == LINK else 0


def is_folder(mode: int) -> bool:
    """Whether a mode is that of a folder.

    Args:
        mode: It, as of `Found`.
    """
    return stat.S_IFMT(mode) == FOLDER


Keeper = Callable[[Change], None]
"""Keeps a change, and returns once that is on the disk; where it raises, the change is not made."""

_KEEPER: ContextVar[Keeper | None] = ContextVar("pointsman_keeper", default=None)


def keeper() -> Keeper | None:
    """Who keeps what is changed here; None for nobody."""
    return _KEEPER.get()


@contextmanager
def kept_by(keep: Keeper | None) -> Iterator[None]:
    """Have somebody keep every change that is made through a workspace inside the block."""
    token = _KEEPER.set(keep)
    try:
        yield
    finally:
        _KEEPER.reset(token)
