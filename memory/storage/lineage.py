"""Lineage: what an item was made from, and the limit this sets on its trust."""

from __future__ import annotations

import json
from collections.abc import Sequence
from graphlib import CycleError, TopologicalSorter
from sqlite3 import Connection

__all__ = ["ancestry", "comes_from", "settle"]

# CROSS JOIN makes SQLite keep the join order as written; UNION follows each edge once, so cycles do no harm.
_ABOVE = """
WITH RECURSIVE above (child, parent) AS (
    SELECT child, parent FROM lineage WHERE tenant = :tenant AND child IN (SELECT value FROM json_each(:ids))
    UNION SELECT lineage.child, lineage.parent
        FROM above CROSS JOIN lineage ON lineage.tenant = :tenant AND lineage.child = above.parent
) SELECT child, parent FROM above
"""
_TAKE_AFTER_PARENTS = """
UPDATE items SET trust = min(trust, coalesce((
    SELECT min(parent.trust) FROM lineage CROSS JOIN items AS parent ON parent.id = lineage.parent
    WHERE lineage.tenant = :tenant AND lineage.child = :id AND parent.tenant = :tenant
), trust)) WHERE id = :id
"""
_MADE_FROM_ONE = """
SELECT child.id, min(parent.trust) FROM json_each(:ids) AS one
CROSS JOIN items AS parent ON parent.id = one.value
CROSS JOIN lineage ON lineage.tenant = :tenant AND lineage.parent = parent.id
CROSS JOIN items AS child ON child.id = lineage.child
WHERE child.trust > parent.trust GROUP BY child.id
"""


def settle(db: Connection, tenant: str, version: int, fresh: Sequence[tuple[str, Sequence[str]]]) -> None:
    """Record what items were made from, and lower the trust of them and of everything made from them.

    An item is trusted no further than its least trusted ancestor. Trust is only lowered here; it rises when the item
    itself is rewritten. A parent that is not stored has no effect.

    Args:
        db: A connection inside a transaction, in which the items are written with the trust of their writers.
        tenant: Whose they are, as encoded in the database.
        version: The number of the change.
        fresh: Id and parents of each item.

    Raises:
        ValueError: If an item would be made from itself.
    """
    ids = [(tenant, item_id) for item_id, _ in fresh]
    db.executemany("DELETE FROM lineage WHERE tenant = ? AND child = ?", ids)
    edges = [(tenant, item_id, parent) for item_id, parents in fresh for parent in parents]
    db.executemany("INSERT INTO lineage VALUES (?, ?, ?)", edges)
    # Only an item with children can be part of a cycle or pass trust on.
    has_children = "SELECT 1 FROM lineage WHERE tenant = ? AND parent = ? LIMIT 1"
    parental = [item_id for item_id, _ in fresh if db.execute(has_children, (tenant, item_id)).fetchone()]
    with_parents = {item_id for item_id, parents in fresh if parents}
    _refuse_cycles(db, tenant, [item_id for item_id in parental if item_id in with_parents])
    db.executemany(_TAKE_AFTER_PARENTS, [{"tenant": tenant, "id": item_id} for item_id in with_parents])
    while parental:
        lowered = db.execute(_MADE_FROM_ONE, {"tenant": tenant, "ids": json.dumps(parental)}).fetchall()
        changes = [(trust, version, item_id) for item_id, trust in lowered]
        db.executemany("UPDATE items SET trust = ?, version = ? WHERE id = ?", changes)
        parental = [item_id for item_id, _ in lowered]


def _refuse_cycles(db: Connection, tenant: str, ids: Sequence[str]) -> None:
    above: dict[str, list[str]] = {}
    for child, parent in db.execute(_ABOVE, {"tenant": tenant, "ids": json.dumps(ids)}) if ids else ():
        above.setdefault(child, []).append(parent)
    try:
        TopologicalSorter(above).prepare()
    except CycleError as error:
        raise ValueError(
            f"item {error.args[1][0]} would be made from itself: leave out of its lineage what came from it"
        ) from None


def comes_from(db: Connection, tenant: str, item_id: str, other: str) -> bool:
    """Whether an item is the other one, or was made from it, at any depth."""
    if item_id == other:
        return True
    return any(parent == other for _, parent in db.execute(_ABOVE, {"tenant": tenant, "ids": json.dumps([item_id])}))


def ancestry(db: Connection, tenant: str, item_id: str, *, most: int = 1000) -> list[tuple[str, int]]:
    """Return the ids of an item and its ancestors, itself first, each with the fewest steps to it.

    Args:
        db: A connection.
        tenant: Whose it is, as encoded in the database.
        item_id: The item.
        most: How many steps to follow.
    """
    above: dict[str, list[str]] = {}
    for child, parent in db.execute(_ABOVE, {"tenant": tenant, "ids": json.dumps([item_id])}):
        above.setdefault(child, []).append(parent)
    # Level by level: in a lineage that branches and merges, there can be far more paths than items.
    steps, level = {item_id: 0}, [item_id]
    for step in range(1, most + 1):
        level = list({parent for one in level for parent in above.get(one, ())}.difference(steps))
        steps.update(dict.fromkeys(level, step))
    return sorted(steps.items(), key=lambda found: (found[1], found[0]))
