"""Ids of decisions, calls and reservations: unique, and ordered in time."""

from __future__ import annotations

import os
import time

__all__ = ["new_id"]


def new_id() -> str:
    """Make 32 hex digits that nobody else has: the time in milliseconds or so, then 80 random bits of the system.

    Ids that follow each other in time stand side by side in an index, as RFC 9562, section 5.7, has it. A generator of
    the process would repeat itself: in two children forked at once, before it is seeded anew, and wherever a program
    calls `random.seed`.
    """
    return f"{time.time_ns() >> 20:012x}{os.urandom(10).hex()}"
