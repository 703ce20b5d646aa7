"""The heartbeat: one thread that renews all leases of this process, however busy its event loops are."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from typing import Final, Protocol

from ...configs.errors import PointsmanError
from ...ledger.ledger import Ledger
from ...ledger.rows import LeaseRow

__all__ = ["BEAT_SECONDS", "beat", "beat_for", "beat_no_more_for"]

BEAT_SECONDS: Final = 5.0
"""Seconds between renewals, and the longest time until a holder learns that it must stop."""


class Beating(Protocol):
    """A lease that is renewed."""

    ledger: Ledger
    run: str
    token: int

    def until(self) -> float:
        """Return when it expires if it is renewed now."""

    def heard(self, row: LeaseRow | None) -> None:
        """Take note of its state in the ledger."""


_leases: set[Beating] = set()
_some = threading.Event()
_guard = threading.Lock()
_thread: threading.Thread | None = None


def beat_for(lease: Beating) -> None:
    """Start renewing a lease."""
    global _thread
    with _guard:
        _leases.add(lease)
        _some.set()
        if _thread is None:
            # A daemon, so that it keeps no process alive.
            _thread = threading.Thread(target=_work, name="pointsman-leases", daemon=True)
            _thread.start()


def beat_no_more_for(lease: Beating) -> None:
    """Stop renewing a lease."""
    with _guard:
        _leases.discard(lease)
        if not _leases:
            _some.clear()


def beat(leases: Iterable[Beating]) -> None:
    """Renew leases now, and tell each its state in the ledger.

    Args:
        leases: Those to renew.
    """
    of_ledger: dict[Ledger, list[Beating]] = {}
    for lease in leases:
        of_ledger.setdefault(lease.ledger, []).append(lease)
    for ledger, mine in of_ledger.items():
        try:
            found = ledger.leases.renew({lease.run: lease.token for lease in mine}, mine[0].until)
        except PointsmanError:
            # The ledger reports the error itself; the next beat tries again.
            continue
        for lease in mine:
            lease.heard(found.get(lease.run))


def _work() -> None:
    pause = threading.Event()
    while True:
        _some.wait()
        pause.wait(BEAT_SECONDS)
        with _guard:
            leases = list(_leases)
        beat(leases)


def _in_child() -> None:
    """Reset the state in a forked child: the leases are the parent's, and the thread does not exist there."""
    global _guard, _some, _thread
    _guard, _some, _thread = threading.Lock(), threading.Event(), None
    _leases.clear()


os.register_at_fork(after_in_child=_in_child)
