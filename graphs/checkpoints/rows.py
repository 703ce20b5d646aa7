"""Queries and writes on the tables, each within a transaction that the caller began."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from langgraph.checkpoint.base import WRITES_IDX_MAP
from langgraph.checkpoint.serde.types import ERROR, INTERRUPT

from ...configs.errors import ConfigError
from ...ledger.storage.connection import Connection
from .tables import THREAD_TABLES

if TYPE_CHECKING:
    from .sealed import Body, Common, Sealed, Typed

__all__ = [
    "Found",
    "History",
    "Place",
    "asked",
    "asked_and_raised",
    "begun",
    "chain",
    "complete",
    "copy",
    "delete",
    "find",
    "has",
    "history",
    "keep",
    "keep_alone",
    "keep_values",
    "keep_writes",
    "latest",
    "of_run",
    "places",
    "search",
    "sweep",
]

_COLUMNS = "thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id, type, checkpoint, metadata"
_SELECT = f"SELECT {_COLUMNS} FROM checkpoints"  # noqa: S608 - our own words, here and below
_PLACES = "SELECT thread_id, checkpoint_ns, checkpoint_id FROM checkpoints"
_AT = "thread_id = ? AND checkpoint_ns = ?"
_WRITES = f"SELECT task_id, channel, type, value FROM writes WHERE {_AT} AND checkpoint_id = ?"  # noqa: S608
# As `langgraph.checkpoint.base.writes_sort_key`, which is the order in which a superstep's tasks write.
_IN_ORDER = " ORDER BY task_path, task_id, idx"


class Place(NamedTuple):
    """Where a checkpoint is: its thread, its namespace in there and its id."""

    thread: str
    space: str
    id: str


class Found(NamedTuple):
    """A checkpoint as it was read, with its values and writes still sealed.

    Attributes:
        common: Channel -> value stored beside it, followed by what was added to it.
        writes: Task, channel, type and value.
    """

    place: Place
    parent: str | None
    body: Body
    metadata: dict[str, Any]
    common: dict[str, list[Typed]]
    writes: list[tuple[str, str, str, bytes]]


class History(NamedTuple):
    """What ancestors of a checkpoint contain for one channel.

    Attributes:
        seed: Its value at the nearest ancestor that has one, sealed, with its checkpoint; None if none has one.
        writes: Task, channel, type and value of what was written since, oldest first.
    """

    seed: tuple[Body, dict[str, list[Typed]]] | None
    writes: list[tuple[str, str, str, bytes]]


def keep(
    connection: Connection, place: Place, parent: str | None, sealed: Typed, metadata: bytes, common: Sequence[Common]
) -> None:
    """Write a checkpoint, and the values that it shares with later ones."""
    _keep_common(connection, place, common)
    connection.execute(
        f"INSERT OR REPLACE INTO checkpoints ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
        (*place, parent, *sealed, metadata),
    )


def complete(connection: Connection, place: Place, sealed: Typed, common: Sequence[Common]) -> None:
    """Rewrite a checkpoint that got further values."""
    _keep_common(connection, place, common)
    connection.execute(
        f"UPDATE checkpoints SET type = ?, checkpoint = ? WHERE {_AT} AND checkpoint_id = ?",  # noqa: S608
        (*sealed, *place),
    )


def _keep_common(connection: Connection, place: Place, common: Sequence[Common]) -> None:
    if common:
        # A version names one value.
        connection.executemany(
            "INSERT OR IGNORE INTO channel_values VALUES (?, ?, ?, ?, ?, ?, ?)",
            [(place.thread, place.space, *value) for value in common],
        )


def keep_writes(
    connection: Connection,
    place: Place,
    task: tuple[str, str],
    writes: Sequence[tuple[int, str, str, bytes]],
    again: bool,
) -> None:
    """Write what a task has written.

    Args:
        connection: The connection to write to.
        place: The checkpoint that the task began from.
        task: Its id and its path.
        writes: Index, channel, type and value of each.
        again: Whether they replace those at the same index; otherwise those stay.
    """
    connection.executemany(
        f"INSERT OR {'REPLACE' if again else 'IGNORE'} INTO writes "  # noqa: S608
        "(thread_id, checkpoint_ns, checkpoint_id, task_id, task_path, idx, channel, type, value) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [(*place, *task, *write) for write in writes],
    )


def find(connection: Connection, sealed: Sealed, thread: str, space: str, id: str | None) -> Found | None:
    """Read a checkpoint; the latest of its namespace if no id is given."""
    if id is None:
        row = connection.execute(
            f"{_SELECT} WHERE {_AT} ORDER BY checkpoint_id DESC LIMIT 1", (thread, space)
        ).fetchone()
    else:
        row = connection.execute(f"{_SELECT} WHERE {_AT} AND checkpoint_id = ?", (thread, space, id)).fetchone()
    return None if row is None else _found(connection, sealed, row)


def latest(connection: Connection, thread: str, space: str) -> str | None:
    """Return the id of the latest checkpoint in a namespace; None if there is none."""
    found: str | None = connection.execute(
        f"SELECT max(checkpoint_id) FROM checkpoints WHERE {_AT}",  # noqa: S608
        (thread, space),
    ).fetchone()[0]
    return found


def places(connection: Connection, thread: str) -> list[Place]:
    """Return the places of all checkpoints of a thread."""
    found = connection.execute(f"{_PLACES} WHERE thread_id = ?", (thread,))
    return [Place(*row) for row in found.fetchall()]


def of_run(connection: Connection, run: str) -> list[Place]:
    """Return the places of the checkpoints whose metadata names a run."""
    found = connection.execute(f"{_PLACES} WHERE json_extract(CAST(metadata AS TEXT), '$.run_id') = ?", (run,))
    return [Place(*row) for row in found.fetchall()]


def asked(connection: Connection, thread: str) -> list[Typed]:
    """Return what the tasks of a thread's latest checkpoint ask, each list of interrupts sealed."""
    return connection.execute(
        f"SELECT type, value FROM writes WHERE {_AT} AND checkpoint_id = ? AND channel = ?{_IN_ORDER}",  # noqa: S608
        (thread, "", latest(connection, thread, ""), INTERRUPT),
    ).fetchall()


def asked_and_raised(connection: Connection, thread: str) -> list[Typed]:
    """Return what the tasks of a thread that have since raised had asked, each list of interrupts sealed."""
    return connection.execute(
        "SELECT type, value FROM writes AS asked WHERE thread_id = ? AND channel = ? AND EXISTS (SELECT 1 FROM writes "
        "AS raised WHERE raised.thread_id = asked.thread_id AND raised.checkpoint_ns = asked.checkpoint_ns "
        "AND raised.checkpoint_id = asked.checkpoint_id AND raised.task_id = asked.task_id AND raised.channel = ?)",
        (thread, INTERRUPT, ERROR),
    ).fetchall()


def begun(connection: Connection, thread: str) -> dict[str, bool]:
    """Return the tasks of a thread, including inner ones, that have written something -> whether each has ended."""
    aside = ", ".join("?" * len(WRITES_IDX_MAP))
    found = connection.execute(
        f"SELECT task_id, max(channel NOT IN ({aside})) FROM writes WHERE thread_id = ? GROUP BY task_id",  # noqa: S608
        (*WRITES_IDX_MAP, thread),
    )
    return {task: bool(ended) for task, ended in found.fetchall()}


def search(
    connection: Connection,
    sealed: Sealed,
    where: Mapping[str, str],
    matches: Callable[[Mapping[str, Any]], bool],
    limit: int | None,
) -> list[Found]:
    """Read checkpoints, newest first.

    Args:
        connection: The connection.
        sealed: Decrypts them.
        where: Conditions, each with the value of its one parameter.
        matches: Returns from its metadata whether one is wanted.
        limit: Maximum number to return.
    """
    conditions = f" WHERE {' AND '.join(where)}" if where else ""
    found: list[Found] = []
    for row in connection.execute(f"{_SELECT}{conditions} ORDER BY checkpoint_id DESC", (*where.values(),)):
        if limit is not None and len(found) >= limit:
            break
        if matches(_metadata(row[6])):
            found.append(_found(connection, sealed, row))
    return found


def history(connection: Connection, sealed: Sealed, place: Place, channels: Sequence[str]) -> dict[str, History]:
    """Read what the ancestors of a checkpoint contain for channels that store only what was written to them.

    Args:
        connection: The connection.
        sealed: Decrypts checkpoints.
        place: The checkpoint, which itself is not included.
        channels: The channels.
    """
    seeds: dict[str, tuple[Body, dict[str, list[Typed]]]] = {}
    steps: dict[str, list[list[tuple[str, str, str, bytes]]]] = {channel: [] for channel in channels}
    for ancestor, body in _ancestors(connection, sealed, place):
        wanted = [channel for channel in channels if channel not in seeds]
        if not wanted:
            break
        marks = ", ".join("?" * len(wanted))
        rows = connection.execute(f"{_WRITES} AND channel IN ({marks}){_IN_ORDER}", (*ancestor, *wanted)).fetchall()
        for channel in wanted:
            steps[channel].append([row for row in rows if row[1] == channel])
            if has(body, channel):
                seeds[channel] = body, _common(connection, ancestor, body, [channel])
    return {
        channel: History(seeds.get(channel), [write for step in reversed(steps[channel]) for write in step])
        for channel in channels
    }


def has(body: Body, channel: str) -> bool:
    """Return whether a checkpoint has a value for a channel."""
    return channel in body.within or channel in body.beside or channel in body.checkpoint["channel_values"]


def copy(connection: Connection, source: str, target: str) -> None:
    """Copy all that is stored of a thread."""
    for table in THREAD_TABLES:
        names = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")][1:]
        columns = ", ".join(names)
        connection.execute(
            f"INSERT OR REPLACE INTO {table} (thread_id, {columns}) "  # noqa: S608
            f"SELECT ?, {columns} FROM {table} WHERE thread_id = ?",
            (target, source),
        )


def delete(connection: Connection, thread: str) -> None:
    """Delete all that is stored of a thread."""
    for table in THREAD_TABLES:
        connection.execute(f"DELETE FROM {table} WHERE thread_id = ?", (thread,))  # noqa: S608


def keep_alone(connection: Connection, place: Place, beside: Mapping[str, Any]) -> None:
    """Delete all that is stored of a thread except one checkpoint.

    Args:
        connection: The connection.
        place: The checkpoint.
        beside: Channel -> version of its values that are stored beside it.
    """
    for table in ("checkpoints", "writes"):
        connection.execute(
            f"DELETE FROM {table} WHERE thread_id = ? AND (checkpoint_ns, checkpoint_id) <> (?, ?)",  # noqa: S608
            place,
        )
    keep_values(connection, place.thread, {(place.space, *value) for value in beside.items()})


def sweep(connection: Connection, sealed: Sealed, thread: str, gone: Sequence[Place]) -> None:
    """Delete checkpoints of a thread with their writes, and the values that no remaining checkpoint has.

    Args:
        connection: The connection.
        sealed: Decrypts the remaining ones.
        thread: The thread.
        gone: The checkpoints to delete.
    """
    for table in ("checkpoints", "writes"):
        connection.executemany(f"DELETE FROM {table} WHERE {_AT} AND checkpoint_id = ?", gone)  # noqa: S608
    left = connection.execute("SELECT checkpoint_ns, type, checkpoint FROM checkpoints WHERE thread_id = ?", (thread,))
    used = {(space, *value) for space, *data in left for value in sealed.body((data[0], data[1])).beside.items()}
    keep_values(connection, thread, used)


def keep_values(connection: Connection, thread: str, used: Collection[tuple[str, str, Any]]) -> None:
    """Delete the values of a thread that no checkpoint has.

    Args:
        connection: The connection.
        thread: The thread.
        used: Namespace, channel and version of the values that stay.
    """
    stored = connection.execute(
        "SELECT rowid, checkpoint_ns, channel, version, base FROM channel_values WHERE thread_id = ?", (thread,)
    )
    values = {(space, channel, version): (rowid, base) for rowid, space, channel, version, base in stored}
    for key in used:
        at: tuple[str, str, Any] | None = key
        while at in values:
            # The values that it was added to stay with it.
            _, base = values.pop(at)
            at = (*at[:2], base)
    connection.executemany("DELETE FROM channel_values WHERE rowid = ?", [(rowid,) for rowid, _ in values.values()])


def chain(connection: Connection, sealed: Sealed, place: Place, channels: Sequence[str]) -> Iterator[Place]:
    """Yield the ancestors from which the channels without a value in a checkpoint are reconstructed."""
    missing = set(channels)
    for ancestor, body in _ancestors(connection, sealed, place):
        if not missing:
            return
        yield ancestor
        missing = {channel for channel in missing if not has(body, channel)}


def _ancestors(connection: Connection, sealed: Sealed, place: Place) -> Iterator[tuple[Place, Body]]:
    """Yield the parent of a checkpoint, its parent, and so on."""
    parent = f"SELECT parent_checkpoint_id FROM checkpoints WHERE {_AT} AND checkpoint_id = ?"  # noqa: S608
    found = connection.execute(parent, place).fetchone()
    seen = {place.id}
    # A checkpoint that was rewritten under its own descendant would be its own ancestor.
    while found is not None and found[0] is not None and found[0] not in seen:
        ancestor = place._replace(id=found[0])
        seen.add(ancestor.id)
        row = connection.execute(
            f"SELECT type, checkpoint, parent_checkpoint_id FROM checkpoints WHERE {_AT} AND checkpoint_id = ?",  # noqa: S608
            ancestor,
        ).fetchone()
        if row is None:
            return
        yield ancestor, sealed.body((row[0], row[1]))
        found = (row[2],)


def _found(connection: Connection, sealed: Sealed, row: Sequence[Any]) -> Found:
    place, body = Place(*row[:3]), sealed.body((row[4], row[5]))
    common = _common(connection, place, body, [*body.beside])
    writes = connection.execute(f"{_WRITES}{_IN_ORDER}", place).fetchall()
    return Found(place, row[3], body, _metadata(row[6]), common, writes)


def _common(connection: Connection, place: Place, body: Body, channels: Sequence[str]) -> dict[str, list[Typed]]:
    """Return the values of channels that are stored beside a checkpoint."""
    return {
        channel: list(_value(connection, place, channel, body.beside[channel]))[::-1]
        for channel in channels
        if channel in body.beside
    }


def _value(connection: Connection, place: Place, channel: str, version: Any) -> Iterator[Typed]:
    """Yield what was last added to a value, what was added before that, and so on back to its first part."""
    seen = set()
    while version is not None and version not in seen:
        seen.add(version)
        row = connection.execute(
            f"SELECT type, value, base FROM channel_values WHERE {_AT} AND channel = ? AND version = ?",  # noqa: S608
            (*place[:2], channel, version),
        ).fetchone()
        if row is None:
            raise ConfigError(
                f"the checkpoints of {place.thread} are damaged, a value of {channel!r} is missing: put a copy of the "
                "state folder back, or start again"
            )
        yield row[0], row[1]
        version = row[2]


def _metadata(data: bytes | str | None) -> dict[str, Any]:
    return {} if data is None else dict(json.loads(data))
