"""Changes that a tool is about to make in a workspace, reported beforehand to a keeper so that they can be undone."""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Callable
from contextlib import AbstractContextManager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ...configs.process.variables import set_to

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
"""Size in bytes of the largest file that is kept. A larger one is changed without being kept, and the tool says so."""
LINK: Final = stat.S_IFLNK
"""The mode of a symbolic link, as in git; it has no permission bits of its own."""
FOLDER: Final = stat.S_IFDIR
"""The file type bits of a folder's mode, besides its permission bits."""


@dataclass(frozen=True, slots=True)
class Found:
    """What is at a path of a workspace.

    Attributes:
        digest: SHA-256 in hex digits; empty if nothing is there.
        size: In bytes.
        mode: Permission bits; `LINK` for a symbolic link, and `FOLDER` plus permission bits for a folder.
        content: The file's content, the target of a link, or nothing for a folder; None if nothing is there, or if it
            is larger than `KEPT_LIMIT`.
    """

    digest: str = ""
    size: int = 0
    mode: int = 0
    content: bytes | None = None

    @classmethod
    def of_folder(cls, mode: int) -> Found:
        """Return what is at the path of a folder.

        Args:
            mode: As returned by the system.
        """
        return cls(hashlib.sha256(b"").hexdigest(), 0, FOLDER | stat.S_IMODE(mode) & 0o777, b"")

    @property
    def too_large(self) -> bool:
        """Whether it is too large for its content to be kept."""
        return bool(self.digest) and self.content is None


@dataclass(frozen=True, slots=True)
class Change:
    """A file, link or folder that is about to be written, created or deleted.

    Attributes:
        root: The workspace, resolved.
        path: The path of the file, relative to the root, with ``/`` between components.
        before: What is there now.
        after: SHA-256 of what will be there; empty if it is deleted.
        folders: How many folders of the path are created for it.
        mode: The new mode, including the file type, if it changes or if a link, a folder or a read-only file is
            created; else 0.
    """

    root: Path
    path: str
    before: Found
    after: str
    folders: int
    mode: int = 0


def mode_to_tell(before: Found, mode: int) -> int:
    """Return the ``mode`` of a `Change` for the mode that a file will have.

    Args:
        before: What is there now.
        mode: The new mode, as in `Found`.
    """
    kind = stat.S_IFMT(mode)
    is_told = mode != before.mode if before.digest else bool(kind) or not mode & 0o222
    # A file's mode includes its type, because a file may have no permission bits at all, which would be 0.
    return mode | (kind or stat.S_IFREG) if is_told or mode == LINK else 0


def is_folder(mode: int) -> bool:
    """Return whether a mode is that of a folder.

    Args:
        mode: The mode, as in `Found`.
    """
    return stat.S_IFMT(mode) == FOLDER


Keeper = Callable[[Change], None]
"""Records a change, and returns once the record is on disk; if it raises, the change is not made."""

_KEEPER: ContextVar[Keeper | None] = ContextVar("pointsman_keeper", default=None)


def keeper() -> Keeper | None:
    """Return the keeper of the changes made here, or None."""
    return _KEEPER.get()


def kept_by(keep: Keeper | None) -> AbstractContextManager[None]:
    """Have a keeper record every change made through a workspace inside the block."""
    return set_to(_KEEPER, keep)
