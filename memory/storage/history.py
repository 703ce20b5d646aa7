"""What items said before they were replaced: every version with its writers, for "what changed, and who wrote it"."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from sqlite3 import Connection

from ...configs.words import Trust
from ..base import Provenance, Version
from ..items import Row
from . import table

__all__ = ["SCHEMA", "forget", "keep", "of"]

SCHEMA = """
CREATE TABLE history (
    place INTEGER PRIMARY KEY, tenant TEXT NOT NULL, id TEXT NOT NULL, namespace TEXT NOT NULL, value TEXT NOT NULL,
    writers TEXT NOT NULL, trust TEXT NOT NULL, written REAL NOT NULL, replaced REAL NOT NULL
);
CREATE INDEX history_by_id ON history (tenant, id);
CREATE TABLE indexed (seq INTEGER PRIMARY KEY, paths TEXT NOT NULL);
"""
"""``indexed`` names the parts of a value that have vectors, where it is not all of it as one text."""

_MOST = 100  # versions of an item


def keep(db: Connection, tenant: str, held: Mapping[str, Row], kept: Iterable[Row], now: float) -> None:
    """Keep what is about to be replaced by another text.

    Args:
        db: A connection inside a transaction.
        tenant: Whose items.
        held: What lies there now, by id.
        kept: What is to lie there, in the order in which it was written.
        now: Seconds since 1970.
    """
    there = dict(held)
    for row in kept:
        old = there.get(row.id)
        if old and old.twin != row.twin and old.live(now):
            db.execute(
                "INSERT INTO history (tenant, id, namespace, value, writers, trust, written, replaced) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    *(table.encoded(tenant), old.id, table.encoded(old.namespace), table.encoded(old.value)),
                    *(json.dumps([asdict(writer) for writer in old.writers]), old.trust.value, old.updated, now),
                ),
            )
            db.execute(
                "DELETE FROM history WHERE tenant = ? AND id = ? AND place NOT IN "
                "(SELECT place FROM history WHERE tenant = ? AND id = ? ORDER BY place DESC LIMIT ?)",
                (table.encoded(tenant), old.id, table.encoded(tenant), old.id, _MOST),
            )
        there[row.id] = row


def of(db: Connection, tenant: str, item_id: str) -> list[Version]:
    """Return what an item said before, oldest first."""
    found = db.execute(
        "SELECT value, writers, trust, written, replaced FROM history WHERE tenant = ? AND id = ? ORDER BY place",
        (table.encoded(tenant), item_id),
    )
    return [
        Version(json.loads(value), _writers(writers), Trust(trust), written, replaced)
        for value, writers, trust, written, replaced in found
    ]


def forget(db: Connection, tenant: str, namespace: Sequence[str], ids: Sequence[str], writer: Mapping[str, str]) -> int:
    """Delete the versions that a writer wrote, and return how many; the arguments are those of `table.chosen`."""
    found = db.execute(
        "SELECT place, id, namespace, writers FROM history WHERE tenant = ?", (table.encoded(tenant),)
    ).fetchall()
    gone = [
        (place,)
        for place, item_id, where, writers in found
        if (not ids or item_id in ids)
        and json.loads(where)[: len(namespace)] == list(namespace)
        and any(all(one[name] == text for name, text in writer.items()) for one in json.loads(writers))
    ]
    db.executemany("DELETE FROM history WHERE place = ?", gone)
    return len(gone)


def _writers(text: str) -> tuple[Provenance, ...]:
    return tuple(
        Provenance(
            **{
                **one,
                "trust": Trust(one["trust"]),
                "lineage": tuple(one["lineage"]),
                "span": tuple(one["span"]) if one["span"] else None,
            }
        )
        for one in json.loads(text)
    )
