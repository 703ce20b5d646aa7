"""The words of a text, as a keyword search compares them: folded, without stop words, cut to their stems.

A word is kept as the CRC of its stem, four bytes that need no dictionary: what is forgotten leaves no word behind in
one. Two stems that share a CRC (one pair among 100,000 words) are one word, which costs a place in a ranking at most.
"""

from __future__ import annotations

import re
import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from ...configs.process.forks import Lock, close_before_forks, keep_for_good

__all__ = ["counted", "each_counted", "each_term", "is_content", "names", "strings_in", "term", "terms", "words"]

_WORD = re.compile(r"[^\W_]+")
# Only from the beginning of a word, and back to no part of one: a word may be megabytes long.
_JOINED = re.compile(r"(?<![^\W_])[^\W_]++(?:[-_./:@#][^\W_]++)+")
_CACHED = 200_000
_AT_ONCE = 500  # words that SQLite's index is given; it never shrinks, and a large one takes longer for a few
_LONGEST = 64  # a longer word is a hash or a blob, and is compared by its beginning

# The English stop words of NLTK, and what is left of "didn't" and its like.
_STOP_WORDS = """
i me my myself we our ours ourselves you your yours yourself yourselves he him his himself she her hers herself it its
itself they them their theirs themselves what which who whom this that these those am is are was were be been being have
has had having do does did doing a an the and but if or because as until while of at by for with about against between
into through during before after above below to from up down in out on off over under again further then once here there
when where why how all any both each few more most other some such no nor not only own same so than too very s t d ll m
re ve can will just don should now didn doesn isn wasn won
"""
_STOP = frozenset(_STOP_WORDS.split())


def words(text: str) -> list[str]:
    """Return the words of a text in their order, in small letters."""
    return _WORD.findall(text.lower())


def is_content(word: str) -> bool:
    """Whether a word says what a text is about, and is not one of those that stand in every text."""
    return word not in _STOP


def term(word: str) -> int:
    """Return what a word is compared by."""
    return each_term([word])[0]


def each_term(listed: list[str]) -> list[int]:
    """Return what each of some words is compared by, which costs little more than one where all are new."""
    return _stems.terms(listed)


def terms(text: str) -> list[int]:
    """Return what the words of a text are compared by; ``ERR-4417`` counts as a whole too, beside its parts."""
    return _stems.terms(_split(text))


def counted(text: str) -> NDArray[np.uint32]:
    """Return the words of a text, one a row, each with how often it stands there."""
    return each_counted([text])[0]


def each_counted(texts: Sequence[str]) -> list[NDArray[np.uint32]]:
    """Return the words of each text as `counted` does, which costs less than one by one."""
    split = [_split(text) for text in texts]
    codes = iter(_stems.terms([word for some in split for word in some]))
    each = [Counter(islice(codes, len(some))) for some in split]
    return [np.array([(code, min(n, 255)) for code, n in counts.items()], np.uint32).reshape(-1, 2) for counts in each]


def names(text: str) -> set[str]:
    """Return the words of a text that are written as names are, with a capital."""
    return {word for word in _WORD.findall(text) if word[0].isupper() and is_content(word.lower())}


def strings_in(value: Any) -> Iterator[str]:
    """Yield every string of a JSON value, however deep."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from strings_in(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from strings_in(inner)


def _split(text: str) -> list[str]:
    lowered = text.lower()
    return [word for word in _WORD.findall(lowered) if word not in _STOP] + _JOINED.findall(lowered)


class _Stems:
    """Stems by Porter's algorithm (M. F. Porter, "An algorithm for suffix stripping", Program 14, 1980).

    SQLite has it in its full-text index, so words that were not met before are sent through one in memory.
    """

    def __init__(self) -> None:
        self._lock = Lock(last=True)
        self._known: dict[str, int] = {}
        self._db: sqlite3.Connection | None = None
        close_before_forks(self, self._lock)

    def terms(self, listed: list[str]) -> list[int]:
        known = self._known
        try:
            return [known[word] for word in listed]
        except KeyError:
            with self._lock:
                if len(known) > _CACHED:
                    known = self._known = {}
                fresh = {word for word in listed if word not in known}
                known.update(zip(fresh, map(_crc, self._stemmed(fresh)), strict=True))
            return [known[word] if word in known else _crc(word) for word in listed]

    def close_for_fork(self) -> None:
        """Let go of SQLite before a fork: what of it a thread uses meanwhile stays locked in the child."""
        db, self._db = self._db, None
        if db is not None:
            db.close()

    def reset_after_fork(self) -> None:
        """Reset in a forked child."""
        self._lock.reset_after_fork()
        # Where the fork did not wait long enough for another thread: to close it would wait for that for ever.
        keep_for_good(self._db)
        self._db = None

    def _stemmed(self, fresh: set[str]) -> list[str]:
        if self._db is None:
            self._db = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
            self._db.execute("CREATE VIRTUAL TABLE met USING fts5 (text, tokenize = 'porter unicode61')")
            self._db.execute("CREATE VIRTUAL TABLE stem USING fts5vocab (met, instance)")
        listed = list(fresh)
        plain = [word for word in listed if word.isalpha() and word.isascii()]
        stems: dict[str, str] = {}
        for start in range(0, len(plain), _AT_ONCE):
            some = plain[start : start + _AT_ONCE]
            self._db.execute("BEGIN")
            # As one text, since each row of an index costs as much as many words.
            self._db.execute("INSERT INTO met (text) VALUES (?)", (" ".join(some),))
            stems |= {some[place]: stem for place, stem in self._db.execute("SELECT offset, term FROM stem")}
            self._db.execute("ROLLBACK")
        return [stems.get(word, word)[:_LONGEST] for word in listed]


def _crc(stem: str) -> int:
    return crc32(stem.encode("utf-8", "surrogatepass"))


_stems = _Stems()
