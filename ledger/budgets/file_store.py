"""`FileStore`: budgets counted in the ledger's file, shared by every process that has it open."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ...configs.errors import ConfigError
from ...configs.process.forks import reset_in_children
from ..processes import this_process
from ..storage.access import Access
from ..storage.connection import Connection
from ..storage.reserved import MOST, Request, Short, counted, end, enter, held_by, reclaim, resize, settled_in
from ..worker import Worker

__all__ = ["FileStore"]

_PAUSE_SECONDS = 1.0
"""How long to wait before retrying a failed write."""


@dataclass
class _Asked:
    """A reservation that a caller on an event loop waits for.

    Attributes:
        request: What to reserve.
        undo: Gives it back.
        waiter: Receives the result.
        claim: Popped by the thread that has reserved or by the caller that was cancelled, whichever is first.
    """

    request: Request
    undo: Callable[[], object]
    waiter: asyncio.Future[Short | None]
    claim: list[bool] = field(default_factory=lambda: [True])

    def claimed(self) -> bool:
        """Take the claim; return whether the caller is the first to do so."""
        try:
            return self.claim.pop()
        except IndexError:
            return False


class FileStore:
    """One row of the file for each reservation, written before the call is sent; a thread writes many at a time.

    A reservation survives the end of its process, even by `kill -9`. It is not synced to disk, which would cost each
    call milliseconds: if the machine itself crashes, the last seconds of reservations and rows may be lost together.

    If a call is recorded, the ledger's writer ends its reservation in the transaction that adds its row, so that rows
    and budgets agree whenever a process is killed. Until then `totals` already counts what the call cost, and if a cap
    leaves too little, the reservation is reduced to that cost.

    Args:
        path: The ledger.
        gone: Returns, for an owner, the time (seconds since the epoch) before which its reservations may be reclaimed;
            None for never.

    Raises:
        ConfigError: The file cannot be used.
    """

    def __init__(self, path: Path, gone: Callable[[str], float | None]) -> None:
        self._access = Access(path)
        self._reader = Access(path, reading=True)
        self._settled = settled_in(path)
        self._gone = gone
        self._worker = Worker("pointsman-budgets")
        self._theirs: frozenset[str] = frozenset()
        self._closed = False
        self._empty()
        reset_in_children(self)

    def _empty(self) -> None:
        self._owner = this_process()
        # Reservations of this process that are not settled -> their amounts.
        self._open: dict[str, int] = {}
        # Settled reservations without a row to follow, which this store has to end.
        self._ends: deque[str] = deque()
        self._asked: deque[_Asked] = deque()
        self._due = self._overdrawn = False
        # Reentrant, because a dropped call is settled from within the garbage collector.
        self._guard = threading.RLock()

    def reset_after_fork(self) -> None:
        """Reset in a forked child, which cannot settle what its parent reserved."""
        self._theirs |= self._open.keys()
        self._empty()

    def reserve(self, request: Request) -> Short | None:
        """Reserve in every scope, or return the one that has too little left."""
        return self._served([request])[0]

    async def asked(self, request: Request, undo: Callable[[], object]) -> Short | None:
        """Reserve in the thread, together with any other requests made in the meantime."""
        asked = _Asked(request, undo, asyncio.get_running_loop().create_future())
        self._asked.append(asked)
        self._stir()
        try:
            return await asked.waiter
        except BaseException:
            # Cancelled, or dropped with its event loop.
            if not asked.claimed():
                undo()
            raise

    def settle(self, reservation: str, cost: int | None, *, recorded: bool) -> int | None:
        """End a reservation and return the charge; one of this process without waiting for the file."""
        with self._guard:
            if self._closed:
                raise ConfigError("the budgets are closed: settle what calls cost before that")
            if reservation in self._theirs or reservation in self._settled.costs:
                return None
            amount = self._open.get(reservation)
            if amount is not None:
                charged = amount if cost is None else cost
                self._settled.costs[reservation] = charged
                del self._open[reservation]
        if amount is None:
            with self._access.changing() as connection:
                return end(connection, reservation, cost)
        if not recorded:
            self._ends.append(reservation)
        elif charged > amount:
            self._overdrawn = True
        else:
            return charged
        self._stir()
        return charged

    def totals(self, scope: str) -> tuple[int, int]:
        """Return what is spent and what is reserved, without waiting for writers."""
        costs = dict(self._settled.costs)
        with self._reader.reading() as connection:
            spent, reserved = counted(connection, scope)
            for reservation, cost in costs.items():
                held = held_by(connection, reservation)
                if held is not None and scope in held.scopes:
                    spent, reserved = spent + cost, reserved - held.amount
        return min(spent, MOST), reserved

    def reclaim(self, patience: float | None = None) -> int:
        """Close the reservations of processes that are gone, with a row of the ledger for each call that was sent."""
        # Checked before the file is locked: owners are seldom gone, and looking for processes takes time.
        owners = [owner for (owner,) in self._reader.read("SELECT DISTINCT owner FROM reservations")]
        before = [(owner, at) for owner in owners if (at := self._gone(owner)) is not None]
        if not before:
            return 0
        with self._access.changing(patience=patience) as connection:
            return sum(reclaim(connection, owner, at) for owner, at in before)

    def shut(self) -> None:
        """Write what was settled and close the file; reservations of calls in progress stay."""
        self._worker.stop()
        try:
            if self._ends:
                self._write([])
        finally:
            self._closed = True
            self._access.close()
            self._reader.close()

    def _stir(self) -> None:
        """Have the thread write what is pending."""
        if not self._due:
            self._due = True
            self._worker.post(self._drain)

    def _drain(self) -> None:
        self._due = False
        taken = [self._asked.popleft() for _ in range(len(self._asked))]
        asked = [one for one in taken if not one.waiter.cancelled()]
        if asked or self._ends or self._overdrawn:
            self._answer(asked)

    def _answer(self, asked: Sequence[_Asked]) -> None:
        try:
            shorts = self._served([one.request for one in asked])
        except Exception as error:  # noqa: BLE001 - whoever waits is told
            if len(asked) > 1 and not isinstance(error, ConfigError):
                # One holds something that cannot be stored, such as a lone surrogate in a name; the others can be.
                for one in asked:
                    self._answer([one])
                return
            _tell(asked, [error] * len(asked))
            if (self._ends or self._overdrawn) and not self._closed:
                self._worker.submit(self._again)
            return
        # Nobody would settle the reservation of a caller that was cancelled in the meantime.
        for one, short in zip(asked, shorts, strict=True):
            if short is None and not one.claimed():
                one.undo()
        _tell(asked, shorts)

    def _again(self) -> None:
        time.sleep(_PAUSE_SECONDS)
        self._drain()

    def _served(self, requests: Sequence[Request]) -> list[Short | None]:
        """Write, and retry those that are short once, after reclaiming reservations of processes that are gone."""
        shorts = self._write(requests)
        again = [place for place, short in enumerate(shorts) if short is not None and short.reserved]
        if again and self.reclaim():
            for place, short in zip(again, self._write([requests[place] for place in again]), strict=True):
                shorts[place] = short
        return shorts

    def _write(self, requests: Sequence[Request]) -> list[Short | None]:
        """End what was settled and make the requested reservations, in one transaction."""
        costs = self._settled.costs
        with self._access.changing() as connection:
            # The second of two threads finds these already written.
            ends, overdrawn = list(self._ends), self._overdrawn
            for reservation in ends:
                end(connection, reservation, costs.get(reservation))
            if overdrawn:
                self._tighten(connection)
            shorts = [self._entered(connection, request) for request in requests]
            connection.execute("COMMIT")
            for request, short in zip(requests, shorts, strict=True):
                if short is None and request.owner is None:
                    self._open[request.reservation] = request.amount
            for reservation in ends:
                self._ends.popleft()
                costs.pop(reservation, None)
            self._overdrawn = self._overdrawn and not overdrawn
        return shorts

    def _entered(self, connection: Connection, request: Request) -> Short | None:
        short = enter(connection, request, self._owner)
        if short is not None and self._tighten(connection):
            short = enter(connection, request, self._owner)
        return short

    def _tighten(self, connection: Connection) -> bool:
        """Reduce the reservations of finished calls to what they cost; return whether that changed anything."""
        changed = [resize(connection, one, min(cost, MOST)) for one, cost in list(self._settled.costs.items())]
        return any(changed)


def _tell(asked: Sequence[_Asked], results: Sequence[Short | Exception | None]) -> None:
    """Deliver the results to all waiters of an event loop in one call."""
    loops: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Short | None], Short | Exception | None]]] = {}
    for one, result in zip(asked, results, strict=True):
        loops.setdefault(one.waiter.get_loop(), []).append((one.waiter, result))
    for loop, results_of in loops.items():
        try:
            loop.call_soon_threadsafe(_resolve, results_of)
        except RuntimeError:
            # The loop is closed, so nobody waits there any more.
            continue


def _resolve(results: Sequence[tuple[asyncio.Future[Short | None], Short | Exception | None]]) -> None:
    for waiter, result in results:
        if waiter.done():
            continue
        if isinstance(result, Exception):
            waiter.set_exception(result)
        else:
            waiter.set_result(result)
