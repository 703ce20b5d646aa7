"""`Checkpoints`: LangGraph's interface to the checkpoints in a file."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from langgraph.checkpoint.base import (
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    DeltaChannelHistory,
)

from . import rows
from .prepared import Part, Prepared

if TYPE_CHECKING:
    from langchain_core.runnables import RunnableConfig
    from langgraph.types import Interrupt

__all__ = ["Checkpoints"]


class Checkpoints(Prepared):
    """Keeps each checkpoint by one change of threads and one transaction, on the disk when it returns.

    The values of a checkpoint that later ones have too are written once. Every method works from any thread and event
    loop; those that do not await block, as LangGraph's do.

    Args: As `Prepared`.
    """

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Keep a checkpoint.

        Args:
            config: Names the thread, the namespace and the checkpoint before.
            checkpoint: The checkpoint.
            metadata: What is told of it, in the clear.
            new_versions: Versions of the channels that have changed; those are found without it.

        Raises:
            ConfigError: It cannot be kept.
            Fenced: Somebody else has taken the run over.
        """
        put = self._put(config, checkpoint, metadata)
        await self.file.call(put.work, writes=True)
        return self._has_put(put)

    def put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """As `aput`."""
        put = self._put(config, checkpoint, metadata)
        self.file.wait(put.work, writes=True)
        return self._has_put(put)

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """Keep what a task has written; arguments as `BaseCheckpointSaver.aput_writes`, errors as `aput`."""
        await self.file.call(self._put_writes(config, writes, (task_id, task_path)), writes=True, patient=True)

    def put_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """As `aput_writes`."""
        self.file.wait(self._put_writes(config, writes, (task_id, task_path)), writes=True)

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Read the checkpoint that a config names, or the latest of its thread and namespace.

        Raises:
            ConfigError: It cannot be read, or nobody encrypted it under the user's key.
        """
        return self._read(await self.file.call(self._find(config), writes=False))

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """As `aget_tuple`."""
        return self._read(self.file.wait(self._find(config), writes=False))

    async def alist(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        """Read checkpoints, the newest first.

        Args:
            config: Names the thread, and a namespace or a checkpoint of it; all when absent.
            filter: What their metadata must have.
            before: Names a checkpoint that they come before.
            limit: How many at most.
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
        """As `alist`."""
        for found in self.file.wait(self._search(config, filter, before, limit), writes=False):
            yield self._tuple(found)

    async def aasked(self, thread: str) -> tuple[Interrupt, ...]:
        """What the tasks of a thread wait for. Nothing of its state is read, whose types only its graph knows.

        Args:
            thread: Its id.
        """
        found = await self.file.call(lambda connection: rows.asked(connection, thread), writes=False)
        return tuple(stop for sealed in found for stop in self.serde.loads_typed(sealed))

    async def apart(self, thread: str, channels: Sequence[str], limit: int | None = None) -> tuple[Part, ...]:
        """Read some channels of a thread's checkpoints, the newest first. Nothing is made of any other.

        Args:
            thread: Its id.
            channels: The channels.
            limit: How many checkpoints at most.
        """
        config: RunnableConfig = {"configurable": {"thread_id": thread, "checkpoint_ns": ""}}
        found = await self.file.call(self._search(config, None, None, limit), writes=False)
        return tuple(self._part(one, channels) for one in found)

    async def abegun(self, thread: str) -> Mapping[str, bool]:
        """The tasks of a thread, inner ones too, that have asked or written something -> whether one came to its end.

        Args:
            thread: Its id.
        """
        return await self.file.call(lambda connection: rows.begun(connection, thread), writes=False)

    async def araised(self, thread: str) -> frozenset[str]:
        """Ids of what tasks of a thread have asked that have raised since.

        LangGraph keeps what they had been answered with their error, in one transaction, and gives it to them again.

        Args:
            thread: Its id.
        """
        found = await self.file.call(lambda connection: rows.asked_and_raised(connection, thread), writes=False)
        return frozenset(stop.id for sealed in found for stop in self.serde.loads_typed(sealed))

    async def aget_delta_channel_history(
        self, *, config: RunnableConfig, channels: Sequence[str]
    ) -> Mapping[str, DeltaChannelHistory]:
        """Read what was written to channels that keep no value of their own in most checkpoints.

        Args:
            config: Names the checkpoint that they are wanted for.
            channels: The channels.
        """
        return self.histories(channels, await self.file.call(self._history(config, channels), writes=False))

    def get_delta_channel_history(
        self, *, config: RunnableConfig, channels: Sequence[str]
    ) -> Mapping[str, DeltaChannelHistory]:
        """As `aget_delta_channel_history`."""
        return self.histories(channels, self.file.wait(self._history(config, channels), writes=False))

    async def adelete_thread(self, thread_id: str) -> None:
        """Delete all that is kept of a thread."""
        await self.aprune([thread_id], strategy="delete")

    def delete_thread(self, thread_id: str) -> None:
        """As `adelete_thread`."""
        self.prune([thread_id], strategy="delete")

    async def aprune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """Delete what threads do not need.

        Args:
            thread_ids: Their ids.
            strategy: ``keep_latest`` leaves of each namespace the latest checkpoint, with those before it that its
                delta channels are put together from; ``delete`` leaves nothing.

        Raises:
            Fenced: Somebody else has taken one of them over; nothing was deleted.
        """
        await self.file.call(self._prune(thread_ids, strategy), writes=True)

    def prune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """As `aprune`."""
        self.file.wait(self._prune(thread_ids, strategy), writes=True)

    async def adelete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Delete the checkpoints whose metadata names one of these runs, with their writes."""
        await self.file.call(self._delete_for_runs(run_ids), writes=True)

    def delete_for_runs(self, run_ids: Sequence[str]) -> None:
        """As `adelete_for_runs`."""
        self.file.wait(self._delete_for_runs(run_ids), writes=True)

    async def acopy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """Copy all that is kept of a thread to another id."""
        await self.file.call(self._copy_thread(source_thread_id, target_thread_id), writes=True)

    def copy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """As `acopy_thread`."""
        self.file.wait(self._copy_thread(source_thread_id, target_thread_id), writes=True)
