"""Who is told of each call of a tool that code makes by itself, such as a node of a graph outside any agent."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from langchain_core.tools import BaseTool

__all__ = ["Around", "around", "surrounded"]


class Around(Protocol):
    """Stands around the calls."""

    def run(self, tool: BaseTool, arguments: Mapping[str, Any], call: Callable[[], Any]) -> Any:
        """Make the call, or give something in its place."""

    async def arun(self, tool: BaseTool, arguments: Mapping[str, Any], call: Callable[[], Awaitable[Any]]) -> Any:
        """Do the same on the event loop."""


_AROUND: ContextVar[Around | None] = ContextVar("pointsman_around", default=None)


def around() -> Around | None:
    """Who stands around the calls that are made here; None for nobody."""
    return _AROUND.get()


@contextmanager
def surrounded(by: Around | None) -> Iterator[None]:
    """Have somebody stand around the calls inside the block; within each call nobody does."""
    token = _AROUND.set(by)
    try:
        yield
    finally:
        _AROUND.reset(token)
