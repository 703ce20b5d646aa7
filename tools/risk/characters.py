"""Characters that make a text look like another: invisible ones, and letters of other scripts."""

from __future__ import annotations

import re
import unicodedata

__all__ = ["plain_letters", "readable"]

_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b\u200c\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f"
    "\u3164\ufeff\uffa0\ufff9-\ufffb\U0001d173-\U0001d17a\U000e0000-\U000e007f"
    "\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]"
)
_BROKEN = re.compile("[\ud800-\udfff\uf8f0-\uf8f2]")
_LOOKS = str.maketrans(
    "аеорсхуіјѕһԁԛԝьгкмнтвАВЕКМНОРСТХαοερτυικνχɡıℓⅼ",
    "aeopcxyijshdqwbrkmhtbABEKMHOPCTXaoeptuiknxgill",
)
"""Letters of other scripts, and the Latin letters they look like (Unicode TR 39, only those that occur in words)."""


def readable(text: str) -> tuple[str, list[str]]:
    """Replace characters that no text should have, and return the text with the rules it breaks.

    Args:
        text: The text as it was given, with any characters.
    """
    if text.isascii() and not _INVISIBLE.search(text):
        return text, []
    codes = []
    # A leading byte order mark and the carriage returns of Windows are not a disguise.
    text = text.removeprefix("\ufeff").replace("\r\n", "\n")
    if _BROKEN.search(text):
        codes.append("unknown-text")
        text = _BROKEN.sub("\ufffd", text)
    if _INVISIBLE.search(text.replace("\x1b[", "").replace("\x0c", "")):
        codes.append("hidden-characters")
        text = text.replace("\x00", "\ufffd")
    return text, codes


def plain_letters(name: str) -> str:
    """Return a name in the Latin letters it looks like."""
    if name.isascii():
        return name
    return _INVISIBLE.sub("", unicodedata.normalize("NFKC", name).translate(_LOOKS))
