"""Ids of decisions, calls and reservations: unique, and ordered by time."""

from __future__ import annotations

import os
import time

__all__ = ["new_id"]


def new_id() -> str:
    """Return a unique id of 32 hex digits: the time in about milliseconds, then 80 random bits from the system.

    Consecutive ids are adjacent in an index, as in RFC 9562, section 5.7. A random generator of the process could
    repeat ids: in two children forked at once, before it is reseeded, and if a program calls `random.seed`.
    """
    return f"{time.time_ns() >> 20:012x}{os.urandom(10).hex()}"
