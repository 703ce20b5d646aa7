"""Copy a run's checkpoints, so that it can continue differently; and delete what is stored of runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ...configs.errors import ConfigError
from ...dispatch.state.sealing import user_seal
from ...ledger.storage.connection import Connection
from . import rows
from .opening import checkpoints
from .tables import file_of

__all__ = ["forget", "fork", "holding"]

_READ = 100
_SEALED = (
    "SELECT thread_id, type, checkpoint FROM checkpoints",
    "SELECT thread_id, type, value FROM writes",
    "SELECT thread_id, type, value FROM channel_values",
)


async def fork(
    state: Path,
    source: str,
    target: str,
    wanted: Callable[[Mapping[str, Any], Mapping[str, Any]], bool] | None = None,
    channels: Sequence[str] = (),
) -> Mapping[str, Any]:
    """Copy the checkpoints of a run, and return the values from which the copy continues.

    Args:
        state: The project's state folder.
        source: Id of the run.
        target: Id of the copy.
        wanted: Returns, from the values and the metadata of a checkpoint, whether the copy continues from it; the
            newest such checkpoint becomes its last, and the steps after it are still to be done. If absent, the copy
            ends as the run did.
        channels: The channels whose values ``wanted`` reads, and are returned.

    Raises:
        ConfigError: The run has no such checkpoint.
    """
    async with checkpoints(state, ()) as saver:
        parts = await saver.apart(source, channels, limit=1 if wanted is None else None)
        found = next((part for part in parts if wanted is None or wanted(part.values, part.metadata)), None)
        if found is None:
            raise ConfigError(f"run {source} cannot be forked there: nothing is kept of it from before that")
        await saver.acopy_thread(source, target)
        if wanted is None:
            return found.values
        last = found.id

        def rewind(connection: Connection) -> None:
            # Checkpoint ids increase with time, including those of agents inside a step.
            later = [place for place in rows.places(connection, target) if place.id > last]
            rows.sweep(connection, saver.serde, target, later)
            # The results of its tasks are still to be computed.
            connection.execute("DELETE FROM writes WHERE thread_id = ? AND checkpoint_id = ?", (target, last))

        await saver.file.call(rewind, writes=True)
        return found.values


async def forget(state: Path, runs: Sequence[str]) -> None:
    """Delete all that is stored of runs.

    Args:
        state: The project's state folder.
        runs: Their ids.
    """
    async with checkpoints(state, ()) as saver:
        await saver.aprune(runs, strategy="delete")

        def work(connection: Connection) -> None:
            for table, column in (("ended", "thread_id"), ("fences", "run")):
                connection.executemany(f"DELETE FROM {table} WHERE {column} = ?", [(run,) for run in runs])  # noqa: S608 - our own words

        await saver.file.call(work, writes=True)


async def holding(state: Path, wanted: Callable[[bytes], bool]) -> frozenset[str]:
    """Return the runs whose stored data matches.

    Args:
        state: The project's state folder.
        wanted: Whether a piece of stored data, decrypted and serialized, matches.

    Raises:
        ConfigError: The file cannot be read, its key is lost or has changed, or its contents are not encrypted.
    """
    seal = user_seal()

    def held(connection: Connection, query: str) -> set[str]:
        found: set[str] = set()
        rows = connection.execute(query)
        while some := rows.fetchmany(_READ):
            for run, kind, data in some:
                if run not in found and wanted(seal.decrypt(kind.partition("+")[2], data)):
                    found.add(run)
        return found

    def work(connection: Connection) -> frozenset[str]:
        return frozenset().union(*(held(connection, query) for query in _SEALED))

    if not file_of(state).exists():
        return frozenset()
    async with checkpoints(state, ()) as saver:
        return await saver.file.call(work, writes=False)
