"""Report unknown or invalid keyword arguments in one line that suggests the one that was meant."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from inspect import Parameter, signature
from typing import Any, ParamSpec, Self, TypeVar

from pydantic import BaseModel, ModelWrapValidatorHandler, ValidationError, model_validator

from .errors import ConfigError
from .loading.layers import suggest

__all__ = ["CheckedModel", "UnknownArgument", "checked", "refused"]

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
    named = (Parameter.KEYWORD_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
    known = [p.name for p in parameters if p.kind in named and p.name != "self"]
    given = frozenset(known)

    @wraps(function)
    def called(*args: P.args, **kwargs: P.kwargs) -> R:
        if not given.issuperset(kwargs):
            # Name a constructor by its class.
            shown = type(args[0]).__name__ if function.__name__ == "__init__" else function.__qualname__
            raise UnknownArgument(shown, next(name for name in kwargs if name not in given), known)
        return function(*args, **kwargs)

    return called


def refused(error: ValidationError, function: str, known: list[str]) -> ConfigError:
    """Say in one line what pydantic refuses about the arguments of a function, with the value.

    Args:
        error: What pydantic raised; the first of its errors counts.
        function: The function, as it is shown for an argument that it does not have.
        known: The names of the arguments that it has.
    """
    detail = error.errors(include_url=False)[0]
    name = ".".join(map(str, detail["loc"]))
    if detail["type"] == "extra_forbidden":
        return UnknownArgument(function, name, known)
    return ConfigError(f"{name}={detail['input']!r} cannot be used: {detail['msg'].lower()}")


class CheckedModel(BaseModel):
    """A pydantic class that reports an invalid argument in one line."""

    @model_validator(mode="wrap")
    @classmethod
    def _said(cls, given: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            return handler(given)
        except ValidationError as error:
            raise refused(error, cls.__name__, list(cls.model_fields)) from None
