"""Budgets: the worst case is reserved before a call and settled after it, so that no cap is ever passed."""

from __future__ import annotations

import asyncio
import itertools
import math
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from ...configs.closing import Closing
from ...configs.errors import ConfigError, PointsmanError
from ...configs.ids import new_id
from ..forks import begin_anew
from ..prices import dollars
from ..processes import ended
from ..worker import Worker
from .lease import LeaseStore
from .queues import Queues
from .reservations import MOST, FileStore, MemoryStore, Short, Store

__all__ = ["LASTING", "BudgetExceeded", "Budgets"]

LASTING = "batch:"
"""How the owner of a reservation is named that outlives the process which made it, as a provider's batch does."""

_FORGOTTEN_SECONDS = 86_400.0
"""After this long a reservation made where nobody here can look, on another machine or in another container, is taken
for abandoned: no call lasts a day."""
_LASTING_SECONDS = 30 * 86_400.0
"""Likewise for a batch: providers keep the answers for so long at most."""


def _cure(scope: str) -> str:
    kind, _, name = scope.partition(":")
    if kind in ("run", "rows"):
        return "raise max_cost (--max-cost)"
    # A day's scope is named by its date, the others as the policy names them.
    return f"raise routing.budgets.{kind if kind in ('day', 'user') else f'{kind}:{name}'}"


class BudgetExceeded(PointsmanError):
    """A cap leaves too little for what is asked.

    Args:
        scope: The scope whose cap it is, such as ``run:abc``.
        cap: The cap, in picodollars.
        spent: What is spent of it.
        asked: What was to be reserved.
        reserved: What other calls have reserved of it and may give back.
    """

    def __init__(self, scope: str, cap: int, spent: int, asked: int, reserved: int = 0) -> None:
        held = f" and {dollars(reserved)} is reserved" if reserved else ""
        super().__init__(
            f"the budget of {scope} is {dollars(cap)}: {dollars(spent)} is spent{held}, {dollars(asked)} more is asked"
            f": {_cure(scope)}"
        )
        self.scope = scope
        self.cap = cap
        self.spent = spent
        self.asked = asked
        self.reserved = reserved

    @property
    def final(self) -> bool:
        """Whether it stays so even if every reservation is given back."""
        return self.spent + self.asked > self.cap


class Budgets(Closing):
    """Caps on scopes: strings such as ``run:abc``, ``user:x``, ``tag:t`` or ``day:2026-11-21``.

    A call reserves its worst case in all its scopes or in none, atomically among threads and processes. A child of a
    run reserves in both runs' scopes, so that each bounds it. What a crashed process had reserved is given back once:
    charged in full where its call was on its way, released where it was not. Of a file, a process takes a little more
    at a time than its calls need, a 64th of what is left at most, and a crash charges that too: see `LeaseStore`.

    On an event loop `acquire` and `atotals` hold up nobody, nor do `settle` and `release` of what was reserved as
    ``sent`` without an owner; `totals` reads the file, but waits for no writer. All else may wait for seconds while
    another process holds the file, and belongs into a thread.

    A forked child may go on using them: it counts in the same file, and what its parent reserved stays the parent's.

    Args:
        path: The ledger's file, to share the counts with every process that uses it; None counts in this process.

    Raises:
        ConfigError: The file cannot be used.
    """

    def __init__(self, path: Path | None) -> None:
        self._store: Store = MemoryStore() if path is None else LeaseStore(FileStore(path))
        # One thread each, since only one at a time can change the file, and who only reads need not wait for that.
        self._worker, self._reader = Worker("pointsman-budgets"), Worker("pointsman-totals")
        self._empty()
        begin_anew(self)
        try:
            self._store.reclaim(_gone, patience=0.0)
        except ConfigError:
            # Budgets may be opened on an event loop, and trouble with the file is told to whoever asks.
            self._worker.submit(self.reclaim)

    def _empty(self) -> None:
        # What is reserved here is called by this name and a number.
        self._name = f"{new_id()}-"
        self._numbers = itertools.count(1)
        # The scopes of what this process has reserved, to wake those that wait for them, and how often it gave back.
        self._scopes: dict[str, tuple[str, ...]] = {}
        self._returns = 0
        self._queues = Queues()

    def anew(self) -> None:
        """Begin anew in a forked child."""
        self._empty()

    def reserve(
        self, scopes: Mapping[str, int | None], amount: int, owner: str | None = None, *, sent: bool = False
    ) -> str:
        """Set the worst case of a call aside.

        Args:
            scopes: Each scope with its cap in picodollars, or None where it is only counted.
            amount: Picodollars the call can cost at most.
            owner: The process that will settle it, as `processes.this_process` names it, or a name that begins with
                `LASTING`, for what any process may settle; this process when absent.
            sent: The call goes out at once, so a crash from here on is charged; saves a `mark_sent`, and mostly the
                look into the file.

        Returns:
            The reservation, for `mark_sent` and for `settle` or `release` of these budgets; where it has an owner of
            its own, of any that have the file open.

        Raises:
            BudgetExceeded: A scope has too little left.
            ConfigError: The file cannot be written.
            ValueError: The amount or a cap is not a whole number of picodollars, zero or more.
        """
        reservation = self._named(scopes, amount)
        if not (sent and owner is None and self._begun(reservation, scopes, amount)):
            short = self._try(reservation, scopes, amount, owner, sent)
            if short is not None:
                raise _exceeded(short, amount)
        return reservation

    async def acquire(
        self, scopes: Mapping[str, int | None], amount: int, patience: float, *, sent: bool = False
    ) -> str:
        """Reserve, waiting while only others' reservations, not what is spent, stand in the way.

        Worst cases are larger than what calls cost in the end, so without waiting many parallel calls would be refused
        while most of the cap is still unspent. Where the file must be asked, a thread does.

        Args:
            scopes: As in `reserve`.
            amount: As in `reserve`.
            patience: Seconds to wait at most for what others have reserved.
            sent: As in `reserve`.

        Raises:
            BudgetExceeded: A scope has too little left, or had for too long.
            ConfigError: As in `reserve`.
            ValueError: As in `reserve`.
        """
        reservation = self._named(scopes, amount)
        if sent and self._begun(reservation, scopes, amount):
            return reservation
        deadline = time.monotonic() + patience
        blocked: str | None = None
        while True:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            asked = partial(self._try_or_wait, reservation, scopes, amount, sent, waiter)
            try:
                short = await self._worker.run(asked, partial(self._too_late, reservation, waiter))
            except BaseException:
                waiter.cancel()
                raise
            # Others that wait for the scope this one no longer waits for may fit where it did not.
            if blocked is not None and (short is None or blocked != short.scope):
                self._queues.wake(blocked)
            if short is None:
                return reservation
            blocked = short.scope
            left = deadline - time.monotonic()
            exceeded = _exceeded(short, amount)
            if exceeded.final or left <= 0:
                self._queues.leave(waiter, blocked)
                self._queues.wake(blocked)
                raise exceeded
            await self._queues.change(waiter, blocked, left)

    def mark_sent(self, reservation: str) -> bool:
        """Note that the call is on its way, so that a crash from here on is charged.

        Returns:
            False when the reservation is closed: the call must not be made under it.
        """
        return self._store.mark_sent(reservation)

    def settle(self, reservation: str, actual: int | None) -> int | None:
        """Charge what the call cost and give back the rest.

        Args:
            reservation: From `reserve`.
            actual: Picodollars, charged in full even above what was reserved. Where it is None, negative or not a whole
                number, the cost is not known, and what was reserved is charged.

        Returns:
            What was charged, or None when the reservation was closed before, so that nothing is charged twice.
        """
        if self._over(reservation):
            return None
        known = type(actual) is int and actual >= 0
        charged = self._store.close(
            reservation, lambda amount: min(actual, MOST) if known and actual is not None else amount
        )
        self._given_back(reservation)
        return charged

    def release(self, reservation: str) -> bool:
        """Give all of it back, for a call that was never made; False when the reservation was closed before."""
        if self._over(reservation):
            return False
        closed = self._store.close(reservation, lambda _: 0)
        self._given_back(reservation)
        return closed is not None

    def totals(self, scope: str) -> tuple[int, int]:
        """Picodollars spent and reserved in a scope."""
        return self._store.totals(scope)

    async def atotals(self, scope: str) -> tuple[int, int]:
        """Picodollars spent and reserved in a scope, read in a thread."""
        return await self._reader.run(partial(self._store.totals, scope))

    def reclaim(self) -> int:
        """Close the reservations of processes that have ended, and return how many that were.

        This happens by itself when budgets are opened and before anything is refused.
        """
        return self._store.reclaim(_gone)

    def close(self) -> None:
        """Close the file; what is reserved stays so until this process ends."""
        self._worker.stop()
        self._reader.stop()
        self._store.shut()

    def _named(self, scopes: Mapping[str, int | None], amount: int) -> str:
        for number in [amount, *[cap for cap in scopes.values() if cap is not None]]:
            if type(number) is not int or number < 0:
                raise ValueError(f"{number!r} is not an amount of picodollars")
        return f"{self._name}{next(self._numbers)}"

    def _begun(self, reservation: str, scopes: Mapping[str, int | None], amount: int) -> bool:
        begun = self._store.begin(reservation, scopes, amount)
        if begun:
            self._scopes[reservation] = tuple(scopes)
        return begun

    def _try(
        self, reservation: str, scopes: Mapping[str, int | None], amount: int, owner: str | None, sent: bool
    ) -> Short | None:
        short = self._store.reserve(reservation, scopes, amount, owner, sent=sent)
        if short is not None and short.reserved and self.reclaim():
            short = self._store.reserve(reservation, scopes, amount, owner, sent=sent)
        if short is None:
            self._scopes[reservation] = tuple(scopes)
        return short

    def _try_or_wait(
        self,
        reservation: str,
        scopes: Mapping[str, int | None],
        amount: int,
        sent: bool,
        waiter: asyncio.Future[None],
    ) -> Short | None:
        """Reserve, or join those who wait for the scope that is short, so that nothing given back since is missed."""
        returns = self._returns
        short = self._try(reservation, scopes, amount, None, sent)
        if short is not None:
            self._queues.join(waiter, short.scope)
            if self._returns != returns:
                self._queues.wake(short.scope)
        return short

    def _too_late(self, reservation: str, waiter: asyncio.Future[None], short: Short | None) -> None:
        """Undo what was done for a call that is cancelled."""
        if short is None:
            self.release(reservation)
        elif not self._queues.leave(waiter, short.scope):
            self._queues.wake(short.scope)

    def _over(self, reservation: str) -> bool:
        """Whether it was made here and is closed already, so that nobody need ask the file."""
        return reservation not in self._scopes and reservation.startswith(self._name)

    def _given_back(self, reservation: str) -> None:
        self._returns += 1
        for scope in self._scopes.pop(reservation, ()):
            self._queues.wake(scope)


def _exceeded(short: Short, amount: int) -> BudgetExceeded:
    return BudgetExceeded(short.scope, short.cap, short.spent, amount, short.reserved)


def _gone(owner: str) -> float | None:
    if owner.startswith(LASTING):
        return time.time() - _LASTING_SECONDS
    gone = ended(owner)
    if gone is None:
        return time.time() - _FORGOTTEN_SECONDS
    return math.inf if gone else None
