"""Usage in Gemini's format, taken from langchain-google-genai and the SDK under it before they interpret it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final

from ..errors.told import said
from ..replies.proxy import Proxy
from .counting import Doubt, Running, counted, plain
from .forms import GEMINI

if TYPE_CHECKING:
    from langchain_core.outputs import ChatGenerationChunk, ChatResult

__all__ = ["CountingGemini", "read_gemini"]

_HEARD: Final = "pointsman_heard"


class _Heard:
    """The usage that the provider reported last in one call."""

    def __init__(self) -> None:
        self.raw: Any = None


class CountingGemini:
    """Mixin that precedes `ChatGoogleGenerativeAI` among a subclass's bases."""

    async def _agenerate(self, *args: Any, **kwargs: Any) -> ChatResult:
        heard = _Heard()
        result: ChatResult = await super()._agenerate(*args, **kwargs, **{_HEARD: heard})  # type: ignore[misc]
        return _settled(result, heard.raw)

    async def _astream(self, *args: Any, **kwargs: Any) -> AsyncIterator[ChatGenerationChunk]:
        heard, running = _Heard(), Running()
        async with aclosing(super()._astream(*args, **kwargs, **{_HEARD: heard})) as chunks:  # type: ignore[misc]
            async for chunk in chunks:
                raw, heard.raw = heard.raw, None
                running.told(chunk.message, GEMINI, raw)
                yield chunk

    def _prepare_request(self, messages: Any, **kwargs: Any) -> dict[str, Any]:
        heard = kwargs.pop(_HEARD, None)
        request: dict[str, Any] = super()._prepare_request(messages, **kwargs)  # type: ignore[misc]
        return request if heard is None else {**request, _HEARD: heard}

    @property
    def async_client(self) -> _Client:
        """The SDK's client, wrapped to record the usage of replies."""
        return _Client(super().async_client)  # type: ignore[misc]


class _Client(Proxy):
    @property
    def models(self) -> _Models:
        return _Models(self._behind.models)


class _Models(Proxy):
    async def generate_content(self, **request: Any) -> Any:
        heard = request.pop(_HEARD, None) or _Heard()
        return _hear(await self._listening(heard).generate_content(**request), heard)

    async def generate_content_stream(self, **request: Any) -> AsyncIterator[Any]:
        heard = request.pop(_HEARD, None) or _Heard()
        return _heard_by(await self._listening(heard).generate_content_stream(**request), heard)

    def _listening(self, heard: _Heard) -> Any:
        return type(self._behind)(_Listening(self._behind._api_client, heard))


async def _heard_by(stream: Any, heard: _Heard) -> AsyncIterator[Any]:
    async with aclosing(stream):
        async for response in stream:
            yield _hear(response, heard)


def _hear(response: Any, heard: _Heard) -> Any:
    # If the SDK saw no usage, keep an implausible one that was recorded before.
    if response.usage_metadata is not None:
        heard.raw = plain(response.usage_metadata)
        response.usage_metadata = None
    return response


class _Listening(Proxy):
    """The SDK's API client; it removes an impossible usage from a body, since the SDK would read True as 1.

    Args:
        client: The SDK's own API client.
        heard: Where the impossible usage is recorded.
    """

    def __init__(self, client: Any, heard: _Heard) -> None:
        super().__init__(client)
        self._heard = heard

    async def async_request(self, *args: Any, **kwargs: Any) -> Any:
        return self._looked_at(await self._behind.async_request(*args, **kwargs))

    async def async_request_streamed(self, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        return self._each(await self._behind.async_request_streamed(*args, **kwargs))

    async def _each(self, responses: Any) -> AsyncIterator[Any]:
        async with aclosing(responses):
            async for response in responses:
                yield self._looked_at(response)

    def _looked_at(self, response: Any) -> Any:
        if not isinstance(response.body, str):
            return response
        if '"usageMetadata"' not in response.body:
            _refuse_error(response.body)
            return response
        try:
            body = json.loads(response.body)
            counted(GEMINI, body["usageMetadata"])
        except Doubt:
            self._heard.raw = body.pop("usageMetadata")
            response.body = json.dumps(body)
        except (ValueError, LookupError, TypeError):
            # Not a JSON object, or one that only quotes the name: the SDK reports what is wrong with it, if anything.
            return response
        return response


def _refuse_error(text: str) -> None:
    """Raise the SDK's exception if a body contains an error despite a success status."""
    if '"error"' not in text or '"candidates"' in text:
        return
    try:
        body = json.loads(text)
    except ValueError:
        return
    error = body.get("error") if isinstance(body, dict) else None
    if error:
        from google.genai.errors import APIError

        told = error if isinstance(error, dict) else {"message": said(error)}
        code = told.get("code")
        APIError.raise_error(code if isinstance(code, int) else 500, {"error": told}, None)


def read_gemini(read: Any, response: Any) -> ChatResult:
    """Read a whole response as the chat model does.

    Args:
        read: LangChain's reader.
        response: The SDK's response; its usage is removed.
    """
    raw = plain(response.usage_metadata)
    response.usage_metadata = None
    return _settled(read(response), raw)


def _settled(result: ChatResult, raw: Any) -> ChatResult:
    for generation in result.generations:
        Running().told(generation.message, GEMINI, raw)  # type: ignore[arg-type]  # a model answers
    return result
