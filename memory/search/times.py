"""Parse time expressions into time windows: "last week", "in March", "3 days ago".

Only a few fixed English forms are recognised, and only where they are unambiguous: "in March" but not "march" alone,
"last week" but not "the last". Everything else is not a time, so that no item is left out by a guess.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta

__all__ = ["window_in"]

_MONTHS = (
    "january february march april may june july august september october november december".split()  # noqa: SIM905
)
_DAYS = "monday tuesday wednesday thursday friday saturday sunday".split()  # noqa: SIM905
_COUNTED = "one two three four five six seven eight nine ten eleven twelve".split()  # noqa: SIM905
_NUMBERS = {"a": 1, "an": 1, **{word: number for number, word in enumerate(_COUNTED, 1)}}
_UNITS = {"minute": 60, "hour": 3600, "day": 86_400, "week": 7 * 86_400}
_MONTH = "|".join(_MONTHS)
# Must not match the end of "1,000", "2.5", "2-3" or "half an".
_COUNT = rf"(?<![\w.,-])(?<!half )(?P<count>\d{{1,3}}|{'|'.join(_NUMBERS)})"
_YEAR = r"(?P<year>(?:19|20)\d\d)(?!-)"
_BESIDE = re.compile(r"\b(?:before|until|till|after|than|between|except)\s+(?:the\s+|in\s+|on\s+)?$")
"""Words before a time expression that mean another window than the expression's own."""

_Window = tuple[datetime, datetime]


def window_in(text: str, now: datetime | None = None) -> _Window | None:
    """Return the first time window that a text names, or None if it names none.

    Recognised forms: today, yesterday, the day before yesterday; this and last week (from Monday), month, year; the
    last or past N minutes, hours, days, weeks, months, years; N of them ago; last or on a day of the week; in a month,
    with a year or without (then the last one that has begun); in a year; an ISO date; and "since" with any of these.
    "Before" or "after" one of them is not recognised.

    Args:
        text: The text, such as a question.
        now: The time of the question; its time zone (local time if it has none) decides when a day begins. None for the
            current local time.

    Returns:
        The start (inclusive) and the end (exclusive); without a time zone if ``now`` has none.
    """
    moment = now or datetime.now()  # noqa: DTZ005 - today's offset may differ from another day's
    lowered = text.lower()
    found = [(match.start(), -len(match[0]), match, read) for form, read in _FORMS for match in form.finditer(lowered)]
    for *_, match, read in sorted(found, key=lambda each: each[:2]):
        before = lowered[: match.start()]
        if _BESIDE.search(before):
            continue
        try:
            start, end = read(match, moment)
            if re.search(r"\bsince\s*$", before) or match[0].startswith("since"):
                end = max(end, _soon(moment), key=datetime.timestamp)
        except (ValueError, OverflowError):  # the 31st of February, or a year out of range
            continue
        return (start, end) if now else (start.astimezone(), end.astimezone())
    return None


def _moved(moment: datetime, seconds: float) -> datetime:
    """Return the moment this many seconds later, regardless of clock changes (daylight saving) in between."""
    return datetime.fromtimestamp(moment.timestamp() + seconds, moment.tzinfo)


def _soon(now: datetime) -> datetime:
    """Return the end of a window that lasts until now; it includes what is written at this moment."""
    return _moved(now, 1)


def _midnight(moment: datetime) -> datetime:
    return moment.replace(hour=0, minute=0, second=0, microsecond=0)


def _month(year: int, month: int, now: datetime) -> datetime:
    """Return the beginning of a month; months outside 1 to 12 are in earlier or later years."""
    years, month = divmod(month - 1, 12)
    return _midnight(now).replace(year=year + years, month=month + 1, day=1)


def _day(match: re.Match[str], now: datetime) -> _Window:
    start = _midnight(now) - timedelta(days=match["day"].endswith("yesterday") + ("before" in match["day"]))
    return start, start + timedelta(days=1)


def _period(match: re.Match[str], now: datetime) -> _Window:
    back = match["which"] != "this"
    if match["unit"] == "week":
        start = _midnight(now) - timedelta(days=now.weekday() + 7 * back)
        return start, start + timedelta(days=7)
    if match["unit"] == "month":
        return _month(now.year, now.month - back, now), _month(now.year, now.month - back + 1, now)
    return _month(now.year - back, 1, now), _month(now.year - back + 1, 1, now)


def _back(match: re.Match[str], now: datetime) -> datetime:
    unit, number = match["unit"], match["count"]
    count = _NUMBERS[number] if number in _NUMBERS else int(number)
    if unit in ("minute", "hour"):
        return _moved(now, -count * _UNITS[unit])
    if unit in _UNITS:
        return now - timedelta(seconds=count * _UNITS[unit])
    months = count * (12 if unit == "year" else 1)
    start = _month(now.year, now.month - months, now)
    return start.replace(day=min(now.day, 28), hour=now.hour, minute=now.minute)


def _until_now(match: re.Match[str], now: datetime) -> _Window:
    return _back(match, now), _soon(now)


def _ago(match: re.Match[str], now: datetime) -> _Window:
    start = _back(match, now)
    if match["unit"] in ("minute", "hour"):
        return start, _moved(start, _UNITS[match["unit"]])
    if match["unit"] == "day":
        return _midnight(start), _midnight(start) + timedelta(days=1)
    if match["unit"] == "week":
        monday = _midnight(start) - timedelta(days=start.weekday())
        return monday, monday + timedelta(days=7)
    if match["unit"] == "month":
        return _month(start.year, start.month, now), _month(start.year, start.month + 1, now)
    return _month(start.year, 1, now), _month(start.year + 1, 1, now)


def _weekday(match: re.Match[str], now: datetime) -> _Window:
    back = (now.weekday() - _DAYS.index(match["day"]) - 1) % 7 + 1
    start = _midnight(now) - timedelta(days=back)
    return start, start + timedelta(days=1)


def _named_month(match: re.Match[str], now: datetime) -> _Window:
    month = _MONTHS.index(match["month"]) + 1
    year = int(match["year"]) if match["year"] else now.year - (month > now.month)
    return _month(year, month, now), _month(year, month + 1, now)


def _named_year(match: re.Match[str], now: datetime) -> _Window:
    year = int(match["year"])
    return _month(year, 1, now), _month(year + 1, 1, now)


def _date(match: re.Match[str], now: datetime) -> _Window:
    start = _midnight(now).replace(year=int(match["year"]), month=int(match["month"]), day=int(match["day"]))
    return start, start + timedelta(days=1)


_FORMS: tuple[tuple[re.Pattern[str], Callable[[re.Match[str], datetime], _Window]], ...] = tuple(
    (re.compile(rf"\b{form}\b"), read)
    for form, read in (
        (r"(?P<day>today|(?:day\s+before\s+)?yesterday)", _day),
        (r"(?P<which>this|last|previous)\s+(?P<unit>week|month|year)", _period),
        (rf"(?:last|past)\s+{_COUNT}\s+(?P<unit>minute|hour|day|week|month|year)s?", _until_now),
        (rf"{_COUNT}\s+(?P<unit>minute|hour|day|week|month|year)s?\s+ago", _ago),
        (rf"(?:last|on|since)\s+(?P<day>{'|'.join(_DAYS)})", _weekday),
        (rf"(?:in|during|since)\s+(?P<month>{_MONTH})(?:,?\s+(?:of\s+)?{_YEAR})?", _named_month),
        (rf"(?:in|during|since)\s+{_YEAR}", _named_year),
        (r"(?P<year>(?:19|20)\d\d)-(?P<month>\d\d)-(?P<day>\d\d)", _date),
    )
)
