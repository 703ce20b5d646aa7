"""Take over the state of an earlier version, another user or another machine, once the user has agreed."""

from __future__ import annotations

import os
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from ...configs.errors import ConfigError
from ...configs.loading.loader import OFFLINE
from ..guards.availability import OVERRIDES_FILE, Overrides
from .ownership import adopt, stored
from .private import open_private
from .sealing import user_seal

__all__ = ["held", "take_over", "unsealed"]

_UNSEALED: Final = (
    ("checkpoints.db", "checkpoints", "instr(type, '+') = 0"),
    ("checkpoints.db", "writes", "instr(type, '+') = 0"),
    ("ledger.db", "batch_asks", "facts NOT LIKE 'aes256gcm-%'"),
)
"""File, table, and the condition for its unencrypted rows; LangGraph appends ``+`` and the cipher to the type."""
_VALUES: Final = {
    "checkpoints": "type = type || sealed_as(), checkpoint = sealed(checkpoint)",
    "writes": "type = type || sealed_as(), value = sealed(value)",
    "batch_asks": "facts = closed(facts), ask = closed(ask), reply = closed(reply)",
}
_BUSY_SECONDS: Final = 10.0
_COUNTED: Final = (
    ("runs", "ledger.db", "SELECT count(*) FROM runs"),
    ("calls", "ledger.db", "SELECT count(*) FROM calls"),
    ("decisions", "ledger.db", "SELECT count(*) FROM decisions"),
    ("acts", "ledger.db", "SELECT count(*) FROM effects"),
    ("budgets", "ledger.db", "SELECT count(*) FROM scopes"),
    ("spent", "ledger.db", "SELECT CAST(coalesce(sum(spent), 0) AS INTEGER) FROM scopes"),
    ("failing_models", "ledger.db", "SELECT count(*) FROM health"),
    ("batches", "ledger.db", "SELECT count(*) FROM batches"),
    ("checkpoints", "checkpoints.db", "SELECT count(*) FROM checkpoints"),
    ("kept_answers", "responses.db", "SELECT count(*) FROM responses"),
    ("memories", "memory/memory.db", "SELECT count(*) FROM items"),
    ("memories", "memory/chroma.sqlite3", "SELECT count(*) FROM embeddings"),
)


def unsealed(folder: Path) -> int:
    """Count the unencrypted rows in a state folder that should be encrypted.

    Args:
        folder: The state folder, as `root_of` returns it.
    """
    return sum(
        _number(place, file, _count(table, rows)) for place in _places(folder) for file, table, rows in _UNSEALED
    )


def held(folder: Path) -> dict[str, Any]:
    """Count the contents of a state folder, including simulated state.

    Args:
        folder: The state folder, as `root_of` returns it.

    Returns:
        Counts by kind; ``spent`` is in picodollars, ``switched_off`` lists what is off now and why, and ``links`` lists
        the folder's symlinks.
    """
    places = list(_places(folder))
    numbers = Counter[str]()
    for kind, file, query in _COUNTED:
        # State that version 0.1 kept elsewhere counts too.
        numbers[kind] += sum(_number(place, file, query) for place in places)
    return {
        **numbers,
        "unsealed": unsealed(folder),
        "switched_off": [name for place in places for name in _switched_off(place)],
        "links": [link for place in places for link in _links(place)],
    }


def take_over(folder: Path, project: Path) -> None:
    """Make a state folder the user's own, and encrypt its unencrypted rows with their key, so that it is used again.

    Args:
        folder: The state folder, as `root_of` returns it.
        project: The project that contains it.

    Raises:
        ConfigError: It cannot be marked or changed, another process uses it, or there is no place for the user's key.
    """
    adopt(folder, project)
    for place in _places(folder):
        for file, table, rows in _UNSEALED:
            if _number(place, file, _count(table, rows)):
                _seal(place / file, table, rows)


def _number(place: Path, file: str, query: str) -> int:
    return sum(number for (number,) in stored(place / Path(file).parent, Path(file).name, query))


def _count(table: str, rows: str) -> str:
    return f"SELECT count(*) FROM {table} WHERE {rows}"  # noqa: S608 - our own words


def _seal(path: Path, table: str, rows: str) -> None:
    seal = user_seal()
    name, _ = seal.encrypt(b"")
    try:
        with closing(open_private(path, timeout=_BUSY_SECONDS, isolation_level=None)) as connection:
            connection.execute("PRAGMA trusted_schema = OFF")
            connection.create_function("sealed_as", 0, lambda: f"+{name}")
            connection.create_function("sealed", 1, lambda value: seal.encrypt(_bytes(value))[1])
            # As `BatchBook` stores texts; a missing text stays missing.
            connection.create_function("closed", 1, lambda text: seal.close(text) if text else text)
            connection.execute(f"UPDATE {table} SET {_VALUES[table]} WHERE {rows}")  # noqa: S608 - our own words
            # Leave no plaintext in free pages, nor in the main file while its log holds the new pages.
            connection.execute("VACUUM")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    except (OSError, sqlite3.Error) as error:
        raise ConfigError(
            f"what is not encrypted in it cannot be encrypted: {error}; end the processes that use it, check that it "
            "may be written, and run 'pointsman trust' again",
            file=path,
        ) from error


def _bytes(value: bytes | str | None) -> bytes:
    return value.encode() if isinstance(value, str) else value or b""


def _places(folder: Path) -> Iterator[Path]:
    """Yield the folders with state: the state folder itself, and the one for simulated state."""
    yield folder
    if not os.path.islink(folder / OFFLINE):
        yield folder / OFFLINE


def _links(place: Path) -> list[str]:
    try:
        return sorted(entry.path for entry in os.scandir(place) if entry.is_symlink())
    except OSError:
        return []


def _switched_off(place: Path) -> list[str]:
    file = place / OVERRIDES_FILE
    if os.path.islink(file) or not os.path.isfile(file):
        return []
    try:
        return [f"{switch.name} is {switch.said}" for switch in Overrides(file).all()]
    except (ConfigError, RecursionError):
        return [f"{OVERRIDES_FILE} cannot be read"]
