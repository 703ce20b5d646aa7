"""Budgets: the worst case is reserved before a call and settled after it, so that no cap is ever passed."""

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
"""How the owner of a reservation is named that outlives the process which made it, as a provider's batch does."""

TOKENS = "tokens:"
"""What the name of a scope begins with in which tokens are counted, and not picodollars."""

_FORGOTTEN_SECONDS = 86_400.0
"""After this long a reservation made where nobody here can look, on another machine or in another container, is taken
for abandoned: no call lasts a day."""
_LASTING_SECONDS = 30 * 86_400.0
"""Likewise for a batch: providers keep the answers for so long at most."""


def _cure(scope: str) -> str:
    kind, _, name = scope.partition(":")
    if kind in ("run", "rows"):
        return "raise max_cost (--max-cost)"
    if scope.startswith(TOKENS):
        return "raise max_tokens (--max-tokens)"
    # A day's scope is named by its date, the others as the policy names them.
    return f"raise routing.budgets.{kind if kind in ('day', 'user') else f'{kind}:{name}'}"


class BudgetExceeded(PointsmanError):
    """A cap leaves too little for what is asked.

    Args:
        scope: The scope whose cap it is, such as ``run:abc``.
        cap: The cap, in picodollars, or in tokens where the scope's name begins with `TOKENS`.
        spent: What is spent of it.
        asked: What was to be reserved.
        reserved: What other calls have reserved of it and may give back.
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
        """Whether it stays so even if every reservation is given back."""
        return self.spent + self.asked > self.cap


class Budgets(Closing):
    """Caps on scopes: strings such as ``run:abc``, ``user:x``, ``tag:t`` or ``day:2026-11-21``.

    A call reserves its worst case in all its scopes or in none, atomically among threads and processes. A child of a
    run reserves in both runs' scopes, so that each bounds it. What a killed process had reserved is closed once, by
    whoever meets it first: charged in full, and recorded in one row of the ledger, where its call was sent; released
    where it was not. So what is spent is what the rows cost, whenever processes are killed.

    On an event loop `acquire`, `atotals`, and `settle` and `release` of what was reserved here without an owner hold up
    nobody; `totals` reads the file, but waits for no writer. All else may wait for seconds while another process holds
    the file, and belongs into a thread.

    A forked child may go on using them: it counts in the same file, and what its parent reserved stays the parent's.

    Args:
        path: The ledger's file, to share the counts with every process that uses it; None counts in this process.

    Raises:
        ConfigError: The file cannot be used.
    """

    def __init__(self, path: Path | None) -> None:
        self._store: Store = MemoryStore() if path is None else FileStore(path, _gone)
        self._reader = Worker("pointsman-totals")
        self._empty()
        reset_in_children(self)
        try:
            self._store.reclaim(patience=0.0)
        except ConfigError:
            # Budgets may be opened on an event loop, and trouble with the file is told to whoever asks.
            self._reader.submit(self.reclaim)

    def _empty(self) -> None:
        # What is reserved here is called by this name and a number.
        self._name = f"{new_id()}-"
        self._numbers = itertools.count(1)
        # The scopes of what this process has reserved, to wake those that wait for them, and how often it gave back.
        self._scopes: dict[str, tuple[str, ...]] = {}
        self._returns = 0
        self._queues = Queues()

    def reset_after_fork(self) -> None:
        """Reset in a forked child."""
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
            sent: The call goes out at once, so that it is charged if the process is killed.

        Returns:
            The reservation, for `settle` or `release` of these budgets; where it has an owner of its own, of any that
            have the file open.

        Raises:
            BudgetExceeded: A scope has too little left.
            ConfigError: The file cannot be written.
            ValueError: The amount or a cap is not a whole number of picodollars, zero or more.
        """
        request = self._request(scopes, amount, owner, sent)
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
        """Reserve, waiting while only others' reservations, not what is spent, stand in the way.

        Worst cases are larger than what calls cost in the end, so without waiting many parallel calls would be refused
        while most of the cap is still unspent.

        Args:
            scopes: As in `reserve`.
            amount: As in `reserve`.
            patience: Seconds to wait at most for what others have reserved.
            sent: As in `reserve`.
            row: What to record of the call if this process is killed; the reservation then has its id.

        Raises:
            BudgetExceeded: A scope has too little left, or had for too long.
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
                # The turn this one was woken for goes to the next.
                if blocked is not None:
                    self._queues.wake(blocked)
                raise
            # Others that wait for the scope this one no longer waits for may fit where it did not.
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
                # Something was given back after the file was asked.
                self._queues.wake(blocked)
            await self._queues.change(waiter, blocked, left)

    def settle(self, reservation: str, actual: int | None, *, recorded: bool = False) -> int | None:
        """Charge what the call cost and give back the rest.

        Args:
            reservation: From `reserve` or `acquire`.
            actual: Picodollars, charged in full even above what was reserved. Where it is None, negative or not a whole
                number, the cost is not known, and what was reserved is charged.
            recorded: The call's row is recorded next, in the ledger of the same file and with the reservation's id:
                the file ends the reservation with it, and not before.

        Returns:
            What was charged, or None when the reservation was closed before, so that nothing is charged twice.
        """
        known = type(actual) is int and actual >= 0
        cost = min(actual, MOST) if known and actual is not None else None
        charged = self._store.settle(reservation, cost, recorded=recorded)
        self._given_back(reservation)
        return charged

    def release(self, reservation: str) -> bool:
        """Give all of it back, for a call that was never made; False when the reservation was closed before."""
        return self.settle(reservation, 0) is not None

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
        return self._store.reclaim()

    def close(self) -> None:
        """Close the file; what is reserved stays so until this process ends."""
        self._reader.stop()
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
        """Give back what was reserved for a call that is cancelled."""
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
