"""One circuit breaker over a sliding window of calls: closed, open, half-open with one probe.

It knows a model's usual speed, to distinguish a model that has become slow from one that writes a long answer.

The states and the half-open probe are those of M. Nygard, *Release It!*, 2nd ed. (2018), "Circuit Breaker"; the
cool-down that doubles up to a cap with jitter follows M. Brooker, "Exponential Backoff And Jitter", AWS (2015).
"""

from __future__ import annotations

import math
import weakref
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal, NamedTuple

from ...configs.catalog import Usage
from ...configs.schema import HealthLimits
from ...configs.words import FailureKind
from ..failures import Verdict

__all__ = ["Breaker", "Cause", "HealthKey", "HealthState", "Outcome", "State"]

State = Literal["closed", "open", "half_open"]

# Below 20 calls the 95th percentile by nearest rank is the slowest call itself.
_P95_CALLS: Final = 20
_MOST_DOUBLINGS: Final = 60

# A slow but healthy hosted model: one second to begin, 5,000 tokens a second of uncached prompt, 20 tokens a second of
# answer, including thinking. A model's actual speed cancels out, since each model is compared with itself; the figures
# only weigh the length of the prompt, the length of the answer and the wait for the first word against each other. The
# models of 2026 read prompts at 2,000 to 20,000 tokens a second and write answers at 20 to 200 (artificialanalysis.ai,
# output speed and time to first token).
_BEGIN_SECONDS: Final = 1.0
_PROMPT_TOKENS_A_SECOND: Final = 5_000.0
_ANSWER_TOKENS_A_SECOND: Final = 20.0

# In a provider's busy hours a model is two or three times as slow (p95 over p50 of its time per token); if the provider
# is in trouble, ten times and more.
_FACTOR: Final = 5.0
# After some dozen slow calls in a row, their speed becomes the usual one: slowness that lasts is the model's own speed,
# and a model that was first compared with too few calls must not be avoided for ever.
_WEIGHT: Final = 1 / 20
_LEAST_SECONDS: Final = 1e-3
# Counts come from a provider's JSON, which can hold any number.
_MOST_TOKENS: Final = 10**9


class Cause(StrEnum):
    """Why a breaker opened."""

    ILL = "ill"
    """Failures that pass on their own."""
    DOWN = "down"
    """The key, the money or the model is missing, which somebody must fix."""
    SLOW = "slow"
    """It answers, but late."""
    LIMITED = "limited"
    """The provider limits its rate."""


class HealthKey(NamedTuple):
    """The unit that can fail on its own: a model at a provider, in one region if the provider has several."""

    provider: str
    model: str
    region: str = ""


class Outcome(NamedTuple):
    """How a call went.

    Attributes:
        latency: Seconds to the answer, or for a stream to its first token; the SLA applies to it.
        kind: What went wrong; None for a usable answer.
        usage: Tokens of the whole call, needed to tell whether it was slow for its amount of work; None if unknown.
        retry_after: Seconds the provider asked to wait.
    """

    latency: float
    kind: FailureKind | None
    usage: Usage | None
    retry_after: float | None


@dataclass(frozen=True, slots=True)
class HealthState:
    """The current state of one breaker, for display.

    Attributes:
        calls: Calls in the window; ``errors`` of them failed.
        consecutive: Failures in a row.
        p95: 95th percentile (nearest rank) of the latencies of answered calls in seconds; None without any.
        retry_in: Seconds until a probe may pass; 0 if a call may pass now.
        reason: Why it opened; empty while it is closed.
        cause: The kind of reason.
        trips: How many times it opened in a row.
    """

    key: HealthKey
    state: State
    calls: int
    errors: int
    consecutive: int
    p95: float | None
    retry_in: float
    reason: str
    cause: Cause
    trips: int


class Breaker:
    """The breaker of one key. ``reason`` is empty while it is closed; at ``until`` open turns into half-open."""

    def __init__(self, limits: HealthLimits, sla: float | None) -> None:
        self.limits = limits
        self.sla = sla
        self.generation = 0
        self.until = 0.0
        self.reason = ""
        self.cause = Cause.ILL
        self.trips = 0
        self.closed_at = -math.inf
        self.probe: weakref.ref[object] | None = None
        self.window = _Window(limits.window, limits.samples)
        self.pace = _Pace(limits.calls)
        self.consecutive = 0
        self.slow_in_a_row = 0

    def refusal(self, now: float) -> str | None:
        """Return why an open breaker lets no call pass now; None if one may pass."""
        if now < self.until:
            return f"circuit open for {self.until - now:.1f} s more: {self.reason}"
        if self.probe is not None and self.probe() is not None:
            return f"one probe is under way: {self.reason}"
        return None

    def add(self, now: float, call: Outcome, verdict: Verdict, jitter: Callable[[], float]) -> None:
        """Count a call made while the breaker was closed, and open it if a limit is reached."""
        well = verdict == "well"
        # Latencies of failures are not counted: a provider that refuses quickly would look fast.
        answered = call.kind is None
        slow = answered and call.latency > self._bound(call)
        self.window.add(now, well, call.latency if answered else None, slow)
        self.consecutive = 0 if well else self.consecutive + 1
        if answered:
            self.slow_in_a_row = self.slow_in_a_row + 1 if slow else 0
        if verdict == "down":
            self._trip(now, str(call.kind), Cause.DOWN, jitter())
        elif reason := self._illness():
            self._trip(now, reason, Cause.ILL, jitter())
        elif reason := self._slowness():
            self._trip(now, reason, Cause.SLOW, jitter())

    def probed(self, now: float, call: Outcome, verdict: Verdict, jitter: float) -> None:
        """Close or reopen the breaker according to the probe's result."""
        bound = self._bound(call) if call.kind is None else math.inf
        if verdict != "well":
            cause = Cause.DOWN if verdict == "down" else Cause.ILL
            self._trip(now, f"the probe failed: {call.kind}", cause, jitter)
        elif call.latency > bound:
            self._trip(now, f"the probe took {call.latency:.2f} s, over {bound:.3g} s", Cause.SLOW, jitter)
        elif now >= self.until:
            self.reason = ""
            self.closed_at = now
            self._start_anew()

    def hold(self, now: float, wait: float, *, current: bool) -> None:
        """Open until the time the provider asked for; a late answer to an earlier call can only extend that."""
        if current or self.reason:
            self.open(now + wait, f"rate limited for {wait:g} s", Cause.LIMITED)

    def open(self, until: float, reason: str, cause: Cause) -> None:
        """Let no call through before ``until``."""
        self.until = max(self.until, until) if self.reason else until
        self.reason = reason
        self.cause = cause
        self._start_anew()

    def state(self, key: HealthKey, now: float) -> HealthState:
        """Return the breaker's current state."""
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
            cause=self.cause,
            trips=self.trips,
        )

    def _bound(self, call: Outcome) -> float:
        """Return the seconds beyond which an answer is slow, infinite if unknown; without an SLA, update the pace."""
        if self.sla is not None:
            return self.sla
        return math.inf if call.usage is None else self.pace.bound(call.latency, call.usage, self.limits.slack)

    def _trip(self, now: float, reason: str, cause: Cause, jitter: float) -> None:
        limits = self.limits
        if not self.reason and now - self.closed_at > limits.window:
            self.trips = 0
        doubled = limits.cool_down * 2.0 ** min(self.trips, _MOST_DOUBLINGS)
        # A fault that somebody must fix first does not pass within seconds.
        seconds = limits.cool_down_cap if cause is Cause.DOWN else min(doubled, limits.cool_down_cap)
        self.trips += 1
        self.open(now + seconds * (1 + limits.jitter * jitter), reason, cause)

    def _start_anew(self) -> None:
        # Late results of calls from an earlier state must not count in this one.
        self.generation += 1
        self.window.clear()
        self.consecutive = self.slow_in_a_row = 0

    def _illness(self) -> str:
        limits, window = self.limits, self.window
        if self.consecutive >= limits.consecutive:
            return f"{self.consecutive} failures in a row"
        calls = len(window)
        if calls >= limits.calls and window.errors >= limits.rate * calls:
            return f"{window.errors} of {calls} calls failed"
        return ""

    def _slowness(self) -> str:
        limits, window = self.limits, self.window
        bound = "what is usual for it" if self.sla is None else f"{self.sla:g} s"
        # Sequential callers never get enough slow answers into the window for a percentile.
        if self.slow_in_a_row >= limits.consecutive:
            return f"{self.slow_in_a_row} answers in a row took over {bound}"
        if self.sla is None:
            # Without an SLA, one slow answer in twenty proves nothing.
            many = window.timed >= limits.calls and window.slow >= limits.rate * window.timed
            return f"{window.slow} of {window.timed} answers took over {bound}" if many else ""
        enough = max(limits.calls, _P95_CALLS)
        return f"p95 latency over {bound}" if window.timed >= enough and 20 * window.slow > window.timed else ""


def _reckoned(usage: Usage) -> float:
    """Return the seconds that a slow but healthy model would need for a call.

    Args:
        usage: Tokens of the prompt and the answer.
    """
    prompt = min(max(0, usage.input - usage.cache_read), _MOST_TOKENS)
    answer = min(max(0, usage.output), _MOST_TOKENS)
    return _BEGIN_SECONDS + prompt / _PROMPT_TOKENS_A_SECOND + answer / _ANSWER_TOKENS_A_SECOND


class _Pace:
    """A moving geometric mean of the ratio of a model's latency to the latency expected for its work.

    It is geometric because latencies vary by factors rather than by seconds.

    Args:
        calls: How many answers it takes to know the usual speed.
    """

    def __init__(self, calls: int) -> None:
        self._least = calls
        self._calls = 0
        self._log = 0.0

    def bound(self, latency: float, usage: Usage, slack: float) -> float:
        """Return the seconds above which this answer is slow, infinite until enough is known; then learn from it.

        Args:
            latency: Seconds to the answer, or to the first words of a stream. The whole answer's length counts for
                both, since a model that thinks first has written most of it before the first words.
            usage: What it used.
            slack: The least seconds above the usual time.
        """
        work = _reckoned(usage)
        usual = math.exp(self._log) * work
        known = self._calls >= self._least
        self._calls += 1
        weight = max(_WEIGHT, 1 / self._calls)
        self._log += weight * (math.log(max(latency, _LEAST_SECONDS) / work) - self._log)
        return max(_FACTOR * usual, usual + slack) if known else math.inf


class _Sample(NamedTuple):
    at: float
    well: bool
    latency: float | None
    slow: bool


class _Window:
    """The calls of the last seconds, also limited in number, with their counts kept up to date."""

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
        # Nearest rank, from 1; computed in integers, since 0.95 has no exact float.
        rank = -(-95 * len(latencies) // 100)
        return latencies[rank - 1] if latencies else None

    def _count(self, sample: _Sample, by: int) -> None:
        if not sample.well:
            self.errors += by
        if sample.latency is not None:
            self.timed += by
            if sample.slow:
                self.slow += by
