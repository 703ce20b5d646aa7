"""Prune what is stored of a finished run."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from ...configs.errors import ConfigError
from ...ledger.storage.connection import Connection
from . import rows
from .fences import check_fences

if TYPE_CHECKING:
    from langgraph.graph.state import CompiledStateGraph

    from .rows import History
    from .saver import Checkpoints

__all__ = ["KEPT_DAYS", "prune"]

KEPT_DAYS: Final = 30
"""Days for which the last state of a finished run is kept, the same as for a batch."""


async def prune(graph: CompiledStateGraph[Any, Any, Any, Any], run: str, *, now: float | None = None) -> None:
    """Keep only the last state of a finished run, and nothing of runs that finished `KEPT_DAYS` ago.

    That state is all that ``runs`` and ``resume`` need. A run that waits, failed or was interrupted keeps everything:
    it can be resumed.

    Args:
        graph: What ran, over `checkpoints`.
        run: Its id.
        now: Seconds since the epoch.

    Raises:
        Fenced: Somebody else has taken the run over.
    """
    saver: Any = graph.checkpointer
    now = time.time() if now is None else now
    # The run is done: what cannot be pruned now must not make it fail.
    with suppress(ConfigError):
        values = await _put_together(graph, saver, run)

        def work(connection: Connection) -> None:
            check_fences(connection, [run], saver.token)
            connection.execute("REPLACE INTO ended VALUES (?, ?)", (run, now))
            _keep_last(connection, saver, run, values)
            _forget(connection, now - KEPT_DAYS * 86_400)

        await saver.file.call(work, writes=True)


async def _put_together(graph: CompiledStateGraph[Any, Any, Any, Any], saver: Checkpoints, run: str) -> dict[str, Any]:
    """Return the values of delta channels, which the last checkpoint alone does not contain."""
    from langgraph.channels import DeltaChannel

    deltas = {name: channel for name, channel in graph.channels.items() if isinstance(channel, DeltaChannel)}
    if not deltas:
        return {}

    def work(connection: Connection) -> dict[str, History]:
        last = rows.find(connection, saver.serde, run, "", None)
        versions = last.body.checkpoint["channel_versions"] if last else {}
        missing = [name for name in deltas if last and name in versions and not rows.has(last.body, name)]
        return rows.history(connection, saver.serde, last.place, missing) if last and missing else {}

    found = await saver.file.call(work, writes=False)
    values = {}
    for name, told in saver.histories([*found], found).items():
        channel = deltas[name].from_checkpoint(told.get("seed"))
        channel.replay_writes(told["writes"])
        values[name] = channel.get()
    return values


def _keep_last(connection: Connection, saver: Checkpoints, run: str, values: Mapping[str, Any]) -> None:
    last = rows.find(connection, saver.serde, run, "", None)
    if last is None:
        return
    beside = last.body.beside
    if values:
        sealed, common, kept = saver.serde.completed(last.body, values)
        beside = {channel: version for channel, (version, _) in kept.values.items()}
        rows.complete(connection, last.place, sealed, common)
    rows.keep_alone(connection, last.place, beside)


def _forget(connection: Connection, before: float) -> None:
    over = connection.execute("SELECT thread_id FROM ended WHERE at < ?", (before,)).fetchall()
    for (run,) in over:
        rows.delete(connection, run)
    connection.executemany("DELETE FROM ended WHERE thread_id = ?", over)
    connection.executemany("DELETE FROM fences WHERE run = ?", over)
