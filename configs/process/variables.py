"""Set a context variable for the duration of a block."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

__all__ = ["set_to"]

T = TypeVar("T")


@contextmanager
def set_to(variable: ContextVar[T], value: T) -> Iterator[None]:
    """Set a variable inside the block and restore it afterwards, as tokens themselves do from Python 3.14 on.

    Args:
        variable: The variable.
        value: Its value inside the block.
    """
    token = variable.set(value)
    try:
        yield
    finally:
        variable.reset(token)
