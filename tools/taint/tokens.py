"""Texts as sequences of words, so that a value is found in another text whatever its case, quotes and spacing."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Final

__all__ = ["Text", "identifiers", "tokens"]

# An address, a number with its decimals and a code stay one word each: half an address is nobody's.
_WORD: Final = re.compile(r"[\w](?:[\w@.+:/%~&=?#-]*[\w/])?")
_IDENTIFIER: Final = re.compile(
    r"(?P<email>[\w.+-]+@[\w-]+(?:\.[\w-]+)+)"
    r"|(?P<url>(?:https?://|www\.)[^\s<>\"'`)\]}]+|\b(?:[a-z0-9-]+\.)+(?:com|net|org|io|dev|ai|app|info|biz|ru|cn|xyz|site|top|co)(?:/[^\s<>\"'`)\]}]*)?)"
    r"|(?P<iban>\b[A-Z]{2}\d{2}[A-Z0-9]{10,30}\b)"
    r"|(?P<card>\b(?:\d[ -]?){13,19}\b)"
    r"|(?P<phone>(?<![\w.])\+\d[\d ()-]{6,}\d)"
    r"|(?P<handle>(?<![\w@])@\w{3,})"
    r"|(?P<wallet>\b0x[0-9a-fA-F]{16,}\b)",
    re.IGNORECASE,
)
_ADDRESS: Final = re.compile(r"^(?:https?://)?(?:www\.)?(?=.)|^mailto:(?=.)")
"""How one place on the net is written in several ways."""
_INVISIBLE: Final = re.compile(r"[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff\U000e0000-\U000e007f]")


def _plain(text: str) -> str:
    return _INVISIBLE.sub("", unicodedata.normalize("NFKC", text)).casefold()


def tokens(text: str) -> tuple[str, ...]:
    """The words of a text: compatibility forms made one, invisible characters left out, case folded."""
    return tuple(_ADDRESS.sub("", word.rstrip(".:/?")) or word for word in _WORD.findall(_plain(text)))


def identifiers(text: str) -> Iterator[str]:
    """What in a text names somebody or something to reach: an address, a link, an account, a phone number."""
    for found in _IDENTIFIER.finditer(_INVISIBLE.sub("", unicodedata.normalize("NFKC", text))):
        yield found.group().rstrip(".,;:!?)")


class Text:
    """A text in which runs of words are looked up.

    Args:
        text: The text.
    """

    def __init__(self, text: str) -> None:
        self.words = tokens(text)
        self._places: dict[str, list[int]] = {}
        for place, word in enumerate(self.words):
            self._places.setdefault(word, []).append(place)

    def has(self, run: Sequence[str]) -> bool:
        """Whether these words stand in it, one after the other."""
        if not run:
            return False
        size = len(run)
        return any(self.words[at : at + size] == tuple(run) for at in self._places.get(run[0], ()))

    def longest(self, run: Sequence[str]) -> int:
        """The most words of ``run`` that stand in it one after the other."""
        best = 0
        for start in range(len(run)):
            if len(run) - start <= best:
                break
            for at in self._places.get(run[start], ()):
                length = 0
                while (
                    start + length < len(run)
                    and at + length < len(self.words)
                    and self.words[at + length] == run[start + length]
                ):
                    length += 1
                best = max(best, length)
        return best
