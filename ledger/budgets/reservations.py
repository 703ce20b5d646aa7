"""`Store`: where budgets are counted, and `MemoryStore`, which counts for one process."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from ...configs.process.forks import reset_in_children
from ..storage.reserved import MOST, Request, Short, exceeds

__all__ = ["MOST", "MemoryStore", "Store"]


class Store(Protocol):
    """Counts amounts in scopes; each method is atomic, even with concurrent callers."""

    def reserve(self, request: Request) -> Short | None:
        """Reserve in every scope, or return the one that has too little left; this may wait for a file."""

    async def asked(self, request: Request, undo: Callable[[], object]) -> Short | None:
        """Do the same without blocking the event loop.

        Args:
            request: What to reserve.
            undo: Called if the amount was reserved although the caller was cancelled.
        """

    def settle(self, reservation: str, cost: int | None, *, recorded: bool) -> int | None:
        """End a reservation.

        Args:
            reservation: Its id.
            cost: Picodollars to charge; None for all that was reserved.
            recorded: A row of the ledger with the reservation's id follows; the file keeps the reservation until then.

        Returns:
            What is charged; None if it was already closed.
        """

    def totals(self, scope: str) -> tuple[int, int]:
        """Return what is spent and what is reserved."""

    def reclaim(self, patience: float | None = None) -> int:
        """Close reservations that nobody will close any more, and return their number."""

    def shut(self) -> None:
        """Release what the store holds open."""


@dataclass
class _Scope:
    spent: int = 0
    reserved: int = 0


class MemoryStore:
    """Counts for this process only; its reservations end with it."""

    def __init__(self) -> None:
        # Reentrant, because a dropped call gives back its reservation from within the garbage collector.
        self._lock = threading.RLock()
        self._scopes: dict[str, _Scope] = {}
        self._open: dict[str, Request] = {}
        reset_in_children(self)

    def reset_after_fork(self) -> None:
        """Reset in a forked child: what is spent also counts there, what is reserved belongs to the parent."""
        self._lock = threading.RLock()
        self._open = {}
        for scope in self._scopes.values():
            scope.reserved = 0

    def reserve(self, request: Request) -> Short | None:
        """Reserve in every scope, or return the one that has too little left."""
        with self._lock:
            for name, cap in request.scopes.items():
                scope = self._scopes.get(name) or _Scope()
                if exceeds(cap, scope.spent, scope.reserved, request.amount):
                    return Short(name, cap or 0, scope.spent, scope.reserved)
            for name in request.scopes:
                self._scopes.setdefault(name, _Scope()).reserved += request.amount
            self._open[request.reservation] = request
        return None

    async def asked(self, request: Request, undo: Callable[[], object]) -> Short | None:
        """Reserve at once."""
        return self.reserve(request)

    def settle(self, reservation: str, cost: int | None, *, recorded: bool) -> int | None:
        """End a reservation and return the charge; None if it was already closed."""
        with self._lock:
            found = self._open.pop(reservation, None)
            if found is None:
                return None
            charged = found.amount if cost is None else cost
            for name in found.scopes:
                scope = self._scopes[name]
                scope.reserved -= found.amount
                scope.spent = min(scope.spent + charged, MOST)
            return charged

    def totals(self, scope: str) -> tuple[int, int]:
        """Return what is spent and what is reserved."""
        with self._lock:
            found = self._scopes.get(scope) or _Scope()
            return found.spent, found.reserved

    def reclaim(self, patience: float | None = None) -> int:
        """Do nothing: all owners are in this process, which is running."""
        return 0

    def shut(self) -> None:
        """Do nothing: nothing is held open."""
