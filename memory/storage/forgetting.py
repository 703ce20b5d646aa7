"""Forget items: delete them from the tables, together with the copies that runs have written since."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from sqlite3 import Connection

from ..base import Provenance, Version
from . import forgotten, history, table

__all__ = ["forget"]


def forget(
    db: Connection, tenant: str, namespace: Sequence[str], ids: Sequence[str], writer: Mapping[str, str]
) -> set[str]:
    """Delete what a writer wrote, and later writes of runs that contain one of its texts.

    Args:
        db: A connection inside a transaction.
        tenant: Whose items.
        namespace: Only at or below this namespace.
        ids: Only these; empty for all.
        writer: Conditions that one writer must meet together: ``source``, ``author``, ``run``.

    Returns:
        The ids of the items that were deleted or lost versions of their history.
    """

    def named(item_id: str, version: Version) -> bool:
        return (not ids or item_id in ids) and any(_fits(one, writer) for one in version.writers)

    numbers = table.chosen(db, tenant, namespace, ids, writer)
    # History first, because deleting an item deletes all its history, whoever wrote it.
    former = history.forget(db, tenant, namespace, named)
    rows = [row for some in table.slices(numbers) for row in table.by_seq(db, some).values()]
    since = {row.id: row.created for row in table.get(db, tenant, {item_id for item_id, _ in former}).values()}
    values = [(version.value, since[item_id]) for item_id, version in former]
    values += [(row.value, row.created) for row in rows]
    forgotten.note_down(db, tenant, [value for value, _ in values])
    gone = {item_id for item_id, _ in former} | {row.id for row in rows}
    if numbers:
        table.delete(db, tenant, numbers)
    return gone | _again(db, tenant, namespace, forgotten.Told(values))


def _again(db: Connection, tenant: str, namespace: Sequence[str], told: forgotten.Told) -> set[str]:
    """Delete copies of texts that runs have written, and return the ids of the items.

    Copies written outside a run are kept, because they were made on purpose; so are older ones, which came from
    elsewhere.
    """

    def repeats(item_id: str, version: Version) -> bool:
        by_runs = all(writer.run or writer == Provenance.unknown() for writer in version.writers)
        return by_runs and told.stands_in(version.value, version.written)

    found = [
        (seq, item_id)
        for seq, item_id, value, written in table.of_runs(db, tenant, namespace, told.since)
        if told.stands_in(value, written)
    ]
    gone = {item_id for item_id, _ in history.forget(db, tenant, namespace, repeats)}
    if found:
        table.delete(db, tenant, [seq for seq, _ in found])
    return gone.union(item_id for _, item_id in found)


def _fits(one: Provenance, writer: Mapping[str, str]) -> bool:
    return all(
        getattr(one, name) == text or (name == "source" and one.source.startswith(text + "#"))
        for name, text in writer.items()
    )
