"""Usage as Anthropic's Messages tell it, taken from langchain-anthropic before it interprets it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors.told import said
from .counting import CountingStreams, Running, plain, stash
from .forms import MESSAGES

if TYPE_CHECKING:
    from langchain_core.messages import AIMessageChunk
    from langchain_core.outputs import ChatResult

__all__ = ["CountingMessages"]


class CountingMessages(CountingStreams):
    """Stands before `ChatAnthropic` in a subclass of both; a stream tells its input with its first chunk."""

    def _make_message_chunk_from_anthropic_event(self, event: Any, **kwargs: Any) -> tuple[AIMessageChunk | None, Any]:
        holder = {"message_start": getattr(event, "message", None), "message_delta": event}.get(event.type)
        raw = getattr(holder, "usage", None)
        if raw is not None:
            # LangChain reckons with it, which raises on text.
            holder.usage = None  # type: ignore[union-attr]  # it has one
        chunk, block = super()._make_message_chunk_from_anthropic_event(event, **kwargs)  # type: ignore[misc]
        if chunk is not None and holder is not None:
            chunk.usage_metadata = None
            if raw is not None:
                stash(chunk, MESSAGES, plain(raw))
        return chunk, block

    def _format_output(self, data: Any, **kwargs: Any) -> ChatResult:
        if not hasattr(data, "model_copy"):
            # No message at all: LangChain says so.
            return super()._format_output(data, **kwargs)  # type: ignore[misc, no-any-return]
        if getattr(data, "type", None) == "error" or getattr(data, "error", None):
            # Told with the status of an answer.
            from anthropic import APIError

            body = plain(data)
            raise APIError(said(body), None, body=body)  # type: ignore[arg-type]  # nobody has kept the request
        raw = plain(getattr(data, "usage", None))
        result: ChatResult = super()._format_output(data.model_copy(update={"usage": None}), **kwargs)  # type: ignore[misc]
        for generation in result.generations:
            Running().told(generation.message, MESSAGES, raw)  # type: ignore[arg-type]  # a model answers
        result.llm_output = {**(result.llm_output or {}), "usage": raw}
        return result
