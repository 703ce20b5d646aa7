"""Where budgets are counted: in memory for one process, or in the ledger's file for several."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ..forks import begin_anew
from ..storage.access import Access
from ..storage.connection import Connection

__all__ = ["MOST", "FileStore", "Gone", "MemoryStore", "Short", "Store", "counted", "exceeds"]

MOST = 2**62 - 1
"""Picodollars, some $4.6 million: the most one scope counts, so that two amounts always add up within 64 bits."""

Gone = Callable[[str], float | None]
"""Says of an owner before which time, in seconds since the epoch, its reservations may be reclaimed; None for never."""


@dataclass(frozen=True, slots=True)
class Short:
    """The scope that has not enough left, with what is spent and what is reserved in it, in picodollars."""

    scope: str
    cap: int
    spent: int
    reserved: int


class Store(Protocol):
    """Counts amounts in scopes; each method happens as a whole or not at all, whoever else calls one."""

    def begin(self, reservation: str, scopes: Mapping[str, int | None], amount: int) -> bool:
        """Reserve for a call that goes out at once, if that takes no wait for a file; else False."""

    def reserve(
        self, reservation: str, scopes: Mapping[str, int | None], amount: int, owner: str | None, *, sent: bool = False
    ) -> Short | None:
        """Reserve in every scope, or say which has not enough left; without an owner it is this process's."""

    def mark_sent(self, reservation: str) -> bool:
        """Note that the call is on its way; False when the reservation is closed."""

    def close(self, reservation: str, charge: Callable[[int], int]) -> int | None:
        """End a reservation, charging what ``charge`` makes of its amount; None when it was closed before."""

    def totals(self, scope: str) -> tuple[int, int]:
        """What is spent, and what is reserved."""

    def reclaim(self, gone: Gone, patience: float | None = None) -> int:
        """Close what nobody will close any more, charging what was sent, and return how many that were."""

    def shut(self) -> None:
        """Give back what the store holds open."""


@dataclass(slots=True)
class _Scope:
    spent: int = 0
    reserved: int = 0


class MemoryStore:
    """Counts for this process alone; its reservations end with it."""

    def __init__(self) -> None:
        # Reentrant, since a call that is dropped gives back what it reserved from within the garbage collector.
        self._lock = threading.RLock()
        self._scopes: dict[str, _Scope] = {}
        self._open: dict[str, tuple[tuple[str, ...], int]] = {}
        begin_anew(self)

    def anew(self) -> None:
        """Begin anew in a forked child: what is spent counts there too, what is reserved is the parent's."""
        self._lock = threading.RLock()
        self._open = {}
        for scope in self._scopes.values():
            scope.reserved = 0

    def begin(self, reservation: str, scopes: Mapping[str, int | None], amount: int) -> bool:
        """Reserve in every scope if there is enough left."""
        return self.reserve(reservation, scopes, amount) is None

    def reserve(
        self,
        reservation: str,
        scopes: Mapping[str, int | None],
        amount: int,
        owner: str | None = None,
        *,
        sent: bool = False,
    ) -> Short | None:
        """Reserve in every scope, or say which has not enough left."""
        with self._lock:
            for name, cap in scopes.items():
                scope = self._scopes.get(name) or _Scope()
                if exceeds(cap, scope.spent, scope.reserved, amount):
                    return Short(name, cap or 0, scope.spent, scope.reserved)
            for name in scopes:
                self._scopes.setdefault(name, _Scope()).reserved += amount
            self._open[reservation] = (tuple(scopes), amount)
        return None

    def mark_sent(self, reservation: str) -> bool:
        """Note that the call is on its way; False when the reservation is closed."""
        return reservation in self._open

    def close(self, reservation: str, charge: Callable[[int], int]) -> int | None:
        """End a reservation, charging what ``charge`` makes of its amount; None when it was closed before."""
        with self._lock:
            found = self._open.pop(reservation, None)
            if found is None:
                return None
            names, amount = found
            charged = charge(amount)
            for name in names:
                scope = self._scopes[name]
                scope.reserved -= amount
                scope.spent = min(scope.spent + charged, MOST)
            return charged

    def totals(self, scope: str) -> tuple[int, int]:
        """What is spent, and what is reserved."""
        with self._lock:
            found = self._scopes.get(scope) or _Scope()
            return found.spent, found.reserved

    def reclaim(self, gone: Gone, patience: float | None = None) -> int:
        """Nothing: the owners are in this process, which runs."""
        return 0

    def shut(self) -> None:
        """Nothing is held open."""


class FileStore:
    """Counts in a ledger's file, for every process that has it open.

    Args:
        path: The ledger.

    Attributes:
        access: Changes the file.
        reader: Reads it, without waiting for whoever changes it.

    Raises:
        ConfigError: The file cannot be used.
    """

    def __init__(self, path: Path) -> None:
        self.access = Access(path)
        self.reader = Access(path, reading=True)

    def reserve(
        self, reservation: str, scopes: Mapping[str, int | None], amount: int, owner: str, *, sent: bool = False
    ) -> Short | None:
        """Reserve in every scope, or say which has not enough left."""
        with self.access.changing() as connection:
            for name, cap in scopes.items():
                spent, reserved = counted(connection, name)
                if exceeds(cap, spent, reserved, amount):
                    return Short(name, cap or 0, spent, reserved)
            connection.execute(
                "INSERT INTO reservations (id, owner, amount, sent, at) VALUES (?, ?, ?, ?, ?)",
                (reservation, owner, amount, int(sent), time.time()),
            )
            connection.executemany(
                "INSERT INTO scopes (name, spent, reserved) VALUES (?, 0, ?) "
                "ON CONFLICT (name) DO UPDATE SET reserved = reserved + excluded.reserved",
                [(name, amount) for name in scopes],
            )
            connection.executemany(
                "INSERT INTO reserved_in (reservation, scope) VALUES (?, ?)", [(reservation, name) for name in scopes]
            )
        return None

    def mark_sent(self, reservation: str) -> bool:
        """Note that the call is on its way; False when the reservation is closed."""
        with self.access.changing() as connection:
            found = connection.execute("UPDATE reservations SET sent = 1 WHERE id = ?", (reservation,))
            return found.rowcount == 1

    def close(self, reservation: str, charge: Callable[[int], int]) -> int | None:
        """End a reservation, charging what ``charge`` makes of its amount; None when it was closed before."""
        with self.access.changing() as connection:
            return _end(connection, reservation, charge)

    def totals(self, scope: str, reservations: Iterable[str] = ()) -> tuple[int, int, set[str]]:
        """What is spent, what is reserved, and which of the reservations are open."""
        query = "SELECT 1 FROM reservations WHERE id = ?"
        with self.reader.reading() as connection:
            there = {one for one in reservations if connection.execute(query, (one,)).fetchone()}
            return *counted(connection, scope), there

    def reclaim(self, gone: Gone, patience: float | None = None) -> int:
        """Close what nobody will close any more, charging what was sent, and return how many that were."""
        # Asked before the file is locked: seldom is anybody gone, and looking for processes takes its time.
        owners = [owner for (owner,) in self.reader.read("SELECT DISTINCT owner FROM reservations")]
        before = [(owner, time) for owner, time in zip(owners, map(gone, owners), strict=True) if time is not None]
        if not before:
            return 0
        closed = 0
        with self.access.changing(patience=patience) as connection:
            for owner, time in before:
                query = "SELECT id, sent FROM reservations WHERE owner = ? AND at < ?"
                for reservation, sent in connection.execute(query, (owner, time)).fetchall():
                    _end(connection, reservation, (lambda amount: amount) if sent else (lambda _: 0))
                    closed += 1
        return closed

    def shut(self) -> None:
        """Close the file."""
        self.access.close()
        self.reader.close()


def exceeds(cap: int | None, spent: int, reserved: int, amount: int) -> bool:
    """Whether an amount is more than a cap leaves."""
    # What costs nothing is let through even where the last call cost more than was left.
    return cap is not None and amount > 0 and spent + reserved + amount > min(cap, MOST)


def counted(connection: Connection, scope: str) -> tuple[int, int]:
    """What is spent and what is reserved in a scope."""
    found = connection.execute("SELECT spent, reserved FROM scopes WHERE name = ?", (scope,)).fetchone()
    return (0, 0) if found is None else (found[0], found[1])


def _end(connection: Connection, reservation: str, charge: Callable[[int], int]) -> int | None:
    """End a reservation, charging what ``charge`` makes of its amount; None when it is not there any more.

    Must run inside a transaction.
    """
    found = connection.execute("SELECT amount FROM reservations WHERE id = ?", (reservation,)).fetchone()
    if found is None:
        return None
    charged = charge(found[0])
    connection.execute(
        "UPDATE scopes SET reserved = reserved - ?, spent = min(spent + ?, ?) "
        "WHERE name IN (SELECT scope FROM reserved_in WHERE reservation = ?)",
        (found[0], charged, MOST, reservation),
    )
    connection.execute("DELETE FROM reservations WHERE id = ?", (reservation,))
    return charged
