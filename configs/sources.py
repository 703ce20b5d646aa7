"""`Sources`: the files a policy was read from, whether they have changed, and how to reload them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Generic, TypeAlias, TypeVar

__all__ = ["Sources", "Stamp"]

T = TypeVar("T")

Stamp: TypeAlias = tuple[int, int, int] | None
"""A file's modification time in nanoseconds, its size and its inode; None if there is no file."""


class Sources(Generic[T]):
    """The user's and the project's routing and risk files, with their state when they were read.

    Args:
        files: Paths of such files; they need not exist.
        read: Reloads the settings with the original environment and flags.

    Attributes:
        files: The same paths.
        stamps: The result of `look` just before the files were read, so that no later change is missed.
    """

    def __init__(self, files: Iterable[Path], read: Callable[[], T]) -> None:
        self.files = tuple(files)
        self._read = read
        self.stamps = self.look()

    def look(self) -> tuple[Stamp, ...]:
        """Return the current stamps of the files, without reading them."""
        return tuple(map(_stamp, self.files))

    def read(self) -> T:
        """Reload the settings.

        Raises:
            ConfigError: The first mistake found.
        """
        return self._read()

    def __deepcopy__(self, memo: dict[int, Any]) -> Sources[T]:
        # The environment it holds is immutable and cannot be copied.
        return self


def _stamp(file: Path) -> Stamp:
    try:
        found = os.stat(file)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
