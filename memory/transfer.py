"""Export items as lossless JSON objects, and import them."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from sqlite3 import Connection
from typing import Any

import numpy as np
from langgraph.store.base import PutOp

from ..configs.errors import ConfigError
from ..configs.redact import redact, redacted
from ..configs.words import Trust
from .base import Provenance, Version
from .items import Row, check_value, row_id, twin_of
from .notes import check_namespace, check_provenance, texts_of, words_of
from .search.words import counted, strings_in
from .storage import forgotten, history, table
from .vectors import Vectors

__all__ = ["Incoming", "embedded", "page", "read", "restored"]

_SAME = ("value", "writers", "ttl", "twin", "trust", "created", "updated")
"""The fields that must be equal for two versions to be the same; ``expires`` changes with each use."""
_AS_IT_IS = ("seq", "id", "key", "value", "created", "updated", "ttl", "expires")
"""The fields of an item that are exported as stored."""
_WHOLE = ("$",)


def page(db: Connection, tenant: str, dimensions: int, now: float, after: int, limit: int) -> list[dict[str, Any]]:
    """Return the next items of a tenant, in the order they were first written.

    Args:
        db: A connection.
        tenant: Whose items.
        dimensions: Length of a vector.
        now: Seconds since 1970; items expired by then are left out.
        after: ``seq`` of the last item of the previous page.
        limit: The maximum number of items.
    """
    found = db.execute(
        "SELECT seq FROM items WHERE tenant = ? AND seq > ? AND (expires <= 0 OR expires > ?) ORDER BY seq LIMIT ?",
        (table.encoded(tenant), after, now, limit),
    )
    seqs = [seq for (seq,) in found]
    rows = {seq: row for some in table.slices(seqs) for seq, row in table.by_seq(db, some).items()}
    entries = table.entries(db, seqs, dimensions)
    paths, former = table.paths(db, seqs), history.of(db, tenant, [row.id for row in rows.values()])
    return [
        {
            **_told(rows[seq], entries[seq], tenant),
            "paths": list(paths.get(seq, ())),
            "history": [_version_told(version) for version in former.get(rows[seq].id, ())],
        }
        for seq in seqs
    ]


def _told(row: Row, entry: table.Entry, tenant: str) -> dict[str, Any]:
    return {
        **{name: getattr(row, name) for name in _AS_IT_IS},
        "tenant": tenant,
        "namespace": list(row.namespace),
        "note": bool(row.twin),
        "trust": row.trust.value,
        "writers": _writers_told(row.writers),
        "words": _text(entry.words),
        "vectors": _text(entry.vectors),
        "vector_count": row.vectors,
    }


def _version_told(version: Version) -> dict[str, Any]:
    return {**asdict(version), "writers": _writers_told(version.writers), "trust": version.trust.value}


def _writers_told(writers: Iterable[Provenance]) -> list[dict[str, Any]]:
    return [{**asdict(writer), "trust": writer.trust.value} for writer in writers]


@dataclass(slots=True)
class Incoming:
    """An item to import.

    Attributes:
        row: The item.
        former: Its earlier versions.
        entry: Its words and vectors; None if they have to be computed from its value.
    """

    row: Row
    former: Sequence[Version]
    entry: table.Entry | None


def read(about: Mapping[str, Any], tenant: str, dimensions: int | None, *, trusted: bool) -> Incoming:
    """Read an item that `page` exported.

    Args:
        about: The item.
        tenant: Whose memory it is imported into.
        dimensions: Length of its vectors, if that memory's embedder made them; None if not.
        trusted: Whether it is an export of this user's own memory. If not, none of its claims are believed: it is
            untrusted and its vectors are recomputed.

    Raises:
        ConfigError: If it is not an item, belongs to another tenant, or has an invalid namespace or value.
    """
    try:
        if about["tenant"] != tenant:
            raise ConfigError(f"is of tenant {about['tenant']!r}, not {tenant!r}: open the memory of that tenant")
        namespace = tuple(map(str, about["namespace"]))
        check_namespace(namespace)
        check_value(about["value"], "the value")
        key, value = str(about["key"]), dict(redacted(about["value"]))
        row = Row(
            id=row_id(tenant, namespace, key),
            namespace=namespace,
            key=key,
            value=value,
            created=_time(about["created"]),
            updated=_time(about["updated"]),
            writers=tuple(_writer(writer, trusted=trusted) for writer in about["writers"]),
            ttl=None if about["ttl"] is None else float(about["ttl"]),
            expires=float(about["expires"]),
            twin=twin_of(namespace, _text_of(value)) if about["note"] else "",
            vectors=int(about["vector_count"]),
            trust=Trust(about["trust"]) if trusted else Trust.UNTRUSTED,
            paths=tuple(map(str, about["paths"])),
        )
        former = [_version(version, trusted=trusted) for version in about["history"]]
        if not row.writers or row.id != about["id"]:
            raise ValueError("its id is not that of its namespace and key, or nobody wrote it")
        entry = None
        if trusted and dimensions is not None:
            vectors = np.frombuffer(b64decode(about["vectors"]), np.float32).reshape(row.vectors, dimensions)
            entry = table.Entry(np.frombuffer(b64decode(about["words"]), np.uint32).reshape(-1, 2), vectors)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, OSError) as error:
        raise ConfigError(f"is no item of a memory: {error!r}") from error
    return Incoming(row, former, entry)


def _version(about: Mapping[str, Any], *, trusted: bool) -> Version:
    check_value(about["value"], "a former value")
    return Version(
        value=dict(redacted(about["value"])),
        writers=tuple(_writer(writer, trusted=trusted) for writer in about["writers"]),
        trust=Trust(about["trust"]) if trusted else Trust.UNTRUSTED,
        written=_time(about["written"]),
        replaced=_time(about["replaced"]),
    )


def _writer(about: Mapping[str, Any], *, trusted: bool) -> Provenance:
    trust = about["trust"] if trusted else Trust.UNTRUSTED
    hidden = {name: redact(about.get(name, "")) for name in ("source", "document")}
    writer = Provenance.of({**about, **hidden, "trust": trust})
    check_provenance(writer)
    return writer


def _time(seconds: Any) -> float:
    """Return seconds since 1970 as a float; raise if no date can represent them."""
    datetime.fromtimestamp(float(seconds), UTC)
    return float(seconds)


def _text_of(value: Mapping[str, Any]) -> str:
    text = value["text"]
    if not isinstance(text, str) or not text.strip():
        raise ValueError("a note has a text")
    return text


def embedded(items: Sequence[Incoming], vectors: Vectors) -> int:
    """Compute the words and vectors of items that came without them, and return how many items that were."""
    missing = [item for item in items if item.entry is None]
    texts: list[list[str]] = []
    for item in missing:
        row = item.row
        op = PutOp(row.namespace, row.key, row.value)
        indexed = row.vectors and row.replaced is None
        texts.append([] if not indexed else [row.text] if row.twin else texts_of(op, row.paths or _WHOLE))
    made = iter(vectors.of([text for listed in texts for text in listed]))
    for item, listed in zip(missing, texts, strict=True):
        row = item.row
        op = PutOp(row.namespace, row.key, row.value)
        words = "\n".join(strings_in(row.value)) if row.twin else words_of(op, listed, row.paths or _WHOLE)
        matrix = np.array([next(made) for _ in listed], np.float32).reshape(-1, vectors.dimensions)
        item.row = replace(row, vectors=len(listed))
        item.entry = table.Entry(counted(words), matrix)
    return len(missing)


def restored(db: Connection, tenant: str, items: Sequence[Incoming], now: float, *, trusted: bool) -> dict[str, int]:
    """Write items that are not there, or older there; and return how many were added, replaced and left out, and why.

    An item that is there never gains trust, and what a newer one replaces stays in its history; one that is not this
    user's replaces nothing that says something else and is trusted further.

    Args:
        db: A connection inside a transaction.
        tenant: Whose memory.
        items: The items, each with its words and vectors.
        now: Seconds since 1970.
        trusted: They are as this memory's user told them.

    Raises:
        ValueError: If an item would be made from itself.
    """
    count = dict.fromkeys(("added", "replaced", "unchanged", "newer", "less_trusted", "expired", "forgotten"), 0)
    held = table.get(db, tenant, [item.row.id for item in items])
    gone = forgotten.repeats(db, tenant, [item.row.value for item in items])
    unwanted = iter(forgotten.repeats(db, tenant, [v.value for item in items for v in item.former]))
    fresh: dict[str, tuple[Row, table.Entry]] = {}
    for item, was_forgotten in zip(items, gone, strict=True):
        row, old = item.row, held.get(item.row.id)
        former = [version for version in item.former if not next(unwanted)]
        foreign = not trusted and old and old.live(now) and row.trust < old.trust and row.twin != old.twin
        # Somebody else's file supersedes nothing here.
        over = not row.live(now) and (row.replaced is None or not trusted)
        if old:
            row = replace(row, trust=min(row.trust, old.trust), seq=old.seq)
        if was_forgotten:
            fate = "forgotten"
        elif over:
            fate = "expired"
        elif old and _changed(old) > _changed(row):
            fate = "newer"
        elif foreign:
            fate = "less_trusted"
        elif old and old.replaced == row.replaced and all(getattr(old, n) == getattr(row, n) for n in _SAME):
            fate = "unchanged"
        else:
            fate = "replaced" if old else "added"
            assert item.entry is not None  # noqa: S101 - `embedded` has set it
            fresh[row.id] = row, item.entry
            if old and old.live(now) and old.twin != row.twin:
                former.append(history.ended(old, now))
        if fate in ("added", "replaced", "unchanged"):
            history.add(db, tenant, row.namespace, row.id, former)
        count[fate] += 1
    table.put(db, tenant, list(fresh.values()))
    return count


def _changed(row: Row) -> float:
    """Return when an item was last written, or superseded."""
    return max(row.updated, row.replaced or 0.0)


def _text(array: Any) -> str:
    return b64encode(np.ascontiguousarray(array).tobytes()).decode()
