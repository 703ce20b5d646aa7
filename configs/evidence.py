"""Evidence: text that a step may quote but must not obey, and its format inside a prompt."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape, unescape

from .words import Trust

__all__ = ["Evidence", "literal", "parse_evidence", "render_evidence"]


@dataclass(frozen=True, slots=True)
class Evidence:
    """One passage that was recalled or read.

    Attributes:
        id: A short id, unique in its prompt.
        source: Where the text came from, such as ``knowledge/cards.md#lost-card``.
        text: The passage itself.
        trust: How far it can be trusted.
    """

    id: str
    source: str
    text: str
    trust: Trust = Trust.UNTRUSTED


_BLOCK = re.compile(
    r'<evidence id="([^"]*)" source="([^"]*)" trust="(user|tool|untrusted)">\n?(.*?)\n?</evidence>\n?', re.DOTALL
)


_TAG = re.compile(r"<(?=\s*/?\s*evidence)", re.IGNORECASE)
_LITERAL_TAG = re.compile(r"&lt;(?=\s*/?\s*evidence)", re.IGNORECASE)


def literal(text: str) -> str:
    """Return outside text in a form that is safe next to evidence: anything in it that looks like a block is escaped.

    `parse_evidence` restores the original text.
    """
    return _TAG.sub("&lt;", text)


def render_evidence(passages: Iterable[Evidence]) -> str:
    """Write passages as ``<evidence>`` blocks.

    Text is escaped, so that a passage cannot close its own block and continue outside it.
    """
    return "\n".join(
        f'<evidence id="{escape(p.id)}" source="{escape(p.source)}" trust="{p.trust.value}">\n'
        f"{escape(p.text, quote=False)}\n</evidence>"
        for p in passages
    )


def parse_evidence(text: str) -> tuple[list[Evidence], str]:
    """Split a prompt into its evidence blocks and the remaining text.

    Args:
        text: A prompt written with `render_evidence`, and with `literal` for other outside text.

    Returns:
        The passages in order, and the remaining text, stripped.
    """
    passages = [
        Evidence(unescape(i), unescape(source), unescape(body), Trust(trust))
        for i, source, trust, body in _BLOCK.findall(text)
    ]
    return passages, _LITERAL_TAG.sub("<", _BLOCK.sub("", text)).strip()
