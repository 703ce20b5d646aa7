"""Evidence: text that a step may quote but must not obey, and its one written form inside a prompt."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape, unescape

from .words import Trust

__all__ = ["Evidence", "literal", "parse_evidence", "render_evidence"]


@dataclass(frozen=True, slots=True)
class Evidence:
    """One passage recalled or read.

    Attributes:
        id: A short id that is unique in its prompt.
        source: Where the text came from, such as ``knowledge/cards.md#lost-card``.
        text: The passage itself.
        trust: How far it may be believed.
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
    """Text from outside as it may stand beside evidence: what looks like a block in it is written so that it is none.

    `parse_evidence` gives it back as it was.
    """
    return _TAG.sub("&lt;", text)


def render_evidence(passages: Iterable[Evidence]) -> str:
    """Write passages as ``<evidence>`` blocks.

    Text is escaped, so that a passage cannot close its own block and speak outside it.
    """
    return "\n".join(
        f'<evidence id="{escape(p.id)}" source="{escape(p.source)}" trust="{p.trust.value}">\n'
        f"{escape(p.text, quote=False)}\n</evidence>"
        for p in passages
    )


def parse_evidence(text: str) -> tuple[list[Evidence], str]:
    """Split a prompt into its evidence blocks and the text that is left.

    Args:
        text: A prompt as written with `render_evidence`, and `literal` for what else comes from outside.

    Returns:
        The passages in order, and the remaining text, stripped.
    """
    passages = [
        Evidence(unescape(i), unescape(source), unescape(body), Trust(trust))
        for i, source, trust, body in _BLOCK.findall(text)
    ]
    return passages, _LITERAL_TAG.sub("<", _BLOCK.sub("", text)).strip()
