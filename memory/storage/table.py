"""Read, write and delete any number of rows in the memory's database."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from sqlite3 import Connection
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from ...configs.words import Trust
from ..base import Provenance
from ..items import Row
from . import lineage

__all__ = [
    "Entry",
    "beyond",
    "by_seq",
    "by_trust",
    "chosen",
    "delete",
    "each",
    "encoded",
    "entries",
    "expired",
    "get",
    "made_by",
    "mark",
    "marked",
    "next_version",
    "of_documents",
    "of_runs",
    "paths",
    "put",
    "refresh",
    "remark",
    "slices",
    "supersede",
    "twins",
    "unnumber",
    "version",
]

_T = TypeVar("_T")
_BATCH = 500  # below the parameter limit of every build of SQLite
_TRUSTS = tuple(sorted(Trust))
_RANK = {trust: rank for rank, trust in enumerate(_TRUSTS)}
_WRITER = {"source": "(source = ? OR substr(source, 1, ?) = ?)", "author": "author = ?", "run": "run = ?"}
_COLUMNS = "seq, id, namespace, key, value, created, updated, ttl, expires, twin, vectors, trust"


class Entry(NamedTuple):
    """The words and vectors by which an item is found.

    Attributes:
        words: Its words as `pointsman.memory.search.words` counts them.
        vectors: Unit vectors, one per row; none if the item is not indexed.
    """

    words: NDArray[np.uint32]
    vectors: NDArray[np.float32]


def slices(items: Sequence[_T], size: int = _BATCH) -> Iterator[Sequence[_T]]:
    """Split a sequence into slices that fit into one statement."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def each(db: Connection, query: str, wanted: Sequence[Any], *before: Any) -> Iterator[Any]:
    """Run a query for any number of values and yield its rows.

    Args:
        db: A connection.
        query: The query, with ``??`` for the values.
        wanted: The values.
        before: The values of the ``?`` placeholders before them.
    """
    for some in slices(wanted):
        yield from db.execute(query.replace("??", ", ".join("?" * len(some))), (*before, *some)).fetchall()


def encoded(text: Any) -> str:
    """Return a caller's string or namespace as stored in the database: ASCII JSON."""
    return json.dumps(text)


def version(db: Connection) -> int:
    """Return the number of the last transaction that changed an item."""
    number: int = db.execute("SELECT version FROM state").fetchone()[0]
    return number


def next_version(db: Connection) -> int:
    """Start a new change, and return its number."""
    db.execute("UPDATE state SET version = version + 1")
    return version(db)


def get(db: Connection, tenant: str, ids: Iterable[str]) -> dict[str, Row]:
    """Return a tenant's existing items with these ids, by id."""
    wanted = list(dict.fromkeys(ids))
    return {row.id: row for row in _select(db, "tenant = ? AND id IN (??)", wanted, encoded(tenant))}


def by_seq(db: Connection, seqs: Iterable[int]) -> dict[int, Row]:
    """Return the existing items with these numbers, by number."""
    return {row.seq: row for row in _select(db, "seq IN (??)", list(dict.fromkeys(seqs)))}


def of_documents(db: Connection, tenant: str, namespace: Sequence[str], documents: Sequence[str]) -> list[Row]:
    """Return the items of a namespace that may be passages of files: those of which a writer's path begins with one.

    Args:
        db: A connection.
        tenant: Whose items.
        namespace: Exactly their namespace.
        documents: The files or folders, as absolute paths.
    """
    query = (
        "SELECT DISTINCT seq FROM items JOIN writers USING (seq) "
        "WHERE items.tenant = ? AND namespace = ? AND instr(further, ?) > 0"
    )
    found: set[int] = set()
    for document in documents:
        values = encoded(tenant), encoded(namespace), encoded(document)[:-1]
        found.update(seq for (seq,) in db.execute(query, values))
    return _select(db, "seq IN (??)", sorted(found))


def twins(db: Connection, tenant: str, digests: Sequence[str]) -> dict[str, Row]:
    """Return a tenant's items whose remembered text has one of these digests, by id."""
    return {row.id: row for row in _select(db, "tenant = ? AND twin IN (??)", digests, encoded(tenant))}


def expired(db: Connection, tenant: str, now: float) -> list[int]:
    """Return the numbers of a tenant's items whose time limit has passed by ``now``, in seconds since 1970."""
    found = db.execute(
        "SELECT seq FROM items WHERE expires > 0 AND expires <= ? AND tenant = ?", (now, encoded(tenant))
    )
    return [seq for (seq,) in found]


def by_trust(db: Connection, tenant: str, now: float) -> dict[str, int]:
    """Return the number of a tenant's items per trust level, without those expired by ``now``."""
    found = dict(
        db.execute(
            "SELECT trust, count(*) FROM items WHERE tenant = ? AND (expires = 0 OR expires > ?) GROUP BY trust",
            (encoded(tenant), now),
        ).fetchall()
    )
    return {trust.value: found.get(rank, 0) for trust, rank in _RANK.items()}


def beyond(db: Connection, tenant: str, most: int) -> list[int]:
    """Return the numbers of a tenant's items in excess of ``most``, never the last one written.

    Superseded ones come first, then the least trusted, so a flood of untrusted text evicts only untrusted text (except
    for one item); then those from before the last change, and among these the oldest.
    """
    (count,) = db.execute("SELECT count(*) FROM items WHERE tenant = ?", (encoded(tenant),)).fetchone()
    found = db.execute(
        "SELECT seq FROM items WHERE tenant = :tenant AND seq IS NOT "
        "(SELECT max(seq) FROM items WHERE tenant = :tenant AND content = :now) "
        "ORDER BY expires >= 0, trust, content = :now, updated, seq LIMIT :many",
        {"tenant": encoded(tenant), "now": version(db), "many": max(count - most, 0)},
    )
    return [seq for (seq,) in found]


def entries(db: Connection, seqs: Sequence[int], dimensions: int) -> dict[int, Entry]:
    """Return the words and vectors of items, by number."""
    return {
        seq: Entry(
            np.frombuffer(words, np.uint32).reshape(-1, 2), np.frombuffer(matrix, np.float32).reshape(-1, dimensions)
        )
        for seq, words, matrix in each(db, "SELECT seq, words, matrix FROM entries WHERE seq IN (??)", seqs)
    }


def mark(db: Connection, tenant: str, embedder: str, dimensions: int) -> tuple[str, int]:
    """Record the embedder of a tenant's vectors if none is recorded yet, and return the recorded one."""
    db.execute("INSERT OR IGNORE INTO tenants VALUES (?, ?, ?)", (encoded(tenant), embedder, dimensions))
    return made_by(db, encoded(tenant))


def marked(db: Connection, tenant: str) -> tuple[str, int] | None:
    """Return name and dimensions of a tenant's embedder, or None if none is recorded."""
    found: tuple[str, int] | None = db.execute(
        "SELECT embedder, dimensions FROM tenants WHERE tenant = ?", (encoded(tenant),)
    ).fetchone()
    return found


def made_by(db: Connection, tenant: str) -> tuple[str, int]:
    """Return name and dimensions of the embedder of an encoded tenant that has one."""
    found: tuple[str, int] = db.execute(
        "SELECT embedder, dimensions FROM tenants WHERE tenant = ?", (tenant,)
    ).fetchone()
    return found


def paths(db: Connection, seqs: Sequence[int]) -> dict[int, tuple[str, ...]]:
    """Return by number which parts of a value have vectors; items embedded whole, as one text, are left out."""
    found = each(db, "SELECT seq, paths FROM indexed WHERE seq IN (??)", seqs)
    return {seq: tuple(json.loads(listed)) for seq, listed in found}


def remark(db: Connection, tenant: str, embedder: str, dimensions: int) -> None:
    """Record that the vectors of a tenant (as encoded in the database) come from another embedder from now on."""
    db.execute("UPDATE tenants SET embedder = ?, dimensions = ? WHERE tenant = ?", (embedder, dimensions, tenant))


def chosen(
    db: Connection,
    tenant: str,
    namespace: Sequence[str],
    ids: Sequence[str],
    writer: Mapping[str, str],
) -> list[int]:
    """Return the numbers of a tenant's items at or below a namespace that a matching writer wrote.

    Args:
        db: A connection.
        tenant: Whose items.
        namespace: The namespace.
        ids: Only these; empty for all.
        writer: Conditions that one writer must meet together: ``source`` (and its sections), ``author``, ``run``.
    """
    where, values = _under(tenant, namespace)
    if writer:
        fits = " AND ".join(_WRITER[name] for name in writer)
        where += f" AND seq IN (SELECT seq FROM writers WHERE {fits})"  # noqa: S608 - our own words
        for name, text in writer.items():
            section = encoded(text + "#")[:-1]
            values += [encoded(text), *([len(section), section] if name == "source" else [])]
    query = f"SELECT seq FROM items WHERE {where}"  # noqa: S608 - our own words
    found = each(db, f"{query} AND id IN (??)", ids, *values) if ids else db.execute(query, values)
    return [seq for (seq,) in found]


def of_runs(
    db: Connection, tenant: str, namespace: Sequence[str], since: float
) -> Iterator[tuple[int, str, dict[str, Any], float]]:
    """Yield number, id, value and time of the last write of items that, as far as known, only runs wrote.

    Args:
        db: A connection.
        tenant: Whose items.
        namespace: Only at or below this namespace.
        since: Only items last written then or later, in seconds since 1970.
    """
    where, values = _under(tenant, namespace)
    found = db.execute(
        f"SELECT seq, id, value, updated FROM items WHERE {where} AND updated >= ? AND NOT EXISTS "  # noqa: S608 - our own words
        "(SELECT 1 FROM writers WHERE writers.seq = items.seq AND run = ? AND author <> ?)",
        (*values, since, encoded(""), encoded(Provenance.unknown().author)),
    )
    yield from ((seq, item_id, json.loads(value), updated) for seq, item_id, value, updated in found)


def _under(tenant: str, namespace: Sequence[str]) -> tuple[str, list[Any]]:
    """Return the SQL condition for a tenant's items at or below a namespace, and its parameter values."""
    if not namespace:
        return "tenant = ?", [encoded(tenant)]
    path = encoded(namespace)
    below = path[:-1] + ", "
    return "tenant = ? AND (namespace = ? OR substr(namespace, 1, ?) = ?)", [encoded(tenant), path, len(below), below]


def put(db: Connection, tenant: str, fresh: Sequence[tuple[Row, Entry]]) -> None:
    """Write items, replacing those with the same ids.

    Args:
        db: A connection inside a transaction.
        tenant: Whose they are.
        fresh: The items, each id once; their ``seq`` is set.

    Raises:
        ValueError: If an item would be made from itself.
    """
    number, now = encoded(tenant), next_version(db)
    (free,) = db.execute("SELECT next_seq FROM state").fetchone()
    taken = dict(each(db, "SELECT id, seq FROM items WHERE id IN (??)", [row.id for row, _ in fresh]))
    for row, _ in fresh:
        row.seq = taken.get(row.id, free)
        free += row.seq == free
    db.execute("UPDATE state SET next_seq = ?", (free,))
    _queue(db, number, list(taken.values()))
    db.executemany(
        "INSERT OR REPLACE INTO items VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [_values(row, number, now) for row, _ in fresh],
    )
    db.executemany(
        "INSERT OR REPLACE INTO entries VALUES (?, ?, ?)",
        [(row.seq, entry.words.tobytes(), entry.vectors.tobytes()) for row, entry in fresh],
    )
    db.executemany("DELETE FROM writers WHERE seq = ?", [(row.seq,) for row, _ in fresh])
    db.executemany(
        "INSERT INTO writers VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        [values for row, _ in fresh for values in _writers(row)],
    )
    db.executemany("DELETE FROM indexed WHERE seq = ?", [(row.seq,) for row, _ in fresh])
    db.executemany(
        "INSERT INTO indexed VALUES (?, ?)", [(row.seq, json.dumps(row.paths)) for row, _ in fresh if row.paths]
    )
    _queue(db, number, [row.seq for row, _ in fresh])
    lineage.settle(db, number, now, [(row.id, row.parents) for row, _ in fresh])


def refresh(db: Connection, tenant: str, expiries: Mapping[int, float]) -> None:
    """Set the expiry times of a tenant's items, in seconds since 1970, by number."""
    now = next_version(db)
    _queue(db, encoded(tenant), list(expiries))
    db.executemany(
        "UPDATE items SET expires = ?, version = ? WHERE seq = ?",
        [(expires, now, seq) for seq, expires in expiries.items()],
    )


def supersede(db: Connection, tenant: str, seqs: Sequence[int], now: float) -> None:
    """Take items out of every search, in favour of others; they keep all but their words and vectors.

    Args:
        db: A connection inside a transaction.
        tenant: Whose items.
        seqs: Their numbers.
        now: Seconds since 1970.
    """
    number = next_version(db)
    _queue(db, encoded(tenant), seqs)
    db.executemany(
        "UPDATE items SET expires = ?, vectors = 0, version = ? WHERE seq = ?", [(-now, number, seq) for seq in seqs]
    )
    db.executemany("UPDATE entries SET words = x'', matrix = x'' WHERE seq = ?", [(seq,) for seq in seqs])
    db.executemany("DELETE FROM indexed WHERE seq = ?", [(seq,) for seq in seqs])


def delete(db: Connection, tenant: str, seqs: Sequence[int]) -> None:
    """Delete items of a tenant and everything stored about them."""
    for name, column in (("lineage", "child"), ("history", "id")):
        db.executemany(
            f"DELETE FROM {name} WHERE tenant = ? AND {column} = (SELECT id FROM items WHERE seq = ?)",  # noqa: S608 - our own words
            [(encoded(tenant), seq) for seq in seqs],
        )
    unnumber(db, tenant, seqs)


def unnumber(db: Connection, tenant: str, seqs: Sequence[int]) -> None:
    """Delete items of a tenant, but not their lineage and history; written again, they come after all others."""
    number, now = encoded(tenant), next_version(db)
    _queue(db, number, seqs)
    ones = [(seq,) for seq in seqs]
    for name in ("items", "entries", "writers", "indexed"):
        db.executemany(f"DELETE FROM {name} WHERE seq = ?", ones)  # noqa: S608 - our own words
    db.executemany("INSERT OR REPLACE INTO gone VALUES (?, ?, ?)", [(seq, number, now) for seq in seqs])


def _queue(db: Connection, tenant: str, seqs: Sequence[int]) -> None:
    """Add changed items to Chroma's outbox, with the number of vectors each has now."""
    db.executemany(
        "INSERT INTO outbox (tenant, seq, id, vectors) SELECT ?, seq, id, vectors FROM items WHERE seq = ?",
        [(tenant, seq) for seq in seqs],
    )


def _values(row: Row, tenant: str, now: int) -> tuple[Any, ...]:
    first, trust = row.writers[0], min(row.trust, *(writer.trust for writer in row.writers))
    return (
        *(row.seq, row.id, tenant, encoded(row.namespace), now, now, row.expires, row.ttl, row.created, row.updated),
        *(row.twin, row.vectors, _RANK[trust], encoded(first.source), encoded(first.author), encoded(row.key)),
        _document(row.value),
    )


def _document(value: Mapping[str, Any]) -> str:
    """Return a value as JSON with non-ASCII characters unescaped, if they have a UTF-8 form."""
    text = json.dumps(value, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        # A lone surrogate is legal in a Python string but has no UTF-8 form; escaped, it survives the round trip.
        text = json.dumps(value)
    return text


def _writers(row: Row) -> Iterator[tuple[Any, ...]]:
    for place, writer in enumerate(row.writers):
        yield (
            *(row.seq, place, encoded(writer.source), encoded(writer.author), encoded(writer.run)),
            *(_RANK[writer.trust], encoded(writer.lineage)),
            # Without an empty document: processes of earlier versions that have the memory open cannot read one.
            encoded([writer.model, writer.step, writer.tool, writer.span, *filter(None, [writer.document])]),
        )


def _select(db: Connection, where: str, wanted: Sequence[Any], *values: Any) -> list[Row]:
    found = list(each(db, f"SELECT {_COLUMNS} FROM items WHERE {where}", wanted, *values))  # noqa: S608 - our own words
    writers = _writers_of(db, [seq for seq, *_ in found])
    return [_row(columns, tuple(writers[columns[0]])) for columns in found]


def _writers_of(db: Connection, seqs: Sequence[int]) -> dict[int, list[Provenance]]:
    writers: dict[int, list[Provenance]] = {seq: [] for seq in seqs}
    columns = "seq, source, author, run, trust, lineage, further"
    query = f"SELECT {columns} FROM writers WHERE seq IN (??) ORDER BY seq, place"  # noqa: S608 - our own words
    for seq, source, author, run, trust, ids, further in each(db, query, seqs):
        names = (json.loads(source), json.loads(author), json.loads(run))
        # Most have no document.
        model, step, tool, span, *document = json.loads(further)
        place = (span[0], span[1]) if span else None
        about = (model, step, tool, place, *document)
        writers[seq].append(Provenance(*names, _TRUSTS[trust], tuple(json.loads(ids)), *about))
    return writers


def _row(values: Sequence[Any], writers: tuple[Provenance, ...]) -> Row:
    seq, item_id, namespace, key, value, created, updated, ttl, expires, twin, vectors, trust = values
    return Row(
        id=item_id,
        namespace=tuple(json.loads(namespace)),
        key=json.loads(key),
        value=json.loads(value),
        created=created,
        updated=updated,
        writers=writers,
        ttl=ttl,
        expires=expires,
        twin=twin,
        vectors=vectors,
        trust=_TRUSTS[trust],
        seq=seq,
    )
