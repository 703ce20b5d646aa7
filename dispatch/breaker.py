"""One circuit breaker over a sliding window of calls: closed, open, half-open with one probe.

The states and the half-open probe are those of M. Nygard, *Release It!*, 2nd ed. (2018), "Circuit Breaker"; the
cool-down that doubles up to a cap with jitter follows M. Brooker, "Exponential Backoff And Jitter", AWS (2015).
"""

from __future__ import annotations

import math
import weakref
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from ..configs.errors import ConfigError
from ..configs.words import FailureKind

__all__ = ["Breaker", "HealthKey", "HealthLimits", "HealthState", "State", "Verdict"]

State = Literal["closed", "open", "half_open"]
Verdict = Literal["ill", "down", "well", "neutral"]

# Below 20 calls the 95th percentile by nearest rank is the slowest call itself.
_P95_CALLS: Final = 20
_MOST_DOUBLINGS: Final = 60


class HealthKey(NamedTuple):
    """What can fail by itself: a model at a provider, in one region where the provider has several."""

    provider: str
    model: str
    region: str = ""


@dataclass(frozen=True, slots=True)
class HealthLimits:
    """When a breaker opens, and for how long. All times are seconds.

    Attributes:
        window: How long a call counts.
        samples: The most calls remembered of one key; older ones make room.
        consecutive: Failures in a row that open it.
        rate: Share of failures, in 0..1, that opens it once there are ``calls`` of them in the window.
        calls: The least number of calls before a share or a percentile means anything.
        sla: 95th percentile of the latency above which it opens; None for no such bound.
        cool_down: How long it stays open the first time; each time in a row it doubles.
        cool_down_cap: Where the doubling ends, jitter not counted.
        jitter: Largest share by which a cool-down is lengthened at random, so that not all come back at once.
        longest_hold: The longest ``retry-after`` that is believed.

    Raises:
        ConfigError: A limit is out of its range.
    """

    window: float = 60.0
    samples: int = 512
    consecutive: int = 5
    rate: float = 0.5
    calls: int = 10
    sla: float | None = None
    cool_down: float = 5.0
    cool_down_cap: float = 300.0
    jitter: float = 0.2
    longest_hold: float = 86_400.0

    def __post_init__(self) -> None:
        fine = (
            0 < self.window < math.inf
            and 1 <= self.calls <= self.samples
            and self.consecutive >= 1
            and 0 < self.rate <= 1
            and (self.sla is None or self.sla > 0)
            and 0 < self.cool_down <= self.cool_down_cap < math.inf
            and 0 <= self.jitter < math.inf
            and 0 < self.longest_hold < math.inf
        )
        if not fine:
            raise ConfigError(f"the limits of a breaker do not fit together: {self}")


@dataclass(frozen=True, slots=True)
class HealthState:
    """One breaker as it stands, for display.

    Attributes:
        calls: Calls in the window; ``errors`` of them failed.
        consecutive: Failures in a row.
        p95: 95th percentile (nearest rank) of the latencies of answered calls in seconds, None without any.
        retry_in: Seconds until a probe may pass, 0 when calls pass already.
        reason: Why it opened, empty while it is closed.
        trips: Times it opened in a row.
    """

    key: HealthKey
    state: State
    calls: int
    errors: int
    consecutive: int
    p95: float | None
    retry_in: float
    reason: str
    trips: int


class Breaker:
    """The state of one key. ``reason`` is empty while it is closed; open ends, and half-open begins, at ``until``."""

    def __init__(self, limits: HealthLimits, sla: float | None) -> None:
        self.limits = limits
        self.sla = sla
        self.generation = 0
        self.until = 0.0
        self.reason = ""
        self.trips = 0
        self.closed_at = -math.inf
        self.probe: weakref.ref[object] | None = None
        self.window = _Window(limits.window, limits.samples)
        self.consecutive = 0

    def refusal(self, now: float) -> str | None:
        """Why no call may pass now, None when one may."""
        if not self.reason:
            return None
        if now < self.until:
            return f"circuit open for {self.until - now:.1f} s more: {self.reason}"
        if self._probing():
            return f"one probe is under way: {self.reason}"
        return None

    def add(
        self,
        now: float,
        latency: float,
        kind: FailureKind | None,
        verdict: Verdict,
        jitter: Callable[[], float],
    ) -> None:
        """Count a call made while it was closed, and open if that was one too many."""
        well = verdict == "well"
        slow = self.sla is not None and latency > self.sla
        # The latency of a failure would make a provider that refuses quickly look fast.
        self.window.add(now, well, latency if kind is None else None, slow)
        self.consecutive = 0 if well else self.consecutive + 1
        reason = str(kind) if verdict == "down" else self._illness()
        if reason:
            self._trip(now, reason, jitter(), longest=verdict == "down")

    def probed(self, now: float, latency: float, kind: FailureKind | None, verdict: Verdict, jitter: float) -> None:
        """Close or open again by what the probe brought back."""
        if verdict != "well":
            self._trip(now, f"the probe failed: {kind}", jitter, longest=verdict == "down")
        elif kind is None and self.sla is not None and latency > self.sla:
            self._trip(now, f"the probe took {latency:.2f} s, over {self.sla:g} s", jitter)
        elif now >= self.until:
            self.reason = ""
            self.closed_at = now
            self._start_anew()

    def hold(self, now: float, wait: float, *, current: bool) -> None:
        """Open until the provider's own time; the late answer of an earlier call can only lengthen that."""
        if current or self.reason:
            self.open(now + wait, f"rate limited for {wait:g} s")

    def open(self, until: float, reason: str) -> None:
        """Let nothing through before ``until``."""
        self.until = max(self.until, until) if self.reason else until
        self.reason = reason
        self._start_anew()

    def state(self, key: HealthKey, now: float) -> HealthState:
        """The breaker as it stands."""
        self.window.prune(now)
        state: State = "closed" if not self.reason else "open" if now < self.until else "half_open"
        return HealthState(
            key=key,
            state=state,
            calls=len(self.window),
            errors=self.window.errors,
            consecutive=self.consecutive,
            p95=self.window.p95(),
            retry_in=max(0.0, self.until - now) if self.reason else 0.0,
            reason=self.reason,
            trips=self.trips,
        )

    def _probing(self) -> bool:
        return self.probe is not None and self.probe() is not None

    def _trip(self, now: float, reason: str, jitter: float, *, longest: bool = False) -> None:
        limits = self.limits
        if not self.reason and now - self.closed_at > limits.window:
            self.trips = 0
        doubled = limits.cool_down * 2.0 ** min(self.trips, _MOST_DOUBLINGS)
        seconds = limits.cool_down_cap if longest else min(doubled, limits.cool_down_cap)
        self.trips += 1
        self.open(now + seconds * (1 + limits.jitter * jitter), reason)

    def _start_anew(self) -> None:
        # What calls of an earlier state bring back late must not be counted in this one.
        self.generation += 1
        self.window.clear()
        self.consecutive = 0

    def _illness(self) -> str:
        limits, window = self.limits, self.window
        if self.consecutive >= limits.consecutive:
            return f"{self.consecutive} failures in a row"
        calls = len(window)
        if calls >= limits.calls and window.errors >= limits.rate * calls:
            return f"{window.errors} of {calls} calls failed"
        enough = max(limits.calls, _P95_CALLS)
        if self.sla is not None and window.timed >= enough and window.timed - window.slow < _rank(window.timed):
            return f"p95 latency over {self.sla:g} s"
        return ""


class _Sample(NamedTuple):
    at: float
    well: bool
    latency: float | None
    slow: bool


class _Window:
    """The calls of the last seconds, bounded in number too, with their counts kept up to date."""

    def __init__(self, seconds: float, most: int) -> None:
        self._seconds, self._most = seconds, most
        self._samples: deque[_Sample] = deque()
        self.errors = self.timed = self.slow = 0

    def __len__(self) -> int:
        return len(self._samples)

    def add(self, now: float, well: bool, latency: float | None, slow: bool) -> None:
        self.prune(now)
        if len(self._samples) >= self._most:
            self._count(self._samples.popleft(), -1)
        sample = _Sample(now, well, latency, slow)
        self._samples.append(sample)
        self._count(sample, 1)

    def prune(self, now: float) -> None:
        while self._samples and self._samples[0].at <= now - self._seconds:
            self._count(self._samples.popleft(), -1)

    def clear(self) -> None:
        self._samples.clear()
        self.errors = self.timed = self.slow = 0

    def p95(self) -> float | None:
        latencies = sorted(sample.latency for sample in self._samples if sample.latency is not None)
        return latencies[_rank(len(latencies)) - 1] if latencies else None

    def _count(self, sample: _Sample, by: int) -> None:
        if not sample.well:
            self.errors += by
        if sample.latency is not None:
            self.timed += by
            if sample.slow:
                self.slow += by


def _rank(calls: int) -> int:
    """Nearest rank of the 95th percentile, from 1; in whole numbers, for 0.95 has no exact float."""
    return -(-95 * calls // 100)
