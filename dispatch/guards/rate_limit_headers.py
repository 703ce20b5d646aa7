"""Read what a provider's response headers say of its rate limits."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Final, Literal, NamedTuple

__all__ = ["RateLimitReading", "Resource", "read_limits"]

Resource = Literal["requests", "tokens", "input_tokens", "output_tokens"]


class RateLimitReading(NamedTuple):
    """What is left of one limit.

    Attributes:
        limit: The most a minute takes, or None when the provider does not say.
        remaining: What is left of it.
        resets_at: Seconds since the epoch, by this machine's clock, when all of it is back; None when not said.
    """

    limit: float | None
    remaining: float
    resets_at: float | None


# OpenAI's durations: "1s", "6m0s", "20ms", "1h2m3.5s", and plain seconds elsewhere.
_DURATION: Final = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?")
_UNITS: Final = (86_400.0, 3_600.0, 60.0, 1.0, 0.001)


# The headers of every answer are read, and of many answers within a second most values are the same.
_kept = lru_cache(maxsize=256)


@_kept
def _duration(text: str) -> float | None:
    """Seconds from now."""
    found = _DURATION.fullmatch(text.strip())
    if found is None or not any(found.groups()):
        return _number(text)
    return sum(float(group) * unit for group, unit in zip(found.groups(), _UNITS, strict=True) if group)


@_kept
def _moment(text: str) -> float | None:
    """Seconds since the epoch, by the provider's clock."""
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


class _Scheme(NamedTuple):
    """The headers of one limit; resets are moments, or else durations."""

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
    """Read every limit that the headers of one response tell.

    Args:
        headers: Names in any case; a value that cannot be read counts as absent.
        now: Seconds since the epoch when they came. Where the response has a ``date``, moments are taken relative to
            it, since the two clocks may differ.
    """
    told: dict[str, str] = {}
    date = ""
    # One pass over all headers: each look into an HTTP client's headers is a pass of its own.
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


@_kept
def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 <= value < math.inf else None


@_kept
def _http_date(text: str) -> float | None:
    try:
        return parsedate_to_datetime(text).timestamp() if text else None
    except (ValueError, OverflowError):
        return None
