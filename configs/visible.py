"""Text in which every character can be seen: what looks like nothing, or like another, is written as its code."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import Final

__all__ = ["unseen", "visible"]

_LAID: Final = "\n\t "
_CATEGORIES: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs"})
_BLANK: Final = re.compile(
    # What Unicode counts as a letter, mark or symbol, and what shows nothing: the grapheme joiner, Hangul fillers,
    # Khmer inherent vowels, variation selectors, the Braille blank, a replaced object, a musical null note head.
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\ufffc\U0001d159\U000e0100-\U000e01ef]"
)
_PUNCTUATION: Final = frozenset("\u2010\u2011\u2012\u2212\u2215\u2044\u29f8\u2216\u29f5\ua789\u2236\u02d0\u0589")
"""Signs that pass for a hyphen, slash, backslash or colon, beside those whose compatibility form is one."""
_COMMON: Final = frozenset("…²³¹™ªº½¼¾№℃℉ﬁﬂ")
"""Signs of everyday text whose compatibility form is ASCII, and that nobody takes for it."""
_LATIN_LIKE: Final = frozenset(
    "аеорсухѕіјԁһԛԝӏѵьвкмнтАВЕЅІЈКМНОРСТУХԚԜӀҮҺᴦ"  # Cyrillic
    "αογιικνρτυχωεΑΒΕΖΗΙΚΜΝΟΡΤΥΧϳϲϹ"  # Greek
    "օսցոհյքԛՕՍ"  # Armenian
)
"""Letters of other scripts that most typefaces draw as a Latin letter (Unicode Technical Standard 39, confusables)."""
_MOST_MARKS: Final = 3
"""Combining marks on one letter; no living language writes more."""
_WORD: Final = re.compile(r"[^\W\d_]+")
_NAME: Final = re.compile(r"[\w.@-]+")
_PLAIN: Final = re.compile(r"[\n\t -~]*\Z")


def visible(text: str) -> str:
    """Write out, as ``\\uXXXX``, what a reader would not see or would take for something else.

    That is: control and format characters (those that change the direction, join, or are tags), blanks other than the
    space, ends of lines other than ``\\n``, variation selectors and fillers, more than three combining marks on one
    letter, letters of another script in a Latin word or, where they look the same, in a name with Latin letters, and
    signs that pass for ASCII. Text in one script stays as it is.

    Args:
        text: Anything.
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
    """The names of the characters that `visible` writes out, each once, such as ``U+202E RIGHT-TO-LEFT OVERRIDE``.

    Args:
        text: Anything.
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
    """The places of letters that stand in another script's word, and look like its letters."""
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
    """The script of a letter, of those that have letters like the Latin ones; empty for any other."""
    script = unicodedata.name(letter, "").partition(" ")[0]
    return script if script in ("LATIN", "CYRILLIC", "GREEK", "ARMENIAN", "CHEROKEE", "COPTIC", "LISU") else ""


def _code(character: str) -> str:
    number = ord(character)
    return f"\\u{number:04x}" if number <= 0xFFFF else f"\\U{number:08x}"
