"""How an item lies in Chroma: its id, its document and metadata, and the tests a search applies to it.

A caller's strings reach Chroma only as ids (hashed), as documents, and as values of our own equality tests;
filters are applied here, in Python, so that no operator of a caller's can widen a query.
"""

from __future__ import annotations

import json
from base64 import b32encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from langgraph.store.base import Item, MatchCondition, PutOp, SearchItem

from ..configs.words import Trust
from .base import Note, Provenance, Recalled

__all__ = [
    "Row",
    "check_filter",
    "check_value",
    "expiry",
    "fits_namespace",
    "matches",
    "noted",
    "part_ids",
    "rewritten",
    "row_id",
    "scope",
    "twin_of",
    "under",
    "written",
]

_ORDERINGS = {
    "$gt": lambda a, b: a > b,
    "$gte": lambda a, b: a >= b,
    "$lt": lambda a, b: a < b,
    "$lte": lambda a, b: a <= b,
}
_OPERATORS = frozenset({"$eq", "$ne", *_ORDERINGS})


def _digest(*parts: Any) -> str:
    # JSON quotes every part, so ("a", "bc") and ("ab", "c") differ. 160 bits: no two ids meet by chance or by craft.
    return b32encode(sha256(json.dumps(parts).encode()).digest()[:20]).decode().lower()


def row_id(tenant: str, namespace: Sequence[str], key: str) -> str:
    """Return the id of an item: 32 letters and digits that no other tenant, namespace and key share."""
    return _digest("item", tenant, list(namespace), key)


def twin_of(namespace: Sequence[str], text: str) -> str:
    """Return what identical remembered texts of one namespace have in common."""
    return _digest("text", list(namespace), text)


def part_ids(item_id: str, start: int, stop: int) -> list[str]:
    """Return the ids of an item's further vectors; vector 0 lies in the item's own row."""
    return [f"{item_id}:{n}" for n in range(start, stop)]


def _path(namespace: Sequence[str]) -> str:
    return json.dumps(list(namespace))


def scope(namespace: Sequence[str]) -> dict[str, Any]:
    """Return the metadata that makes prefix search one exact equality: ``in_2 = ["a", "b"]`` for every depth."""
    return {f"in_{depth}": _path(namespace[:depth]) for depth in range(1, len(namespace) + 1)}


def under(prefix: Sequence[str]) -> dict[str, Any] | None:
    """Return the Chroma condition for everything at or below a namespace, None for everything."""
    return {f"in_{len(prefix)}": {"$eq": _path(prefix)}} if prefix else None


@dataclass(slots=True)
class Row:
    """One stored item.

    Attributes:
        id: See `row_id`.
        created: Seconds since 1970, as are ``updated`` and ``expires``.
        ttl: Minutes it lives after its last use; None for ever.
        expires: When it stops existing; 0 for never.
        twin: See `twin_of`; empty for a plain put.
        vectors: How many vectors it is found by; 0 when it is not indexed.
    """

    id: str
    namespace: tuple[str, ...]
    key: str
    value: dict[str, Any]
    created: float
    updated: float
    writers: tuple[Provenance, ...]
    ttl: float | None = None
    expires: float = 0.0
    twin: str = ""
    vectors: int = 0

    @property
    def document(self) -> str:
        """The value as JSON; readable letters stay readable so that Chroma can search them."""
        text = json.dumps(self.value, ensure_ascii=False)
        try:
            text.encode()
        except UnicodeEncodeError:
            # A lone surrogate is a legal Python string but has no UTF-8 form; escaped, it survives the round trip.
            text = json.dumps(self.value)
        return text

    @property
    def metadata(self) -> dict[str, Any]:
        """The row's metadata. Every key is always written, because an upsert keeps the keys it does not name."""
        about = {
            "ns": self.namespace,
            "key": self.key,
            "created": self.created,
            "updated": self.updated,
            "ttl": self.ttl,
            "writers": [[w.source, w.author, w.run, w.trust.value, w.lineage] for w in self.writers],
        }
        return {
            **scope(self.namespace),
            "about": json.dumps(about),
            "expires": self.expires,
            "twin": self.twin,
            "vectors": self.vectors,
        }

    @classmethod
    def decode(cls, item_id: str, document: str, metadata: Mapping[str, Any]) -> Row:
        """Read a row back as Chroma returned it."""
        about = json.loads(metadata["about"])
        return cls(
            id=item_id,
            namespace=tuple(about["ns"]),
            key=about["key"],
            value=json.loads(document),
            created=about["created"],
            updated=about["updated"],
            writers=tuple(Provenance(s, a, r, Trust(t), tuple(ids)) for s, a, r, t, ids in about["writers"]),
            ttl=about["ttl"],
            expires=metadata["expires"],
            twin=metadata["twin"],
            vectors=metadata["vectors"],
        )

    @property
    def text(self) -> str:
        """What to quote: the value's ``text`` where there is one, else the whole value as JSON."""
        text = self.value.get("text")
        return text if isinstance(text, str) else json.dumps(self.value, ensure_ascii=False)

    @property
    def trust(self) -> Trust:
        """The lowest trust of its writers: repeating a text lends it no authority."""
        return min(writer.trust for writer in self.writers)

    def live(self, now: float) -> bool:
        """Whether it has not expired."""
        return not self.expires or self.expires > now

    def item(self) -> Item:
        """Return it in LangGraph's form."""
        return Item(
            value=self.value,
            key=self.key,
            namespace=self.namespace,
            created_at=datetime.fromtimestamp(self.created, UTC),
            updated_at=datetime.fromtimestamp(self.updated, UTC),
        )

    def found(self, score: float | None) -> SearchItem:
        """Return it as a search result."""
        item = self.item()
        return SearchItem(item.namespace, item.key, item.value, item.created_at, item.updated_at, score)

    def recalled(self, score: float | None) -> Recalled:
        """Return it as evidence."""
        return Recalled(
            id=self.id,
            source=self.writers[0].source,
            text=self.text,
            trust=self.trust,
            score=score,
            namespace=self.namespace,
            key=self.key,
            value=self.value,
            writers=self.writers,
            lineage=tuple(dict.fromkeys(parent for writer in self.writers for parent in writer.lineage)),
        )


def expiry(now: float, ttl: float | None) -> float:
    """Return when an item used now expires, in seconds since 1970; 0 for never."""
    return 0.0 if ttl is None else now + 60 * ttl


def written(item_id: str, op: PutOp, old: Row | None, vectors: int, now: float) -> Row:
    """Make the row of a plain ``put``, which vouches for nothing.

    Args:
        item_id: Its id.
        op: What is put; its value is not None.
        old: What lies there.
        vectors: How many vectors it is found by.
        now: Seconds since 1970.
    """
    return Row(
        id=item_id,
        namespace=tuple(op.namespace),
        key=op.key,
        value=dict(op.value or {}),
        created=old.created if old and old.live(now) else now,
        updated=now,
        writers=(Provenance.unknown(),),
        ttl=op.ttl,
        expires=expiry(now, op.ttl),
        vectors=vectors,
    )


def noted(slot: str, namespace: tuple[str, ...], twin: str, note: Note, ttl: float | None, now: float) -> Row:
    """Return the row of a text that is new to its slot."""
    return Row(
        id=slot,
        namespace=namespace,
        key=twin if note.key is None else note.key,
        value={"text": note.text, **note.metadata},
        created=now,
        updated=now,
        writers=(note.provenance,),
        ttl=ttl,
        expires=expiry(now, ttl),
        twin=twin,
        vectors=1,
    )


def rewritten(row: Row, note: Note, ttl: float | None, now: float) -> Row:
    """Return the row of a text that is remembered once more: one writer richer, its time limit never shorter."""
    longest = None if row.ttl is None or ttl is None else max(row.ttl, ttl)
    return replace(
        row,
        value={**row.value, **note.metadata},
        updated=now,
        writers=tuple(dict.fromkeys((*row.writers, note.provenance))),
        ttl=longest,
        expires=expiry(now, longest),
    )


def check_value(value: Any, where: str) -> None:
    """Refuse what JSON would silently change.

    Raises:
        TypeError: If a key of a mapping, however deep, is not a string.
    """
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if not isinstance(key, str):
                raise TypeError(f"{where}: keys must be strings to survive storage as JSON, not {key!r}")
            check_value(inner, where)
    elif isinstance(value, list | tuple):
        for inner in value:
            check_value(inner, where)


def check_filter(condition: Any) -> None:
    """Refuse an operator LangGraph does not document.

    Raises:
        ValueError: If a key that starts with ``$`` is not one of the six operators.
    """
    if not isinstance(condition, Mapping):
        return
    if any(str(key).startswith("$") for key in condition):
        for key in condition:
            if key not in _OPERATORS:
                raise ValueError(f"Unsupported operator: {key}; use one of {', '.join(sorted(_OPERATORS))}")
        return
    for inner in condition.values():
        check_filter(inner)


def matches(value: Any, condition: Any) -> bool:
    """Whether a stored value meets a filter's condition, by LangGraph's rules.

    ``$gt`` and its like compare numbers with numbers and strings with strings; any other pair does not match.
    """
    if isinstance(condition, Mapping):
        if any(str(key).startswith("$") for key in condition):
            return all(_apply(value, operator, operand) for operator, operand in condition.items())
        return isinstance(value, dict) and all(matches(value.get(key), inner) for key, inner in condition.items())
    if isinstance(condition, list | tuple):
        return (
            isinstance(value, list)
            and len(value) == len(condition)
            and all(matches(v, c) for v, c in zip(value, condition, strict=True))
        )
    return bool(value == condition)


def _apply(value: Any, operator: str, operand: Any) -> bool:
    if operator == "$eq":
        return bool(value == operand)
    if operator == "$ne":
        return bool(value != operand)
    return _kind(value) is not None and _kind(value) is _kind(operand) and bool(_ORDERINGS[operator](value, operand))


def _kind(value: Any) -> type | None:
    if isinstance(value, str):
        return str
    return float if isinstance(value, int | float) else None


def fits_namespace(namespace: tuple[str, ...], condition: MatchCondition) -> bool:
    """Whether a namespace begins or ends with a path, in which ``*`` stands for any one label.

    Raises:
        ValueError: If the condition is neither ``prefix`` nor ``suffix``.
    """
    path = tuple(condition.path)
    if condition.match_type not in ("prefix", "suffix"):
        raise ValueError(f"Unsupported match type: {condition.match_type}")
    if len(namespace) < len(path):
        return False
    end = namespace[: len(path)] if condition.match_type == "prefix" else namespace[len(namespace) - len(path) :]
    return all(wanted in ("*", label) for label, wanted in zip(end, path, strict=True))
