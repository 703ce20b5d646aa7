"""Earlier versions of items, each with its writers, to answer "what changed, and who wrote it"."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from sqlite3 import Connection
from typing import Any

from ...configs.words import Trust
from ..base import Provenance, Version
from ..items import Row
from . import table

__all__ = ["SCHEMA", "add", "ended", "forget", "keep", "of"]

SCHEMA = """
CREATE TABLE history (
    place INTEGER PRIMARY KEY, tenant TEXT NOT NULL, id TEXT NOT NULL, namespace TEXT NOT NULL, value TEXT NOT NULL,
    writers TEXT NOT NULL, trust TEXT NOT NULL, written REAL NOT NULL, replaced REAL NOT NULL
);
CREATE INDEX history_by_id ON history (tenant, id);
CREATE TABLE indexed (seq INTEGER PRIMARY KEY, paths TEXT NOT NULL);
UPDATE items SET twin = twin_of(namespace, value) WHERE twin <> '';
"""
"""``indexed`` names the parts of a value that have vectors, if that is not the whole value as one text; ``twin_of`` is
that of `pointsman.memory.items`, which before this version matched only identical texts."""

_COLUMNS = "value, writers, trust, written, replaced"
_MOST = 100  # versions of an item


def keep(db: Connection, tenant: str, held: Mapping[str, Row], kept: Iterable[Row], now: float) -> None:
    """Store the versions that are about to be replaced by another text.

    Args:
        db: A connection inside a transaction.
        tenant: Whose items.
        held: The current items, by id.
        kept: The new items, in the order they were written.
        now: Seconds since 1970.
    """
    there = dict(held)
    for row in kept:
        old = there.get(row.id)
        if old and old.twin != row.twin and old.live(now):
            _insert(db, tenant, old.namespace, old.id, [ended(old, now)])
            db.execute(
                "DELETE FROM history WHERE tenant = ? AND id = ? AND place NOT IN "
                "(SELECT place FROM history WHERE tenant = ? AND id = ? ORDER BY place DESC LIMIT ?)",
                (table.encoded(tenant), old.id, table.encoded(tenant), old.id, _MOST),
            )
        there[row.id] = row


def ended(row: Row, now: float) -> Version:
    """Return an item as a version that is replaced now."""
    return Version(row.value, row.writers, row.trust, row.updated, now)


def of(db: Connection, tenant: str, ids: Iterable[str]) -> dict[str, list[Version]]:
    """Return the earlier versions of items by id, oldest first; an item that never changed has no entry."""
    found: dict[str, list[Version]] = {}
    query = f"SELECT id, {_COLUMNS} FROM history WHERE tenant = ? AND id IN (??) ORDER BY place"  # noqa: S608 - our own words
    for item_id, *values in table.each(db, query, list(dict.fromkeys(ids)), table.encoded(tenant)):
        found.setdefault(item_id, []).append(_version(values))
    return found


def add(db: Connection, tenant: str, namespace: Sequence[str], item_id: str, versions: Iterable[Version]) -> None:
    """Add versions of an item from another memory; the versions already here are unchanged.

    Args:
        db: A connection inside a transaction.
        tenant: Whose item.
        namespace: The item's namespace.
        item_id: The item.
        versions: Its earlier versions.
    """
    held = of(db, tenant, [item_id]).get(item_id, [])
    known = {(table.encoded(version.value), version.written) for version in held}
    fresh = [version for version in versions if (table.encoded(version.value), version.written) not in known]
    if fresh:
        db.execute("DELETE FROM history WHERE tenant = ? AND id = ?", (table.encoded(tenant), item_id))
        ordered = sorted([*held, *fresh], key=lambda version: version.replaced or 0.0)
        _insert(db, tenant, namespace, item_id, ordered[-_MOST:])


def forget(
    db: Connection, tenant: str, namespace: Sequence[str], goes: Callable[[str, Version], bool]
) -> list[tuple[str, Version]]:
    """Delete versions of items, and return each of them with the id of its item.

    Args:
        db: A connection inside a transaction.
        tenant: Whose items.
        namespace: Only at or below this namespace.
        goes: Returns whether to delete a version, given the item's id and the version.
    """
    found = db.execute(
        f"SELECT place, id, namespace, {_COLUMNS} FROM history WHERE tenant = ?",  # noqa: S608 - our own words
        (table.encoded(tenant),),
    ).fetchall()
    gone = [
        (place, item_id, version)
        for place, item_id, where, *values in found
        if json.loads(where)[: len(namespace)] == list(namespace) and goes(item_id, version := _version(values))
    ]
    db.executemany("DELETE FROM history WHERE place = ?", [(place,) for place, *_ in gone])
    return [(item_id, version) for _, item_id, version in gone]


def _insert(db: Connection, tenant: str, namespace: Sequence[str], item_id: str, versions: Sequence[Version]) -> None:
    db.executemany(
        "INSERT INTO history (tenant, id, namespace, value, writers, trust, written, replaced) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (
                *(table.encoded(tenant), item_id, table.encoded(namespace), table.encoded(version.value)),
                *(json.dumps([asdict(writer) for writer in version.writers]), version.trust.value),
                *(version.written, version.replaced),
            )
            for version in versions
        ],
    )


def _version(values: Sequence[Any]) -> Version:
    value, writers, trust, written, replaced = values
    by = tuple(map(Provenance.of, json.loads(writers)))
    return Version(json.loads(value), by, Trust(trust), written, replaced)
