"""Take secrets out of free text before it is stored."""

from __future__ import annotations

import re

__all__ = ["redact"]

_MARK = "[redacted]"

# The shapes that vendors publish for secret scanners, and the ways in which people write a secret down.
_PREFIXED = r"""
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
"""
_NAMED = r"(?:key|token|secret|password|passwd|passphrase|pwd|credentials?|signature|sig|authorization)"
_VALUE = r"[A-Za-z0-9+/_.~%=-]"
_PATTERNS = (
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL), _MARK),
    (re.compile(rf"(?<![A-Za-z0-9])(?:{_PREFIXED})", re.VERBOSE), _MARK),
    (re.compile(rf"(?<![A-Za-z0-9])((?:Bearer|Basic)\s+){_VALUE}{{8,}}", re.IGNORECASE), rf"\1{_MARK}"),
    (re.compile(r"(://[^\s/:@]*:)[^\s/@]+(?=@)"), rf"\1{_MARK}"),
    # Long values after any spelling of a secret's name, and short ones where an equals sign leaves no doubt.
    (re.compile(rf"({_NAMED}[\"']?\s*[:=]\s*[\"']?){_VALUE}{{16,}}", re.IGNORECASE), rf"\1{_MARK}"),
    (
        re.compile(r"((?:secret|password|passwd|passphrase|pwd)[\"']?=[\"']?)[^\s\"'&,;\[]+", re.IGNORECASE),
        rf"\1{_MARK}",
    ),
    # Long runs that mix cases and digits are keys of no known shape; identifiers and paths are not written so.
    (re.compile(r"(?<![\w-])(?=[\w-]*[a-z])(?=[\w-]*[A-Z])(?=[\w-]*\d)[\w-]{40,}", re.ASCII), _MARK),
)


def redact(text: str) -> str:
    """Replace what looks like a key, token or password by ``[redacted]``.

    A shape is all that is known of a secret here, so a short password in prose stays unseen; the keys that the
    settings hold never reach such a text in the first place.

    Args:
        text: What is about to be stored.
    """
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text
