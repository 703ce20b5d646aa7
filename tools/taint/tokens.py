"""Texts as sequences of words, so that a value is found in another text whatever its case, quotes and spacing."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from decimal import Decimal
from functools import cached_property
from typing import Final

from .amounts import numbers, whole_phones

__all__ = ["Text", "host_of", "identifiers", "tokens", "without_names"]

_MOST_WORDS: Final = 8

# An address, a number with its decimals and a code each stay one word: half an address belongs to nobody.
# The start of a path belongs to it: without it, the same words lead elsewhere.
_PATTERN: Final = (
    r"(?<![\w*./~-])(?:[\w.~/-]*(?:/[\w.-]*[*\[{]|\*(?=[.]\w))|\*{1,2}(?=[./]\w))(?:[^\s'\"<>()`,;]*[\w*\]}/])?"
)
"""A path pattern, including the folder it begins with: without that folder it is another target."""
_WORD: Final = re.compile(
    rf"{_PATTERN}|"
    r"(?:(?<![\w/.:~-])(?:~/|/|(?:\.\./)+))?\w(?:[\w@.+:/%~&=?#-]*[\w/])?(?:(?<=/)\.\.(?![\w.]))?"
)
_IDENTIFIER: Final = re.compile(
    r"(?P<email>(?<![\w.+-])[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,9})"
    r"|(?P<url>(?:https?://|www\.)[^\s<>\"'`)\]}]+|\b(?:[a-z0-9-]{1,63}\.){1,9}(?:com|net|org|io|dev|ai|app|info|biz|ru|cn|xyz|site|top|co)(?:/[^\s<>\"'`)\]}]*)?)"
    r"|(?P<iban>\b[A-Z]{2}\d{2}[A-Z0-9]{10,30}\b)"
    r"|(?P<card>\b(?:\d[ -]?){13,19}\b)"
    r"|(?P<phone>(?<![\w.])\+\d[\d ()-]{6,30}\d)"
    r"|(?P<handle>(?<![\w@])@\w{3,})"
    r"|(?P<wallet>\b0x[0-9a-fA-F]{16,}\b)",
    re.IGNORECASE,
)
_ADDRESS: Final = re.compile(r"^(?:https?://)?(?:www\.)?(?=.)|^mailto:(?=.)", re.IGNORECASE)
"""Prefixes that may be left out of a web or mail address."""
_INVISIBLE: Final = re.compile(r"[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff\U000e0000-\U000e007f]")


_SPACED: Final = re.compile(r"\b[A-Z]{2}\d{2}(?: [A-Z0-9]{4}){2,7}(?: [A-Z0-9]{1,3})?\b|\b\d{4}(?: \d{4}){2,4}\b")
"""An account or card number written in groups."""


def _plain(text: str) -> str:
    plain = _INVISIBLE.sub("", unicodedata.normalize("NFKC", text))
    return _SPACED.sub(lambda found: found[0].replace(" ", ""), plain)


def tokens(text: str) -> tuple[str, ...]:
    """Return the words of a text: Unicode compatibility forms merged, invisible characters removed, case folded.

    The case of a path is kept, also after a host: a different case may be another page or file.
    """
    return tuple(map(_token, _WORD.findall(whole_phones(_plain(text)))))


def _token(word: str) -> str:
    ended = word if word.endswith("/..") else word.rstrip(".:/?")
    plain = _ADDRESS.sub("", ended) or word
    host, slash, path = plain.partition("/")
    return host.casefold() + slash + path


def host_of(identifier: str) -> str:
    """Return the host of a link, without a user part that imitates one; empty if the text is no link."""
    found = re.match(
        r"(?:[a-z][a-z0-9+.-]*:)?//([^/?#\\]*)|((?:[a-z0-9-]+\.)+[a-z]{2,})(?=[/?#:]|$)", identifier, re.IGNORECASE
    )
    if found is None:
        return ""
    return (found[1] or found[2]).rpartition("@")[2].partition(":")[0].casefold().removeprefix("www.")


def identifiers(text: str) -> Iterator[str]:
    """Yield what in a text names somebody or something to reach: an address, a link, an account, a phone number."""
    for found in _IDENTIFIER.finditer(_plain(text)):
        yield found.group().rstrip(".,;:!?)")


_NAME: Final = re.compile(
    r"(?<![\w\\])(?:'(?P<a>[^'\n]{3,120})'|\"(?P<b>[^\"\n]{3,120})\"|`(?P<c>[^`\n]{3,120})`|[“„](?P<d>[^”“\n]{3,120})[”“]"
    r"|‘(?P<e>[^’\n]{3,120})’)(?!\w)|(?<!\S)(?P<f>(?:[^\s\\]+\\ )+[^\s\\]+)"
)
_FILE: Final = re.compile(r"(?!.*(?:@|://))(?=\S+ .*\S)(?:.*\.\w{1,5}|[^ ]*/.*|.*/[^ ]*)")


def without_names(text: str) -> tuple[str, list[str]]:
    """Return a text without the file names that contain blanks, and those names: a part of one is another file."""
    found: list[str] = []

    def taken(match: re.Match[str]) -> str:
        name = next(group for group in match.groups() if group is not None).replace("\\ ", " ")
        if not _FILE.fullmatch(name) or len(name.split()) > _MOST_WORDS:
            return match[0]
        found.append(name)
        return " "

    return _NAME.sub(taken, text), found


class Text:
    """A text in which runs of words are looked up.

    Args:
        text: The text.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.words = tokens(text)
        self._places: dict[str, list[int]] = {}
        for place, word in enumerate(self.words):
            self._places.setdefault(word, []).append(place)

    @cached_property
    def hosts(self) -> frozenset[str]:
        """The hosts of the links in it."""
        return frozenset(filter(None, map(host_of, self.words)))

    @cached_property
    def linked(self) -> frozenset[str]:
        """The hosts of what is recognizable as a link by its form, under any top-level domain it ends with."""
        return frozenset(filter(None, map(host_of, identifiers(self.text))))

    @cached_property
    def numbers(self) -> frozenset[Decimal]:
        """All numbers that can be read in it."""
        return numbers(self.text)

    def has(self, run: Sequence[str]) -> bool:
        """Whether it contains these words in a row."""
        if not run:
            return False
        size = len(run)
        return any(self.words[at : at + size] == tuple(run) for at in self._places.get(run[0], ()))

    def stands(self, sign: str) -> bool:
        """Whether it contains a sign without words that stands alone, at most in quotes or before a comma."""
        around = r"['\"`“”‘’(),;:!]*"
        return re.search(rf"(?<!\S){around}{re.escape(sign)}{around}\.?(?!\S)", _plain(self.text)) is not None

    def longest(self, run: Sequence[str]) -> int:
        """Return the length of the longest part of ``run`` that it contains in a row, in words."""
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
