"""A result of any length, as much of it as a model can read."""

from __future__ import annotations

from typing import Any, Final

__all__ = ["LONGEST", "fitted", "fitted_blocks"]

LONGEST: Final = 400_000
"""Characters that a model reads of one result; about 100,000 tokens, which the larger models take beside a task."""
_LONGEST_DATA: Final = 14_000_000
"""Characters of base64, enough for the largest picture that ``read_image`` gives."""


def fitted(text: str, most: int = LONGEST) -> str:
    """The text as a model can read it: its middle left out where it is too long, a mark for what no encoding has.

    Args:
        text: The text.
        most: The most characters of it that are kept.

    Returns:
        The same object where there was nothing to change.
    """
    if len(text) > most:
        half = most // 2
        text = f"{text[:half]}\n[{len(text) - 2 * half:,} characters left out]\n{text[len(text) - half :]}"
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode()
    return text


def fitted_blocks(blocks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same for blocks of a message's content: all their texts together fit, and each picture or sound by itself.

    Args:
        blocks: As LangChain's messages hold them.
    """
    left, told = LONGEST, []
    for block in blocks:
        said, data = block.get("text"), block.get("base64")
        if isinstance(said, str):
            block = {**block, "text": fitted(said, max(left, 0))}
            left -= len(said)
        elif isinstance(data, str) and len(data) > _LONGEST_DATA:
            block = {"type": "text", "text": f"({block['type']} of {len(data) * 3 // 4:,} bytes, not shown)"}
        told.append(block)
    return told
