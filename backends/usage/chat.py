"""Usage as OpenAI's two formats tell it, taken from LangChain's chat models before they interpret it."""

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
    """Stands before a chat model of langchain-openai in a subclass of both."""

    async def _agenerate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        model: Any = self
        payload = model._get_request_payload(messages, stop=stop, **kwargs)
        ours = isinstance(model.async_client, Completions) and "response_format" not in payload
        if not ours or model._use_responses_api(payload):
            result: ChatResult = await super()._agenerate(messages, stop, run_manager, **kwargs)  # type: ignore[misc]
        else:
            # As LangChain does it, but without a thread to read what has been read already.
            result = self._create_chat_result(await model.async_client.create(**payload))
        return settled(result)

    def _convert_chunk_to_generation_chunk(self, chunk: Any, *args: Any, **kwargs: Any) -> ChatGenerationChunk | None:
        raw = _find(chunk)
        if raw is not _NOWHERE:
            silent = {**chunk, "usage": None}
            choices = silent.get("choices") or ()
            if choices and choices[0].get("delta") is None:
                # LangChain skips such a chunk, with all that it tells.
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
    """The usage of a body or chunk, wherever a server puts it: at the top, in ``x_groq`` or in the choice."""
    if not isinstance(body, Mapping):
        return _NOWHERE
    choices = body.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    for place in (body, body.get("x_groq"), choice):
        if isinstance(place, Mapping) and place.get("usage") is not None:
            return place["usage"]
    return _NOWHERE


def carry_usage(client: AsyncOpenAI) -> None:
    """Have the SDK's client move the usage of each response to where `carried` puts it, before it reads the response.

    Args:
        client: The SDK's client.
    """
    process = client._process_response_data

    def carrying(*, data: Any, **how: Any) -> Any:
        if isinstance(data, dict):
            # Whole, or within an event of a stream.
            for response in (data.get("response"), data if "output" in data else None):
                if isinstance(response, dict):
                    carried(response)
        return process(data=data, **how)

    vars(client)["_process_response_data"] = carrying


def carried(response: dict[str, Any]) -> dict[str, Any]:
    """Move the usage of a response, in place, to its metadata, which LangChain does not read but passes on.

    Args:
        response: The JSON of it.
    """
    usage = response.pop("usage", None)
    if usage is not None:
        response["metadata"] = {**(response.get("metadata") or {}), STASH: json.dumps(usage)}
    return response


def settled(result: ChatResult) -> ChatResult:
    """Put the usage that `carried` moved into the messages it belongs to.

    Args:
        result: What LangChain made of the response.
    """
    for generation in result.generations:
        Running().settle(generation.message)  # type: ignore[arg-type]  # a model answers
    return result
