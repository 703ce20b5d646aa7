"""Read the state of a project that must not be written."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from ...configs.errors import ConfigError

if TYPE_CHECKING:
    from ...configs.schema import Settings

__all__ = ["readable"]

_LEFT_OUT = ("checkpoints.db*", "responses.db*", "models", "*-shm")
"""Files that no read-only command uses, or that belong to the processes that have a database open."""


@contextmanager
def readable(settings: Settings) -> Iterator[Settings]:
    """Yield settings whose state can be opened: the state itself, or a copy if it is not writable.

    SQLite and Chroma write even while they read. The copy is deleted at the end.

    Args:
        settings: The configuration.

    Raises:
        ConfigError: The state is not readable either, or is not the user's own.
    """
    from ...dispatch.state.ownership import refuse_foreign

    refuse_foreign(settings)
    if _writable(settings.state):
        yield settings
        return
    with TemporaryDirectory(prefix="pointsman-") as folder:
        copy = Path(folder) / "state"
        try:
            if settings.state.is_dir():
                shutil.copytree(settings.state, copy, ignore=shutil.ignore_patterns(*_LEFT_OUT))
        except (OSError, shutil.Error) as error:
            raise ConfigError("the state may not be read: check its owner and mode", file=settings.state) from error
        for path in [copy, *copy.rglob("*")] if copy.is_dir() else ():
            path.chmod(0o700 if path.is_dir() else 0o600)
        yield settings.model_copy(update={"state": copy})


def _writable(state: Path) -> bool:
    found = next((folder for folder in (state, *state.parents) if os.path.exists(folder)), state)
    try:
        parts = [found] if found != state else [found, *found.iterdir()]
    except PermissionError:
        return False
    return all(os.access(part, os.W_OK | (os.X_OK if part.is_dir() else 0)) for part in parts)
