"""A context variable that has another value while a block lasts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

__all__ = ["set_to"]

T = TypeVar("T")


@contextmanager
def set_to(variable: ContextVar[T], value: T) -> Iterator[None]:
    """Give a variable a value inside the block, as tokens themselves do from Python 3.14 on.

    Args:
        variable: The variable.
        value: What it holds inside the block; before and after it holds what it held.
    """
    token = variable.set(value)
    try:
        yield
    finally:
        variable.reset(token)
