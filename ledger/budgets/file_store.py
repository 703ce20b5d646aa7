"""`FileStore`: budgets counted in the ledger's file, for every process that has it open."""

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
"""How long to wait before it is tried again to write what could not be written."""


@dataclass
class _Asked:
    """Somebody on an event loop waits for a reservation.

    Attributes:
        request: What is asked.
        undo: Gives it back.
        waiter: Told the result.
        claim: Popped by the thread that has reserved, or by the caller that is cancelled, whoever is first.
    """

    request: Request
    undo: Callable[[], object]
    waiter: asyncio.Future[Short | None]
    claim: list[bool] = field(default_factory=lambda: [True])

    def claimed(self) -> bool:
        """Whether whoever asks is the first."""
        try:
            return self.claim.pop()
        except IndexError:
            return False


class FileStore:
    """One row of the file for each reservation, written before the call is sent; a thread writes many at a time.

    A reservation outlives the end of its process, `kill -9` too. It is not synced to the disk, which would cost each
    call milliseconds: when the machine itself crashes, the last seconds of reservations and rows may be lost together.

    The reservation of a call that is recorded is ended by the ledger's writer, in the transaction that adds its row, so
    that rows and budgets agree whenever a process is killed. Until then `totals` already counts what the call cost,
    and where a cap leaves too little the reservation is cut down to that cost.

    Args:
        path: The ledger.
        gone: Says of an owner before which time, in seconds since the epoch, its reservations may be reclaimed; None
            for never.

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
        # Reservations of this process that are not settled, and their amounts.
        self._open: dict[str, int] = {}
        # Those that are settled and for which no row follows, to be ended by this store.
        self._ends: deque[str] = deque()
        self._asked: deque[_Asked] = deque()
        self._due = self._overdrawn = False
        # Reentrant, since a call that is dropped is settled from within the garbage collector.
        self._guard = threading.RLock()

    def reset_after_fork(self) -> None:
        """Reset in a forked child, where what the parent reserved cannot be settled."""
        self._theirs |= self._open.keys()
        self._empty()

    def reserve(self, request: Request) -> Short | None:
        """Reserve in every scope, or say which has not enough left."""
        return self._served([request])[0]

    async def asked(self, request: Request, undo: Callable[[], object]) -> Short | None:
        """Reserve in the thread, together with whatever else was asked meanwhile."""
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
        """End a reservation; one of this process without waiting for the file."""
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
        """What is spent, and what is reserved; it waits for nobody who writes."""
        costs = dict(self._settled.costs)
        with self._reader.reading() as connection:
            spent, reserved = counted(connection, scope)
            for reservation, cost in costs.items():
                held = held_by(connection, reservation)
                if held is not None and scope in held.scopes:
                    spent, reserved = spent + cost, reserved - held.amount
        return min(spent, MOST), reserved

    def reclaim(self, patience: float | None = None) -> int:
        """Close what processes that are gone have reserved, with a row of the ledger for each call that was sent."""
        # Asked before the file is locked: seldom is anybody gone, and looking for processes takes its time.
        owners = [owner for (owner,) in self._reader.read("SELECT DISTINCT owner FROM reservations")]
        before = [(owner, at) for owner, at in zip(owners, map(self._gone, owners), strict=True) if at is not None]
        if not before:
            return 0
        with self._access.changing(patience=patience) as connection:
            return sum(reclaim(connection, owner, at) for owner, at in before)

    def shut(self) -> None:
        """Write what was settled, and close the file; what calls under way have reserved stays so."""
        self._worker.stop()
        try:
            if self._ends:
                self._write([])
        finally:
            self._closed = True
            self._access.close()
            self._reader.close()

    def _stir(self) -> None:
        """Have the thread write what there is."""
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
                # One of them holds what no file can, a lone surrogate in a name for instance; the others can be served.
                for one in asked:
                    self._answer([one])
                return
            _tell(asked, [error] * len(asked))
            if (self._ends or self._overdrawn) and not self._closed:
                self._worker.submit(self._again)
            return
        # One that was cancelled meanwhile has nobody who would settle it.
        for one, short in zip(asked, shorts, strict=True):
            if short is None and not one.claimed():
                one.undo()
        _tell(asked, shorts)

    def _again(self) -> None:
        time.sleep(_PAUSE_SECONDS)
        self._drain()

    def _served(self, requests: Sequence[Request]) -> list[Short | None]:
        """Write, and try those once more that are short of what somebody who is gone has reserved."""
        shorts = self._write(requests)
        again = [place for place, short in enumerate(shorts) if short is not None and short.reserved]
        if again and self.reclaim():
            for place, short in zip(again, self._write([requests[place] for place in again]), strict=True):
                shorts[place] = short
        return shorts

    def _write(self, requests: Sequence[Request]) -> list[Short | None]:
        """End what was settled and reserve what is asked, in one transaction."""
        costs = self._settled.costs
        with self._access.changing() as connection:
            # Of two threads the second finds these written.
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
        """Let calls that are over hold no more than they cost; whether that has changed anything."""
        changed = [resize(connection, one, min(cost, MOST)) for one, cost in list(self._settled.costs.items())]
        return any(changed)


def _tell(asked: Sequence[_Asked], results: Sequence[Short | Exception | None]) -> None:
    """Tell those who wait on each event loop in one call."""
    loops: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Short | None], Short | Exception | None]]] = {}
    for one, result in zip(asked, results, strict=True):
        loops.setdefault(one.waiter.get_loop(), []).append((one.waiter, result))
    for loop, results_of in loops.items():
        try:
            loop.call_soon_threadsafe(_resolve, results_of)
        except RuntimeError:
            # It is closed, and nobody waits there any more.
            continue


def _resolve(results: Sequence[tuple[asyncio.Future[Short | None], Short | Exception | None]]) -> None:
    for waiter, result in results:
        if waiter.done():
            continue
        if isinstance(result, Exception):
            waiter.set_exception(result)
        else:
            waiter.set_result(result)
