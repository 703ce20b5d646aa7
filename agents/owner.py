"""One run has one owner at a time: a locked file that names it, and that it loses however its process ends."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from urllib.parse import quote

from ..configs.errors import ConfigError, PointsmanError

__all__ = ["Owner", "RunOwned", "owned", "owner_of"]

_TRIES: Final = 1000
_PAUSE_SECONDS: Final = 0.001
"""Whoever only looks whether there is an owner shares the lock for a moment."""

_held: set[int] = set()
"""Descriptors of the locks of this process."""


@dataclass(frozen=True, slots=True)
class Owner:
    """Who works on a run.

    Attributes:
        host: Name of the machine.
        process: Number of the process there.
        since: When it took the run, in seconds since the epoch.
    """

    host: str
    process: int
    since: float

    def __str__(self) -> str:
        if not self.process:
            return "another process"
        since = datetime.fromtimestamp(self.since, UTC).strftime("%Y-%m-%d %H:%M:%S")
        return f"process {self.process} on {self.host} since {since} UTC"


_UNKNOWN: Final = Owner("", 0, 0)


class RunOwned(PointsmanError):
    """Somebody else works on the run right now."""

    def __init__(self, run: str, owner: Owner | None) -> None:
        super().__init__(
            f"run {run} is being worked on by {owner or 'another process'}: wait until it ends, or end that process"
        )
        self.run = run
        self.owner = owner


@contextmanager
def owned(state: Path, run: str) -> Iterator[None]:
    """Own a run while the block lasts; the operating system ends that with the process, if nothing else does.

    Args:
        state: The project's state folder.
        run: Id of the run.

    Raises:
        RunOwned: Somebody owns it.
        ConfigError: The lock file cannot be made.
    """
    path = _path(state, run)
    try:
        lock = _locked(path)
    except OSError as error:
        raise ConfigError(f"the run cannot be locked: {error.strerror}", file=path) from error
    if lock is None:
        raise RunOwned(run, owner_of(state, run))
    process = os.getpid()
    _held.add(lock)
    try:
        # On a full disk the run goes on without its owner's name.
        with suppress(OSError):
            os.ftruncate(lock, 0)
            os.pwrite(lock, json.dumps(asdict(Owner(socket.gethostname(), process, time.time()))).encode(), 0)
        yield
    finally:
        # A forked child that unwinds has closed it already, and must not take the run from its parent.
        if os.getpid() == process:
            _held.discard(lock)
            with suppress(OSError):
                path.unlink()
            # Said, not left to the closing: a child forked meanwhile may have it open still.
            fcntl.flock(lock, fcntl.LOCK_UN)
            os.close(lock)


def owner_of(state: Path, run: str) -> Owner | None:
    """Who works on a run right now, None where nobody does.

    Args:
        state: The project's state folder.
        run: Id of the run.
    """
    try:
        look = os.open(_path(state, run), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError:
        return _UNKNOWN
    try:
        if _shared(look):
            return None
        return Owner(**json.loads(os.read(look, 4096)))
    except (ValueError, TypeError):
        # It has not written its name yet, or could not.
        return _UNKNOWN
    finally:
        os.close(look)


def _path(state: Path, run: str) -> Path:
    return state / "owners" / f"{quote(run, safe='')}.lock"


def _locked(path: Path) -> int | None:
    """The lock, or None where somebody has it."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    for _ in range(_TRIES):
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        kept = False
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The one before removes the file when it is done, which may be after it was opened here.
            kept = os.path.samestat(os.fstat(lock), os.stat(path))
            if kept:
                return lock
        except FileNotFoundError:
            continue
        except BlockingIOError:
            if not _shared(lock):
                return None
            time.sleep(_PAUSE_SECONDS)
        finally:
            if not kept:
                os.close(lock)
    return None


def _shared(lock: int) -> bool:
    """Whether nobody has the lock for themselves; it is shared then, until the file is closed."""
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _in_child() -> None:
    for lock in _held:
        with suppress(OSError):
            os.close(lock)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
