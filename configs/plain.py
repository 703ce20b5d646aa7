"""Text without what a terminal would obey and without the characters that no text holds."""

from __future__ import annotations

import re
from typing import Any, Final

__all__ = ["message_of", "plain", "plain_content"]

_ANY: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")
# ECMA-48, section 5.4 (control sequences) and 5.6 (control strings). A control string without its end would hide all
# that follows, so of such a one only the opening goes.
_OBEYED: Final = re.compile(
    "(?:\x1b[\\]PX^_]|[\x90\x98\x9d\x9e\x9f])[^\x07\x1b\x9c]{0,4096}(?:\x07|\x1b\\\\|\x9c)"
    "|(?:\x1b\\[|\x9b)[0-?]*[ -/]*[@-~]?"
    "|\x1b[ -/]*[0-~]?"
    "|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]"
)
_RETURN: Final = re.compile("\r(?!\n)")


def plain(text: str) -> str:
    """Take out escape sequences and control characters; tabs and ends of lines stay, a lone return becomes one.

    Args:
        text: What a tool, a model or a server said.

    Returns:
        The same object where there was nothing to take out.
    """
    return _RETURN.sub("\n", _OBEYED.sub("", text)) if _ANY.search(text) else text


def plain_content(content: Any) -> Any:
    """The same for the content of a message: a text, or blocks of which some hold texts.

    Args:
        content: As LangChain's messages hold it.
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
    """What an exception says; nothing where its own code cannot say it."""
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - whoever wrote the exception may raise anything
        return ""
