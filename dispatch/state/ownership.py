"""Ownership of state folders: one that came with a cloned project is not the user's, and is not used."""

from __future__ import annotations

import os
import secrets
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing, suppress
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ...configs.errors import ConfigError, disk_errors
from ...configs.loading.loader import OFFLINE, environment
from ...configs.loading.trust import TrustStore
from .private import replace_private
from .sealing import user_seal

if TYPE_CHECKING:
    from ...configs.schema import Settings

__all__ = ["adopt", "claim", "foreign", "refuse_foreign", "root_of", "stored"]

_MARK: Final = "mark"
_MARK_BYTES: Final = 256
_IGNORE: Final = ".gitignore"
_EMPTY: Final = frozenset({_IGNORE, ".gitkeep"})
"""Files that a folder without state may contain."""
_SEALED: Final = (
    (
        "checkpoints.db",
        "SELECT type, checkpoint FROM checkpoints WHERE instr(type, '+') ORDER BY rowid DESC LIMIT 1",
    ),
    ("responses.db", "SELECT NULL, body FROM responses LIMIT 1"),
)
"""Where a version without marks kept data that only the user's key can decrypt."""


class _Whose(Enum):
    """``NEW``: empty; ``OWN``: has the user's mark; ``EARLIER``: the user's, from a version without marks."""

    NEW = 1
    OWN = 2
    EARLIER = 3
    FOREIGN = 4


def root_of(settings: Settings) -> Path:
    """Return the state folder itself, also when offline, when simulated state is kept in a folder inside it."""
    inner = settings.offline and settings.state.name == OFFLINE
    return settings.state.parent if inner else settings.state


def refuse_foreign(settings: Settings) -> None:
    """Refuse a state folder that is not the user's own, without writing anything.

    Args:
        settings: The folder, and whether it must be the user's own; a folder that the user named need not be.

    Raises:
        ConfigError: The folder must be the user's own and is not.
    """
    if settings.needs_mark and foreign(root_of(settings), settings.project):
        raise _refused(root_of(settings))


def claim(settings: Settings) -> None:
    """Check that the state folder is the user's own, and mark a new one; called before anything is read from it.

    The mark is a random id, signed with the user's key: it stays valid when the folder is moved or copied, and nobody
    else can make it. An unmarked folder of an earlier version is the user's if their key can decrypt something in it.

    Args:
        settings: As in `refuse_foreign`.

    Raises:
        ConfigError: It is not the user's, it cannot be marked, or there is no place for the user's key.
    """
    folder = root_of(settings)
    if not settings.needs_mark:
        with suppress(ConfigError, OSError):
            _note(folder)
        return
    whose = _whose(folder, settings.project)
    if whose is _Whose.FOREIGN:
        raise _refused(folder)
    try:
        _mark(folder, whose)
    except OSError as error:
        if whose is _Whose.NEW:
            raise ConfigError(
                f"the state folder may not be written ({error.strerror}): check its owner and mode, and the folder's "
                "around it, or set POINTSMAN_STATE to another folder",
                file=folder,
            ) from error


def foreign(folder: Path, project: Path) -> bool:
    """Return whether a folder holds state that is not known to be the user's own.

    Args:
        folder: The state folder, as `root_of` returns it.
        project: The project that contains it.
    """
    return _whose(folder, project) is _Whose.FOREIGN


def adopt(folder: Path, project: Path) -> None:
    """Mark a folder as the user's own from now on.

    Args:
        folder: The state folder, as `root_of` returns it.
        project: The project that contains it.

    Raises:
        ConfigError: It cannot be marked, or there is no place for the user's key.
    """
    with disk_errors("it cannot be marked as yours", file=folder):
        if _led_away(folder, project):
            TrustStore(environment()).keep(folder, os.path.realpath(folder))
        _write(folder, _signed())


def stored(folder: Path, file: str, query: str) -> list[tuple[Any, ...]]:
    """Read rows from an SQLite file in an untrusted folder without changing it; return none if that fails.

    Args:
        folder: The folder.
        file: The file's name in it. Symlinks are not followed, since they might lead to a file of the user's.
        query: The SQL query.
    """
    path = folder / file
    try:
        if any(not stat.S_ISREG(os.lstat(one).st_mode) for one in _with_log(path)):
            return []
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            connection.execute("PRAGMA trusted_schema = OFF")
            return connection.execute(query).fetchall()
    except (OSError, sqlite3.Error):
        return []


def _with_log(path: Path) -> Iterator[Path]:
    yield path
    yield from (log for end in ("-wal", "-shm", "-journal") if os.path.lexists(log := Path(f"{path}{end}")))


def _whose(folder: Path, project: Path | None) -> _Whose:
    if project is not None and _led_away(folder, project):
        # A symlink that came with the project leads to another folder, perhaps of another project of the user's.
        known = TrustStore(environment()).knows(folder, os.path.realpath(folder))
        return _Whose.OWN if known and _is_marked(folder) else _Whose.FOREIGN
    if _is_marked(folder):
        return _Whose.OWN
    if not _holds(folder):
        return _Whose.NEW
    # Another process may have created the state meanwhile, beginning with the mark.
    if _is_marked(folder):
        return _Whose.OWN
    return _Whose.EARLIER if _read(folder) is None and _opens(folder) else _Whose.FOREIGN


def _led_away(folder: Path, project: Path) -> bool:
    real = os.path.realpath(project)
    return os.path.realpath(folder) != os.path.normpath(os.path.join(real, os.path.relpath(folder, project)))


def _holds(folder: Path) -> bool:
    try:
        return any(name not in _EMPTY and not name.startswith(_MARK) for name in os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True


def _read(folder: Path) -> str | None:
    """Return the mark, None if there is none; a symlink is not a mark, since it may lead to another folder's mark."""
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        file = os.open(folder / _MARK, flags)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError:
        return ""
    try:
        return os.read(file, _MARK_BYTES).decode("ascii", "replace") if stat.S_ISREG(os.fstat(file).st_mode) else ""
    finally:
        os.close(file)


def _is_marked(folder: Path) -> bool:
    name, _, signature = (_read(folder) or "").strip().partition(" ")
    return bool(signature) and user_seal().signed(name, signature)


def _opens(folder: Path) -> bool:
    """Return whether something in the folder was encrypted with the user's key."""
    for place in (folder, folder / OFFLINE):
        if os.path.islink(place):
            continue
        for file, query in _SEALED:
            for name, body in stored(place, file, query):
                with suppress(ConfigError, UnicodeError):
                    if isinstance(body, bytes):
                        user_seal().decrypt(str(name).rpartition("+")[2], body)
                    else:
                        user_seal().open(str(body))
                    return True
    return False


def _note(folder: Path) -> None:
    """Mark a folder that is trusted only this once, or because the user named it, if it is the user's own."""
    whose = _whose(folder, None)
    if whose is not _Whose.FOREIGN:
        _mark(folder, whose)
    elif _read(folder) is None:
        # Data encrypted in it from now on must not make it look like the user's own.
        _write(folder, "none")


def _mark(folder: Path, whose: _Whose) -> None:
    if whose is not _Whose.OWN:
        _write(folder, _signed())


def _signed() -> str:
    name = secrets.token_hex(16)
    return f"{name} {user_seal().sign(name)}"


def _write(folder: Path, text: str) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    # The state is private: git ignores it, so that the mark never comes with a clone.
    with suppress(FileExistsError):
        descriptor = os.open(folder / _IGNORE, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(descriptor, "w") as file:
            file.write("*\n")
    replace_private(folder / _MARK, f"{text}\n".encode())


def _refused(folder: Path) -> ConfigError:
    return ConfigError(
        "this state is not known to be yours (it came with the folder, or from another user or machine, or your key is "
        "another now), so nothing in it is obeyed: 'pointsman trust' shows what it holds and takes it over; or delete "
        "it, or set POINTSMAN_STATE to a folder of yours; --trust or POINTSMAN_TRUST=1 obeys it this once",
        file=folder,
    )
