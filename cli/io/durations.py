"""Points in time as a person writes them: ``2h`` ago, or a date."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime

from ...configs.errors import ConfigError

__all__ = ["since"]

_UNITS = {"m": 60, "h": 3600, "d": 86400, "w": 604800}


def since(text: str | None) -> float | None:
    """Return the seconds since the epoch of a span before now, such as ``2h``, or of a date (UTC if it names no zone).

    Args:
        text: The value of ``--since``; None if it was not given.

    Raises:
        ConfigError: It is neither.
    """
    if text is None:
        return None
    span = re.fullmatch(r"(\d{1,6})([mhdw])", text)
    if span:
        return time.time() - int(span[1]) * _UNITS[span[2]]
    try:
        at = datetime.fromisoformat(text)
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise ConfigError("--since takes a span such as 30m, 2h, 7d, 4w, or a date such as 2026-11-30") from None
