"""Provider health: one circuit breaker for each model at each provider and region."""

from __future__ import annotations

import random
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final, Self

from ...configs.catalog import ModelCard, Usage
from ...configs.process.forks import reset_in_children
from ...configs.schema import HealthLimits, Settings
from ...configs.words import FailureKind
from ...ledger.health import HealthBook, HealthRow
from ..failures import FAILURES, Verdict
from .breaker import Breaker, Cause, HealthKey, HealthState, Outcome

__all__ = ["Health", "HealthKey", "HealthState", "Permit"]

_LOOK_SECONDS: Final = 3.0
"""How often a process that makes calls checks the breakers of others: a cool-down takes at least five seconds."""
_SKEW_SECONDS: Final = 1.0
"""A stored time that is later than the local one by less than this counts as the same."""
_CAUSES: Final[Mapping[str, Cause]] = {cause.value: cause for cause in Cause}


class Health:
    """The breakers of one process, made at first use of each key; thread-safe.

    Args:
        limits: The limits for every key.
        slas: Model id (``provider/model``) -> its own ``sla`` in seconds.
        book: Storage of open breakers shared with other processes; None for none.
        clock: A monotonic clock, in seconds.
        wall: Seconds since the epoch, for the stored breakers.
        jitter: Returns a random number in 0..1 for each cool-down.
    """

    def __init__(
        self,
        limits: HealthLimits | None = None,
        *,
        slas: Mapping[str, float] | None = None,
        book: HealthBook | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._limits = limits or HealthLimits()
        self._slas = dict(slas or {})
        self._clock, self._wall, self._jitter = clock, wall, jitter
        self._lock = threading.Lock()
        self._breakers: dict[HealthKey, Breaker] = {}
        self._book = book
        self._kept: set[HealthKey] = set()
        self._down_elsewhere: set[HealthKey] = set()
        self._next_look = self._clock() + _LOOK_SECONDS
        reset_in_children(self)
        if book is not None:
            self.adopt(book.load())

    @classmethod
    def of(cls, settings: Settings, cards: Iterable[ModelCard], ledger: Path | None) -> Health:
        """Make the breakers from the configuration.

        Args:
            settings: The limits, and the models' own ``sla``.
            cards: The catalogue made from them.
            ledger: The file that stores open breakers; None to store none.
        """
        slas = {f"{card.provider}/{card.name}": settings.models[card.id].sla for card in cards}
        return cls(
            settings.routing.health,
            slas={name: sla for name, sla in slas.items() if sla is not None},
            book=None if ledger is None else HealthBook(ledger),
        )

    def reset_after_fork(self) -> None:
        """Reset in a forked child: the parent's probes do not report here."""
        self._lock = threading.Lock()
        for breaker in self._breakers.values():
            breaker.probe = None

    def allow(self, key: HealthKey, *, last: bool = False) -> Permit | str:
        """Check whether a call may be made.

        Args:
            key: The model to call.
            last: Whether there is no other candidate, so that a model that is only slow may be asked.

        Returns:
            A permit, whose result must be recorded or which must be cancelled (a ``with`` block cancels it), or the
            reason why the call must not be made.
        """
        now = self._clock()
        if self._book is not None and now >= self._next_look:
            self._next_look = now + _LOOK_SECONDS
            self._book.look(self.adopt)
        with self._lock:
            breaker = self._breaker(key)
            refusal = breaker.refusal(now) if breaker.reason else None
            if refusal is not None:
                return Permit(self, key, None) if last and breaker.cause is Cause.SLOW else refusal
            permit = Permit(self, key, breaker.generation)
            if breaker.reason:
                breaker.probe = weakref.ref(permit)
            return permit

    def merely_slow(self, key: HealthKey) -> bool:
        """Return whether a model's breaker is open only because the model has become slow."""
        with self._lock:
            breaker = self._breaker(key)
            return bool(breaker.reason) and breaker.cause is Cause.SLOW

    def held(self, key: HealthKey) -> float:
        """Return the seconds for which a breaker is open only because of the provider's rate limit; 0 if it is not."""
        with self._lock:
            breaker = self._breaker(key)
            return max(0.0, breaker.until - self._clock()) if breaker.cause is Cause.LIMITED else 0.0

    def try_now(self, key: HealthKey) -> None:
        """Let the next call through an open breaker as its probe, before the cool-down is over."""
        with self._lock:
            self._breaker(key).until = self._clock()

    def states(self) -> list[HealthState]:
        """Return the state of every breaker used so far, ordered by key."""
        with self._lock:
            now = self._clock()
            return [breaker.state(key, now) for key, breaker in sorted(self._breakers.items())]

    def adopt(self, rows: Iterable[HealthRow]) -> None:
        """Adopt the breakers that other processes have opened.

        Another process's open breaker opens the local one, unless its cause is `Cause.DOWN`, since processes may have
        different keys. A breaker that is no longer stored was closed elsewhere: the next local call may try.

        Args:
            rows: All rows stored now.
        """
        with self._lock:
            now, wall = self._clock(), self._wall()
            kept: set[HealthKey] = set()
            self._down_elsewhere.clear()
            for row in rows:
                key = HealthKey(row.provider, row.model, row.region)
                kept.add(key)
                left = row.until - wall
                cause = _CAUSES.get(row.cause)
                if cause is Cause.DOWN:
                    self._down_elsewhere.add(key)
                if cause in (None, Cause.DOWN) or not left > 0:
                    continue
                breaker = self._breaker(key)
                until = now + min(left, breaker.limits.longest_hold)
                if not breaker.reason or until > breaker.until + _SKEW_SECONDS:
                    breaker.trips = max(breaker.trips, row.trips)
                    breaker.open(until, row.reason, cause)
            for key in self._kept - kept:
                gone = self._breakers.get(key)
                if gone is not None and gone.cause is not Cause.DOWN:
                    gone.until = min(gone.until, now)
            self._kept = kept

    def _breaker(self, key: HealthKey) -> Breaker:
        breaker = self._breakers.get(key)
        if breaker is None:
            sla = self._slas.get(f"{key.provider}/{key.model}", self._limits.sla)
            breaker = self._breakers[key] = Breaker(self._limits, sla)
        return breaker

    def _settle(self, permit: Permit, call: Outcome | None) -> None:
        with self._lock:
            if permit.settled:
                return
            permit.settled = True
            breaker = self._breakers[permit.key]
            was_probe = breaker.probe is not None and breaker.probe() is permit
            if was_probe:
                breaker.probe = None
            if call is None:
                return
            before = breaker.reason, breaker.until
            verdict: Verdict = "well" if call.kind is None else FAILURES[call.kind].health
            now = self._clock()
            wait = _hold(call.retry_after, breaker.limits) if call.kind is FailureKind.RATE_LIMIT else None
            if wait is not None:
                breaker.hold(now, wait, current=was_probe or permit.generation == breaker.generation)
            elif verdict == "neutral":
                return
            elif was_probe:
                breaker.probed(now, call, verdict, self._jitter())
            elif permit.generation == breaker.generation:
                breaker.add(now, call, verdict, self._jitter)
            if self._book is None:
                return
            recovered = verdict == "well" and not breaker.reason and permit.key in self._down_elsewhere
            if recovered or (breaker.reason, breaker.until) != before:
                self._down_elsewhere.discard(permit.key)
                self._keep(self._book, permit.key, breaker, now)

    def _keep(self, book: HealthBook, key: HealthKey, breaker: Breaker, now: float) -> None:
        if breaker.reason:
            until = self._wall() + breaker.until - now
            book.put(HealthRow(*key, until, breaker.reason, breaker.cause.value, breaker.trips))
        else:
            book.drop(*key)


class Permit:
    """Permission to make one call; as a ``with`` block, it is cancelled at the end unless a result was recorded.

    A permit that is garbage-collected counts as cancelled, so that a lost one cannot block the probe for ever.

    Attributes:
        key: The model to call.
        generation: The breaker's generation when it was given; None for a call let past an open breaker, whose result
            does not count.
        settled: Whether its result is recorded or it is cancelled.
    """

    __slots__ = ("__weakref__", "_health", "generation", "key", "settled")

    def __init__(self, health: Health, key: HealthKey, generation: int | None) -> None:
        self._health = health
        self.key = key
        self.generation = generation
        self.settled = False

    def record(
        self,
        latency: float,
        kind: FailureKind | None = None,
        *,
        usage: Usage | None = None,
        retry_after: float | None = None,
    ) -> None:
        """Record how the call went; only the first record counts.

        Args:
            latency: Seconds to the answer, or for a stream to its first token; the SLA applies to it.
            kind: What went wrong; None for a usable answer.
            usage: Tokens of the whole call, needed to tell whether it was slow for its amount of work; None if unknown.
            retry_after: Seconds the provider asked to wait.
        """
        self._health._settle(self, Outcome(max(0.0, latency), kind, usage, retry_after))

    def cancel(self) -> None:
        """Give the permit back without a result."""
        self._health._settle(self, None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.cancel()


def _hold(retry_after: float | None, limits: HealthLimits) -> float | None:
    if retry_after is None or not retry_after > 0:
        return None
    return min(retry_after, limits.longest_hold)
