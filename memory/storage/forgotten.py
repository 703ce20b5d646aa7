"""Digests of forgotten texts (never the texts), so that an agent that meets one again does not store it again.

Digests are keyed with a salt stored in the file, so they reveal nothing without the file; with it, short texts can
still be guessed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from html import unescape
from sqlite3 import Connection
from typing import Any, NamedTuple
from unicodedata import category, normalize

from ..items import text_of
from ..search.words import strings_in
from . import table

__all__ = ["SCHEMA", "Told", "lift", "met", "note_down", "repeats"]

SCHEMA = """
ALTER TABLE state ADD COLUMN salt BLOB;
UPDATE state SET salt = randomblob(32);
CREATE TABLE forgotten (
    tenant TEXT NOT NULL, opening INTEGER NOT NULL, start BLOB NOT NULL, words INTEGER NOT NULL, whole BLOB NOT NULL,
    PRIMARY KEY (tenant, opening, start, words, whole)
) WITHOUT ROWID;
"""
"""``start`` is the digest of a text's first words, ``opening`` their number; ``whole`` is that of all ``words``."""

_OPENING = 8  # number of words by which a text is searched for inside others
_PART = 4  # a text of at least this many words is also found inside others; shorter ones occur everywhere

_UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"  # Chinese and Japanese, written unspaced
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W_{_UNSPACED}]+")
_LETTER = re.compile(f"[{_UNSPACED}]")
_WORD_BEFORE = re.compile(r"\w+")
_UNSEEN = ("Mn", "Me", "Cf")  # accents and the like, soft hyphens, joiners
_ESCAPED = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))", re.DOTALL)
_QUOTED = 3  # how often JSON may quote JSON
_TAG = re.compile(r"<[^<>]*>")

_Digest = tuple[int, bytes]


def note_down(db: Connection, tenant: str, values: Iterable[Mapping[str, Any]]) -> None:
    """Record that values were forgotten: the quoted text of each, and every string in it that is not just a label.

    Args:
        db: A connection inside a transaction.
        tenant: Whose they were.
        values: The values; texts without words are skipped.
    """
    salt = _salt(db)
    quoted = [_words(text_of(value)) for value in values]
    inner = [_words(text) for value in values for text in strings_in(value)]
    listed = [words for words in quoted if words] + [words for words in inner if _tells(words)]
    db.executemany(
        "INSERT OR IGNORE INTO forgotten VALUES (?, ?, ?, ?, ?)",
        [
            (
                *(table.encoded(tenant), len(words[:_OPENING]), _digest(salt, words[:_OPENING])),
                *(len(words), _digest(salt, words)),
            )
            for words in listed
        ],
    )


def met(db: Connection, tenant: str, texts: Sequence[str]) -> list[bool]:
    """Return for each text whether it is a forgotten text, or contains one of four words or more.

    Letter case, accents, punctuation, white space, HTML and JSON escapes, and tags are ignored.

    Args:
        db: A connection.
        tenant: Whose memory.
        texts: The texts.
    """
    look = _Look.at(db, tenant)
    return [any(True for _ in look.found(text)) for text in texts] if look else [False] * len(texts)


def repeats(db: Connection, tenant: str, values: Iterable[Mapping[str, Any]]) -> list[bool]:
    """Return for each value whether one of its strings is or contains a forgotten text, as `met` does."""
    look = _Look.at(db, tenant)
    return [look is not None and any(True for text in _said(value) for _ in look.found(text)) for value in values]


def lift(db: Connection, tenant: str, values: Iterable[Mapping[str, Any]]) -> None:
    """Allow the texts of values, and the forgotten texts they contain, to be stored again.

    Args:
        db: A connection inside a transaction.
        tenant: Whose memory.
        values: The values.
    """
    look = _Look.at(db, tenant)
    found = {digest for value in values for text in _said(value) for digest in look.found(text)} if look else ()
    db.executemany(
        "DELETE FROM forgotten WHERE tenant = ? AND words = ? AND whole = ?",
        [(table.encoded(tenant), *digest) for digest in found],
    )


class Told:
    """Texts that are being forgotten, to find later copies of them.

    Args:
        values: The values that contain them, each with the time it was first written, in seconds since 1970.
    """

    def __init__(self, values: Iterable[tuple[Mapping[str, Any], float]]) -> None:
        self._openings: dict[tuple[str, ...], list[tuple[list[str], float]]] = {}
        self.since = float("inf")
        for value, since in values:
            self.since = min(self.since, since)
            for words in map(_words, _said(value)):
                if _tells(words):
                    self._openings.setdefault(tuple(words[:_OPENING]), []).append((words, since))
        self._first = {opening[0] for opening in self._openings}
        self._lengths = {len(opening) for opening in self._openings}

    def stands_in(self, value: Mapping[str, Any], written: float) -> bool:
        """Whether a value written at this time contains one of the texts of four words or more."""
        return any(self._stands(words, written) for text in _said(value) for words in _readings(text))

    def _stands(self, words: Sequence[str], written: float) -> bool:
        return any(
            written >= since and words[place : place + len(whole)] == whole
            for place, word in enumerate(words)
            if word in self._first
            for length in self._lengths
            for whole, since in self._openings.get(tuple(words[place : place + length]), ())
        )


def _said(value: Mapping[str, Any]) -> list[str]:
    return list(dict.fromkeys((text_of(value), *strings_in(value))))


class _Look(NamedTuple):
    """A lookup of what a tenant's memory has forgotten.

    Attributes:
        openings: The lengths, in words, of the stored beginnings of texts.
    """

    db: Connection
    tenant: str
    salt: bytes
    openings: Sequence[int]

    @classmethod
    def at(cls, db: Connection, tenant: str) -> _Look | None:
        """Create one; return None if nothing was ever forgotten."""
        number = table.encoded(tenant)
        found = db.execute("SELECT DISTINCT opening FROM forgotten WHERE tenant = ?", (number,)).fetchall()
        return cls(db, number, _salt(db), [opening for (opening,) in found]) if found else None

    def found(self, text: str) -> Iterator[_Digest]:
        """Yield the digests of forgotten texts that a text contains."""
        for words in _readings(text):
            for opening in self.openings:
                starts: dict[bytes, list[int]] = {}
                for place in range(len(words) - opening + 1):
                    starts.setdefault(_digest(self.salt, words[place : place + opening]), []).append(place)
                query = "SELECT start, words, whole FROM forgotten WHERE tenant = ? AND opening = ? AND start IN (??)"
                for start, count, whole in table.each(self.db, query, list(starts), self.tenant, opening):
                    if any(_stands(self.salt, words, place, count, whole) for place in starts[start]):
                        yield count, whole


def _stands(salt: bytes, words: Sequence[str], place: int, count: int, whole: bytes) -> bool:
    part = words[place : place + count]
    return len(part) == count and (count == len(words) or _tells(part)) and _digest(salt, part) == whole


def _readings(text: str) -> Iterator[list[str]]:
    """Yield the words of a text as it is, and as read without JSON escapes and without HTML tags."""
    forms = [text]
    while "\\" in forms[-1] and len(forms) <= _QUOTED:
        forms.append(_ESCAPED.sub(_unescaped, forms[-1]))
    for form in forms:
        yield _words(form)
        if "<" in form:
            yield _words(_TAG.sub(" ", form))
    # How earlier versions split words, for digests that they stored.
    if not text.isascii() or "_" in text:
        yield _WORD_BEFORE.findall(unescape(text).casefold())


def _unescaped(found: re.Match[str]) -> str:
    if found[1]:
        return chr(int(found[1], 16))
    return "\\" if found[2] == "\\" else " "


def _tells(words: Sequence[str]) -> bool:
    """Whether there are enough words to identify a text; two Chinese or Japanese characters count as one word."""
    letters = sum(_LETTER.match(word) is not None for word in words)
    return len(words) - letters / 2 >= _PART


def _words(text: str) -> list[str]:
    text = unescape(text)
    if not text.isascii():
        text = "".join(letter for letter in normalize("NFKD", text) if category(letter) not in _UNSEEN)
    return _WORD.findall(text.casefold())


def _digest(salt: bytes, words: Sequence[str]) -> bytes:
    # No word contains a space; lone surrogates are treated like any other character.
    return blake2b(" ".join(words).encode("utf-8", "surrogatepass"), key=salt, digest_size=16).digest()


def _salt(db: Connection) -> bytes:
    salt: bytes = db.execute("SELECT salt FROM state").fetchone()[0]
    return salt
