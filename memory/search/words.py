"""The words of a text as a keyword search compares them: lower case, without stop words, reduced to stems.

A word is stored as the CRC of its stem: four bytes that need no dictionary, so forgotten text leaves no words behind in
one. Two stems with the same CRC (one pair among 100,000 words) count as one word, which at worst affects a ranking.
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
# Matches only from the beginning of a word, without backtracking into one: a word may be megabytes long.
_JOINED = re.compile(r"(?<![^\W_])[^\W_]++(?:[-_./:@#][^\W_]++)+")
_CACHED = 200_000
_AT_ONCE = 500  # words per insert into SQLite's index; it never shrinks, and a large index is slow even for a few words
_LONGEST = 64  # a longer word is a hash or a blob, and only its beginning is compared

# The English stop words of NLTK, and the remains of contractions such as "didn't".
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
    """Return the words of a text in order, in lower case."""
    return _WORD.findall(text.lower())


def is_content(word: str) -> bool:
    """Whether a word is a content word, not a stop word."""
    return word not in _STOP


def term(word: str) -> int:
    """Return the code that a word is compared by."""
    return each_term([word])[0]


def each_term(listed: list[str]) -> list[int]:
    """Return the codes of several words; if all are new, this costs little more than for one."""
    return _stems.terms(listed)


def terms(text: str) -> list[int]:
    """Return the codes of a text's words; ``ERR-4417`` counts as a whole as well as by its parts."""
    return _stems.terms(_split(text))


def counted(text: str) -> NDArray[np.uint32]:
    """Return the words of a text, one per row, each with its number of occurrences (at most 255)."""
    return each_counted([text])[0]


def each_counted(texts: Sequence[str]) -> list[NDArray[np.uint32]]:
    """Return the words of each text as `counted` does, which is cheaper than calling it for each text."""
    split = [_split(text) for text in texts]
    codes = iter(_stems.terms([word for some in split for word in some]))
    each = [Counter(islice(codes, len(some))) for some in split]
    return [np.array([(code, min(n, 255)) for code, n in counts.items()], np.uint32).reshape(-1, 2) for counts in each]


def names(text: str) -> set[str]:
    """Return the words of a text that are capitalised like names, except stop words."""
    return {word for word in _WORD.findall(text) if word[0].isupper() and is_content(word.lower())}


def strings_in(value: Any) -> Iterator[str]:
    """Yield every string of a JSON value, at any depth."""
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

    SQLite's full-text index includes it, so new words are passed through such an index in memory.
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
        """Close SQLite before a fork: locks that another thread holds in it would stay locked in the child."""
        db, self._db = self._db, None
        if db is not None:
            db.close()

    def reset_after_fork(self) -> None:
        """Reset in a forked child."""
        self._lock.reset_after_fork()
        # The fork may not have waited long enough for another thread; closing the connection would then block for ever.
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
            # Inserted as one text, because each row of an index costs as much as many words.
            self._db.execute("INSERT INTO met (text) VALUES (?)", (" ".join(some),))
            stems |= {some[place]: stem for place, stem in self._db.execute("SELECT offset, term FROM stem")}
            self._db.execute("ROLLBACK")
        return [stems.get(word, word)[:_LONGEST] for word in listed]


def _crc(stem: str) -> int:
    return crc32(stem.encode("utf-8", "surrogatepass"))


_stems = _Stems()
