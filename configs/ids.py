"""Ids of runs' decisions and calls: unique, and without the system call that a UUID costs."""

from __future__ import annotations

from random import getrandbits

__all__ = ["new_id"]


def new_id() -> str:
    """Make 32 hex digits that nobody else has: 128 bits of a generator that the system seeds anew in each process.

    They name things and open none, so that guessing one is of no use.
    """
    return f"{getrandbits(128):032x}"
