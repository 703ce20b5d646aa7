"""Renew in the ledger's file what a lease holds, and book what was spent of it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from ..storage.connection import Connection
from .reservations import MOST, Short, counted, exceeds

__all__ = ["Renewal", "Renewed", "renew"]

_SHARE = 64
"""What is held ahead of calls is at most one in so many parts of what the tightest cap leaves: it is charged when the
process crashes, and out of others' reach until it is given back."""


@dataclass(frozen=True, slots=True)
class Renewal:
    """What became of a lease, and what it shall hold from now on, in picodollars.

    Attributes:
        id: The reservation it is in the file; made where it is not there, deleted when it holds nothing.
        scopes: Each scope with its cap.
        held: What it held till now.
        spent: What calls that are over have cost.
        kept: What it goes on to hold.
        asked: What it shall hold beside that for a call that begins.
        ahead: What else to hold for calls to come, if enough is left.
    """

    id: str
    scopes: Mapping[str, int | None]
    held: int
    spent: int
    kept: int
    asked: int
    ahead: int


@dataclass(frozen=True, slots=True)
class Renewed:
    """How a renewal ended.

    Attributes:
        short: The scope that has too little left for what was asked.
        ahead: What is now held for calls to come beside what was kept.
        most: What to hold for calls to come at most.
        lost: Somebody has reclaimed the lease; what it held is charged already.
    """

    short: Short | None
    ahead: int
    most: int
    lost: bool


def renew(connection: Connection, renewal: Renewal, owner: str) -> Renewed:
    """Book what was spent and set what is held; must run inside a transaction.

    Args:
        connection: The file.
        renewal: What to change.
        owner: The process that holds the lease.
    """
    found = connection.execute("SELECT amount FROM reservations WHERE id = ?", (renewal.id,)).fetchone()
    held = found[0] if found else 0
    lost = renewal.held > 0 and found is None
    spent, kept = (0, 0) if lost else (min(renewal.spent, MOST), renewal.kept)
    room, short = _room(connection, renewal, spent, kept - held)
    most = max(0, room) // _SHARE
    asked, ahead = (0, 0) if short is not None else (renewal.asked, min(renewal.ahead, most))
    # Near the cap it is no use to hold what is too little for a call.
    amount = kept + asked + (ahead if ahead >= asked else 0)
    if spent or amount != held:
        _write(connection, renewal, owner, spent, held, amount)
    return Renewed(short, amount - kept - asked, most, lost)


def _room(connection: Connection, renewal: Renewal, spent: int, change: int) -> tuple[int, Short | None]:
    """What the tightest cap leaves beside what is asked, and which scope has too little left for that."""
    room: int | None = None
    for name, cap in renewal.scopes.items():
        was_spent, was_reserved = counted(connection, name)
        now = Short(name, cap or 0, was_spent + spent, was_reserved + change)
        if exceeds(cap, now.spent, now.reserved, renewal.asked):
            return 0, now
        if cap is not None:
            left = min(cap, MOST) - now.spent - now.reserved - renewal.asked
            room = left if room is None else min(room, left)
    return room or 0, None


def _write(connection: Connection, renewal: Renewal, owner: str, spent: int, held: int, amount: int) -> None:
    names = list(renewal.scopes)
    connection.executemany(
        "INSERT INTO scopes (name, spent, reserved) VALUES (?, ?, ?) "
        "ON CONFLICT (name) DO UPDATE SET spent = min(spent + excluded.spent, ?), "
        "reserved = reserved + excluded.reserved",
        [(name, spent, amount - held, MOST) for name in names],
    )
    if not amount:
        connection.execute("DELETE FROM reservations WHERE id = ?", (renewal.id,))
        return
    # The time is when the lease was last known to be in use.
    connection.execute(
        "INSERT INTO reservations (id, owner, amount, sent, at) VALUES (?, ?, ?, 1, ?) "
        "ON CONFLICT (id) DO UPDATE SET amount = excluded.amount, at = excluded.at",
        (renewal.id, owner, amount, time.time()),
    )
    if not held:
        connection.executemany(
            "INSERT INTO reserved_in (reservation, scope) VALUES (?, ?)", [(renewal.id, name) for name in names]
        )
