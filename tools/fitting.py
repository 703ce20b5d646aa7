"""Cut results to a length that a model can read."""

from __future__ import annotations

from typing import Any, Final

__all__ = ["LONGEST", "fitted", "fitted_blocks"]

LONGEST: Final = 400_000
"""The most characters of a result that a model reads: about 100,000 tokens, which larger models accept with a task."""
_LONGEST_DATA: Final = 14_000_000
"""The most characters of base64, enough for the largest image that ``read_image`` returns."""


def fitted(text: str, most: int = LONGEST) -> str:
    """Return a text fit for a model: its middle is cut out if it is too long, and lone surrogates become "?".

    Args:
        text: The text.
        most: The most characters of it that are kept.

    Returns:
        The same object if there was nothing to change.
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
    """Fit the content blocks of a message likewise: all texts together, and each image or sound by itself.

    Args:
        blocks: Content blocks, as in LangChain's messages.
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
