"""Usage in the format of Anthropic's Messages, taken from langchain-anthropic before it interprets it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from ..errors.told import said
from .counting import CountingStreams, Running, plain, stash
from .forms import MESSAGES

if TYPE_CHECKING:
    from langchain_core.messages import AIMessageChunk
    from langchain_core.outputs import ChatResult

__all__ = ["CountingMessages", "keep_exact"]

_NO_NUMBER: Final = "no number"


class CountingMessages(CountingStreams):
    """Mixin that precedes `ChatAnthropic` among a subclass's bases; a stream's first chunk carries its input."""

    def _make_message_chunk_from_anthropic_event(self, event: Any, **kwargs: Any) -> tuple[AIMessageChunk | None, Any]:
        holder = {"message_start": getattr(event, "message", None), "message_delta": event}.get(event.type)
        raw = getattr(holder, "usage", None)
        if raw is not None:
            # LangChain calculates with it, which raises if it is text.
            holder.usage = None  # type: ignore[union-attr]  # it has one
        chunk, block = super()._make_message_chunk_from_anthropic_event(event, **kwargs)  # type: ignore[misc]
        if chunk is not None and holder is not None:
            chunk.usage_metadata = None
            if raw is not None:
                stash(chunk, MESSAGES, plain(raw))
        return chunk, block

    def _format_output(self, data: Any, **kwargs: Any) -> ChatResult:
        if not hasattr(data, "model_copy"):
            # Not a message at all: LangChain raises for it.
            return super()._format_output(data, **kwargs)  # type: ignore[misc, no-any-return]
        if getattr(data, "type", None) == "error" or getattr(data, "error", None):
            # An error sent with a success status.
            from anthropic import APIError

            body = plain(data)
            raise APIError(said(body), None, body=body)  # type: ignore[arg-type]  # nobody has kept the request
        raw = plain(getattr(data, "usage", None))
        result: ChatResult = super()._format_output(data.model_copy(update={"usage": None}), **kwargs)  # type: ignore[misc]
        for generation in result.generations:
            Running().told(generation.message, MESSAGES, raw)  # type: ignore[arg-type]  # a model answers
        result.llm_output = {**(result.llm_output or {}), "usage": raw}
        return result


def keep_exact(client: Any) -> None:
    """Make the SDK's client replace values in a usage that only look like numbers, so that they are rejected later.

    The SDK coerces events to its types, and would read True and "1" as 1.

    Args:
        client: The SDK's client.
    """
    process = client._process_response_data

    def exact(*, data: Any, **how: Any) -> Any:
        if isinstance(data, Mapping):
            for holder in (data, data.get("message")):
                if isinstance(holder, dict) and isinstance(holder.get("usage"), dict):
                    holder["usage"] = _exact(holder["usage"])
        return process(data=data, **how)

    client._process_response_data = exact


def _exact(usage: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: _exact(value) if isinstance(value, Mapping) else _spoilt(name, value) for name, value in usage.items()
    }


def _spoilt(name: str, value: Any) -> Any:
    counts = name.endswith(("tokens", "requests"))
    return _NO_NUMBER if counts and isinstance(value, str | bool) else value
