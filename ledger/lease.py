"""Leases: money taken out of the file ahead, so that most calls are counted in memory and the file is seldom asked."""

from __future__ import annotations

import atexit
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field

from ..configs.errors import PointsmanError
from ..configs.ids import new_id
from .renewal import Renewal, Renewed, renew
from .reservations import MOST, FileStore, Gone, Short

__all__ = ["LeaseStore"]

_PERIOD_SECONDS = 0.05
"""How often what calls have spent is booked, and what no call has used since is given back."""
_LINGER_SECONDS = 10.0
"""How long the thread that books waits for work before it ends."""
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
        held, self.idle = self.idle + self.spent + self.reserved, idle
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

    Args:
        file: Where leases are reserved and booked.
        owner: This process, as `processes.this_process` names it.
    """

    def __init__(self, file: FileStore, owner: str) -> None:
        self._file = file
        self._owner = owner
        self._leases: dict[_Scopes, _Lease] = {}
        self._open: dict[str, tuple[_Lease, int]] = {}
        # Held by whoever changes a lease in the file; a call that finds enough in memory never waits for it.
        self._filing = threading.RLock()
        # Reentrant, since a call that is dropped gives back what it reserved from within the garbage collector.
        self._counting = threading.RLock()
        self._stirred = threading.Event()
        self._clerk: threading.Thread | None = None
        self._closed = False
        _stores.add(self)

    def reserve(
        self, reservation: str, scopes: Mapping[str, int | None], amount: int, owner: str, *, sent: bool = False
    ) -> Short | None:
        """Reserve in every scope, or say which has not enough left."""
        self._file.access.check()
        if not sent or owner != self._owner:
            return self._unless_idle(lambda: self._file.reserve(reservation, scopes, amount, owner, sent=sent))
        if self._begun(tuple(scopes.items()), reservation, amount):
            return None
        return self._unless_idle(lambda: self._borrow(reservation, scopes, amount))

    def mark_sent(self, reservation: str) -> bool:
        """Note that the call is on its way; False when the reservation is closed."""
        self._file.access.check()
        return reservation in self._open or self._file.mark_sent(reservation)

    def close(self, reservation: str, charge: Callable[[int], int]) -> int | None:
        """End a reservation, charging what ``charge`` makes of its amount; None when it was closed before."""
        self._file.access.check()
        with self._counting:
            lease, amount = (None, 0) if self._closed else self._open.pop(reservation, (None, 0))
            if lease is not None:
                charged = charge(amount)
                lease.end(amount, charged)
                self._stir()
        if lease is None:
            return self._file.close(reservation, charge)
        if lease.idle < 0:
            self._renew([lease])
        return charged

    def totals(self, scope: str) -> tuple[int, int]:
        """What is spent, and what is reserved; idle leases of this process count as neither."""
        self._file.access.check()
        with self._filing:
            spent, reserved = self._file.totals(scope)
            with self._counting:
                for lease in self._leases.values():
                    if scope in lease.scopes:
                        spent += lease.spent
                        reserved -= lease.spent + lease.idle
        return min(spent, MOST), reserved

    def reclaim(self, gone: Gone) -> int:
        """Close what nobody will close any more, charging what was sent, and return how many that were."""
        return self._file.reclaim(gone)

    def book(self) -> None:
        """Tell the file what was spent, and leave in it no more than what calls under way have reserved."""
        # What a forked child has of its parent's leases is the parent's to book.
        if self._file.access.forked:
            return
        with self._filing:
            if not self._closed:
                self._renew([lease for lease in self._leases.values() if lease.stirred])

    def shut(self) -> None:
        """Book what was spent, and close the file; what calls under way have reserved stays so."""
        with nullcontext() if self._file.access.forked else self._filing:
            try:
                self.book()
            finally:
                self._closed = True
                # Lets the thread end.
                self._stirred.set()
                self._file.shut()

    def _begun(self, key: _Scopes, reservation: str, amount: int) -> bool:
        """Begin a call with what is idle, if that is enough."""
        with self._counting:
            lease = self._leases.get(key)
            if lease is None or lease.idle < amount or self._closed:
                return False
            lease.begin(amount)
            self._open[reservation] = lease, amount
            return True

    def _borrow(self, reservation: str, scopes: Mapping[str, int | None], amount: int) -> Short | None:
        """Begin a call with money from the file, and take some for the next ones."""
        key = tuple(scopes.items())
        # Whoever was here before may have taken enough.
        if self._begun(key, reservation, amount):
            return None
        with self._counting:
            lease = self._leases.setdefault(key, _Lease(dict(scopes)))
        (renewed,) = self._renew([lease], asked=amount)
        if renewed.short is None:
            with self._counting:
                # Given for this call, so that no other thread could begin one with it.
                lease.idle += amount
                lease.begin(amount)
                self._open[reservation] = lease, amount
                self._stir()
        return renewed.short

    def _unless_idle(self, reserve: Callable[[], Short | None]) -> Short | None:
        """Reserve in the file, if need be with what other leases of this process give back."""
        with self._filing:
            short = reserve()
            if short is None:
                return None
            others = [lease for lease in self._leases.values() if short.scope in lease.scopes and lease.stirred]
            if not others:
                return short
            self._renew(others)
            return reserve()

    def _renew(
        self, leases: Sequence[_Lease], idle: Callable[[_Lease], int] = lambda _: 0, asked: int = 0
    ) -> list[Renewed]:
        """Book what was spent under leases, and give back what is not reserved, asked or left idle."""
        with self._filing:
            with self._counting:
                renewals = [lease.renewal(idle(lease), asked) for lease in leases]
            try:
                with self._file.access.changing() as connection:
                    done = [renew(connection, renewal, self._owner) for renewal in renewals]
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
            return done

    def _forget(self, lease: _Lease) -> None:
        """Close what was reserved under a lease that somebody took for abandoned, and so charged in full."""
        lease.idle = lease.spent = lease.reserved = 0
        self._open = {name: found for name, found in self._open.items() if found[0] is not lease}

    def _stir(self) -> None:
        """See to it that somebody goes to the file soon."""
        if not self._stirred.is_set():
            self._stirred.set()
            if self._clerk is None:
                # A daemon, so that it keeps no process alive; what is left at exit is booked then.
                self._clerk = threading.Thread(target=self._work, name="pointsman-leases", daemon=True)
                self._clerk.start()

    def _work(self) -> None:
        while not self._closed:
            if self._stirred.wait(_LINGER_SECONDS):
                time.sleep(_PERIOD_SECONDS)
                self._stirred.clear()
                # Nothing is lost by it, it is tried again, and whoever needs the file meanwhile hears of it.
                with suppress(Exception):
                    self._strike()
            else:
                with self._counting:
                    if not self._stirred.is_set():
                        self._clerk = None
                        return

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
                self._renew(due, lambda lease: lease.wanted)
            finally:
                with self._counting:
                    self._leases = {key: lease for key, lease in self._leases.items() if lease.used}
                    if any(lease.stirred for lease in self._leases.values()):
                        self._stir()


_stores: weakref.WeakSet[LeaseStore] = weakref.WeakSet()


@atexit.register
def _book_all() -> None:
    for store in list(_stores):
        # What cannot be booked is charged with its lease.
        with suppress(PointsmanError):
            store.book()
