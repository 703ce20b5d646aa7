"""The only redactor: it removes secrets from everything that is shown, logged, raised or stored.

It recognizes a secret by its shape or by the name next to it, so it misses a password of plain words in prose.
Identifiers, hashes, base64 of files, order numbers and prices have other shapes and are kept.
"""

from __future__ import annotations

import re
from base64 import b64decode
from codecs import getincrementaldecoder
from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import unquote

from .secret_rules import (
    ENCODED,
    LONG,
    MARK,
    NAMES,
    NAMES_TOO,
    QUOTED,
    RULES,
    RUN,
    SEED_NAMES,
    SEED_OPEN,
    SHORTEST,
    Found,
    Rule,
    if_random,
)

__all__ = ["MARK", "Redactor", "know", "redact", "redacted", "restored"]

_CONTROL: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_HEAD: Final = 24
"""Base64 characters decoded to detect text: 18 random bytes are hardly ever valid text."""


def _if_encoded(found: Found) -> str:
    """Redact base64 of a text with a secret; the first bytes show whether it is text or, for example, a picture."""
    run = re.sub(r"\s|\\n|=|%3[Dd]", "", found[0]).replace("-", "+").replace("_", "/")
    try:
        # The cut can split a character.
        head = getincrementaldecoder("utf-8")().decode(b64decode(run[:_HEAD] + "=" * (-len(run[:_HEAD]) % 4)))
        if _CONTROL.search(head):
            return found[0]
        run = run[: len(run) - 1] if len(run) % 4 == 1 else run
        text = b64decode(run + "=" * (-len(run) % 4)).decode("utf-8", "replace")
    except ValueError:
        return found[0]
    return found[0] if redact(text) == text else MARK


def _if_quoted(found: Found) -> str:
    """Redact a percent-encoded secret in a URL or similar text."""
    text = unquote(found[0])
    said = redact(text)
    if said == text:
        return found[0]
    return said if said.isprintable() else MARK


_RULES: Final[tuple[Rule, ...]] = (
    *RULES,
    ((), ENCODED, _if_encoded),
    ((), RUN, if_random),
    (("%",), QUOTED, _if_quoted),
)
_SHORTEST_RUN: Final = 20
"""Minimum number of characters without a space that `LONG`, `ENCODED` and `RUN` match."""


def _by_sign(words: Iterable[str]) -> list[tuple[str, list[str]]]:
    """Group words by a non-alphanumeric character in each, since most texts contain few of those characters."""
    grouped: dict[str, list[str]] = {}
    for word in words:
        grouped.setdefault(next((letter for letter in word if not letter.isalnum()), ""), []).append(word)
    return list(grouped.items())


# Searching for a plain word first makes this fast, since most texts contain no secret.
_BY_WORDS: Final = {
    words: [place for place, (others, *_) in enumerate(_RULES) if others == words] for words, *_ in _RULES if words
}
_BY_ONE: Final = [(words[0], places) for words, places in _BY_WORDS.items() if len(words) == 1]
_BY_ANY: Final = [(_by_sign(words), places) for words, places in _BY_WORDS.items() if len(words) > 1]
_OF_RUNS: Final = [place for place, (_, pattern, _) in enumerate(_RULES) if pattern in (LONG, ENCODED, RUN)]
_ALWAYS: Final = [place for place, (words, *_) in enumerate(_RULES) if not words and place not in _OF_RUNS]

_known: list[str] = []
_MIXED: Final = re.compile(r"(?![/~.]|\w+://)(?=\S*\d)(?=\S*[A-Za-z])\S+")
_MOST_KNOWN: Final = 256
_SHORTEST_KNOWN: Final = 8


def know(secrets: Iterable[str]) -> None:
    """Redact these secrets from now on, whatever their shape, such as the keys of this process.

    Args:
        secrets: The newest 256 are remembered. Those that look like ordinary text are ignored: shorter than 8
            characters, without a digit or a letter, with a space, or a file path or URL.
    """
    for secret in secrets:
        told = len(secret) >= _SHORTEST_KNOWN and _MIXED.fullmatch(secret)
        if told and secret not in _known:
            _known.insert(0, secret)
    del _known[_MOST_KNOWN:]


def redact(text: str) -> str:
    """Replace anything that looks like a key, token, password or card number by `MARK`.

    Args:
        text: Text that will be shown or stored.

    Returns:
        The redacted text; the same object if there is nothing to redact.
    """
    return _applied(text, _due(text)) if len(text) >= SHORTEST else text


def _due(text: str) -> list[int]:
    """Return the indices of the rules that may match a text."""
    folded = text.lower()
    due = list(_ALWAYS)
    if max(map(len, text.split()), default=0) >= _SHORTEST_RUN:
        due += _OF_RUNS
    for word, places in _BY_ONE:
        if word in folded:
            due += places
    for groups, places in _BY_ANY:
        if _met(groups, folded):
            due += places
    return due


def _met(groups: Iterable[tuple[str, list[str]]], folded: str) -> bool:
    # Plain loops, since `any` with a generator takes several times as long, and this runs for every text.
    for sign, words in groups:
        if sign in folded:
            for word in words:
                if word in folded:
                    return True
    return False


def _applied(text: str, due: Iterable[int]) -> str:
    """Return a text after replacing known secrets and applying some rules, in their order."""
    for secret in _known:
        if secret in text:
            text = text.replace(secret, MARK)
    for place in sorted(due):
        _, pattern, put = _RULES[place]
        text = pattern.sub(put, text)
    return text


def redacted(value: Any, name: str = "") -> Any:
    """Redact every text in a JSON-like value, also considering the name it is stored under.

    Args:
        value: Mappings, lists and tuples of them, texts, and anything else, which is kept unchanged.
        name: The name of the value.
    """
    if isinstance(value, str):
        if not name:
            return redact(value)
        due = _due(value)
        said = _applied(value, due) if len(value) >= SHORTEST else value
        if said == value:
            # No word that a rule searches for is partly in the name and partly in the value.
            label, pair = f'"{name}": "', f'"{name}": "{value}"'
            if _applied(pair, {*due, *_due(label)}) != pair:
                return MARK
        return said if said != value else value
    if isinstance(value, Mapping):
        return {redacted(key): redacted(item, str(key)) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [redacted(item, name) for item in value]
    return value


def restored(edited: Any, original: Any) -> Any:
    """Restore the redacted parts of a value that a person has edited, wherever they left them unchanged.

    Args:
        edited: The edited version of ``redacted(original)``.
        original: The original value.
    """
    if edited == redacted(original):
        return original
    if isinstance(edited, Mapping) and isinstance(original, Mapping):
        return {key: _put_back(item, str(key), original.get(key)) for key, item in edited.items()}
    if isinstance(edited, list) and isinstance(original, list | tuple):
        return [restored(one, was) for one, was in zip(edited, original, strict=False)] + edited[len(original) :]
    return edited


def _put_back(item: Any, name: str, original: Any) -> Any:
    return original if item == redacted(original, name) else restored(item, original)


_HELD_WORDS: Final = 6
"""Words that are held back: a card number may have four, and a name, its separator and its value are three."""


class Redactor:
    """Redacts a text that arrives in chunks, holding back what may be part of a secret until it is complete."""

    def __init__(self) -> None:
        self._held = ""
        self._pieces: list[str] = []

    def push(self, piece: str) -> str:
        """Add the next chunk, and return the text that can be shown so far."""
        self._pieces.append(piece)
        # Without a space no word ends; this also avoids scanning a long word again for each of its chunks.
        return self._given(whole=False) if any(map(str.isspace, piece)) else ""

    def close(self) -> str:
        """Return the remaining text."""
        return self._given(whole=True)

    def _given(self, *, whole: bool) -> str:
        text = self._held + "".join(self._pieces)
        self._pieces.clear()
        end = len(text) if whole else _safe(text)
        given = redact(text[:end])
        if end and not whole and given + redact(text[end:]) != redact(text):
            # A secret, or a name and its secret, span the cut.
            end, given = 0, ""
        self._held = text[end:]
        return given


def _safe(text: str) -> int:
    """Return how much of a text can be redacted alone: not its last words, nor part of a line that names a secret."""
    words = [word.start() for word in re.finditer(r"\S+", text)]
    end = words[-_HELD_WORDS] if len(words) > _HELD_WORDS else 0
    start = text.rfind("\n", 0, end) + 1
    stop = text.find("\n", start)
    line = text[start : len(text) if stop < 0 else stop].lower()
    if any(name in line for name in (*NAMES, *NAMES_TOO)):
        end = start
    if any(name in text.lower() for name in SEED_NAMES) and (seed := SEED_OPEN.search(text)):
        end = min(end, seed.start())
    opened = text.rfind("-----BEGIN ", 0, end)
    return opened if opened >= 0 and not re.search("-----END [A-Z0-9 ]*-----", text[opened:end]) else end
