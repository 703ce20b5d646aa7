"""`Lease`: the right to work on a run, for as long as its holder renews it."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

from ...configs.errors import ConfigError
from ...ledger.ledger import Ledger
from ...ledger.rows import LeaseRow
from ...tools.threads import in_thread
from . import heartbeat
from .holder import Holder, RunOwned
from .sign import Sign, is_alive, sweep

__all__ = ["LEASE_SECONDS", "Lease", "holder_of", "leased"]

LEASE_SECONDS: Final = 30.0
"""Seconds that a silent holder keeps a run: six heartbeats."""

Clock = Callable[[], float]
"""Returns seconds since the epoch."""


class Lease:
    """The right to work on a run, renewed by a thread until it is closed.

    A holder whose process is gone loses it at once; one that is stopped or hangs loses it when it expires. Then whoever
    wants the run takes it over with the next higher fencing token, which rejects all that the earlier holder still
    writes. A holder that was away longer than its lease continues if nobody has taken the run meanwhile.

    Args:
        ledger: The authoritative record.
        row: The lease as recorded there.
        sign: Shows that this process is alive.
        clock: This process's own.

    Attributes:
        lost: Who has taken the run over; None while this process holds it.
        cancelled: Somebody has asked for the run to be stopped.
        stop: Called from another thread as soon as `lost` or `cancelled` is set.
    """

    def __init__(self, ledger: Ledger, row: LeaseRow, sign: Sign, clock: Clock) -> None:
        self.ledger = ledger
        self.run = row.run
        self.token = row.token
        self.lost: Holder | None = None
        self.cancelled = False
        self.stop: Callable[[], None] | None = None
        self._row = row
        self._sign = sign
        self._clock = clock
        self._process = os.getpid()
        heartbeat.beat_for(self)

    @classmethod
    def begin(cls, ledger: Ledger, state: Path, run: str, clock: Clock = time.time) -> Lease:
        """Hold a new run, without waiting for any file.

        Args:
            ledger: The project's ledger.
            state: The project's state folder.
            run: Id that nobody has used.
            clock: Returns seconds since the epoch.

        Raises:
            RunOwned: Somebody has just started a run with the same id.
            ConfigError: Its lock file cannot be made.
        """
        sign = _signed(state, run, 1)
        row = _row(run, 1, sign, clock())
        try:
            ledger.leases.begin(row)
        except BaseException:
            sign.give_up()
            raise
        return cls(ledger, row, sign, clock)

    @classmethod
    def take(cls, ledger: Ledger, state: Path, run: str, clock: Clock = time.time) -> Lease:
        """Hold a run that nobody works on, or whose holder is gone or let its lease expire; waits for the ledger.

        Args:
            ledger: The project's ledger.
            state: The project's state folder.
            run: Its id.
            clock: Returns seconds since the epoch.

        Raises:
            RunOwned: Somebody works on it.
            ConfigError: Its lock file cannot be made, or the ledger cannot be written.
        """
        made: list[Sign] = []

        def claim(last: LeaseRow | None) -> LeaseRow:
            if last is not None and _is_held(state, last, clock()):
                raise RunOwned(run, Holder.of(last))
            made.append(_signed(state, run, 1 if last is None else last.token + 1))
            return _row(run, 1 if last is None else last.token + 1, made[0], clock())

        try:
            row = ledger.leases.take(run, claim)
        except BaseException:
            for sign in made:
                sign.give_up()
            raise
        sweep(state, run, row.token - 1)
        return cls(ledger, row, made[0], clock)

    def until(self) -> float:
        """Return when the lease expires if it is renewed now."""
        return self._clock() + LEASE_SECONDS

    def heard(self, row: LeaseRow | None) -> None:
        """Take note of the lease's state in the ledger.

        Args:
            row: The lease of this run there, whoever holds it.
        """
        if row is not None and row.token > self.token:
            self.lost = Holder.of(row)
        elif row is None or not row.cancel:
            return
        else:
            self.cancelled = True
        if (stop := self.stop) is not None:
            stop()

    def close(self) -> None:
        """Release the run once all its records are in the ledger; in a forked child this does nothing."""
        if os.getpid() != self._process:
            return
        heartbeat.beat_no_more_for(self)
        try:
            self.ledger.leases.release(replace(self._row, until=0.0), self._sign.give_up)
        except ConfigError:
            # The ledger is closed.
            self._sign.give_up()


@asynccontextmanager
async def leased(ledger: Ledger, state: Path, run: str) -> AsyncIterator[Lease]:
    """Hold a run inside the block; arguments and errors are those of `Lease.take`, which happens in a thread."""
    taking = asyncio.ensure_future(in_thread(Lease.take, ledger, state, run))
    try:
        lease = await asyncio.shield(taking)
    except asyncio.CancelledError:
        # The thread continues; release what it takes.
        with suppress(Exception):
            (await taking).close()
        raise
    with closing(lease):
        yield lease


def holder_of(ledger: Ledger, state: Path, run: str, clock: Clock = time.time) -> Holder | None:
    """Return who works on a run right now, None if nobody does; this waits for the ledger.

    Args:
        ledger: The project's ledger.
        state: The project's state folder.
        run: Id of the run.
        clock: Returns seconds since the epoch.
    """
    row = ledger.leases.of(run)
    return Holder.of(row) if row is not None and _is_held(state, row, clock()) else None


def _is_held(state: Path, row: LeaseRow, now: float) -> bool:
    """Return whether the holder of a lease still has it."""
    if row.until <= now:
        return False
    # A lock says nothing about a process on another machine: only its lease counts.
    return not row.locked or row.host != socket.gethostname() or is_alive(state, row.run, row.token)


def _signed(state: Path, run: str, token: int) -> Sign:
    try:
        return Sign(state, run, token)
    except BlockingIOError as error:
        raise RunOwned(run, None) from error


def _row(run: str, token: int, sign: Sign, now: float) -> LeaseRow:
    return LeaseRow(run, token, socket.gethostname(), os.getpid(), now, now + LEASE_SECONDS, sign.locked)
