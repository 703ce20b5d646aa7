"""Take secrets out of free text before it is stored."""

from __future__ import annotations

import re
from collections.abc import Callable

__all__ = ["redact"]

_MARK = "[redacted]"
_VALUE = r"[A-Za-z0-9+/_.~%-]"

# The shapes that vendors publish for secret scanners.
_PREFIXED = re.compile(
    r"""(?<![A-Za-z0-9])(?:
        sk-[A-Za-z0-9_-]{8,}
      | (?:sk|rk|pk)_(?:live|test)_[A-Za-z0-9]{8,}
      | AIza[A-Za-z0-9_-]{20,}
      | ya29\.[A-Za-z0-9_-]{16,}
      | gh[oprsu]_[A-Za-z0-9]{16,}
      | github_pat_[A-Za-z0-9_]{16,}
      | glpat-[A-Za-z0-9_-]{16,}
      | hf_[A-Za-z0-9]{16,}
      | xox[abeoprs]-[A-Za-z0-9-]{8,}
      | (?:AKIA|ASIA)[A-Z0-9]{12,}
      | eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{4,}(?:\.[A-Za-z0-9_-]*)?
    )""",
    re.VERBOSE,
)
_PREFIXES = ("sk-", "k_live_", "k_test_", "AIza", "ya29.", "gh", "glpat-", "hf_", "xox", "AKIA", "ASIA", "eyJ")
_BLOCK = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL)
_BEARER = re.compile(rf"(?<![A-Za-z0-9])((?:Bearer|Basic)\s+){_VALUE}{{8,}}=*", re.IGNORECASE)
_IN_URL = re.compile(r"(://[^\s/:@]*:)[^\s/@]+(?=@)")
# Short values count as secret only where an equals sign leaves no doubt.
_PASSWORD = re.compile(r"((?:secret|passw(?:or)?d|passphrase|pwd)[\"']?=[\"']?)[^\s\"'&,;\[]+", re.IGNORECASE)
_ASSIGNED = re.compile(rf"([:=]\s*[\"']?){_VALUE}{{16,}}=*")
_NAME = re.compile(
    r"(?:key|token|secret|passw(?:or)?d|passphrase|pwd|credentials?|signature|sig|authorization)[\"']?\s*$",
    re.IGNORECASE,
)
_LONGEST_NAME = 24
_RUN = re.compile(r"[A-Za-z0-9_-]{40,}")


def redact(text: str) -> str:
    """Replace what looks like a key, token or password by ``[redacted]``.

    A shape is all that is known of a secret here, so a short password in prose stays unseen; the keys that the
    settings hold never reach such a text in the first place.

    Args:
        text: What is about to be stored.
    """
    # Looking for a plain word first is what makes this fast: most texts hold no secret.
    folded = text.lower()
    if "private key" in folded:
        text = _BLOCK.sub(_MARK, text)
    if any(prefix in text for prefix in _PREFIXES):
        text = _PREFIXED.sub(_MARK, text)
    if "bearer" in folded or "basic" in folded:
        text = _BEARER.sub(rf"\1{_MARK}", text)
    if "://" in text:
        text = _IN_URL.sub(rf"\1{_MARK}", text)
    text = _ASSIGNED.sub(_unless_unnamed, text)
    if any(word in folded for word in ("secret", "passw", "passphrase", "pwd")):
        text = _PASSWORD.sub(rf"\1{_MARK}", text)
    return _RUN.sub(_if_mixed, text)


def _unless_unnamed(found: re.Match[str]) -> str:
    """A long value goes where a secret's name stands before it."""
    before = found.string[max(0, found.start() - _LONGEST_NAME) : found.start()]
    return f"{found[1]}{_MARK}" if _NAME.search(before) else found[0]


_KINDS: tuple[Callable[[str], bool], ...] = (str.islower, str.isupper, str.isdigit)


def _if_mixed(found: re.Match[str]) -> str:
    """A long run that mixes cases and digits is a key of no known shape: identifiers and paths are not written so."""
    run = found[0]
    return _MARK if all(any(kind(letter) for letter in run) for kind in _KINDS) else run
