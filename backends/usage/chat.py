"""Usage in OpenAI's two formats, taken from LangChain's chat models before they interpret it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from ..replies.completions import Completions
from .counting import STASH, CountingStreams, Running, plain, stash
from .forms import CHAT

if TYPE_CHECKING:
    from langchain_core.outputs import ChatGenerationChunk, ChatResult
    from openai import AsyncOpenAI

__all__ = ["CountingChat", "carried", "carry_usage", "settled"]

_NOWHERE: Final = object()


class CountingChat(CountingStreams):
    """Mixin that precedes a langchain-openai chat model among a subclass's bases."""

    async def _agenerate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        model: Any = self
        payload = model._get_request_payload(messages, stop=stop, **kwargs)
        ours = isinstance(model.async_client, Completions) and "response_format" not in payload
        if not ours or model._use_responses_api(payload):
            result: ChatResult = await super()._agenerate(messages, stop, run_manager, **kwargs)  # type: ignore[misc]
        else:
            # The same as LangChain does, without its thread to read the reply, which is already read.
            result = self._create_chat_result(await model.async_client.create(**payload))
        return settled(result)

    def _convert_chunk_to_generation_chunk(self, chunk: Any, *args: Any, **kwargs: Any) -> ChatGenerationChunk | None:
        raw = _find(chunk)
        if raw is not _NOWHERE:
            silent = {**chunk, "usage": None}
            choices = silent.get("choices") or ()
            if choices and choices[0].get("delta") is None:
                # LangChain would skip such a chunk with all of its data.
                silent["choices"] = []
            chunk = silent
        made: ChatGenerationChunk | None = super()._convert_chunk_to_generation_chunk(chunk, *args, **kwargs)  # type: ignore[misc]
        if made is not None and raw is not _NOWHERE:
            stash(made.message, CHAT, raw)  # type: ignore[arg-type]  # a model answers
        return made

    def _create_chat_result(self, response: Any, *args: Any, **kwargs: Any) -> ChatResult:
        raw = _find(response if isinstance(response, Mapping) else plain(response))
        if raw is not _NOWHERE:
            whole = isinstance(response, Mapping)
            response = {**response, "usage": None} if whole else response.model_copy(update={"usage": None})
        result: ChatResult = super()._create_chat_result(response, *args, **kwargs)  # type: ignore[misc]
        if raw is not _NOWHERE:
            for generation in result.generations:
                Running().told(generation.message, CHAT, raw)  # type: ignore[arg-type]  # a model answers
                if generation.message.usage_metadata is not None:  # type: ignore[attr-defined]  # likewise
                    result.llm_output = {**(result.llm_output or {}), "token_usage": raw}
        return result


def _find(body: Any) -> Any:
    """Return the usage in a body or chunk, which servers put at the top, in ``x_groq`` or in the choice."""
    if not isinstance(body, Mapping):
        return _NOWHERE
    choices = body.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    for place in (body, body.get("x_groq"), choice):
        if isinstance(place, Mapping) and place.get("usage") is not None:
            return place["usage"]
    return _NOWHERE


def carry_usage(client: AsyncOpenAI) -> None:
    """Make the SDK's client apply `carried` to each response before it parses it.

    Args:
        client: The SDK's client.
    """
    process = client._process_response_data

    def carrying(*, data: Any, **how: Any) -> Any:
        if isinstance(data, dict):
            # The response may be the whole body or part of a stream event.
            for response in (data.get("response"), data if "output" in data else None):
                if isinstance(response, dict):
                    carried(response)
        return process(data=data, **how)

    vars(client)["_process_response_data"] = carrying


def carried(response: dict[str, Any]) -> dict[str, Any]:
    """Move the usage of a response, in place, to its metadata, which LangChain passes on without reading it.

    Args:
        response: The parsed JSON of the response.
    """
    usage = response.pop("usage", None)
    if usage is not None:
        response["metadata"] = {**(response.get("metadata") or {}), STASH: json.dumps(usage)}
    return response


def settled(result: ChatResult) -> ChatResult:
    """Set the usage that `carried` moved on the messages it belongs to.

    Args:
        result: LangChain's result for the response.
    """
    for generation in result.generations:
        Running().settle(generation.message)  # type: ignore[arg-type]  # a model answers
    return result
