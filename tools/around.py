"""A hook around tool calls that code makes directly, such as a graph node outside any agent."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol

from ..configs.process.variables import set_to

if TYPE_CHECKING:
    from langchain_core.tools import BaseTool

__all__ = ["Around", "around", "surrounded"]


class Around(Protocol):
    """Wraps tool calls."""

    def run(self, tool: BaseTool, arguments: Mapping[str, Any], call: Callable[[], Any]) -> Any:
        """Make the call and return its result, or return something else instead."""

    async def arun(self, tool: BaseTool, arguments: Mapping[str, Any], call: Callable[[], Awaitable[Any]]) -> Any:
        """Do the same on the event loop."""


_AROUND: ContextVar[Around | None] = ContextVar("pointsman_around", default=None)


def around() -> Around | None:
    """Return the hook around the calls made here, or None."""
    return _AROUND.get()


def surrounded(by: Around | None) -> AbstractContextManager[None]:
    """Wrap the calls inside the block with this hook; hooks set it to None inside each call they make."""
    return set_to(_AROUND, by)
