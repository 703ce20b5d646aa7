"""`Checkpoints`: LangGraph's interface to the checkpoints in a file."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast

from langgraph.checkpoint.base import CheckpointTuple

from . import rows
from .prepared import Order, Part, Prepared

if TYPE_CHECKING:
    from langchain_core.runnables import RunnableConfig
    from langgraph.types import Interrupt

__all__ = ["Checkpoints"]

T = TypeVar("T")
P = ParamSpec("P")


def _both(ordered: Callable[P, Order[T]]) -> tuple[Callable[P, Coroutine[Any, Any, T]], Callable[P, T]]:
    """Return the async and the blocking form of a method that submits work to the thread of the file."""

    @wraps(ordered)
    async def awaiting(*args: P.args, **kwargs: P.kwargs) -> T:
        order, saver = ordered(*args, **kwargs), cast(Checkpoints, args[0])
        return order.made(await saver.file.call(order.work, writes=order.writes, patient=order.patient))

    @wraps(ordered)
    def blocking(*args: P.args, **kwargs: P.kwargs) -> T:
        order, saver = ordered(*args, **kwargs), cast(Checkpoints, args[0])
        return order.made(saver.file.wait(order.work, writes=order.writes))

    return awaiting, blocking


class Checkpoints(Prepared):
    """Store each checkpoint with one thread switch and one transaction, on disk when the call returns.

    Values that several checkpoints share are written once. Every method works from any thread and event loop; those
    that are not async block, as LangGraph's do.

    Args: As `Prepared`.
    """

    aput, put = _both(Prepared._put)
    aput_writes, put_writes = _both(Prepared._put_writes)
    aget_tuple, get_tuple = _both(Prepared._get_tuple)
    aget_delta_channel_history, get_delta_channel_history = _both(Prepared._history)
    adelete_thread, delete_thread = _both(Prepared._delete_thread)
    aprune, prune = _both(Prepared._prune)
    adelete_for_runs, delete_for_runs = _both(Prepared._delete_for_runs)
    acopy_thread, copy_thread = _both(Prepared._copy_thread)

    async def alist(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        """Read checkpoints, newest first.

        Args:
            config: Names the thread, and a namespace or a checkpoint of it; all when absent.
            filter: What their metadata must contain.
            before: Names a checkpoint that they precede.
            limit: Maximum number to return.
        """
        for found in await self.file.call(self._search(config, filter, before, limit), writes=False):
            yield self._tuple(found)

    def list(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> Iterator[CheckpointTuple]:
        """Do the same as `alist`, blocking."""
        for found in self.file.wait(self._search(config, filter, before, limit), writes=False):
            yield self._tuple(found)

    async def aasked(self, thread: str) -> tuple[Interrupt, ...]:
        """Return what the tasks of a thread wait for, without reading its state, whose types only its graph knows.

        Args:
            thread: Its id.
        """
        found = await self.file.call(lambda connection: rows.asked(connection, thread), writes=False)
        return tuple(stop for sealed in found for stop in self.serde.loads_typed(sealed))

    async def apart(self, thread: str, channels: Sequence[str], limit: int | None = None) -> tuple[Part, ...]:
        """Read some channels of a thread's checkpoints, newest first; no other channel is deserialized.

        Args:
            thread: Its id.
            channels: The channels.
            limit: Maximum number of checkpoints to return.
        """
        config: RunnableConfig = {"configurable": {"thread_id": thread, "checkpoint_ns": ""}}
        found = await self.file.call(self._search(config, None, None, limit), writes=False)
        return tuple(self._part(one, channels) for one in found)

    async def abegun(self, thread: str) -> Mapping[str, bool]:
        """Return the tasks of a thread, including inner ones, that asked or wrote something -> whether each ended.

        Args:
            thread: Its id.
        """
        return await self.file.call(lambda connection: rows.begun(connection, thread), writes=False)

    async def araised(self, thread: str) -> frozenset[str]:
        """Return the ids of what the tasks of a thread that have since raised had asked.

        LangGraph stores the answers to these with the task's error, in one transaction, and gives them to it again.

        Args:
            thread: Its id.
        """
        found = await self.file.call(lambda connection: rows.asked_and_raised(connection, thread), writes=False)
        return frozenset(stop.id for sealed in found for stop in self.serde.loads_typed(sealed))
