"""Leases: money taken out of the file ahead, so that most calls are counted in memory and the file is seldom asked."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from ...configs.errors import ConfigError, PointsmanError
from ...configs.ids import new_id
from ..forks import End, at_end, begin_anew
from ..processes import this_process
from .clerk import Clerk
from .renewal import Renewal, Renewed, renew
from .reservations import MOST, FileStore, Gone, Short

__all__ = ["LeaseStore"]

_PERIOD_SECONDS = 0.05
"""How often what calls have spent is booked, and what no call has used since is given back."""
_MOST_CALLS = 15
"""For how many calls, at their worst, money is taken ahead at most."""

_Scopes = tuple[tuple[str, int | None], ...]


@dataclass(slots=True)
class _Lease:
    """What one set of scopes has in the file as a single reservation: ``idle + spent + reserved``, in picodollars.

    Attributes:
        id: The reservation.
        scopes: Each scope with its cap.
        idle: What no call uses. Below zero, calls have cost more than the file knows to be reserved.
        spent: What calls that are over have cost since the file was last told.
        reserved: What calls under way have reserved.
        size: The worst case of the latest call.
        calls: Calls since the clock last struck.
        pace: Calls between its last two strokes.
        most: What the caps let it have idle.
    """

    scopes: Mapping[str, int | None]
    id: str = field(default_factory=new_id)
    idle: int = 0
    spent: int = 0
    reserved: int = 0
    size: int = 0
    calls: int = 0
    pace: int = 0
    most: int = 0

    @property
    def held(self) -> int:
        """What the file has reserved for it."""
        return self.idle + self.spent + self.reserved

    @property
    def stirred(self) -> bool:
        """Whether the file will have to hear of it."""
        return self.spent != 0 or self.idle != 0

    @property
    def used(self) -> bool:
        """Whether anything is counted here, or was of late."""
        return bool(self.stirred or self.reserved or self.calls or self.pace)

    def ahead(self, size: int) -> int:
        """What to take ahead: enough for as many calls as came of late, so nothing for one that stands alone."""
        return min(max(self.calls, self.pace), _MOST_CALLS) * size

    @property
    def wanted(self) -> int:
        """What to leave idle when the clock strikes."""
        return max(0, min(self.idle, self.ahead(self.size), self.most))

    def begin(self, amount: int) -> None:
        """Count a call that begins."""
        self.idle -= amount
        self.reserved += amount
        self.size = amount
        self.calls += 1

    def end(self, amount: int, charged: int) -> None:
        """Count the end of a call that had reserved an amount."""
        self.reserved -= amount
        self.spent += charged
        self.idle += amount - charged

    def renewal(self, idle: int, asked: int) -> Renewal:
        """What to tell the file, after which only so much is left idle for other calls to begin with."""
        held, self.idle = self.held, idle
        ahead = self.ahead(asked) if asked else 0
        return Renewal(self.id, self.scopes, held, self.spent, self.reserved + idle, asked, ahead)


class LeaseStore:
    """Counts in a ledger's file, but most calls in memory, against what this process has leased there.

    A lease is an open reservation of all that the calls under it can cost, so no cap is passed, whoever else uses the
    file. Where calls follow each other quickly it is made larger than what is under way, by the worst case of a few
    more calls and at most a 64th of what the tightest cap leaves. What is idle is given back within a tenth of a
    second after the last call, and at once where another lease of this process is short of it.

    When a process crashes its leases are charged in full, since nobody can tell any more what had become of them: what
    calls had spent and reserved, this small rest, and what the calls that ended in its last twentieth of a second had
    not needed. Calls that are not sent yet, which a crash must not charge, and what others shall settle are therefore
    reserved in the file one by one.

    To begin a call under a lease, and to end it, takes no wait for the file: a thread books it a little later, and at
    once where a call cost more than its lease holds. `totals` reads the file, which waits for nobody. All else waits,
    for seconds at worst, while another process holds the file.

    In a forked child leases and reservations stay the parent's.

    Args:
        file: Where leases are reserved and booked.
    """

    def __init__(self, file: FileStore) -> None:
        self._file = file
        self._theirs: frozenset[str] = frozenset()
        self._closed = False
        self._clerk = Clerk("pointsman-leases", self._strike)
        self._empty()
        begin_anew(self)
        _stores.add(self)

    def _empty(self) -> None:
        self._owner = this_process()
        self._leases: dict[_Scopes, _Lease] = {}
        self._open: dict[str, tuple[_Lease, int]] = {}
        # What is in the file by itself, and nobody else may end.
        self._filed: set[str] = set()
        # Held by whoever changes a lease in the file; a call that finds enough in memory never waits for it.
        self._filing = threading.RLock()
        # Held while file and memory change together, which waits for no other process; and how often that was.
        self._moving = threading.RLock()
        self._moves = 0
        # Reentrant, since a call that is dropped gives back what it reserved from within the garbage collector.
        self._counting = threading.RLock()

    def anew(self) -> None:
        """Begin anew in a forked child."""
        # A call of the parent's that is collected in the child must not end there.
        self._theirs |= self._filed
        self._empty()

    def begin(self, reservation: str, scopes: Mapping[str, int | None], amount: int) -> bool:
        """Begin a call with what is idle, if that is enough."""
        with self._counting:
            lease = self._leases.get(tuple(scopes.items()))
            if lease is None or lease.idle < amount or self._closed:
                return False
            lease.begin(amount)
            self._open[reservation] = lease, amount
            return True

    def reserve(
        self, reservation: str, scopes: Mapping[str, int | None], amount: int, owner: str | None, *, sent: bool = False
    ) -> Short | None:
        """Reserve in every scope, or say which has not enough left; without an owner it is this process's."""
        if owner is not None:
            return self._unless_idle(scopes, lambda: self._file.reserve(reservation, scopes, amount, owner, sent=sent))
        if sent:
            return self._unless_idle(scopes, lambda: self._borrow(reservation, scopes, amount))
        short = self._unless_idle(
            scopes, lambda: self._file.reserve(reservation, scopes, amount, self._owner, sent=False)
        )
        if short is None:
            self._filed.add(reservation)
        return short

    def mark_sent(self, reservation: str) -> bool:
        """Note that the call is on its way; False when the reservation is closed."""
        if reservation in self._open:
            return True
        return reservation not in self._theirs and self._file.mark_sent(reservation)

    def close(self, reservation: str, charge: Callable[[int], int]) -> int | None:
        """End a reservation, charging what ``charge`` makes of its amount; None when it was closed before."""
        with self._counting:
            if self._closed:
                raise ConfigError("the budgets are closed: settle what calls cost before that")
            lease, amount = self._open.pop(reservation, (None, 0))
            if lease is not None:
                charged = charge(amount)
                lease.end(amount, charged)
        if lease is not None:
            self._clerk.ring(0.0 if lease.idle < 0 else _PERIOD_SECONDS)
            return charged
        if reservation in self._theirs:
            return None
        ended = self._file.close(reservation, charge)
        self._filed.discard(reservation)
        return ended

    def totals(self, scope: str) -> tuple[int, int]:
        """What is spent, and what is reserved; idle leases of this process count as neither."""
        while True:
            with self._moving:
                moves = self._moves
            leases = [lease for lease in list(self._leases.values()) if scope in lease.scopes]
            spent, reserved, there = self._file.totals(scope, [lease.id for lease in leases])
            with self._counting:
                if self._moves != moves:
                    continue
                for lease in self._leases.values():
                    # What somebody took for abandoned is charged in the file already.
                    if scope in lease.scopes and (lease.id in there or not lease.held):
                        spent += lease.spent
                        reserved -= lease.spent + lease.idle
                return min(spent, MOST), reserved

    def reclaim(self, gone: Gone, patience: float | None = None) -> int:
        """Close what nobody will close any more, charging what was sent, and return how many that were."""
        return self._file.reclaim(gone, patience)

    def book(self) -> None:
        """Tell the file what was spent, and leave in it no more than what calls under way have reserved."""
        with self._filing:
            due = [lease for lease in self._leases.values() if lease.stirred]
            if due and not self._closed:
                self._renew(due)

    def shut(self) -> None:
        """Book what was spent, and close the file; what calls under way have reserved stays so."""
        with self._filing:
            try:
                self.book()
            finally:
                self._closed = True
                self._clerk.stop()
                self._file.shut()

    def _borrow(self, reservation: str, scopes: Mapping[str, int | None], amount: int) -> Short | None:
        """Begin a call with money from the file, and take some for the next ones."""
        # Whoever was here before may have taken enough.
        if self.begin(reservation, scopes, amount):
            return None
        with self._counting:
            lease = self._leases.setdefault(tuple(scopes.items()), _Lease(dict(scopes)))
        (renewed,) = self._renew([lease], asked=amount, name=reservation)
        if renewed.short is None:
            self._clerk.ring(_PERIOD_SECONDS)
        return renewed.short

    def _unless_idle(self, scopes: Mapping[str, int | None], reserve: Callable[[], Short | None]) -> Short | None:
        """Reserve in the file, if need be with what other leases of this process give back."""
        with self._filing:
            # What cost more than was reserved must be known there before anything else is let through.
            overdrawn = [
                lease for lease in self._leases.values() if lease.idle < 0 and lease.scopes.keys() & scopes.keys()
            ]
            if overdrawn:
                self._renew(overdrawn)
            short = reserve()
            if short is None:
                return None
            others = [lease for lease in self._leases.values() if short.scope in lease.scopes and lease.stirred]
            if not others:
                return short
            self._renew(others)
            return reserve()

    def _renew(
        self, leases: Sequence[_Lease], idle: Callable[[_Lease], int] = lambda _: 0, asked: int = 0, name: str = ""
    ) -> list[Renewed]:
        """Book what was spent, and give back what is not reserved, asked or left idle.

        Args:
            leases: Those to renew.
            idle: What to leave idle in each.
            asked: What a call needs that begins under the first.
            name: The reservation of that call.
        """
        with self._filing, self._file.access.changing() as connection, self._moving:
            with self._counting:
                self._moves += 1
                renewals = [lease.renewal(idle(lease), asked) for lease in leases]
            try:
                done = [renew(connection, renewal, self._owner) for renewal in renewals]
                connection.execute("COMMIT")
            except BaseException:
                with self._counting:
                    for lease, renewal in zip(leases, renewals, strict=True):
                        lease.idle += renewal.held - renewal.spent - renewal.kept
                raise
            with self._counting:
                for lease, renewal, renewed in zip(leases, renewals, done, strict=True):
                    if renewed.lost:
                        self._forget(lease)
                    else:
                        lease.spent -= renewal.spent
                    lease.idle += renewed.ahead
                    lease.most = renewed.most
                if name and done[0].short is None:
                    # Given for this call, so that no other thread could begin one with it.
                    leases[0].idle += asked
                    leases[0].begin(asked)
                    self._open[name] = leases[0], asked
            return done

    def _forget(self, lease: _Lease) -> None:
        """Close what was reserved under a lease that somebody took for abandoned, and so charged in full."""
        lease.idle = lease.spent = lease.reserved = 0
        for name in [name for name, found in list(self._open.items()) if found[0] is lease]:
            self._open.pop(name, None)

    def _strike(self) -> None:
        """Book what was spent, and give back what was not used since the last time."""
        with self._filing:
            if self._closed:
                return
            with self._counting:
                for lease in self._leases.values():
                    lease.pace, lease.calls = lease.calls, 0
                due = [lease for lease in self._leases.values() if lease.spent or lease.idle != lease.wanted]
            try:
                if due:
                    self._renew(due, lambda lease: lease.wanted)
            finally:
                # Nothing is lost where it failed: it is tried again, and whoever needs the file meanwhile hears of it.
                with self._counting:
                    self._leases = {key: lease for key, lease in self._leases.items() if lease.used}
                    if any(lease.stirred for lease in self._leases.values()):
                        self._clerk.ring(_PERIOD_SECONDS)


_stores: weakref.WeakSet[LeaseStore] = weakref.WeakSet()


@at_end(End.WRITE)
def _book_all() -> None:
    for store in list(_stores):
        # What cannot be booked is charged with its lease.
        with suppress(PointsmanError):
            store.book()
