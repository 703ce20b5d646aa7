"""`checked`: the error for an unknown keyword argument suggests the one that was meant."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from inspect import Parameter, signature
from typing import ParamSpec, TypeVar

from .errors import ConfigError
from .loading.layers import suggest

__all__ = ["UnknownArgument", "checked"]

P = ParamSpec("P")
R = TypeVar("R")


class UnknownArgument(ConfigError, TypeError):
    """A keyword argument that a function does not have."""

    def __init__(self, function: str, name: str, known: list[str]) -> None:
        super().__init__(f"{function} has no argument {name!r}{suggest(name, known) or '; it has ' + ', '.join(known)}")


def checked(function: Callable[P, R]) -> Callable[P, R]:
    """Wrap a function to check the names of keyword arguments, suggesting the nearest name for an unknown one.

    Args:
        function: A function or method whose arguments all have names.

    Raises:
        UnknownArgument: Raised by the returned function; it is a `ConfigError` and a TypeError.
    """
    parameters = signature(function).parameters.values()
    known = [p.name for p in parameters if p.kind in (Parameter.KEYWORD_ONLY, Parameter.POSITIONAL_OR_KEYWORD)]
    given = frozenset(known)

    @wraps(function)
    def called(*args: P.args, **kwargs: P.kwargs) -> R:
        if not given.issuperset(kwargs):
            # Name a constructor by its class.
            shown = type(args[0]).__name__ if function.__name__ == "__init__" else function.__qualname__
            raise UnknownArgument(shown, next(name for name in kwargs if name not in given), known[1:])
        return function(*args, **kwargs)

    return called
