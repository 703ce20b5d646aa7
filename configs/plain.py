"""Remove terminal escape sequences and control characters from text."""

from __future__ import annotations

import re
from typing import Any, Final

__all__ = ["message_of", "plain", "plain_content"]

_ANY: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")
# ECMA-48, section 5.4 (control sequences) and 5.6 (control strings). An unterminated control string would hide all that
# follows, so only its opening is removed.
_OBEYED: Final = re.compile(
    "(?:\x1b[\\]PX^_]|[\x90\x98\x9d\x9e\x9f])[^\x07\x1b\x9c]{0,4096}(?:\x07|\x1b\\\\|\x9c)"
    "|(?:\x1b\\[|\x9b)[0-?]*[ -/]*[@-~]?"
    "|\x1b[ -/]*[0-~]?"
    "|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]"
)
_RETURN: Final = re.compile("\r(?!\n)")


def plain(text: str) -> str:
    """Remove escape sequences and control characters; tabs and line ends stay, a lone carriage return becomes one.

    Args:
        text: Output of a tool, a model or a server.

    Returns:
        The cleaned text; the same object if there was nothing to remove.
    """
    return _RETURN.sub("\n", _OBEYED.sub("", text)) if _ANY.search(text) else text


def plain_content(content: Any) -> Any:
    """Apply `plain` to the content of a message: a text, or blocks, some of which contain texts.

    Args:
        content: The content of a LangChain message.
    """
    if isinstance(content, str):
        return plain(content)
    if not isinstance(content, list):
        return content
    blocks = [_block(block) for block in content]
    return content if all(new is old for new, old in zip(blocks, content, strict=True)) else blocks


def _block(block: Any) -> Any:
    if isinstance(block, str):
        return plain(block)
    text = block.get("text") if isinstance(block, dict) else None
    if not isinstance(text, str) or (said := plain(text)) is text:
        return block
    return {**block, "text": said}


def message_of(error: BaseException) -> str:
    """Return the message of an exception; empty if its ``__str__`` raises."""
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - whoever wrote the exception may raise anything
        return ""
