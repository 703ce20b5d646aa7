"""How a memory's methods are called: off the event loop, or in the process that serves the memory."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from .serving.connection import Connection

__all__ = ["in_thread", "served"]

_T = TypeVar("_T")
_P = ParamSpec("_P")
_S = TypeVar("_S")


class _Asked(Protocol):
    _server: Connection | None


_A = TypeVar("_A", bound=_Asked)


def in_thread(
    method: Callable[Concatenate[_S, _P], _T],
) -> Callable[Concatenate[_S, _P], Coroutine[Any, Any, _T]]:
    """Derive the async form of a blocking method."""

    async def run(self: _S, /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        return await asyncio.to_thread(method, self, *args, **kwargs)

    run.__doc__ = f"Run `{method.__name__}` off the event loop."
    return run


def served(method: Callable[Concatenate[_A, _P], _T]) -> Callable[Concatenate[_A, _P], _T]:
    """Forward a method's calls to the server if another process serves the memory."""
    signature = inspect.signature(method)

    @wraps(method)
    def run(self: _A, /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        if self._server is None:
            return method(self, *args, **kwargs)
        _, *given = signature.bind(self, *args, **kwargs).arguments.items()
        result: _T = self._server.call(method.__name__, dict(given))
        return result

    return run
