"""The sign of life of a process that works on a run: a locked file, unlocked as soon as the process is gone."""

from __future__ import annotations

import fcntl
import logging
import os
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

from ...configs.errors import disk_errors

__all__ = ["Sign", "is_alive", "sweep"]

_log = logging.getLogger(__name__)

_held: set[int] = set()
"""Descriptors of the locks of this process."""


class Sign:
    """The lock file of one holder of a run.

    Args:
        state: The project's state folder.
        run: Id of the run.
        token: The holder's.

    Attributes:
        locked: Whether the file is really locked: some network disks have no locks, and there only the lease counts.

    Raises:
        BlockingIOError: Somebody else holds it.
        ConfigError: The file cannot be made.
    """

    def __init__(self, state: Path, run: str, token: int) -> None:
        self._path = _path(state, run, token)
        self._process = os.getpid()
        with disk_errors("the run cannot be locked", file=self._path):
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.locked = True
        except BlockingIOError:
            os.close(self._lock)
            raise
        except OSError as error:
            self.locked = False
            _tell(self._path.parent, error)
        _held.add(self._lock)

    def give_up(self) -> None:
        """Unlock and remove the file; in a forked child this does nothing, since the lock is the parent's."""
        # A forked child that unwinds has closed it already, and must not take the run from its parent.
        if os.getpid() != self._process or self._lock not in _held:
            return
        _held.discard(self._lock)
        with suppress(OSError):
            self._path.unlink()
        # Unlocked explicitly, not by closing: a child forked meanwhile may still have it open.
        with suppress(OSError):
            fcntl.flock(self._lock, fcntl.LOCK_UN)
        os.close(self._lock)


def is_alive(state: Path, run: str, token: int) -> bool:
    """Return whether the process that holds a run is alive; only valid on that process's machine.

    Args:
        state: The project's state folder.
        run: Id of the run.
        token: The holder's.
    """
    try:
        look = os.open(_path(state, run, token), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    try:
        fcntl.flock(look, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    else:
        return False
    finally:
        os.close(look)


def sweep(state: Path, run: str, token: int) -> None:
    """Remove the file of a holder that is gone.

    Args:
        state: The project's state folder.
        run: Id of the run.
        token: The holder's.
    """
    with suppress(OSError):
        _path(state, run, token).unlink()


def _path(state: Path, run: str, token: int) -> Path:
    return state / "owners" / f"{quote(run, safe='')}.{token}.lock"


_told: set[Path] = set()


def _tell(folder: Path, error: OSError) -> None:
    if folder not in _told:
        _told.add(folder)
        _log.warning(
            "%s: the disk has no file locks (%s), so a run whose process was killed can be taken up only once its "
            "lease is over; set POINTSMAN_STATE to a folder on a local disk",
            folder,
            error.strerror,
        )


def _in_child() -> None:
    for lock in _held:
        with suppress(OSError):
            os.close(lock)
    _held.clear()


os.register_at_fork(after_in_child=_in_child)
