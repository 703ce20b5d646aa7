"""The checks that a search applies: a filter's conditions on a value, and conditions on a namespace.

A caller's filter is only evaluated here, in Python. It is never passed to SQL or Chroma, so no operator in it can widen
a query.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langgraph.store.base import MatchCondition

__all__ = ["check_filter", "field_of", "fits_namespace", "matches"]

_ORDERINGS = {
    "$gt": lambda a, b: a > b,
    "$gte": lambda a, b: a >= b,
    "$lt": lambda a, b: a < b,
    "$lte": lambda a, b: a <= b,
}
_OPERATORS = frozenset({"$eq", "$ne", *_ORDERINGS})


def check_filter(condition: Any) -> None:
    """Reject operators that LangGraph does not document.

    Raises:
        ValueError: If a key that starts with ``$`` is not one of the six operators.
    """
    if not isinstance(condition, Mapping):
        return
    if any(str(key).startswith("$") for key in condition):
        for key in condition:
            if key not in _OPERATORS:
                raise ValueError(f"Unsupported operator: {key}; use one of {', '.join(sorted(_OPERATORS))}")
        return
    for inner in condition.values():
        check_filter(inner)


def field_of(value: Mapping[str, Any], name: str) -> Any:
    """Return the field of a value that a filter names; ``user.name`` is a nested field, unless a key has that name.

    Returns None if there is no such field, which is how LangGraph compares it.
    """
    if name in value or "." not in name:
        return value.get(name)
    first, _, rest = name.partition(".")
    inner = value.get(first)
    return field_of(inner, rest) if isinstance(inner, Mapping) else None


def matches(value: Any, condition: Any) -> bool:
    """Whether a stored value meets a filter's condition, by LangGraph's rules.

    The ordering operators, such as ``$gt``, compare numbers with numbers and strings with strings; any other pair does
    not match.
    """
    if isinstance(condition, Mapping):
        if any(str(key).startswith("$") for key in condition):
            return all(_apply(value, operator, operand) for operator, operand in condition.items())
        return isinstance(value, dict) and all(matches(value.get(key), inner) for key, inner in condition.items())
    if isinstance(condition, list | tuple):
        return (
            isinstance(value, list)
            and len(value) == len(condition)
            and all(matches(v, c) for v, c in zip(value, condition, strict=True))
        )
    return bool(value == condition)


def _apply(value: Any, operator: str, operand: Any) -> bool:
    if operator == "$eq":
        return bool(value == operand)
    if operator == "$ne":
        return bool(value != operand)
    return _kind(value) is not None and _kind(value) is _kind(operand) and bool(_ORDERINGS[operator](value, operand))


def _kind(value: Any) -> type | None:
    if isinstance(value, str):
        return str
    return float if isinstance(value, int | float) else None


def fits_namespace(namespace: tuple[str, ...], condition: MatchCondition) -> bool:
    """Whether a namespace begins or ends with a path; ``*`` in the path matches any one label.

    Raises:
        ValueError: If the condition is neither ``prefix`` nor ``suffix``.
    """
    path = tuple(condition.path)
    if condition.match_type not in ("prefix", "suffix"):
        raise ValueError(f"Unsupported match type: {condition.match_type}")
    if len(namespace) < len(path):
        return False
    end = namespace[: len(path)] if condition.match_type == "prefix" else namespace[len(namespace) - len(path) :]
    return all(wanted in ("*", label) for label, wanted in zip(end, path, strict=True))
