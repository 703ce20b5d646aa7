"""Secrets in a text that must not leave: passwords and the like stated in prose, also if a call encodes them."""

from __future__ import annotations

import base64
import binascii
import codecs
import html
import re
import unicodedata
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final
from urllib.parse import unquote

__all__ = ["armed", "decoded", "holds", "secrets_in"]

_STATED: Final = re.compile(
    r"\b(?:pass(?:word|phrase|code|wort)|pwd|pin|secret|token|otp|cvv|cvc|ssn"
    r"|(?:api|access|private|licen[cs]e)[ _-]?key"
    r"|(?:verification|security|recovery|login|access|one-time) code)s?\b"
    r"[*_\"'`]*(?:\s+[\w-]+){0,4}?\s*(?:\bis\b|\bwas\b|[:=])"
    r"[\s*_\"'`(]*(?P<value>[^\s\"'`]{4,120})",
    re.IGNORECASE,
)
"""How people write down a password or a code."""
_SET: Final = re.compile(
    r"\b[\w.-]{0,40}(?:passw(?:or)?d|secret|token|api_?key|access_?key|private_?key)[\w.-]{0,40}"
    r"[ \t]{0,8}[=:][ \t]{0,8}[\"']?(?P<value>[^\s\"']{6,200})",
    re.IGNORECASE,
)
"""How configuration files set one."""
_ARMOURED: Final = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----\s+(?P<value>\S{16,})")
_DISARMED: Final = (
    (re.compile(r"\bhxxp(?=s?\b)", re.IGNORECASE), "http"),
    (re.compile(r"(?<=\w)\s?(?:\[\.\]|\(\.\)|\{\.\}|\[dot\]|\(dot\)|\sdot\s)\s?(?=\w)", re.IGNORECASE), "."),
    (re.compile(r"(?<=\w)\s?(?:\[at\]|\(at\)|\{at\})\s?(?=\w)", re.IGNORECASE), "@"),
)
_KEYS: Final = re.compile(
    r"\b(?:sk-[\w-]{16,}|gh[pousr]_\w{20,}|github_pat_\w{20,}|xox[abprs]-[\w-]{10,}|AKIA[0-9A-Z]{12,}|AIza[\w-]{30,}"
    r"|eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]*|glpat-[\w-]{16,})"
)
"""Keys recognizable by their form."""
_BASE: Final = re.compile(r"[A-Za-z0-9+/_-]{16,}={0,2}")
_HEX: Final = re.compile(r"(?:[0-9a-fA-F]{2}[ :]?){8,}")
_LARGEST: Final = 200_000
_MOST: Final = 500
"""Secrets of each form that are taken from one text."""


def secrets_in(text: str) -> frozenset[str]:
    """Return the passwords, codes and keys that a text states in words or that are recognizable by their form."""
    plain = unicodedata.normalize("NFKC", text[:_LARGEST])
    found = (one["value"] for form in (_STATED, _SET, _ARMOURED) for one in islice(form.finditer(plain), _MOST))
    stated = (one.rstrip(".,;:!?)*_") for one in found)
    # "The password is required" states no password.
    told = frozenset(one for one in stated if len(one) > 3 and re.search(r"[\d\W_]", one[:-1]))
    return told | frozenset(one[0] for one in islice(_KEYS.finditer(plain), _MOST))


def holds(text: str, secrets: Iterable[str]) -> Iterator[str]:
    """Yield the secrets that a text contains, also backwards, with blanks in between, or in rot13."""
    plain = re.sub(r"\s", "", unicodedata.normalize("NFKC", text))
    for secret in secrets:
        bare = re.sub(r"\s", "", secret)
        if any(form in plain for form in (bare, bare[::-1], codecs.encode(bare, "rot13"))):
            yield secret


def armed(text: str) -> str:
    """Return a text with its defanged addresses (``hxxps://evil[.]com``) restored to their usable form."""
    for form, plain in _DISARMED:
        text = form.sub(plain, text)
    return text


def decoded(text: str) -> Iterator[str]:
    """Yield the texts that are encoded in another: in base64, hexadecimal, percent-encoding or HTML entities."""
    text = text[:_LARGEST]
    if re.search(r"%[0-9a-fA-F]{2}", text):
        yield unquote(text)
    if re.search(r"&(?:#\w{2,7}|\w{2,8});", text):
        yield html.unescape(text)
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
