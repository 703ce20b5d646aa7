"""What a text holds that is not to leave: passwords and the like that prose states, also where a call encodes them."""

from __future__ import annotations

import base64
import binascii
import re
import unicodedata
from collections.abc import Iterator
from typing import Final
from urllib.parse import unquote

__all__ = ["decoded", "secrets_in"]

_STATED: Final = re.compile(
    r"\b(?:pass(?:word|phrase|code|wort)|pwd|pin|secret|token|otp|cvv|cvc|ssn"
    r"|(?:api|access|private|licen[cs]e)[ _-]?key"
    r"|(?:verification|security|recovery|login|access|one-time) code)s?\b"
    r"[*_\"'`]*(?:\s+[\w-]+){0,4}?\s*(?:\bis\b|\bwas\b|[:=])"
    r"[\s*_\"'`(]*(?P<value>[^\s\"'`]{4,120})",
    re.IGNORECASE,
)
"""How people write down a password or a code."""
_KEYS: Final = re.compile(
    r"\b(?:sk-[\w-]{16,}|gh[pousr]_\w{20,}|github_pat_\w{20,}|xox[abprs]-[\w-]{10,}|AKIA[0-9A-Z]{12,}|AIza[\w-]{30,}"
    r"|eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]*|glpat-[\w-]{16,})"
)
"""Keys that tell by their form what they are."""
_BASE: Final = re.compile(r"[A-Za-z0-9+/_-]{16,}={0,2}")
_HEX: Final = re.compile(r"(?:[0-9a-fA-F]{2}[ :]?){8,}")
_LARGEST: Final = 200_000


def secrets_in(text: str) -> frozenset[str]:
    """The passwords, codes and keys that a text states in words or that tell by their form."""
    plain = unicodedata.normalize("NFKC", text[:_LARGEST])
    stated = (found["value"].rstrip(".,;:!?)*_") for found in _STATED.finditer(plain))
    # "The password is required" states none.
    return frozenset(one for one in stated if len(one) > 3 and re.search(r"[\d\W_]", one[:-1])) | frozenset(
        _KEYS.findall(plain)
    )


def decoded(text: str) -> Iterator[str]:
    """The texts that stand in another in base64, in hexadecimal or percent-encoded."""
    text = text[:_LARGEST]
    if re.search(r"%[0-9a-fA-F]{2}", text):
        yield unquote(text)
    for found in _HEX.finditer(text):
        yield from _readable(bytes.fromhex(re.sub(r"[ :]", "", found[0])))
    for found in _BASE.finditer(text):
        digits = found[0].rstrip("=").replace("-", "+").replace("_", "/")
        try:
            yield from _readable(base64.b64decode(digits + "=" * (-len(digits) % 4)))
        except (binascii.Error, ValueError):
            continue


def _readable(data: bytes) -> Iterator[str]:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return
    if text.isprintable() or text.replace("\n", " ").replace("\t", " ").isprintable():
        yield text
