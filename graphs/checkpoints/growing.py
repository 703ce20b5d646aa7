"""Lists that only grow, so that each checkpoint stores only what was added."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

__all__ = ["Grown", "grown"]


class Grown(list[Any]):
    """A list that `grown` made: none of its items is removed, moved or changed."""


def grown(before: Iterable[Any] | None, more: Iterable[Any]) -> Grown:
    """Add items to a list: the reducer of a channel whose checkpoints store only what is added.

    With `operator.add` each checkpoint would hold the whole list again. Like it, this does not change ``before``.

    Args:
        before: The existing items.
        more: The items to append.
    """
    return Grown((*(before or ()), *more))
