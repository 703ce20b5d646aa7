"""Usage as OpenAI's two formats tell it, taken from LangChain's chat models before they interpret it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from ..replies.completions import Completions
from ..replies.proxy import Proxy
from .counting import STASH, CountingStreams, Running, plain, stash
from .forms import CHAT

if TYPE_CHECKING:
    from langchain_core.outputs import ChatGenerationChunk, ChatResult
    from openai import AsyncOpenAI

__all__ = ["CountingChat", "CountingResponses", "read_responses", "settled"]

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


class CountingResponses:
    """Stands where langchain-openai expects ``AsyncOpenAI().responses``; the usage goes into the metadata it passes on.

    Args:
        client: The SDK's client.
    """

    def __init__(self, client: AsyncOpenAI) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        return getattr(self._own, name)

    @property
    def with_raw_response(self) -> _Raw:
        """The same for one who wants to parse the response."""
        return _Raw(self._own.with_raw_response)

    async def create(self, **payload: Any) -> Any:
        """Send one request.

        Args:
            payload: As the SDK takes it.
        """
        return _carrying(await self._own.create(**payload))

    @cached_property
    def _own(self) -> Any:
        # The SDK imports what it needs for this at its first use.
        return type(self._client).responses.func(self._client)  # type: ignore[attr-defined]


class _Raw(Proxy):
    def __getattr__(self, name: str) -> Any:
        send = super().__getattr__(name)

        async def sent(**payload: Any) -> _Unparsed:
            return _Unparsed(await send(**payload))

        return sent


class _Unparsed(Proxy):
    def parse(self, **how: Any) -> Any:
        return _carrying(self._behind.parse(**how))


class _Events:
    """A stream of events whose last carries its usage."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    async def __aenter__(self) -> _Events:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stream.close()

    async def __aiter__(self) -> AsyncIterator[Any]:
        async for event in self._stream:
            response = getattr(event, "response", None)
            if response is not None:
                read_responses(response)
            yield event


def _carrying(answer: Any) -> Any:
    if hasattr(answer, "__aiter__"):
        return _Events(answer)
    return read_responses(answer) if hasattr(answer, "output") else answer


def read_responses(response: Any) -> Any:
    """Move the usage of a response to where LangChain does not read it but passes it on.

    Args:
        response: The SDK's.
    """
    usage = getattr(response, "usage", None)
    if usage is not None:
        response.usage = None
        response.metadata = {**(response.metadata or {}), STASH: json.dumps(plain(usage))}
    return response


def settled(result: ChatResult) -> ChatResult:
    """Put the usage that `read_responses` moved into the messages it belongs to.

    Args:
        result: What LangChain made of the response.
    """
    for generation in result.generations:
        Running().settle(generation.message)  # type: ignore[arg-type]  # a model answers
    return result
