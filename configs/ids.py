"""Ids of decisions, calls and reservations: unique, ordered in time, and without a system call of their own."""

from __future__ import annotations

import time
from random import getrandbits

__all__ = ["new_id"]


def new_id() -> str:
    """Make 32 hex digits that nobody else has: the time in milliseconds or so, then 80 random bits.

    Ids that follow each other in time stand side by side in an index, as RFC 9562, section 5.7, has it. The generator
    is seeded by the system anew in each process; ids name things and open none, so that guessing one is of no use.
    """
    return f"{time.time_ns() >> 20:012x}{getrandbits(80):020x}"
