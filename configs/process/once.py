"""Attributes computed on first use, exactly once, safe for threads and forks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, Self, TypeVar, overload

from .forks import Lock, reset_in_children

__all__ = ["Once"]

T = TypeVar("T")


class Once(Generic[T]):
    """A `functools.cached_property` whose second caller waits for the first.

    Since Python 3.12 the standard one may compute the value once per thread, and before that its lock can stay held
    forever in a forked child.

    Args:
        make: Computes the value for an object.
    """

    def __init__(self, make: Callable[[Any], T]) -> None:
        self._make = make
        self._name = make.__name__
        self._lock = Lock()
        self.__doc__ = make.__doc__
        reset_in_children(self._lock)

    @overload
    def __get__(self, owner: None, kind: type) -> Self: ...

    @overload
    def __get__(self, owner: object, kind: type) -> T: ...

    def __get__(self, owner: object | None, kind: type) -> Self | T:
        if owner is None:
            return self
        # Once it is set, Python finds the value in the object itself and does not call this.
        parts = owner.__dict__
        with self._lock:
            if self._name not in parts:
                parts[self._name] = self._make(owner)
            found: T = parts[self._name]
            return found
