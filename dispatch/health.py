"""Which providers are well: one circuit breaker for each model at each provider and region."""

from __future__ import annotations

import random
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, Final, Self

from ..configs.words import FailureKind
from .breaker import Breaker, HealthKey, HealthLimits, HealthState, Verdict

__all__ = ["Health", "HealthKey", "HealthLimits", "HealthState", "Permit"]

# ill: counts against the provider. down: no second call would fare better, so one is enough. well: it answered, and
# what is wrong with the answer is the model's or the asker's doing. neutral: says nothing either way.
_VERDICTS: Final[Mapping[FailureKind, Verdict]] = {
    FailureKind.RATE_LIMIT: "ill",
    FailureKind.OVERLOADED: "ill",
    FailureKind.TIMEOUT: "ill",
    FailureKind.CONNECTION: "ill",
    FailureKind.AUTH: "down",
    FailureKind.QUOTA: "down",
    FailureKind.UNAVAILABLE: "down",
    FailureKind.CONTEXT_LENGTH: "neutral",
    FailureKind.CONTENT_FILTER: "neutral",
    FailureKind.BAD_REQUEST: "neutral",
    FailureKind.MALFORMED: "ill",
    FailureKind.REFUSAL: "well",
    FailureKind.TRUNCATED: "well",
    FailureKind.EMPTY: "ill",
    FailureKind.INVALID_OUTPUT: "well",
    FailureKind.DECLINED: "well",
    FailureKind.WRONG_MODEL: "ill",
}


class Health:
    """The breakers of one process, made as keys come; safe to use from several threads.

    Args:
        limits: For every key.
        slas: Model id (``provider/model``) -> its own ``sla`` in seconds.
        clock: Seconds that never go back.
        wall: Seconds since the epoch, for what is kept beyond the process.
        jitter: A number in 0..1 drawn anew for each cool-down.
    """

    def __init__(
        self,
        limits: HealthLimits | None = None,
        *,
        slas: Mapping[str, float] | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._limits = limits or HealthLimits()
        self._slas = dict(slas or {})
        self._clock, self._wall, self._jitter = clock, wall, jitter
        self._lock = threading.Lock()
        self._breakers: dict[HealthKey, Breaker] = {}

    def allow(self, key: HealthKey) -> Permit | str:
        """Ask to call.

        Returns:
            A permit, whose result must be recorded or which must be cancelled (a ``with`` block does), or the reason
            why the call must not be made.
        """
        with self._lock:
            breaker = self._breaker(key)
            now = self._clock()
            refusal = breaker.refusal(now)
            if refusal is not None:
                return refusal
            permit = Permit(self, key, breaker.generation)
            if breaker.reason:
                breaker.probe = weakref.ref(permit)
            return permit

    def states(self) -> list[HealthState]:
        """Every breaker that was ever asked, in the order of the keys."""
        with self._lock:
            now = self._clock()
            return [breaker.state(key, now) for key, breaker in sorted(self._breakers.items())]

    def dump(self) -> list[dict[str, Any]]:
        """What another process should know, as plain JSON values: the breakers that are not closed."""
        with self._lock:
            now, wall = self._clock(), self._wall()
            return [
                {
                    **key._asdict(),
                    "until": wall + max(0.0, breaker.until - now),
                    "reason": breaker.reason,
                    "trips": breaker.trips,
                }
                for key, breaker in sorted(self._breakers.items())
                if breaker.reason
            ]

    def restore(self, rows: Iterable[Mapping[str, Any]]) -> int:
        """Take over what `dump` gave, here or in another process; what this process saw itself stands.

        Args:
            rows: As `dump` gives them; a row of another form is left out, since health can be learned anew.

        Returns:
            How many breakers were opened.
        """
        taken = 0
        with self._lock:
            now, wall = self._clock(), self._wall()
            for row in rows:
                try:
                    key = HealthKey(str(row["provider"]), str(row["model"]), str(row["region"]))
                    left, reason, trips = float(row["until"]) - wall, str(row["reason"]), int(row["trips"])
                except (KeyError, TypeError, ValueError):
                    continue
                if key in self._breakers or not reason or not left > 0 or trips < 0:
                    continue
                breaker = self._breaker(key)
                breaker.trips = trips
                breaker.open(now + min(left, breaker.limits.longest_hold), reason)
                taken += 1
        return taken

    def _breaker(self, key: HealthKey) -> Breaker:
        breaker = self._breakers.get(key)
        if breaker is None:
            sla = self._slas.get(f"{key.provider}/{key.model}", self._limits.sla)
            breaker = self._breakers[key] = Breaker(self._limits, sla)
        return breaker

    def _settle(
        self, permit: Permit, latency: float | None, kind: FailureKind | None, retry_after: float | None
    ) -> None:
        with self._lock:
            if permit.settled:
                return
            permit.settled = True
            breaker = self._breakers[permit.key]
            was_probe = breaker.probe is not None and breaker.probe() is permit
            if was_probe:
                breaker.probe = None
            if latency is None:
                return
            verdict = "well" if kind is None else _VERDICTS[kind]
            now = self._clock()
            wait = _hold(retry_after, breaker.limits) if kind is FailureKind.RATE_LIMIT else None
            if wait is not None:
                breaker.hold(now, wait, current=was_probe or permit.generation == breaker.generation)
            elif verdict == "neutral":
                return
            elif was_probe:
                breaker.probed(now, latency, kind, verdict, self._jitter())
            elif permit.generation == breaker.generation:
                breaker.add(now, latency, kind, verdict, self._jitter)


class Permit:
    """Leave to make one call; as a ``with`` block it is cancelled at the end unless the result was recorded.

    A permit that is dropped counts as cancelled too, so that a lost one cannot keep the probe's place for ever.
    """

    __slots__ = ("__weakref__", "_health", "generation", "key", "settled")

    def __init__(self, health: Health, key: HealthKey, generation: int) -> None:
        self._health = health
        self.key = key
        self.generation = generation
        self.settled = False

    def record(self, latency: float, kind: FailureKind | None = None, *, retry_after: float | None = None) -> None:
        """Say how the call went; only the first word counts.

        Args:
            latency: Seconds to the answer, for a stream to its first token: whatever the SLA is about.
            kind: What went wrong, None for a usable answer.
            retry_after: Seconds the provider asked to wait.
        """
        self._health._settle(self, max(0.0, latency), kind, retry_after)

    def cancel(self) -> None:
        """Give the permit back without a result."""
        self._health._settle(self, None, None, None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cancel()


def _hold(retry_after: float | None, limits: HealthLimits) -> float | None:
    if retry_after is None or not retry_after > 0:
        return None
    return min(retry_after, limits.longest_hold)
