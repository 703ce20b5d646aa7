"""Convert LangGraph's arguments into work for the thread of a file, and its results into LangGraph's results."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, TypeVar, cast

from langgraph.checkpoint.base import (
    WRITES_IDX_MAP,
    BaseCheckpointSaver,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    DeltaChannelHistory,
    get_checkpoint_metadata,
)

from ...ledger.storage.connection import Connection
from . import rows
from .fences import check_fences
from .file import Use, Work
from .rows import Found, History, Place
from .sealed import Kept, Sealed, items

if TYPE_CHECKING:
    from langchain_core.runnables import RunnableConfig

__all__ = ["Order", "Part", "Prepared"]

T = TypeVar("T")

_NOTHING: Final = Kept("", {})


@dataclass(frozen=True, slots=True)
class Order(Generic[T]):
    """A piece of work for the thread of a file.

    Attributes:
        work: What to do.
        made: Converts the result into what LangGraph expects.
        writes: Whether it changes the file.
        patient: Whether it may wait a moment for more that goes to disk with it.
    """

    work: Work[Any]
    made: Callable[[Any], T]
    writes: bool = True
    patient: bool = False


class Part(NamedTuple):
    """A part of a checkpoint.

    Attributes:
        id: Id of the checkpoint.
        metadata: Its metadata.
        values: Channel -> value, for the requested channels that have one.
    """

    id: str
    metadata: Mapping[str, Any]
    values: Mapping[str, Any]


class Prepared(BaseCheckpointSaver[str]):
    """The common base of the blocking and the async methods of `Checkpoints`.

    Args:
        file: The file of the checkpoints.
        serde: Serializes and encrypts them.
        token: Writing to a thread whose fence is above it is refused; None checks nothing.
    """

    serde: Sealed

    def __init__(self, file: Use, serde: Sealed, *, token: int | None = None) -> None:
        super().__init__(serde=serde)
        self.file = file
        self.token = token
        # Thread and namespace -> what is known to be stored beside the checkpoint that was last read or written.
        self._kept: dict[tuple[str, str], Kept] = {}

    def with_allowlist(self, extra_allowlist: Collection[tuple[str, ...]]) -> Prepared:
        """Return a copy that also builds these types; LangGraph calls this if ``LANGGRAPH_STRICT_MSGPACK`` is set."""
        clone = copy(self)
        clone.serde = self.serde.allowing(extra_allowlist)
        return clone

    def get_next_version(self, current: str | int | None, channel: None) -> str:
        """Return the version after another of the same channel.

        It is above all versions of LangGraph's own SQLite saver, whose numbers have 32 digits. No two branches of a
        thread share a version, not even in forked children or after `random.seed`.
        """
        number = 0 if current is None else current if isinstance(current, int) else int(current.partition(".")[0])
        return f"{number + 1:09}.{os.urandom(6).hex()}"

    def _put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> Order[RunnableConfig]:
        """Store a checkpoint.

        Args:
            config: Names the thread, the namespace and the previous checkpoint.
            checkpoint: The checkpoint.
            metadata: Its metadata, stored unencrypted.
            new_versions: Versions of the changed channels; unused, since changes are detected without it.

        Raises:
            ConfigError: It cannot be stored.
            Fenced: Somebody else has taken the run over.
        """
        thread, space, parent = _named(config)
        place = Place(thread, space, checkpoint["id"])
        known = self._kept.get((thread, space), _NOTHING)
        sealed, common, kept = self.serde.pack(checkpoint, parent, known)
        told = json.dumps(get_checkpoint_metadata(config, metadata), ensure_ascii=False).encode("utf-8", "ignore")

        def work(connection: Connection) -> None:
            check_fences(connection, [thread], self.token)
            rows.keep(connection, place, parent, sealed, told, common)

        def made(_: None) -> RunnableConfig:
            self._kept[thread, space] = kept
            return _config(place)

        return Order(work, made)

    def _put_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> Order[None]:
        """Store what a task has written; arguments as `BaseCheckpointSaver.aput_writes`, errors as `aput`."""
        place = Place(*_named(config))
        again = all(channel in WRITES_IDX_MAP for channel, _ in writes)
        sealed = [
            (WRITES_IDX_MAP.get(channel, number), channel, *self.serde.dumps_typed(value))
            for number, (channel, value) in enumerate(writes)
        ]

        def work(connection: Connection) -> None:
            check_fences(connection, [place.thread], self.token)
            rows.keep_writes(connection, place, (task_id, task_path), sealed, again=again)

        return Order(work, _as_it_is, patient=True)

    def _get_tuple(self, config: RunnableConfig) -> Order[CheckpointTuple | None]:
        """Read the checkpoint that a config names, or the latest of its thread and namespace.

        Raises:
            ConfigError: It cannot be read, or is not encrypted with the user's key.
        """
        return Order(lambda connection: rows.find(connection, self.serde, *_named(config)), self._read, writes=False)

    def _search(
        self,
        config: RunnableConfig | None,
        wanted: Mapping[str, Any] | None,
        before: RunnableConfig | None,
        limit: int | None,
    ) -> Work[list[Found]]:
        where: dict[str, str] = {}
        if config is not None:
            named = config["configurable"]
            where["thread_id = ?"] = str(named["thread_id"])
            if named.get("checkpoint_ns") is not None:
                where["checkpoint_ns = ?"] = named["checkpoint_ns"]
            if named.get("checkpoint_id"):
                where["checkpoint_id = ?"] = named["checkpoint_id"]
        if before is not None and (end := before["configurable"].get("checkpoint_id")):
            where["checkpoint_id < ?"] = end

        def matches(metadata: Mapping[str, Any]) -> bool:
            return all(metadata.get(key) == value for key, value in (wanted or {}).items())

        return lambda connection: rows.search(connection, self.serde, where, matches, limit)

    def _read(self, found: Found | None) -> CheckpointTuple | None:
        if found is None:
            return None
        read = self._tuple(found)
        values = read.checkpoint["channel_values"]
        beside = found.body.beside.items()
        kept = {channel: (version, items(values[channel])) for channel, version in beside}
        self._kept[found.place[:2]] = Kept(found.place.id, kept)
        return read

    def _tuple(self, found: Found) -> CheckpointTuple:
        return CheckpointTuple(
            _config(found.place),
            self.serde.whole(found.body, found.common),
            cast(CheckpointMetadata, found.metadata),
            _config(found.place._replace(id=found.parent)) if found.parent else None,
            [self._write(write) for write in found.writes],
        )

    def _part(self, found: Found, channels: Sequence[str]) -> Part:
        body, common = found.body, found.common
        values = {name: self.serde.value(body, common, name) for name in channels if rows.has(body, name)}
        return Part(found.place.id, found.metadata, values)

    def _write(self, write: tuple[str, str, str, bytes]) -> tuple[str, str, Any]:
        task, channel, kind, value = write
        return task, channel, self.serde.loads_typed((kind, value))

    def _history(self, *, config: RunnableConfig, channels: Sequence[str]) -> Order[Mapping[str, DeltaChannelHistory]]:
        """Read what was written to channels that have no value of their own in most checkpoints.

        Args:
            config: Names the checkpoint for which they are wanted.
            channels: The channels.
        """
        thread, space, id = _named(config)

        def work(connection: Connection) -> dict[str, History]:
            at = id or rows.latest(connection, thread, space)
            return {} if at is None else rows.history(connection, self.serde, Place(thread, space, at), channels)

        return Order(work, lambda found: self.histories(channels, found), writes=False)

    def histories(self, channels: Sequence[str], found: Mapping[str, History]) -> dict[str, DeltaChannelHistory]:
        """Convert what ancestors contain for channels to the form that LangGraph expects."""
        told: dict[str, DeltaChannelHistory] = {}
        for channel in channels:
            history = found.get(channel, History(None, []))
            told[channel] = {"writes": [self._write(write) for write in history.writes]}
            if history.seed is not None:
                told[channel]["seed"] = self.serde.value(*history.seed, channel)
        return told

    def _changing(self, threads: Sequence[str], change: Callable[[Connection, str], None]) -> Order[None]:
        """Change what is stored of threads: all of them or, if one is fenced, none."""
        # What is known to be stored may be gone afterwards.
        self._kept.clear()

        def work(connection: Connection) -> None:
            check_fences(connection, threads, self.token)
            for thread in threads:
                change(connection, thread)

        return Order(work, _as_it_is)

    def _delete_thread(self, thread_id: str) -> Order[None]:
        """Delete all that is stored of a thread."""
        return self._prune([thread_id], strategy="delete")

    def _prune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> Order[None]:
        """Delete what threads do not need.

        Args:
            thread_ids: Their ids.
            strategy: ``keep_latest`` leaves the latest checkpoint of each namespace, with the earlier ones from which
                its delta channels are reconstructed; ``delete`` leaves nothing.

        Raises:
            Fenced: Somebody else has taken one of them over; nothing was deleted.
        """
        if strategy == "delete":
            return self._changing([str(thread) for thread in thread_ids], rows.delete)
        if strategy != "keep_latest":
            raise ValueError(f"strategy is {strategy!r}: give 'keep_latest' or 'delete'")
        return self._changing([str(thread) for thread in thread_ids], self._keep_latest)

    def _keep_latest(self, connection: Connection, thread: str) -> None:
        kept: set[Place] = set()
        places = rows.places(connection, thread)
        for place in {place.space: place for place in sorted(places)}.values():
            found = rows.find(connection, self.serde, *place)
            if found is not None:
                kept |= {place, *rows.chain(connection, self.serde, place, _deltas(found))}
        rows.sweep(connection, self.serde, thread, [place for place in places if place not in kept])

    def _delete_for_runs(self, run_ids: Sequence[str]) -> Order[None]:
        """Delete the checkpoints whose metadata names one of these runs, with their writes."""
        self._kept.clear()

        def work(connection: Connection) -> None:
            gone: dict[str, list[Place]] = {}
            for run in run_ids:
                for place in rows.of_run(connection, str(run)):
                    gone.setdefault(place.thread, []).append(place)
            check_fences(connection, gone, self.token)
            for thread, places in gone.items():
                rows.sweep(connection, self.serde, thread, places)

        return Order(work, _as_it_is)

    def _copy_thread(self, source_thread_id: str, target_thread_id: str) -> Order[None]:
        """Copy all that is stored of a thread to another id."""
        source = str(source_thread_id)
        return self._changing([str(target_thread_id)], lambda connection, thread: rows.copy(connection, source, thread))


def _as_it_is(_: None) -> None:
    return None


def _named(config: RunnableConfig) -> tuple[str, str, Any]:
    """Return the thread, namespace and checkpoint of a config."""
    named = config["configurable"]
    return str(named["thread_id"]), named.get("checkpoint_ns", ""), named.get("checkpoint_id") or None


def _config(place: Place) -> RunnableConfig:
    return {"configurable": {"thread_id": place.thread, "checkpoint_ns": place.space, "checkpoint_id": place.id}}


def _deltas(found: Found) -> list[str]:
    """Return the channels of a checkpoint that are reconstructed from what was written to them.

    LangGraph counts their updates in the metadata (`CheckpointMetadata.counters_since_delta_snapshot`).
    """
    counted = found.metadata.get("counters_since_delta_snapshot") or {}
    versions = found.body.checkpoint["channel_versions"]
    return [channel for channel in counted if channel in versions and not rows.has(found.body, channel)]
