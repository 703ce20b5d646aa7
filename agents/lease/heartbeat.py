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
"""How often leases are renewed, and how soon a holder learns at the latest that it shall stop."""


class Beating(Protocol):
    """A lease that is renewed."""

    ledger: Ledger
    run: str
    token: int

    def until(self) -> float:
        """When it is over if it is renewed at this moment."""

    def heard(self, row: LeaseRow | None) -> None:
        """Learn how it stands in the ledger."""


_leases: set[Beating] = set()
_some = threading.Event()
_guard = threading.Lock()
_thread: threading.Thread | None = None


def beat_for(lease: Beating) -> None:
    """Renew a lease from now on."""
    global _thread
    with _guard:
        _leases.add(lease)
        _some.set()
        if _thread is None:
            # A daemon, so that it keeps no process alive.
            _thread = threading.Thread(target=_work, name="pointsman-leases", daemon=True)
            _thread.start()


def beat_no_more_for(lease: Beating) -> None:
    """Renew a lease no more."""
    with _guard:
        _leases.discard(lease)
        if not _leases:
            _some.clear()


def beat(leases: Iterable[Beating]) -> None:
    """Renew leases now, and tell each how it stands.

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
            # The ledger says so itself; it is tried again with the next beat.
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
    """The leases are the parent's, and the thread is not there."""
    global _guard, _some, _thread
    _guard, _some, _thread = threading.Lock(), threading.Event(), None
    _leases.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
