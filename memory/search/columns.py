"""The fields that filters use, as one array per field, so that applying a filter is an array lookup."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .filters import matches

__all__ = ["Column"]

_ANSWERS = 64
_EXACT = 2**53  # the largest integer up to which a float represents every integer exactly
_COMPARED = {"$gt": np.greater, "$gte": np.greater_equal, "$lt": np.less, "$lte": np.less_equal}


class Column:
    """One field of every item: each distinct value once, and the code of each item's value.

    Args:
        count: How many slots there are already; their items start without the field.
    """

    def __init__(self, count: int) -> None:
        self._codes = np.zeros(max(1024, count), np.int32)
        # An item without the field is compared as if its value were None, as LangGraph does.
        self._values: list[Any] = [None]
        self._known: dict[Hashable, int] = {_key(None): 0}
        self._numbers: list[float] = [np.nan]
        self._numbers_array = np.array(self._numbers)
        self._exact = True
        self._answers: OrderedDict[str, NDArray[np.bool_]] = OrderedDict()

    def set(self, slot: int, value: Any) -> None:
        """Set the field of an item."""
        if slot >= len(self._codes):
            grown = np.zeros(max(slot + 1, 2 * len(self._codes)), np.int32)
            grown[: len(self._codes)] = self._codes
            self._codes = grown
        key = _key(value)
        code = self._known.get(key)
        if code is None:
            code = self._known[key] = len(self._values)
            self._values.append(value)
            number = isinstance(value, int | float)
            self._exact &= not number or abs(value) <= _EXACT
            self._numbers.append(float(value) if number and self._exact else np.nan)
        self._codes[slot] = code

    def numbers(self, slots: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the field of some items; NaN where it is not a number."""
        return self._as_numbers()[self._codes[slots]]

    def matching(self, condition: Any, count: int) -> NDArray[np.bool_]:
        """Return which of the first ``count`` slots meet a filter's condition on this field."""
        codes = self._codes[:count]
        if isinstance(condition, str | int | float) and not isinstance(condition, bool):
            return np.asarray(codes == self._known.get(_key(condition), -1))
        if self._exact and _compares_numbers(condition):
            numbers = self._as_numbers()
            fits = np.logical_and.reduce([_COMPARED[name](numbers, operand) for name, operand in condition.items()])
            return np.asarray(fits[codes])
        asked = repr(condition)  # unlike JSON, repr tells a tuple from a list, as `matches` does, and takes any value
        known = self._answers.pop(asked, np.empty(0, np.bool_))
        fresh = [matches(value, condition) for value in self._values[len(known) :]]
        answer = self._answers[asked] = np.concatenate([known, np.array(fresh, np.bool_)])
        if len(self._answers) > _ANSWERS:
            self._answers.popitem(last=False)
        return np.asarray(answer[codes])

    def _as_numbers(self) -> NDArray[np.float64]:
        known = len(self._numbers_array)
        if known < len(self._numbers):
            self._numbers_array = np.concatenate([self._numbers_array, np.array(self._numbers[known:])])
        return self._numbers_array


def _compares_numbers(condition: Any) -> bool:
    return (
        isinstance(condition, Mapping)
        and bool(condition)
        and condition.keys() <= _COMPARED.keys()
        and all(isinstance(operand, int | float) and abs(operand) <= _EXACT for operand in condition.values())
    )


def _key(value: Any) -> Hashable:
    """Return a key that equal values share: numbers and booleans compare as in Python, lists and objects as JSON."""
    if value is None or isinstance(value, str | int | float):
        return value
    return ("json", json.dumps(value, sort_keys=True))
