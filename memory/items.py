"""A stored item: its row, its id, and its forms for LangGraph and for a recall."""

from __future__ import annotations

import json
import re
import unicodedata
from base64 import b32encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from hashlib import sha256
from math import isnan
from typing import Any

from langgraph.store.base import Item, PutOp, SearchItem

from ..configs.words import Trust
from .base import Note, Parts, Provenance, Recalled

__all__ = ["Row", "check_value", "expiry", "keyed", "noted", "rewritten", "row_id", "text_of", "twin_of", "written"]

_SAME = str.maketrans({"\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"', "\u2013": "-", "\u2014": "-"})
_CLAUSE_END = re.compile(r"(?<=\w)[.,;:!]+$")

_DEEPEST = 200  # levels of a value; JSON readers recurse once per level


def _digest(*parts: Any) -> str:
    # JSON quotes every part, so ("a", "bc") and ("ab", "c") differ. 160 bits: no collisions by chance or on purpose.
    return b32encode(sha256(json.dumps(parts).encode()).digest()[:20]).decode().lower()


def row_id(tenant: str, namespace: Sequence[str], key: str) -> str:
    """Return the id of an item: 32 letters and digits, unique to its tenant, namespace and key."""
    return _digest("item", tenant, list(namespace), key)


def twin_of(namespace: Sequence[str], text: str) -> str:
    """Return a digest that is equal for texts of one namespace that differ only in form, not in meaning.

    Ignored are white space, the form of quotation marks and dashes, punctuation that ends a clause, a capital that
    begins a sentence, and the article "the". Ignoring less would store one fact twice; ignoring more would merge
    different facts.
    """
    bare, begins = [], True
    for word in unicodedata.normalize("NFC", text).translate(_SAME).split():
        plain = _CLAUSE_END.sub("", word)
        if begins and plain[1:].islower():
            plain = plain.lower()
        begins = word.endswith((".", "!", "?"))
        if plain != "the":
            bare.append(plain)
    return _digest("text", list(namespace), " ".join(bare) or text)


def text_of(value: Mapping[str, Any]) -> str:
    """Return the text to quote for a value: its ``text`` if it has one, else the whole value as JSON."""
    text = value.get("text")
    return text if isinstance(text, str) else json.dumps(value, ensure_ascii=False)


def keyed(note: Note) -> Note:
    """Return a note with the key that all notes on the same attribute of the same subject share."""
    names = [" ".join(name.casefold().split()) for name in (note.subject, note.attribute)]
    return replace(note, key=_digest("fact", *names)) if note.key is None and all(names) else note


@dataclass(slots=True)
class Row:
    """One stored item.

    Attributes:
        id: See `row_id`.
        namespace: The namespace it is in.
        key: Its key in the namespace.
        value: Its value.
        created: Seconds since 1970, as are ``updated`` and ``expires``.
        updated: When it was last written.
        writers: Everyone who wrote exactly this text, oldest first.
        ttl: Minutes until it expires after its last use; None for never.
        expires: When it expires; 0 for never. Below zero once a later version of its document came without it: minus
            the time of that. It is then kept only to be looked up by its id, and has no vectors.
        twin: See `twin_of`; empty for a plain put.
        vectors: How many vectors it has; 0 if it is not indexed.
        trust: The lowest trust of everything it was made from and, once it is stored, of its writers.
        seq: Its number in the database; 0 for a new one.
        paths: When written, the parts of its value that are embedded, empty for all of it; always empty when read.
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
    trust: Trust = Trust.USER
    seq: int = 0
    paths: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The text to quote; see `text_of`."""
        return text_of(self.value)

    @property
    def parents(self) -> tuple[str, ...]:
        """Ids of the items it was made from, across all writers."""
        return tuple(dict.fromkeys(parent for writer in self.writers for parent in writer.lineage))

    @property
    def replaced(self) -> float | None:
        """When a later version of its document came without it; None if that has not happened."""
        return -self.expires if self.expires < 0 else None

    def live(self, now: float) -> bool:
        """Whether it has neither expired nor been superseded."""
        return not self.expires or self.expires > now

    def item(self) -> Item:
        """Return it as a LangGraph `Item`."""
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

    def recalled(self, score: float | None, parts: Parts | None = None) -> Recalled:
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
            lineage=self.parents,
            parts=parts,
            replaced=self.replaced,
        )


def expiry(now: float, ttl: float | None) -> float:
    """Return when an item that is used now expires, in seconds since 1970; 0 for never.

    Raises:
        ValueError: If the number of minutes is NaN.
    """
    if ttl is not None and isnan(ttl):
        raise ValueError("a time to live is a number of minutes, not NaN")
    return 0.0 if ttl is None else now + 60 * ttl


def written(item_id: str, op: PutOp, old: Row | None, vectors: int, paths: Sequence[str], now: float) -> Row:
    """Return the row of a plain ``put``, which vouches for nothing.

    Args:
        item_id: Its id.
        op: The write; its value is not None.
        old: The item stored under this id now.
        vectors: How many vectors it has.
        paths: The parts of its value that these vectors are of.
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
        seq=old.seq if old else 0,
        paths=tuple(paths) if vectors and list(paths) != ["$"] else (),
    )


def noted(slot: str, namespace: tuple[str, ...], twin: str, note: Note, ttl: float | None, now: float) -> Row:
    """Return the row of a text that is not stored under its id yet."""
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
    """Return the row of a text that is remembered again: with one more writer, and a TTL that is never shortened."""
    longest = None if row.ttl is None or ttl is None else max(row.ttl, ttl)
    return replace(
        row,
        value={**row.value, **note.metadata},
        updated=now,
        writers=tuple(dict.fromkeys((*row.writers, note.provenance))),
        ttl=longest,
        expires=expiry(now, longest),
    )


def check_value(value: Any, where: str, left: int = _DEEPEST) -> None:
    """Reject a value that JSON would silently change or cannot hold.

    Args:
        value: The value.
        where: What the value is, for the message.
        left: How many levels of nesting are allowed.

    Raises:
        TypeError: If a key of a mapping, at any depth, is not a string.
        ValueError: If it is nested too deeply.
    """
    if not left:
        raise ValueError(f"{where}: is nested deeper than {_DEEPEST} levels")
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if not isinstance(key, str):
                raise TypeError(f"{where}: keys must be strings to survive storage as JSON, not {key!r}")
            check_value(inner, where, left - 1)
    elif isinstance(value, list | tuple):
        for inner in value:
            check_value(inner, where, left - 1)
