"""Lists that only grow, of which each checkpoint keeps what was added."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

__all__ = ["Grown", "grown"]


class Grown(list[Any]):
    """A list that `grown` made: no item of it is taken away, put before another or changed."""


def grown(before: Iterable[Any] | None, more: Iterable[Any]) -> Grown:
    """Add items to a list: the reducer of a channel whose checkpoints are to grow by what is added alone.

    With `operator.add` each checkpoint would hold the whole list again. Like it, this leaves ``before`` as it is.

    Args:
        before: What there is.
        more: What is added at its end.
    """
    return Grown((*(before or ()), *more))
