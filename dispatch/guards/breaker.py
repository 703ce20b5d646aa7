"""One circuit breaker over a sliding window of calls: closed, open, half-open with one probe.

It knows a model's usual speed, to tell a model that has become slow from one that writes a long answer.

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

# A slow but healthy hosted model: a second to begin, 5,000 tokens a second of prompt that is in no cache, 20 tokens a
# second of answer, what it thinks included. How fast a model really is cancels out, for each is compared with itself;
# the figures only weigh the length of a prompt and of an answer against each other and against the wait for the first
# word. Of 2026's models prompts are read at 2,000 to 20,000 tokens a second and answers written at 20 to 200
# (artificialanalysis.ai, output speed and time to first token).
_BEGIN_SECONDS: Final = 1.0
_PROMPT_TOKENS_A_SECOND: Final = 5_000.0
_ANSWER_TOKENS_A_SECOND: Final = 20.0

# A provider's busy hours make a model two or three times as slow (p95 over p50 of its time per token); a provider in
# trouble, ten times and more.
_FACTOR: Final = 5.0
# Some dozen slow calls in a row become what is usual: what lasts is no longer trouble but the model's speed, and one
# that was compared with too few calls at first must not be left alone for ever.
_WEIGHT: Final = 1 / 20
_LEAST_SECONDS: Final = 1e-3
# Counts come out of a provider's JSON, which can hold any number.
_MOST_TOKENS: Final = 10**9


class Cause(StrEnum):
    """Why a breaker opened."""

    ILL = "ill"
    """Failures that pass by themselves."""
    DOWN = "down"
    """The key, the money or the model is missing, which somebody must see to."""
    SLOW = "slow"
    """It answers, but late."""
    LIMITED = "limited"
    """The provider limits its rate."""


class HealthKey(NamedTuple):
    """What can fail by itself: a model at a provider, in one region where the provider has several."""

    provider: str
    model: str
    region: str = ""


class Outcome(NamedTuple):
    """How a call went.

    Attributes:
        latency: Seconds to the answer, for a stream to its first token: whatever the SLA is about.
        kind: What went wrong, None for a usable answer.
        usage: Tokens of the whole, without which nobody can tell whether it was slow for what it did.
        retry_after: Seconds the provider asked to wait.
    """

    latency: float
    kind: FailureKind | None
    usage: Usage | None
    retry_after: float | None


@dataclass(frozen=True, slots=True)
class HealthState:
    """One breaker as it stands, for display.

    Attributes:
        calls: Calls in the window; ``errors`` of them failed.
        consecutive: Failures in a row.
        p95: 95th percentile (nearest rank) of the latencies of answered calls in seconds, None without any.
        retry_in: Seconds until a probe may pass, 0 when calls pass already.
        reason: Why it opened, empty while it is closed.
        cause: What kind of reason that is.
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
    cause: Cause
    trips: int


class Breaker:
    """The state of one key. ``reason`` is empty while it is closed; open ends, and half-open begins, at ``until``."""

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
        """Why no call may pass now although it is open, None when one may."""
        if now < self.until:
            return f"circuit open for {self.until - now:.1f} s more: {self.reason}"
        if self.probe is not None and self.probe() is not None:
            return f"one probe is under way: {self.reason}"
        return None

    def add(self, now: float, call: Outcome, verdict: Verdict, jitter: Callable[[], float]) -> None:
        """Count a call made while it was closed, and open if that was one too many."""
        well = verdict == "well"
        # The latency of a failure would make a provider that refuses quickly look fast.
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
        """Close or open again by what the probe brought back."""
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
        """Open until the provider's own time; the late answer of an earlier call can only lengthen that."""
        if current or self.reason:
            self.open(now + wait, f"rate limited for {wait:g} s", Cause.LIMITED)

    def open(self, until: float, reason: str, cause: Cause) -> None:
        """Let nothing through before ``until``."""
        self.until = max(self.until, until) if self.reason else until
        self.reason = reason
        self.cause = cause
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
            cause=self.cause,
            trips=self.trips,
        )

    def _bound(self, call: Outcome) -> float:
        """Seconds beyond which an answer is slow, infinite where nothing tells; a model's pace learns from each."""
        if self.sla is not None:
            return self.sla
        return math.inf if call.usage is None else self.pace.bound(call.latency, call.usage, self.limits.slack)

    def _trip(self, now: float, reason: str, cause: Cause, jitter: float) -> None:
        limits = self.limits
        if not self.reason and now - self.closed_at > limits.window:
            self.trips = 0
        doubled = limits.cool_down * 2.0 ** min(self.trips, _MOST_DOUBLINGS)
        # What somebody must see to first will not be well in seconds.
        seconds = limits.cool_down_cap if cause is Cause.DOWN else min(doubled, limits.cool_down_cap)
        self.trips += 1
        self.open(now + seconds * (1 + limits.jitter * jitter), reason, cause)

    def _start_anew(self) -> None:
        # What calls of an earlier state bring back late must not be counted in this one.
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
        # One caller after the other never gets enough answers into the window for a percentile once they are slow.
        if self.slow_in_a_row >= limits.consecutive:
            return f"{self.slow_in_a_row} answers in a row took over {bound}"
        if self.sla is None:
            # One answer in twenty may be slow for reasons of its own where nobody has promised anything.
            many = window.timed >= limits.calls and window.slow >= limits.rate * window.timed
            return f"{window.slow} of {window.timed} answers took over {bound}" if many else ""
        enough = max(limits.calls, _P95_CALLS)
        return f"p95 latency over {bound}" if window.timed >= enough and 20 * window.slow > window.timed else ""


def _reckoned(usage: Usage) -> float:
    """Seconds that a slow but healthy model would need for a call.

    Args:
        usage: Tokens of the prompt and the answer.
    """
    prompt = min(max(0, usage.input - usage.cache_read), _MOST_TOKENS)
    answer = min(max(0, usage.output), _MOST_TOKENS)
    return _BEGIN_SECONDS + prompt / _PROMPT_TOKENS_A_SECOND + answer / _ANSWER_TOKENS_A_SECOND


class _Pace:
    """A moving geometric mean of the ratio of a model's latency to the latency expected for its work.

    Geometric, since latencies spread by factors rather than by seconds.

    Args:
        calls: Answers it takes to know what is usual.
    """

    def __init__(self, calls: int) -> None:
        self._least = calls
        self._calls = 0
        self._log = 0.0

    def bound(self, latency: float, usage: Usage, slack: float) -> float:
        """Seconds over which this answer would have been slow, infinite until enough is known; then learn from it.

        Args:
            latency: Seconds to the answer, or to the first words of a stream. The whole answer's length counts for
                either, since a model that thinks first has written most of it before the first words.
            usage: What it used.
            slack: Least seconds beyond what is usual.
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
        # Nearest rank, from 1; in whole numbers, for 0.95 has no exact float.
        rank = -(-95 * len(latencies) // 100)
        return latencies[rank - 1] if latencies else None

    def _count(self, sample: _Sample, by: int) -> None:
        if not sample.well:
            self.errors += by
        if sample.latency is not None:
            self.timed += by
            if sample.slow:
                self.slow += by
