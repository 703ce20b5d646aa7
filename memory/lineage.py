"""Lineage: what an item was made from, and how far that lets it be trusted."""

from __future__ import annotations

from collections.abc import Sequence
from sqlite3 import Connection

__all__ = ["ancestry", "settle"]

# Each is read with UNION, which follows an edge once, so that neither depth nor a cycle matters.
_COMES_FROM_ITSELF = """
WITH RECURSIVE above (id) AS (
    SELECT parent FROM lineage WHERE child = :id
    UNION SELECT lineage.parent FROM lineage JOIN above ON lineage.child = above.id
) SELECT 1 FROM above WHERE id = :id
"""
_TAKE_AFTER_PARENTS = """
UPDATE items SET trust = min(trust, (
    SELECT min(parent.trust) FROM lineage JOIN items AS parent ON parent.id = lineage.parent
    WHERE lineage.child = items.id AND parent.tenant = items.tenant
)) WHERE id = ? AND EXISTS (
    SELECT 1 FROM lineage JOIN items AS parent ON parent.id = lineage.parent
    WHERE lineage.child = items.id AND parent.tenant = items.tenant
)
"""
_LOWER_THE_DERIVED = """
WITH RECURSIVE below (id, trust) AS (
    SELECT id, trust FROM items WHERE id = :id
    UNION SELECT child.id, below.trust FROM below
        JOIN lineage ON lineage.parent = below.id
        JOIN items AS child ON child.id = lineage.child
    WHERE child.tenant = :tenant AND child.trust > below.trust
)
UPDATE items SET version = :version, trust = (SELECT trust FROM below LIMIT 1)
WHERE id IN (SELECT id FROM below) AND id <> :id
"""
_ANCESTRY = """
WITH RECURSIVE above (id, depth) AS (
    SELECT :id, 0
    UNION SELECT lineage.parent, above.depth + 1 FROM above JOIN lineage ON lineage.child = above.id
    WHERE above.depth < :most
) SELECT id, min(depth) FROM above GROUP BY id ORDER BY min(depth), id
"""


def settle(db: Connection, tenant: str, version: int, fresh: Sequence[tuple[str, Sequence[str]]]) -> None:
    """Note what items were made from, and lower the trust of them and of all that was made from them.

    An item is trusted no further than the least trusted it comes from, at any depth. Trust is only ever lowered here:
    it rises when an item itself is written anew. A parent that is not kept says nothing.

    Args:
        db: A connection inside a transaction, in which the items are written with the trust of their writers.
        tenant: Whose they are, as the database keeps it.
        version: The number of the change.
        fresh: Id and parents of each item.

    Raises:
        ValueError: An item would come from itself.
    """
    ids = [(item_id,) for item_id, _ in fresh]
    db.executemany("DELETE FROM lineage WHERE child = ?", ids)
    edges = [(item_id, parent) for item_id, parents in fresh for parent in parents]
    db.executemany("INSERT INTO lineage VALUES (?, ?)", edges)
    # Only an item that something was made from can come from itself, and has trust to hand down.
    has_children = "SELECT 1 FROM lineage WHERE parent = ? LIMIT 1"
    parental = [item_id for item_id, _ in fresh if db.execute(has_children, (item_id,)).fetchone()]
    with_parents = {item_id for item_id, parents in fresh if parents}
    for item_id in parental:
        if item_id in with_parents and db.execute(_COMES_FROM_ITSELF, {"id": item_id}).fetchone():
            raise ValueError(f"item {item_id} would be made from itself: leave out of its lineage what came from it")
    db.executemany(_TAKE_AFTER_PARENTS, [(item_id,) for item_id in with_parents])
    for item_id in parental:
        db.execute(_LOWER_THE_DERIVED, {"id": item_id, "tenant": tenant, "version": version})


def ancestry(db: Connection, item_id: str, *, most: int = 1000) -> list[tuple[str, int]]:
    """Return the ids an item comes from, itself first, each with the fewest steps to it.

    Args:
        db: A connection.
        item_id: The item.
        most: How many steps to follow.
    """
    found: list[tuple[str, int]] = db.execute(_ANCESTRY, {"id": item_id, "most": most}).fetchall()
    return found
