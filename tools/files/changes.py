"""What a tool is about to change in a workspace, told beforehand to whoever keeps it so that it can be taken back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["KEPT_LIMIT", "Change", "Found", "Keeper", "keeper", "kept_by"]

KEPT_LIMIT: Final = 50_000_000
"""Bytes of the largest file that is kept. A larger one is changed all the same, and the tool says so."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a path of a workspace holds.

    Attributes:
        digest: SHA-256 in hex digits; empty where nothing is there.
        size: In bytes.
        mode: Permission bits.
        content: What it holds; None where nothing is there, or it is larger than `KEPT_LIMIT`.
    """

    digest: str = ""
    size: int = 0
    mode: int = 0
    content: bytes | None = None

    @property
    def too_large(self) -> bool:
        """Whether its content is not kept."""
        return bool(self.digest) and self.content is None


@dataclass(frozen=True, slots=True)
class Change:
    """One file is about to be written or deleted.

    Attributes:
        root: The workspace, resolved.
        path: Of the file, relative to that, with ``/`` between components.
        before: What is there.
        after: SHA-256 of what will be there; empty where it is deleted.
        folders: How many folders of the path are made for it.
    """

    root: Path
    path: str
    before: Found
    after: str
    folders: int


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
