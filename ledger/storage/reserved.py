"""Money in the file: what each scope has spent and reserved, and the open reservations."""

from __future__ import annotations

import json
import os
import threading
import time
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, replace
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

from ...configs.process.forks import reset_in_children
from ...configs.words import FailureKind
from ..rows import CallRow
from .chain import append
from .connection import Connection
from .tables import CALLS

__all__ = [
    "MOST",
    "Held",
    "Request",
    "Settled",
    "Short",
    "counted",
    "end",
    "enter",
    "exceeds",
    "held_by",
    "reclaim",
    "resize",
    "settled_in",
]

MOST = 2**62 - 1
"""Maximum picodollars that a scope counts, about $4.6 million, so that two amounts always add up within 64 bits."""

_FACTS = ("decision", "run", "step", "agent", "attempt", "model", "tier", "risk", "at", "stream")
"""Fields of a call's row that are stored while the call is in progress."""
_facts_of = attrgetter(*_FACTS)
_JSON = json.JSONEncoder(default=str)
_LOST = "its process ended before the call was recorded; charged as reserved"


@dataclass(frozen=True, slots=True)
class Request:
    """A reservation to make.

    Attributes:
        reservation: Its id.
        scopes: Each scope with its cap in picodollars, or None if it is only counted.
        amount: Picodollars.
        owner: The process that will settle it, as named by `processes.this_process`; None for the calling process.
        sent: The call goes out at once, so that it is charged if the process is killed.
        row: What to record of the call if the process is killed; its id is the reservation's. None if the ledger has no
            row for this reservation alone.
    """

    reservation: str
    scopes: Mapping[str, int | None]
    amount: int
    owner: str | None = None
    sent: bool = False
    row: CallRow | None = None


@dataclass(frozen=True, slots=True)
class Short:
    """A scope that has too little left, with what is spent and what is reserved in it, in picodollars."""

    scope: str
    cap: int
    spent: int
    reserved: int


class Settled:
    """What calls of this process have cost, by reservation, from their end until their row is in the file.

    All users of one file in one process share it: `Budgets` adds a cost when a call is settled; the ledger's writer
    ends the reservation in the transaction that writes the call's row, and then removes the cost here.

    Attributes:
        costs: Reservation -> picodollars.
    """

    def __init__(self) -> None:
        self.costs: dict[str, int] = {}
        reset_in_children(self)

    def reset_after_fork(self) -> None:
        """Reset in a forked child: the parent writes its own."""
        self.costs = {}


_settled: weakref.WeakValueDictionary[str, Settled] = weakref.WeakValueDictionary()
_guard = threading.RLock()


def settled_in(path: Path | None) -> Settled:
    """Return what this process has settled in a file; a ledger in memory (None) gets one of its own."""
    if path is None:
        return Settled()
    name = os.path.realpath(path)
    with _guard:
        found = _settled.get(name)
        if found is None:
            found = _settled[name] = Settled()
        return found


def exceeds(cap: int | None, spent: int, reserved: int, amount: int) -> bool:
    """Whether an amount is more than a cap leaves."""
    # A call that costs nothing may pass even if the last call cost more than was left.
    return cap is not None and amount > 0 and spent + reserved + amount > min(cap, MOST)


def counted(connection: Connection, scope: str) -> tuple[int, int]:
    """Return what is spent and what is reserved in a scope."""
    found = connection.execute("SELECT spent, reserved FROM scopes WHERE name = ?", (scope,)).fetchone()
    return (0, 0) if found is None else (found[0], found[1])


def enter(connection: Connection, request: Request, owner: str) -> Short | None:
    """Reserve in every scope, or return the one that has too little left; like all below, needs a transaction.

    Args:
        connection: The file.
        request: What to reserve.
        owner: The owner if the request names none.
    """
    for name, cap in request.scopes.items():
        spent, reserved = counted(connection, name)
        if exceeds(cap, spent, reserved, request.amount):
            return Short(name, cap or 0, spent, reserved)
    row = None if request.row is None else _JSON.encode(_facts_of(request.row))
    connection.execute(
        "INSERT INTO reservations (id, owner, amount, sent, at, scopes, row) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            *(request.reservation, request.owner or owner, request.amount, int(request.sent), time.time()),
            *(_JSON.encode(list(request.scopes)), row),
        ),
    )
    connection.executemany(
        "INSERT INTO scopes (name, spent, reserved) VALUES (?, 0, ?) "
        "ON CONFLICT (name) DO UPDATE SET reserved = reserved + excluded.reserved",
        [(name, request.amount) for name in request.scopes],
    )
    return None


class Held(NamedTuple):
    """What a reservation holds: an amount in picodollars, reserved in each of its scopes."""

    amount: int
    scopes: list[str]


def held_by(connection: Connection, reservation: str) -> Held | None:
    """Return what a reservation holds; None if it is closed."""
    found = connection.execute("SELECT amount, scopes FROM reservations WHERE id = ?", (reservation,)).fetchone()
    return None if found is None else Held(found[0], json.loads(found[1]))


def resize(connection: Connection, reservation: str, amount: int) -> bool:
    """Change the amount of a reservation; return False if it is closed or already has that amount."""
    held = held_by(connection, reservation)
    if held is None or held.amount == amount:
        return False
    connection.execute("UPDATE reservations SET amount = ? WHERE id = ?", (amount, reservation))
    _add(connection, held.scopes, amount - held.amount, 0)
    return True


def end(connection: Connection, reservation: str, charged: int | None) -> int | None:
    """End a reservation.

    Args:
        connection: The file.
        reservation: Its id.
        charged: Picodollars to charge; None for all that was reserved.

    Returns:
        What was charged; None if it was already closed.
    """
    held = held_by(connection, reservation)
    if held is None:
        return None
    charged = held.amount if charged is None else charged
    _add(connection, held.scopes, -held.amount, charged)
    connection.execute("DELETE FROM reservations WHERE id = ?", (reservation,))
    return charged


def _add(connection: Connection, scopes: list[str], reserved: int, spent: int) -> None:
    connection.executemany(
        "UPDATE scopes SET reserved = reserved + ?, spent = min(spent + ?, ?) WHERE name = ?",
        [(reserved, spent, MOST, name) for name in scopes],
    )


class _Abandoned(NamedTuple):
    id: str
    sent: int
    amount: int
    at: float
    scopes: str
    row: str | None


def reclaim(connection: Connection, owner: str, before: float) -> int:
    """End the reservations of a process that is gone: each that was sent is charged in full and recorded in one row.

    Args:
        connection: The file.
        owner: The process.
        before: Only those made before this time, in seconds since the epoch.

    Returns:
        The number of reservations ended.
    """
    query = "SELECT id, sent, amount, at, scopes, row FROM reservations WHERE owner = ? AND at < ?"
    found = [_Abandoned(*values) for values in connection.execute(query, (owner, before)).fetchall()]
    rows = []
    for one in found:
        recorded = 0 if one.row is not None else _recorded(connection, one.id)
        charged = max(one.amount, recorded) if one.sent else 0
        if charged > recorded:
            rows.append(CALLS.encode(_lost(one, charged - recorded)))
        end(connection, one.id, charged)
    if rows:
        append(connection, CALLS, rows)
    return len(found)


def _recorded(connection: Connection, reservation: str) -> int:
    """Return the cost already recorded for the calls of a batch that share a reservation."""
    query = (
        "SELECT coalesce(sum(calls.cost), 0) FROM batch_parts JOIN batch_asks ON batch_asks.part = batch_parts.id "
        "JOIN calls ON calls.id = batch_asks.call WHERE batch_parts.reservation = ?"
    )
    return int(connection.execute(query, (reservation,)).fetchone()[0])


def _lost(found: _Abandoned, cost: int) -> CallRow:
    if found.row is not None:
        row = CallRow(found.id, **dict(zip(_FACTS, json.loads(found.row), strict=True)))
    else:
        runs = [name.removeprefix("run:") for name in json.loads(found.scopes) if name.startswith("run:")]
        row = CallRow(found.id, "", min(runs, default=""), "", "", 1, "", "", "", found.at)
    return replace(row, failure=FailureKind.LOST.value, detail=_LOST, cost=cost)
