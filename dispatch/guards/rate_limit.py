"""Stop using a provider before its rate limit is hit: token buckets fed by response headers and configured limits."""

from __future__ import annotations

import math
import re
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Final, Literal, NamedTuple, Self

from ...configs.catalog import ModelCard
from ...configs.errors import ConfigError
from ...configs.process.forks import reset_in_children
from ...configs.schema import Settings

__all__ = [
    "Rate", "RateLimitKey", "RateLimitReading", "RateLimiter", "Reservation", "Resource", "Wait", "read_limits"
]  # fmt: skip

_MINUTE: Final = 60.0
_DAY: Final = 86_400.0
# Amounts smaller than this are rounding errors of refilling.
_CRUMB: Final = 1e-6
# The difference recorded in `Reservation.counted` for a limit that was not known before; finite, for arithmetic.
_NOT_KNOWN: Final = -1e300
Resource = Literal["requests", "tokens", "input_tokens", "output_tokens"]
_Need = dict[Resource, float]
"""How much one call takes of each kind of limit."""


class RateLimitKey(NamedTuple):
    """What a limit applies to; providers set limits for each model or family."""

    provider: str
    model: str


@dataclass(frozen=True, slots=True)
class Rate:
    """A configured limit per minute: requests (``rpm``) and tokens, input and output together (``tpm``).

    Raises:
        ConfigError: A limit is not a positive number.
    """

    rpm: float | None = None
    tpm: float | None = None

    def __post_init__(self) -> None:
        if not all(value is None or 0 < value < math.inf for value in (self.rpm, self.tpm)):
            raise ConfigError(f"a rate limit must be a positive number a minute, or left out: {self}")


@dataclass(frozen=True, slots=True)
class Wait:
    """Why a call does not fit now, and in how many seconds it will; infinite if it never can."""

    reason: str
    seconds: float

    def __str__(self) -> str:
        return self.reason


_RESERVED: ContextVar[Reservation | None] = ContextVar("pointsman_reserved", default=None)
"""The running task's last reservation, which belongs to the call it makes next."""


class RateLimiter:
    """How much every provider and model still accepts; safe to use from several threads.

    A limit is kept as a token bucket that refills evenly, which is how OpenAI and Anthropic describe theirs
    (platform.claude.com/docs/en/api/rate-limits: "continuously replenished up to your maximum limit"). Every call in
    progress has already taken its share, so that parallel callers see what is really left.

    Args:
        rates: Limits to enforce, whether or not the provider reports its own.
        clock: Seconds since the epoch.
    """

    def __init__(
        self, rates: Mapping[RateLimitKey, Rate] | None = None, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._accounts: dict[RateLimitKey, _Account] = {}
        reset_in_children(self)
        now = clock()
        for key, rate in (rates or {}).items():
            limits: dict[Resource, float | None] = {"requests": rate.rpm, "tokens": rate.tpm}
            self._accounts[key] = _Account(
                [
                    _Bucket(resource, limit, limit, limit / _MINUTE, now)
                    for resource, limit in limits.items()
                    if limit is not None
                ]
            )

    @classmethod
    def of(cls, settings: Settings, cards: Iterable[ModelCard]) -> RateLimiter:
        """Make a rate limiter with the limits configured for the models.

        Args:
            settings: The models' entries.
            cards: The catalogue made from them.
        """
        entries = [(RateLimitKey(card.provider, card.name), settings.models[card.id]) for card in cards]
        return cls({key: Rate(entry.rpm, entry.tpm) for key, entry in entries if entry.rpm or entry.tpm})

    def reset_after_fork(self) -> None:
        """Reset in a forked child: the parent's calls end in the parent."""
        self._lock = threading.Lock()
        for account in self._accounts.values():
            account.land()

    def reserve(self, key: RateLimitKey, input_tokens: float, output_tokens: float = 0) -> Reservation | Wait:
        """Take a call's share if it fits, atomically.

        Args:
            key: The key whose limits apply.
            input_tokens: Counted input tokens.
            output_tokens: The most output tokens, which is what providers count until they know the real number.

        Returns:
            The share, to be settled with what was really used or released (a ``with`` block releases it); or why the
            call must wait.
        """
        with self._lock:
            now = self._clock()
            account = self._accounts.setdefault(key, _Account([]))
            need = _need(input_tokens, output_tokens)
            wait = account.wait(need, now)
            if wait is not None:
                return wait
            account.take(need, now)
            reservation = Reservation(self, key, need)
        _RESERVED.set(reservation)
        return reservation

    def hear(self, key: RateLimitKey, headers: Mapping[str, str]) -> None:
        """Learn from the headers of a response to the call that this task last reserved for, as soon as they arrive.

        Args:
            key: The key whose limits they report.
            headers: Headers of an answer or a refusal.
        """
        self.observe(key, headers, _RESERVED.get())

    def observe(
        self, key: RateLimitKey, headers: Mapping[str, str], call: Reservation | None = None
    ) -> dict[Resource, RateLimitReading]:
        """Learn from the headers of a response.

        Args:
            key: The key whose limits they report.
            headers: The headers, with names in any case.
            call: The call they belong to, while it is not settled: the provider has already counted it. All other calls
                in progress are assumed not to be counted yet.

        Returns:
            The limits read from them.
        """
        now = self._clock()
        found = read_limits(headers, now)
        if found:
            with self._lock:
                mine = None if call is None or call.settled or call.key != key or call.home is not self else call
                self._accounts.setdefault(key, _Account([])).learn(found, mine, now)
        return found

    def left(self, key: RateLimitKey) -> dict[Resource, float]:
        """Return what is left of each known limit after reservations; of two limits of a kind, the tighter."""
        with self._lock:
            now = self._clock()
            account = self._accounts.get(key)
            left: dict[Resource, float] = {}
            for bucket in account.buckets if account else ():
                level = bucket.level_at(now)
                left[bucket.resource] = min(level, left.get(bucket.resource, math.inf))
            return left

    def _settle(self, reservation: Reservation, used: _Need) -> None:
        with self._lock:
            if reservation.settled:
                return
            reservation.settled = True
            self._accounts[reservation.key].give_back(reservation, used, self._clock())


class Reservation:
    """A call's share of its limits; as a ``with`` block it is released at the end unless it was settled.

    Attributes:
        counted: None before its own headers arrive. Then, for each limit they report, how much more the provider has
            left than was known locally, with the call itself subtracted in both.
    """

    __slots__ = ("counted", "home", "key", "need", "settled")

    def __init__(self, home: RateLimiter, key: RateLimitKey, need: _Need) -> None:
        self.home = home
        self.key = key
        self.need = need
        self.settled = False
        self.counted: dict[Resource, float] | None = None

    def settle(self, input_tokens: float, output_tokens: float = 0) -> None:
        """Replace the estimate by what was used; only the first settlement counts."""
        self.home._settle(self, _need(input_tokens, output_tokens))

    def keep(self) -> None:
        """Count the whole estimate as used: the call was sent, and its usage is unknown."""
        self.home._settle(self, self.need)

    def release(self) -> None:
        """Give everything back: the call was never sent."""
        self.home._settle(self, dict.fromkeys(self.need, 0.0))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def _need(input_tokens: float, output_tokens: float) -> _Need:
    """Return how much one call takes of each kind of limit."""
    if not (0 <= input_tokens < math.inf and 0 <= output_tokens < math.inf):
        raise ValueError(f"tokens must be finite and not negative: {input_tokens}, {output_tokens}")
    tokens = input_tokens + output_tokens
    return {"requests": 1.0, "tokens": tokens, "input_tokens": input_tokens, "output_tokens": output_tokens}


@dataclass
class _Bucket:
    """A limit that refills evenly; ``rate`` is per second. Later, better counts may take the level below zero."""

    resource: Resource
    limit: float
    level: float
    rate: float
    at: float

    def level_at(self, now: float) -> float:
        # A clock that was set back must not lower the level.
        self.level = min(self.limit, self.level + self.rate * max(0.0, now - self.at))
        self.at = now
        return self.level

    def give_back(self, amount: float, now: float) -> None:
        self.level = min(self.limit, self.level_at(now) + amount)

    def wait(self, amount: float, now: float) -> Wait | None:
        level = self.level_at(now)
        if amount <= level + _CRUMB:
            return None
        noun = self.resource.replace("_", " ")
        if amount > self.limit:
            return Wait(f"needs {amount:.0f} {noun} of a limit of {self.limit:.0f} a minute", math.inf)
        seconds = (amount - level) / self.rate
        return Wait(
            f"no headroom: {max(0.0, level):.0f} of {self.limit:.0f} {noun} left, fits in {seconds:.1f} s", seconds
        )


class _Account:
    """The buckets of one key, configured or reported by the provider, and what calls in progress have taken of them."""

    def __init__(self, configured: list[_Bucket]) -> None:
        self._configured = configured
        self._told: dict[Resource, _Bucket] = {}
        self._flying: defaultdict[Resource, float] = defaultdict(float)

    @property
    def buckets(self) -> list[_Bucket]:
        return [*self._configured, *self._told.values()]

    def land(self) -> None:
        self._flying.clear()

    def wait(self, need: _Need, now: float) -> Wait | None:
        waits = [wait for bucket in self.buckets if (wait := bucket.wait(need[bucket.resource], now))]
        return max(waits, key=lambda wait: wait.seconds, default=None)

    def take(self, need: _Need, now: float) -> None:
        for bucket in self.buckets:
            bucket.level = bucket.level_at(now) - need[bucket.resource]
        self._fly(need, 1)

    def give_back(self, call: Reservation, used: _Need, now: float) -> None:
        counted = call.counted or {}
        rest = {resource: amount - used[resource] for resource, amount in call.need.items()}
        for bucket in self._configured:
            bucket.give_back(rest[bucket.resource], now)
        for resource, bucket in self._told.items():
            more = counted.get(resource, math.inf)
            # The provider has counted the call. The level becomes what it would be had the call been settled before its
            # headers arrived: the lower of the local level, corrected by the rest, and the reported one.
            bucket.give_back(min(rest[resource], more) - min(0.0, more), now)
        if call.counted is None:
            self._fly(call.need, -1)

    def learn(self, found: Mapping[Resource, RateLimitReading], call: Reservation | None, now: float) -> None:
        counted: dict[Resource, float] = {}
        if call is not None:
            if call.counted is None:
                self._fly(call.need, -1)
            call.counted = counted
        for resource, headroom in found.items():
            known = self._told.get(resource)
            limit = headroom.limit or (known.limit if known else headroom.remaining)
            if limit <= 0:
                continue
            remaining = min(headroom.remaining, limit)
            rate = _refill(limit, remaining, headroom.resets_at, now)
            if known is None:
                # The provider may not have counted calls in progress yet, so they are subtracted.
                self._told[resource] = _Bucket(resource, limit, remaining - self._flying[resource], rate, now)
                counted[resource] = _NOT_KNOWN
                continue
            # Answers arrive out of order, and others use the same key: the lower of the two counts is safe, and if it
            # is too low, the refill makes up for it.
            level = known.level_at(now)
            counted[resource] = remaining - level
            known.level = min(level, remaining)
            known.limit, known.rate = limit, rate

    def _fly(self, need: _Need, by: int) -> None:
        for resource, amount in need.items():
            self._flying[resource] = max(0.0, self._flying[resource] + by * amount)


def _refill(limit: float, remaining: float, resets_at: float | None, now: float) -> float:
    """Return the refill per second: what is used, over the time until it is back; the limit a minute if unknown."""
    if resets_at is None or remaining >= limit:
        return limit / _MINUTE
    left = resets_at - now
    # Reset times are given to the second, and no known limit takes more than a day.
    rate = (limit - remaining) / min(max(left, 1.0), _DAY)
    # One call used and back in milliseconds says little about the rate: a limit that is full within a minute is a limit
    # a minute.
    return max(rate, limit / _MINUTE) if left <= _MINUTE else rate


class RateLimitReading(NamedTuple):
    """What is left of one limit.

    Attributes:
        limit: The most a minute allows; None if the provider does not say.
        remaining: What is left of it.
        resets_at: When all of it is back, in seconds since the epoch by this machine's clock; None if not reported.
    """

    limit: float | None
    remaining: float
    resets_at: float | None


# OpenAI's durations: "1s", "6m0s", "20ms", "1h2m3.5s", and plain seconds elsewhere.
_DURATION: Final = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?")
_UNITS: Final = (86_400.0, 3_600.0, 60.0, 1.0, 0.001)


# The headers of every answer are parsed, and most values are the same for many answers within a second.
@lru_cache
def _duration(text: str) -> float | None:
    """Parse a duration to seconds."""
    found = _DURATION.fullmatch(text.strip())
    if found is None or not any(found.groups()):
        return _number(text)
    return sum(float(group) * unit for group, unit in zip(found.groups(), _UNITS, strict=True) if group)


@lru_cache
def _moment(text: str) -> float | None:
    """Parse a time to seconds since the epoch, by the provider's clock."""
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


class _Scheme(NamedTuple):
    """The headers of one limit; ``is_moment`` says whether resets are points in time or durations."""

    resource: Resource
    remaining: str
    limit: str
    reset: str
    is_moment: bool


def _scheme(names: str, resource: Resource, *, is_moment: bool) -> _Scheme:
    name = names.replace("KIND", resource.replace("_", "-"))
    remaining, limit, reset = (name.replace("WHAT", what) for what in ("remaining", "limit", "reset"))
    return _Scheme(resource, remaining, limit, reset, is_moment)


_KINDS: Final[tuple[Resource, ...]] = ("requests", "tokens", "input_tokens", "output_tokens")
# platform.openai.com/docs/guides/rate-limits, "Rate limits in headers"; Groq, Mistral, OpenRouter and others copy it.
# platform.claude.com/docs/en/api/rate-limits, "Response headers".
_SCHEMES: Final = (
    *(_scheme("x-ratelimit-WHAT-KIND", kind, is_moment=False) for kind in _KINDS[:2]),
    *(_scheme("anthropic-ratelimit-KIND-WHAT", kind, is_moment=True) for kind in _KINDS),
)
_NAMES: Final = frozenset(name for scheme in _SCHEMES for name in (scheme.remaining, scheme.limit, scheme.reset))


def read_limits(headers: Mapping[str, str], now: float) -> dict[Resource, RateLimitReading]:
    """Read every limit that the headers of one response report.

    Args:
        headers: The headers, with names in any case; a value that cannot be parsed counts as absent.
        now: When they arrived, in seconds since the epoch. If the response has a ``date``, reset times are taken
            relative to it, since the two clocks may differ.
    """
    told: dict[str, str] = {}
    date = ""
    # One pass over all headers: each lookup in an HTTP client's headers is a pass of its own.
    for name, value in headers.items():
        low = name.lower()
        if low in _NAMES:
            told[low] = value
        elif low == "date":
            date = value
    found: dict[Resource, RateLimitReading] = {}
    if not told:
        return found
    theirs = _http_date(date) or now
    for scheme in _SCHEMES:
        if scheme.remaining not in told or scheme.resource in found:
            continue
        remaining = _number(told[scheme.remaining])
        if remaining is None:
            continue
        reset = (_moment if scheme.is_moment else _duration)(told.get(scheme.reset, ""))
        wait = reset - theirs if reset is not None and scheme.is_moment else reset
        resets_at = None if wait is None else now + max(0.0, wait)
        found[scheme.resource] = RateLimitReading(_number(told.get(scheme.limit, "")), remaining, resets_at)
    return found


@lru_cache
def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 <= value < math.inf else None


@lru_cache
def _http_date(text: str) -> float | None:
    try:
        return parsedate_to_datetime(text).timestamp() if text else None
    except (ValueError, OverflowError):
        return None
