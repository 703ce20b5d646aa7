"""Texts with unknown parts: each unknown part is one character that says where it came from."""

from __future__ import annotations

__all__ = ["DATA", "HOLES", "REMOTE", "UNKNOWN", "known", "merged", "names"]

UNKNOWN = "\uf8f0"
"""Stands for text that nothing is known about, such as a variable that is set elsewhere."""
DATA = "\uf8f1"
"""Stands for what a program read on this machine."""
REMOTE = "\uf8f2"
"""Stands for what came from another machine."""
HOLES = UNKNOWN + DATA + REMOTE


def known(value: str) -> bool:
    """Whether no part of a text is unknown."""
    return UNKNOWN not in value and DATA not in value and REMOTE not in value


def merged(*values: str) -> str:
    """Return the single hole that stands for something made from these texts."""
    made = "".join(values)
    return REMOTE if REMOTE in made else DATA if DATA in made else UNKNOWN


def names(text: str) -> frozenset[str]:
    """Return the names in a text, separated by blanks."""
    return frozenset(text.split())
