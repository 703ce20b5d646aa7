"""Secrets that a tool needs: passed to its function, never to a model, and removed from its results."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ..configs.errors import ConfigError
from ..configs.loading.loader import environment
from ..configs.redact import MARK, know
from .base import ToolFailed
from .results import as_told

__all__ = ["with_secrets"]

Function = Callable[..., Any]


def with_secrets(function: Function, name: str, secrets: Mapping[str, str]) -> Function:
    """Return the function without its secret arguments, which are filled in at each call.

    Args:
        function: The function, sync or async.
        name: What the model calls the tool.
        secrets: Argument -> NAME of the environment variable that holds its value.

    Raises:
        ConfigError: If one of them is not an argument of the function; at a call, if a variable is not set.
    """
    shape = inspect.signature(function, eval_str=True)
    unknown = next((argument for argument in secrets if argument not in shape.parameters), None)
    if unknown is not None:
        raise ConfigError(
            f"the tool {name!r} has no argument {unknown!r} to be handed a secret; "
            f"it has {', '.join(shape.parameters) or 'none'}"
        )

    @contextmanager
    def handed() -> Iterator[dict[str, str]]:
        environ = environment()
        missing = next((variable for variable in secrets.values() if not environ.get(variable)), None)
        if missing is not None:
            raise ConfigError(f"the tool {name!r} needs the environment variable {missing}: set it")
        values = {argument: environ[variable] for argument, variable in secrets.items()}
        know(values.values())
        try:
            yield values
        except ToolFailed as failure:
            raise ToolFailed(_without(str(failure), values)) from None

    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def filled_async(*args: Any, **kwargs: Any) -> Any:
            with handed() as values:
                return _without(as_told(await function(*args, **kwargs, **values)), values)

        filled: Function = filled_async
    else:

        @functools.wraps(function)
        def filled_sync(*args: Any, **kwargs: Any) -> Any:
            with handed() as values:
                return _without(as_told(function(*args, **kwargs, **values)), values)

        filled = filled_sync
    shown = {key: parameter for key, parameter in shape.parameters.items() if key not in secrets}
    # LangChain builds the schema from these.
    del filled.__wrapped__  # type: ignore[attr-defined]
    filled.__signature__ = shape.replace(parameters=list(shown.values()))  # type: ignore[attr-defined]
    filled.__annotations__ = {key: parameter.annotation for key, parameter in shown.items()}
    return filled


def _without(result: Any, values: Mapping[str, str]) -> Any:
    """Replace secrets in the strings of a result with a mark; objects that only code gets are unchanged."""
    if isinstance(result, str):
        for value in values.values():
            result = result.replace(value, MARK)
        return result
    if isinstance(result, Mapping):
        return {key: _without(item, values) for key, item in result.items()}
    if type(result) in (list, tuple):
        return type(result)(_without(item, values) for item in result)
    return result
