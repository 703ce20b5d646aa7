"""Guess the language of a short text from its script and its commonest words."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["language"]

_SEEN: Final = 400
_WORD: Final = re.compile(r"[^\W\d_]+")

# First code point of a Unicode block, one past its last, the language written in it most. Kana and Hangul stand
# before the ideographs, which Japanese and Korean use as well.
_SCRIPTS: Final = (
    (0x3040, 0x3100, "ja"),
    (0xAC00, 0xD7B0, "ko"),
    (0x4E00, 0xA000, "zh"),
    (0x3400, 0x4DC0, "zh"),
    (0x0400, 0x0530, "ru"),
    (0x0370, 0x0400, "el"),
    (0x0590, 0x0600, "he"),
    (0x0600, 0x0700, "ar"),
    (0x0900, 0x0980, "hi"),
    (0x0E00, 0x0E80, "th"),
)


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_COMMON: Final = {
    "en": _words("the and of to is in that it for you with this what how are please from my can an not"),
    "de": _words("der die das und ist nicht ein eine ich sie mit auf für den zu wie bitte wir von im"),
    "fr": _words("de le la les et est une des que pour dans qui pas vous avec sur je du ce comment nous"),
    "es": _words("de la el los las y es una que para por con del se cómo como en mi su está más qué lo puedo"),
    "it": _words("il la gli che di è una per con non sono come della questo ho mi si del nel perché cosa"),
    "pt": _words("de os as e é uma que para por com do da não como em meu seu se mais você no"),
    "nl": _words("het een en van ik is niet dat op te voor met zijn aan hoe je deze wat maar naar"),
}


def language(text: str) -> str:
    """Guess the language of a text.

    Only the first 400 characters are looked at. A script decides where it belongs to one language above all;
    Latin text is decided by its commonest words.

    Returns:
        A two-letter code (ISO 639-1), empty where nothing tells.
    """
    seen = text[:_SEEN]
    if not seen.isascii():
        wide = [ord(character) for character in seen if character > "\u036f"]
        if len(wide) * 3 > len(seen):
            for first, past, code in _SCRIPTS:
                if any(first <= point < past for point in wide):
                    return code
    words = set(_WORD.findall(seen.lower()))
    best, most = "", 0
    for code, common in _COMMON.items():
        found = len(words & common)
        if found > most:
            best, most = code, found
    return best
