"""`Sources`: the files a policy was read from, whether they have changed, and how to read them again."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Generic, TypeAlias, TypeVar

__all__ = ["Sources", "Stamp"]

T = TypeVar("T")

Stamp: TypeAlias = tuple[int, int, int] | None
"""When a file was last written, in nanoseconds, its size and its inode; None where there is no file."""


class Sources(Generic[T]):
    """The user's and the project's files of routing and risk as they were when they were read.

    Args:
        files: Where such files are looked for; each need not exist.
        read: Loads the settings anew, under the environment and the flags of the first time.

    Attributes:
        files: The same.
        stamps: What `look` found just before the files were read, so that no later change is missed.
    """

    def __init__(self, files: Iterable[Path], read: Callable[[], T]) -> None:
        self.files = tuple(files)
        self._read = read
        self.stamps = self.look()

    def look(self) -> tuple[Stamp, ...]:
        """Look at the files as they are now, without reading them."""
        return tuple(map(_stamp, self.files))

    def read(self) -> T:
        """Load the settings anew.

        Raises:
            ConfigError: The first mistake found.
        """
        return self._read()

    def __deepcopy__(self, memo: dict[int, Any]) -> Sources[T]:
        # What it holds of the environment is fixed, and cannot be copied.
        return self


def _stamp(file: Path) -> Stamp:
    try:
        found = os.stat(file)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
