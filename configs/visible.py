"""Make every character of a text visible: invisible and misleading characters are written as their codes."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import Final

__all__ = ["unseen", "visible"]

_LAID: Final = "\n\t "
_CATEGORIES: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs"})
_BLANK: Final = re.compile(
    # Letters, marks and symbols by Unicode that show nothing: the grapheme joiner, Hangul fillers, Khmer inherent
    # vowels, variation selectors, the Braille blank, a replaced object, a musical null note head.
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\ufffc\U0001d159\U000e0100-\U000e01ef]"
)
_PUNCTUATION: Final = frozenset("\u2010\u2011\u2012\u2212\u2215\u2044\u29f8\u2216\u29f5\ua789\u2236\u02d0\u0589")
"""Characters that look like a hyphen, slash, backslash or colon, besides those whose compatibility form is one."""
_COMMON: Final = frozenset("…²³¹™ªº½¼¾№℃℉ﬁﬂ")
"""Common characters whose compatibility form is ASCII, but which are not mistaken for it."""
_LATIN_LIKE: Final = frozenset(
    "аеорсухѕіјԁһԛԝӏѵьвкмнтАВЕЅІЈКМНОРСТУХԚԜӀҮҺᴦ"  # Cyrillic
    "αογιικνρτυχωεΑΒΕΖΗΙΚΜΝΟΡΤΥΧϳϲϹ"  # Greek
    "օսցոհյքԛՕՍ"  # Armenian
)
"""Letters of other scripts that most typefaces draw as a Latin letter (Unicode Technical Standard 39, confusables)."""
_MOST_MARKS: Final = 3
"""Maximum combining marks on one letter; no living language uses more."""
_WORD: Final = re.compile(r"[^\W\d_]+")
_NAME: Final = re.compile(r"[\w.@-]+")
_PLAIN: Final = re.compile(r"[\n\t -~]*\Z")


def visible(text: str) -> str:
    """Escape, as ``\\uXXXX``, characters that a reader would not see or would mistake for others.

    These are: control and format characters (direction changes, joiners, tags), blanks other than the space, line ends
    other than ``\\n``, variation selectors and fillers, more than three combining marks on one letter, letters of
    another script in a Latin word or, if they look the same, in a name with Latin letters, and characters that look
    like ASCII. Text in one script is unchanged.

    Args:
        text: Any text.
    """
    if _PLAIN.match(text):
        return text
    marked = _mixed(text)
    shown, marks = [], 0
    for place, character in enumerate(text):
        marks = marks + 1 if unicodedata.combining(character) or unicodedata.category(character) == "Me" else 0
        hidden = place in marked or marks > _MOST_MARKS or _hides(character)
        shown.append(_code(character) if hidden else character)
    return "".join(shown)


def unseen(text: str) -> tuple[str, ...]:
    """Return the names of the characters that `visible` escapes, each once, such as ``U+202E RIGHT-TO-LEFT OVERRIDE``.

    Excess combining marks are not included.

    Args:
        text: Any text.
    """
    if _PLAIN.match(text):
        return ()
    marked = _mixed(text)
    found = [c for place, c in enumerate(text) if place in marked or _hides(c)]
    return tuple(f"U+{ord(c):04X} {unicodedata.name(c, '')}".strip() for c in dict.fromkeys(found))


@lru_cache(maxsize=4096)
def _hides(character: str) -> bool:
    if character in _LAID:
        return False
    if unicodedata.category(character) in _CATEGORIES or _BLANK.match(character) or character in _PUNCTUATION:
        return True
    if character.isascii() or character in _COMMON:
        return False
    folded = unicodedata.normalize("NFKC", character)
    return folded.isascii() and folded.isprintable()


def _mixed(text: str) -> set[int]:
    """Return the indices of letters of another script in a Latin word, or that look Latin in a name with Latin ones."""
    places: set[int] = set()
    for word in _WORD.finditer(text):
        scripts = [_script(letter) for letter in word[0]]
        if "LATIN" in scripts and len(set(scripts) - {""}) > 1:
            places.update(word.start() + n for n, script in enumerate(scripts) if script not in ("LATIN", ""))
    for name in _NAME.finditer(text):
        others = [n for n, letter in enumerate(name[0]) if letter.isalpha() and not letter.isascii()]
        latin = any(letter.isascii() and letter.isalpha() for letter in name[0])
        if latin and all(name[0][n] in _LATIN_LIKE for n in others):
            places.update(name.start() + n for n in others)
    return places


@lru_cache(maxsize=4096)
def _script(letter: str) -> str:
    """Return the script of a letter, if it is one with letters that resemble Latin ones; otherwise empty."""
    script = unicodedata.name(letter, "").partition(" ")[0]
    return script if script in ("LATIN", "CYRILLIC", "GREEK", "ARMENIAN", "CHEROKEE", "COPTIC", "LISU") else ""


def _code(character: str) -> str:
    number = ord(character)
    return f"\\u{number:04x}" if number <= 0xFFFF else f"\\U{number:08x}"
