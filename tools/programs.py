"""`found`: the paths of the programs that Pointsman itself starts, outside any sandbox."""

from __future__ import annotations

import os
import shutil
from typing import Final

__all__ = ["STARTED", "found"]

STARTED: Final = ("bwrap", "bash", "git")
"""Every program that is started by name."""


def found(name: str) -> str | None:
    """Return the path of a program, or None if it is missing.

    Relative entries of PATH are skipped, because they can refer to a folder that an agent may write.

    Args:
        name: One of `STARTED`.
    """
    return shutil.which(name, path=os.pathsep.join(filter(os.path.isabs, os.get_exec_path())))
