"""`StreamUsage`: what a stream has used so far, so that an abandoned stream is charged at least that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from ...configs.catalog import Usage
from .counting import believed

if TYPE_CHECKING:
    from langchain_core.messages import AIMessageChunk
    from langchain_core.messages.ai import UsageMetadata

__all__ = ["BYTES_PER_TOKEN", "StreamUsage"]

BYTES_PER_TOKEN: Final = 3
"""Vendors give four characters of English per token (developers.openai.com/tokenizer); a Chinese or Japanese character
is about one token, of three bytes. Dense text such as numbers has more tokens, so this estimate is mostly too high."""
_WORDS: Final = ("text", "thinking", "reasoning", "refusal")


class StreamUsage:
    """Counts usage while a stream is read; `add` each chunk once, unchanged."""

    def __init__(self) -> None:
        self._told: UsageMetadata | None = None
        self._metadata: dict[str, Any] = {}
        self._bytes = 0
        self._chunks = 0

    def add(self, chunk: AIMessageChunk) -> None:
        """Count a chunk.

        Args:
            chunk: The next chunk of the stream.
        """
        if chunk.usage_metadata is not None:
            from langchain_core.messages.ai import add_usage

            self._told = add_usage(self._told, chunk.usage_metadata)
        if chunk.response_metadata:
            self._metadata.update(chunk.response_metadata)
        size = _size(chunk.content) + sum(
            len((call["args"] or "").encode("utf-8", "surrogatepass")) for call in chunk.tool_call_chunks
        )
        if reasoning := chunk.additional_kwargs.get("reasoning_content"):
            size += _size(reasoning)
        self._bytes += size
        self._chunks += size > 0

    @property
    def told(self) -> Usage | None:
        """The usage that the provider has reported so far, None if there is none or it is not plausible."""
        from langchain_core.messages import AIMessage

        message = AIMessage("", response_metadata=self._metadata)
        message.usage_metadata = self._told
        return believed(message)[0]

    @property
    def seen_output(self) -> int:
        """Output tokens seen so far, estimated from the bytes, and at least the number of non-empty chunks."""
        return max(-(-self._bytes // BYTES_PER_TOKEN), self._chunks)

    @property
    def so_far(self) -> Usage | None:
        """The least an abandoned stream used: the reported usage, with at least the output seen.

        None if no plausible usage was reported; the caller then relies on the amount reserved for the call.
        """
        told = self.told
        return None if told is None else replace(told, output=max(told.output, self.seen_output))


def _size(content: Any) -> int:
    """Return the bytes of what a model wrote or thought; tool calls are counted separately."""
    if isinstance(content, str):
        return len(content.encode("utf-8", "surrogatepass"))
    if isinstance(content, Mapping):
        return sum(
            len(text.encode("utf-8", "surrogatepass")) for name in _WORDS if isinstance(text := content.get(name), str)
        )
    return sum(_size(block) for block in content) if isinstance(content, list) else 0
