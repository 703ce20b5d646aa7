"""Budgets: the worst case is reserved before a call and settled after it, so that no cap is ever exceeded."""

from __future__ import annotations

import asyncio
import itertools
import math
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from ...configs.errors import ConfigError, PointsmanError
from ...configs.process.closing import Closing
from ...configs.process.forks import reset_in_children
from ...configs.process.ids import new_id
from ..prices import dollars
from ..processes import ended
from ..rows import CallRow
from ..storage.reserved import Request, Short
from ..worker import Worker
from .file_store import FileStore
from .queues import Queues
from .reservations import MOST, MemoryStore, Store

__all__ = ["LASTING", "TOKENS", "BudgetExceeded", "Budgets"]

LASTING = "batch:"
"""Prefix of the owner of a reservation that outlives the process that made it, such as one for a provider's batch."""

TOKENS = "tokens:"
"""Prefix of the name of a scope that counts tokens instead of picodollars."""

_FORGOTTEN_SECONDS = 86_400.0
"""After this long, a reservation made on another machine or in another container, which cannot be observed from here,
counts as abandoned: no call lasts a day."""
_LASTING_SECONDS = 30 * 86_400.0
"""The same for a batch: providers keep the answers for at most this long."""


def _cure(scope: str) -> str:
    kind, _, name = scope.partition(":")
    if kind in ("run", "rows"):
        return "raise max_cost (--max-cost)"
    if scope.startswith(TOKENS):
        return "raise max_tokens (--max-tokens)"
    # A day's scope is named by its date and a user's by the user, the others as the policy names them.
    return f"raise routing.budgets.{kind if kind in ('day', 'user') else f'{kind}:{name}'}"


class BudgetExceeded(PointsmanError):
    """A cap leaves too little for the requested amount.

    Args:
        scope: The scope that has the cap, such as ``run:abc``.
        cap: The cap, in picodollars, or in tokens if the scope's name begins with `TOKENS`.
        spent: How much of it is spent.
        asked: The amount that was to be reserved.
        reserved: How much of it other calls have reserved and may give back.
    """

    def __init__(self, scope: str, cap: int, spent: int, asked: int, reserved: int = 0) -> None:
        shown = _tokens if scope.startswith(TOKENS) else dollars
        held = f" and {shown(reserved)} is reserved" if reserved else ""
        named = scope.replace(TOKENS, "run:", 1)
        super().__init__(
            f"the budget of {named} is {shown(cap)}: {shown(spent)} is spent{held}, {shown(asked)} more is asked"
            f": {_cure(scope)}"
        )
        self.scope = scope
        self.cap = cap
        self.spent = spent
        self.asked = asked
        self.reserved = reserved

    @property
    def final(self) -> bool:
        """Whether too little is left even if every reservation is given back."""
        return self.spent + self.asked > self.cap


class Budgets(Closing):
    """Caps on scopes: strings such as ``run:abc``, ``user:x``, ``tag:t`` or ``day:2026-11-21``.

    A call reserves its worst case in all its scopes or in none, atomically across threads and processes. A child of a
    run reserves in both runs' scopes, so that both limit it. The reservations of a killed process are closed once, by
    whichever process finds them first: if the call was sent, it is charged in full and recorded in one row of the
    ledger; otherwise it is released. So the amount spent equals the cost of the rows, whenever processes are killed.

    `acquire`, and `settle` and `release` of what was reserved here without an owner do not block an event loop;
    `totals` reads the file, but does not wait for writers. Everything else may wait for seconds while another process
    holds the file, and belongs in a thread.

    A forked child may keep using them: it counts in the same file, and what its parent reserved stays the parent's.

    Args:
        path: The ledger's file, to share the counts with every process that uses it; None counts in this process.

    Raises:
        ConfigError: The file cannot be used.
    """

    def __init__(self, path: Path | None) -> None:
        self._store: Store = MemoryStore() if path is None else FileStore(path, _gone)
        self._reclaimer = Worker("pointsman-reclaim")
        self._empty()
        reset_in_children(self)
        try:
            self._store.reclaim(patience=0.0)
        except ConfigError:
            # Budgets may be opened on an event loop, and file errors are reported to later callers.
            self._reclaimer.submit(self.reclaim)

    def _empty(self) -> None:
        # Reservations made here are named by this prefix and a number.
        self._name = f"{new_id()}-"
        self._numbers = itertools.count(1)
        # Scopes of this process's reservations, to wake callers that wait for them, and how often any were given back.
        self._scopes: dict[str, tuple[str, ...]] = {}
        self._returns = 0
        self._queues = Queues()

    def reset_after_fork(self) -> None:
        """Reset in a forked child."""
        self._empty()

    def reserve(
        self,
        scopes: Mapping[str, int | None],
        amount: int,
        owner: str | None = None,
        *,
        sent: bool = False,
        row: CallRow | None = None,
    ) -> str:
        """Reserve the worst case of a call.

        Args:
            scopes: Each scope with its cap in picodollars, or None if it is only counted.
            amount: Maximum picodollars the call can cost.
            owner: The process that will settle it, as named by `processes.this_process`, or a name that begins with
                `LASTING` if any process may settle it; None for this process.
            sent: The call goes out at once, so that it is charged if the process is killed.
            row: As in `acquire`.

        Returns:
            Id of the reservation, for `settle` or `release` on this object; with an owner, on any that has the file
            open.

        Raises:
            BudgetExceeded: A scope has too little left.
            ConfigError: The file cannot be written.
            ValueError: The amount or a cap is not a whole number of picodollars, zero or more.
        """
        request = self._request(scopes, amount, owner, sent, row)
        short = self._store.reserve(request)
        if short is not None:
            raise _exceeded(short, amount)
        self._scopes[request.reservation] = tuple(scopes)
        return request.reservation

    async def acquire(
        self,
        scopes: Mapping[str, int | None],
        amount: int,
        patience: float,
        *,
        sent: bool = False,
        row: CallRow | None = None,
    ) -> str:
        """Reserve, waiting as long as only other calls' reservations are in the way, not what is spent.

        Worst cases are larger than what calls finally cost, so without waiting many parallel calls would be refused
        while most of the cap is still unspent.

        Args:
            scopes: As in `reserve`.
            amount: As in `reserve`.
            patience: Maximum seconds to wait for what others have reserved.
            sent: As in `reserve`.
            row: What to record of the call if this process is killed; the reservation then has its id.

        Raises:
            BudgetExceeded: A scope has too little left, or too little became free in time.
            ConfigError: As in `reserve`.
            ValueError: As in `reserve`.
        """
        request = self._request(scopes, amount, None, sent, row)
        deadline = time.monotonic() + patience
        blocked: str | None = None
        while True:
            returns = self._returns
            try:
                short = await self._store.asked(request, partial(self._undo, request))
            except BaseException:
                # The next waiter gets the turn that this one was woken for.
                if blocked is not None:
                    self._queues.wake(blocked)
                raise
            # This call no longer waits for that scope; others that do may fit where it did not.
            if blocked is not None and (short is None or blocked != short.scope):
                self._queues.wake(blocked)
            if short is None:
                self._scopes[request.reservation] = tuple(scopes)
                return request.reservation
            blocked = short.scope
            left = deadline - time.monotonic()
            exceeded = _exceeded(short, amount)
            if exceeded.final or left <= 0:
                self._queues.wake(blocked)
                raise exceeded
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._queues.join(waiter, blocked)
            if self._returns != returns:
                # Something was given back after the file was read.
                self._queues.wake(blocked)
            await self._queues.change(waiter, blocked, left)

    def settle(self, reservation: str, actual: int | None, *, recorded: bool = False) -> int | None:
        """Charge what the call cost and give back the rest.

        Args:
            reservation: From `reserve` or `acquire`.
            actual: Picodollars, charged in full even above what was reserved. If it is None, negative or not an
                integer, the cost is unknown, and what was reserved is charged.
            recorded: The call's row is recorded next, in the ledger of the same file and with the reservation's id: the
                reservation ends in the file together with it, and not before.

        Returns:
            What was charged, or None if the reservation was already closed, so that nothing is charged twice.
        """
        known = type(actual) is int and actual >= 0
        cost = min(actual, MOST) if known and actual is not None else None
        charged = self._store.settle(reservation, cost, recorded=recorded)
        self._given_back(reservation)
        return charged

    def release(self, reservation: str) -> bool:
        """Give all of it back, for a call that was never made; return False if the reservation was already closed."""
        return self.settle(reservation, 0) is not None

    def totals(self, scope: str) -> tuple[int, int]:
        """Return the picodollars spent and reserved in a scope."""
        return self._store.totals(scope)

    def reclaim(self) -> int:
        """Close the reservations of processes that have ended, and return their number.

        This happens automatically when budgets are opened and before a request is refused because of reservations.
        """
        return self._store.reclaim()

    def close(self) -> None:
        """Close the file; open reservations stay until this process ends."""
        self._reclaimer.stop()
        self._store.shut()

    def _request(
        self,
        scopes: Mapping[str, int | None],
        amount: int,
        owner: str | None,
        sent: bool,
        row: CallRow | None = None,
    ) -> Request:
        for number in [amount, *[cap for cap in scopes.values() if cap is not None]]:
            if type(number) is not int or number < 0:
                raise ValueError(f"{number!r} is not an amount of picodollars")
        reservation = f"{self._name}{next(self._numbers)}" if row is None else row.id
        return Request(reservation, scopes, amount, owner, sent, row)

    def _undo(self, request: Request) -> None:
        """Give back what was reserved for a call that was cancelled."""
        self._scopes[request.reservation] = tuple(request.scopes)
        self.release(request.reservation)

    def _given_back(self, reservation: str) -> None:
        self._returns += 1
        for scope in self._scopes.pop(reservation, ()):
            self._queues.wake(scope)


def _tokens(count: int) -> str:
    return f"{count:,} tokens"


def _exceeded(short: Short, amount: int) -> BudgetExceeded:
    return BudgetExceeded(short.scope, short.cap, short.spent, amount, short.reserved)


def _gone(owner: str) -> float | None:
    if owner.startswith(LASTING):
        return time.time() - _LASTING_SECONDS
    gone = ended(owner)
    if gone is None:
        return time.time() - _FORGOTTEN_SECONDS
    return math.inf if gone else None
