"""`SharedMemory`: the memory that all agents share as a graph's store, opened at its first use."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from langgraph.store.base import BaseStore, Op, Result

from ..agents.runtime import Runtime

__all__ = ["SharedMemory"]


class SharedMemory(BaseStore):
    """The memory of a runtime, which costs nothing before a tool asks it.

    Args:
        runtime: Whose.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def __getattr__(self, name: str) -> Any:
        return getattr(self._runtime.store, name)

    def batch(self, ops: Iterable[Op]) -> list[Result]:
        """Carry operations out."""
        return self._runtime.store.batch(ops)

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        """Carry operations out."""
        return await self._runtime.store.abatch(ops)
