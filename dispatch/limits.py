"""Read what a provider's response headers say of its rate limits."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import MappingProxyType
from typing import Final, Literal

__all__ = ["Headroom", "Resource", "read_limits", "retry_after"]

Resource = Literal["requests", "tokens", "input_tokens", "output_tokens"]


@dataclass(frozen=True, slots=True)
class Headroom:
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


def _duration(text: str, _now: float) -> float | None:
    found = _DURATION.fullmatch(text)
    if found is None or not any(found.groups()):
        return _number(text)
    return sum(float(group) * unit for group, unit in zip(found.groups(), _UNITS, strict=True) if group)


def _moment(text: str, now: float) -> float | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() - now


_Reset = Callable[[str, float], float | None]

# Resource -> name of the headers ("limit", "remaining", "reset" in the gap) and how the reset is written.
# platform.openai.com/docs/guides/rate-limits, "Rate limits in headers"; Groq, Mistral, OpenRouter and others copy it.
# platform.claude.com/docs/en/api/rate-limits, "Response headers".
_TABLE: Final[Mapping[Resource, tuple[tuple[str, _Reset], ...]]] = MappingProxyType(
    {
        "requests": (("x-ratelimit-{}-requests", _duration), ("anthropic-ratelimit-requests-{}", _moment)),
        "tokens": (("x-ratelimit-{}-tokens", _duration), ("anthropic-ratelimit-tokens-{}", _moment)),
        "input_tokens": (("anthropic-ratelimit-input-tokens-{}", _moment),),
        "output_tokens": (("anthropic-ratelimit-output-tokens-{}", _moment),),
    }
)


def read_limits(headers: Mapping[str, str], now: float) -> dict[Resource, Headroom]:
    """Read every limit that the headers of one response tell.

    Args:
        headers: Names in any case; a value that cannot be read counts as absent.
        now: Seconds since the epoch when they came. Where the response has a ``date``, moments are taken relative to
            it, since the two clocks may differ.
    """
    lower = {name.lower(): value for name, value in headers.items()}
    theirs = _http_date(lower.get("date", "")) or now
    found: dict[Resource, Headroom] = {}
    for resource, schemes in _TABLE.items():
        for scheme, read_reset in schemes:
            remaining = _number(lower.get(scheme.format("remaining"), ""))
            if remaining is None:
                continue
            wait = read_reset(lower.get(scheme.format("reset"), "").strip(), theirs)
            resets_at = None if wait is None else now + max(0.0, wait)
            found[resource] = Headroom(_number(lower.get(scheme.format("limit"), "")), remaining, resets_at)
            break
    return found


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Read how many seconds a provider asks to wait.

    Sources: RFC 9110, section 10.2.3 (seconds or an HTTP date); ``retry-after-ms`` is OpenAI's finer form.

    Args:
        headers: Names in any case.
        now: Seconds since the epoch when they came.
    """
    lower = {name.lower(): value for name, value in headers.items()}
    millis = _number(lower.get("retry-after-ms", ""))
    if millis is not None:
        return millis / 1000
    text = lower.get("retry-after", "")
    seconds = _number(text)
    if seconds is not None:
        return seconds
    moment = _http_date(text)
    if moment is None:
        return None
    return max(0.0, moment - (_http_date(lower.get("date", "")) or now))


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 <= value < math.inf else None


def _http_date(text: str) -> float | None:
    try:
        return parsedate_to_datetime(text).timestamp() if text else None
    except (ValueError, OverflowError):
        return None
